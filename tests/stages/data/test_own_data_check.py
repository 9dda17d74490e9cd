"""`anygen data check` reads everything and names every bad entry; training refuses what it would name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from anygen.app.cli import main
from anygen.app.command_data import FORMATS
from anygen.errors import BadArgument, LimitExceeded
from anygen.media import MediaLimits
from anygen.stages.data.check import check, load_records
from anygen.stages.data.conversations import describable, describe
from anygen.stages.data.own import DataConfig, OwnData, split_records
from anygen.stages.data.readers import READERS, Format, SourceConfig
from anygen.stages.data.records import Place, Record, caption_record, located


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "large.png")
    rows: list[Any] = [
        {"id": "1", "image": "a.png", "text": "red"},
        {"image": "gone.png", "text": "nothing"},
        {"imgae": "a.png", "text": "a typing error"},
        {"image": "a.png", "text": ""},
        {"id": "1", "image": "captions.jsonl", "text": "not a picture"},
        {"image": "https://example.org/a.png", "text": "elsewhere"},
        {"image": ["a.png", "large.png"], "prompt": "What?", "text": "two"},
        {"prompt": "Draw.", "output_image": "a.png", "text": "red"},
    ]
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_bad_entry_is_named_once_for_each_thing(manifest: Path) -> None:
    report = check(SourceConfig(path=str(manifest)), limits=MediaLimits(max_pixels=1024))
    found = [(p.place.line, p.kind) for p in report.problems]
    assert found == [
        (2, "missing-file"),
        (3, "unknown-field"),
        (4, "empty-caption"),
        (5, "duplicate-id"),
        (5, "undecodable"),
        (6, "missing-file"),
        (7, "over-limits"),
    ]
    assert (report.entries, report.bad, report.captions) == (8, 6, 1)
    assert (report.files, report.decoded) == (3, 3)
    assert report.inputs == {"image": 1} and report.outputs == {"image": 1}
    assert "first at" in report.problems[3].message and "captions.jsonl:1" in report.problems[3].message
    assert "a URL, which is never fetched" in report.problems[5].message
    assert [p["line"] for p in report.to_json()["problems"]] == [2, 3, 4, 5, 5, 6, 7]


def test_without_decoding_files_are_only_looked_for(manifest: Path) -> None:
    report = check(SourceConfig(path=str(manifest)), decode=False)
    assert {p.kind for p in report.problems} == {
        "missing-file",
        "unknown-field",
        "empty-caption",
        "duplicate-id",
    }
    assert report.decoded == 0


def test_the_command_prints_all_and_leaves_with_2(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(manifest)]) == 2
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"{manifest}:2: missing-file: image: found no file 'gone.png'")
    assert "entries   8, 5 bad, 1 plain captions" in lines
    assert "found 5 bad of 8 entries" in captured.err and captured.err.count("\n") == 1
    assert main(["data", "check", str(manifest), "--json", "--no-decode"]) == 2
    assert json.loads(capsys.readouterr().out)["bad_entries"] == 5
    good = manifest.with_name("good.csv")
    good.write_text("img,title,by\na.png,red,me\n")
    options = ["--column", "img=image", "--column", "title=text", "--ignore", "by", "--format", "manifest"]
    assert main(["data", "check", str(good), *options]) == 0
    good.write_text("")
    assert main(["data", "check", str(good)]) == 2
    assert main(["data", "check", str(good), "--column", "x"]) == 2
    assert "expected NAME=FIELD" in capsys.readouterr().err


def test_the_command_knows_every_format() -> None:
    assert get_args(Format) == FORMATS == ("auto", *READERS)


def test_training_skips_nothing(manifest: Path) -> None:
    source = SourceConfig(path=str(manifest))
    with pytest.raises(BadArgument, match=r"captions.jsonl:2: missing-file: .* \(and 4 more\); `anygen data"):
        load_records([source])
    manifest.write_text("\n")
    with pytest.raises(BadArgument, match="found no entries"):
        load_records([source])


def record(number: int, *keys: str, file: str = "x") -> Record:
    from anygen.modality import Modality
    from anygen.stages.data.records import MediaIn
    from anygen.stages.data.sources import FileSource

    media = tuple(MediaIn(Modality.IMAGE, FileSource(key)) for key in keys)
    return caption_record(Place(file, number), media, f"caption {number}")


def test_the_split_keeps_entries_of_one_medium_together() -> None:
    records = [record(i, f"{i // 5}.png", *(["shared.png"] if i in (7, 93) else [])) for i in range(100)]
    training, held_out = split_records(records, 0.2, seed=3)
    assert len(training) + len(held_out) == 100 and 15 <= len(held_out) <= 20
    keys = [{m.source.key for r in part for m in r.media} for part in (training, held_out)]
    assert not keys[0] & keys[1]
    assert split_records(records, 0.2, seed=3) == (training, held_out)
    assert split_records(records, 0.2, seed=4)[1] != held_out
    assert split_records(records, 0.0, seed=3)[1] == []


def test_a_folder_that_moves_is_split_alike() -> None:
    def held_out(folder: str) -> list[int]:
        media = [(i, f"{folder}/photos/{i}.png") for i in range(50)]
        records = [record(i, key, file=f"{folder}/x.jsonl") for i, key in media]
        records += [record(100 + i, file=f"{folder}/x.jsonl") for i in range(50)]
        return [r.place.line for r in split_records(records, 0.2, seed=0)[1]]

    assert held_out("/here") == held_out("/some/where/else")


def test_data_that_the_stage_cannot_use_is_refused(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": "Who?", "text": "I."}, {"image": "a.png", "text": "red"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(sources=(SourceConfig(path=str(manifest)),))
    data = OwnData(config, fits=describable, converse=describe, what="media to describe")
    assert len(data.training) == 1
    assert "1 of 2 entries have no media to describe: unused here" in caplog.text
    manifest.write_text(json.dumps(rows[0]))
    with pytest.raises(BadArgument, match="found 0 of 1 entries with media to describe"):
        OwnData(config, fits=describable, converse=describe, what="media to describe")
    with pytest.raises(BadArgument, match="found 0 sources"):
        DataConfig(sources=())


def test_errors_name_the_entry_and_keep_their_type() -> None:
    with (
        pytest.raises(LimitExceeded, match=r"^x.jsonl:3 \(k\): too long$"),
        located(Place("x.jsonl", 3, "k")),
    ):
        raise LimitExceeded("too long")
    place = Place("x.jsonl", 3)
    with pytest.raises(LimitExceeded, match=r"^x.jsonl:3: too long$"), located(place), located(place):
        raise LimitExceeded("too long")
