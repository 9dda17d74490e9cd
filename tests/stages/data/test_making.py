"""Instruction data: every kind is read back as it was made, is traced to its source, and trains."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anygen.app.cli import main
from anygen.app.command_data import KINDS as COMMAND_KINDS
from anygen.errors import BadArgument, MissingPart
from anygen.modality import Modality
from anygen.stages.data.making import KINDS, MakeOptions, make
from anygen.stages.data.making.conclusions import conclusions
from anygen.stages.data.making.grammar import Grammar
from anygen.stages.data.making.parsing import parse
from anygen.stages.data.making.prompts import load_prompts, shipped, source_text
from anygen.stages.data.making.subjects import Box, Subject, read_subjects
from anygen.stages.data.making.trace import Rejected
from anygen.stages.data.readers import SourceConfig, read
from anygen.stages.data.records import MediaOut, Place, Problem, Record
from anygen.stages.data.sources import FileSource
from anygen.toybox import export, is_held_out
from anygen.toybox.read_text import read_text

IMAGE, AUDIO, VIDEO = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("making") / "scenes"
    export(folder, count=8, seed=3, modalities=[IMAGE, AUDIO])
    return folder


@pytest.fixture(scope="module")
def made(scenes: Path) -> Path:
    out = scenes.parent / "made" / "instructions.jsonl"
    make(SourceConfig(path=str(scenes)), Grammar(0), out, MakeOptions(count=24))
    return out


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_command_makes_every_kind_and_the_check_finds_nothing_wrong(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMAND_KINDS == KINDS
    out = tmp_path / "made.jsonl"
    assert main(["data", "make", str(scenes), "--out", str(out), "--count", "4", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["subjects"] == 8 and report["written"] == dict.fromkeys(KINDS, 4)
    assert main(["data", "check", str(out), "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["entries"], report["bad_entries"]) == (24, 0)
    assert report["input_media"]["image"] > 0 and report["output_media"]["audio"] > 0


def test_what_is_read_back_is_what_the_kind_is(made: Path) -> None:
    records = list(read(SourceConfig(path=str(made))))
    assert all(isinstance(r, Record) for r in records), [str(r) for r in records if isinstance(r, Problem)]
    kinds = [row["source_data"]["kind"] for row in rows(made)]
    found: dict[str, list[Record]] = {kind: [] for kind in KINDS}
    for kind, record in zip(kinds, records, strict=True):
        assert isinstance(record, Record)
        found[kind].append(record)
    for kind in ("plain", "detail", "reasoning"):
        assert all(len(r.turns) == 2 and len(r.inputs) == 1 and not r.outputs for r in found[kind])
    for record in found["conversation"]:
        assert len(record.turns) >= 4 and len(record.inputs) == 1 and not record.outputs
    for record in found["t2m"]:
        (shown,) = record.outputs
        assert not record.inputs and shown.source is not None and Path(shown.source.path).is_file()
        assert record.turns[1].text.endswith(f" of {shown.caption}.")
    assert all(len(r.turns) >= 6 for r in found["mosit"])
    assert any(r.inputs and r.outputs for r in found["mosit"])
    assert any(len({o.modality for o in r.outputs}) == 3 for r in found["mosit"])


def test_what_is_said_agrees_with_the_scene_and_names_no_held_out_pair(scenes: Path, made: Path) -> None:
    subjects = {
        s.place.line: s for s in read_subjects(SourceConfig(path=str(scenes))) if isinstance(s, Subject)
    }
    for row, record in zip(rows(made), read(SourceConfig(path=str(made))), strict=True):
        assert isinstance(record, Record)
        known, source = subjects[row["source_data"]["line"]].attributes, row["source_data"]
        if source["kind"] in ("plain", "conversation", "detail"):
            for turn in record.turns[1::2]:
                for name, value in read_text(turn.text).items():
                    assert value in (None, known[name]), (turn.text, known)
        for part in (p for turn in record.turns for p in turn.parts):
            words = part.caption if isinstance(part, MediaOut) else part if isinstance(part, str) else ""
            assert not is_held_out({n: v for n, v in read_text(words).items() if v is not None}), words


def test_a_sample_is_traced_to_its_source_and_can_be_made_again(
    scenes: Path, made: Path, tmp_path: Path
) -> None:
    index = scenes / "scenes.jsonl"
    lines = index.read_text().splitlines()
    for row in rows(made):
        source = row["source_data"]
        assert (
            source["file"] == str(index) and source["generator"] == "toybox-grammar" and source["seed"] == 0
        )
        assert str(json.loads(lines[source["line"] - 1])["id"]) == source["id"]
    again, other = made.with_name("again.jsonl"), made.with_name("other.jsonl")
    make(SourceConfig(path=str(scenes)), Grammar(0), again, MakeOptions(count=24))
    make(SourceConfig(path=str(scenes)), Grammar(1), other, MakeOptions(count=24))
    assert again.read_bytes() == made.read_bytes() != other.read_bytes()
    few = made.with_name("few.jsonl")
    make(SourceConfig(path=str(scenes)), Grammar(0), few, MakeOptions(kinds=("t2m",), count=3))
    assert rows(few) == [r for r in rows(made) if r["source_data"]["kind"] == "t2m"][:3]


def test_captions_and_boxes_of_strangers_are_sources_too(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    lines: list[Any] = [
        {"id": "x", "image": "a.png", "captions": ["a small red star on black", "a tiny red star"],
         "boxes": [{"name": "star", "box": [0.1, 0.6, 0.3, 0.8]}]},
        {"image": "b.png", "text": "two dogs at the sea"},
        {"image": "gone.png", "captions": "x"},
        {"image": "a.png", "captions": "x", "boxes": [{"name": "y", "box": [0.5, 0, 0.2, 1]}]},
        {"image": "a.png", "caption": "x", "boxs": []},
        {"captions": ["x"]},
        {"image": "a.png", "captions": [" "]},
    ]  # fmt: skip
    path = tmp_path / "boxes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    entries = list(read_subjects(SourceConfig(path=str(path))))
    star, dogs, *bad = entries
    assert isinstance(star, Subject) and isinstance(dogs, Subject)
    assert {"shape": "star", "color": "red", "size": "small"}.items() <= star.attributes.items()
    assert [answer for _, answer in conclusions(star, IMAGE)][-2:] == [
        "It is in the left half of the picture.", "It is in the lower half of the picture.",
    ]  # fmt: skip
    assert source_text(star, ["image"]).endswith("- star: [0.10, 0.60, 0.30, 0.80]")
    assert [p.kind for p in bad if isinstance(p, Problem)] == [
        "missing-file", "structure", "unknown-field", "structure", "empty-caption", "syntax",
    ]  # fmt: skip
    report = make(SourceConfig(path=str(path)), Grammar(0), tmp_path / "out.jsonl", MakeOptions())
    assert report.subjects == 2 and len(report.problems) == 6
    assert report.written == Counter({kind: 2 if kind == "plain" else 1 for kind in KINDS})
    assert report.rejected == {f"{kind}/no-attributes": 1 for kind in KINDS if kind != "plain"}
    assert {r["line"] for r in report.rejects} == {2}


def test_sources_and_files_that_make_no_sense_are_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="found made.json, expected a file that ends with .jsonl"):
        make(SourceConfig(path=str(scenes)), Grammar(0), tmp_path / "made.json", MakeOptions())
    with pytest.raises(BadArgument, match="`monologue` is not a kind of sample"):
        MakeOptions(kinds=("monologue",))  # type: ignore[arg-type]
    with pytest.raises(BadArgument, match="count=0, expected at least 1 each"):
        MakeOptions(count=0)
    empty = tmp_path / "empty.jsonl"
    empty.write_text(json.dumps({"prompt": "Hello", "text": "Hello."}) + "\n")
    with pytest.raises(BadArgument, match="found no captioned picture, sound or film in .*empty.jsonl:1"):
        make(SourceConfig(path=str(empty)), Grammar(0), tmp_path / "made.jsonl", MakeOptions())


DOG = Subject(
    place=Place("dogs.jsonl", 1),
    captions={IMAGE: ("two brown dogs run over a beach",)},
    media={IMAGE: FileSource("dogs.png")},
    boxes=(Box(name="dog", corners=(0.1, 0.1, 0.4, 0.4)),),
)
LONG = (
    "Two brown dogs run over a wide and sunny beach, side by side, and they look as if they were glad of it."
)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("conversation", "Dogs!", "format"),
        ("conversation", "User: How many dogs?\nUser: Where?", "format"),
        ("conversation", "User: How many dogs?\nAssistant:", "format"),
        ("conversation", "User: How many dogs?\nAssistant: Two.", "rounds"),
        ("conversation", "User: Dogs?\nAssistant: Two.\nUser: dogs?\nAssistant: Two.", "repeated"),
        ("detail", LONG.split(",")[0] + ", two brown dogs run over a wide beach" * 4, "repeated"),
        ("conversation", "User: A cat?\nAssistant: No.\nUser: A cow?\nAssistant: No.", "ungrounded"),
        ("reasoning", "User: Why?\nAssistant: Because dogs run.", "too-short"),
        (
            "reasoning",
            "User: Why?\nAssistant: The caption says that two dogs run over a beach.",
            "tells-source",
        ),
        ("detail", "Two brown dogs.", "too-short"),
        ("detail", f"User: What is it?\nAssistant: {LONG}", "format"),
        ("t2m", "User: A picture of two dogs, please.\nAssistant: Here are two dogs.", "media"),
        ("t2m", "User: [image] Two dogs.\nAssistant: Here. [image: two dogs]", "media"),
        ("t2m", "User: A dog, please.\nAssistant: Here. [drawing: a dog]", "media"),
        (
            "mosit",
            "User: [audio] What are the dogs doing?\nAssistant: Run.\nUser: Ok.\nAssistant: Ok.",
            "media",
        ),
        (
            "mosit",
            "User: [image] Dogs?\nAssistant: Yes.\nUser: Hear them.\nAssistant: Here: [audio]",
            "media",
        ),
        ("reasoning", "User: Copied?\nAssistant: Yes, from the example.", "copied"),
    ],
)
def test_what_a_model_writes_is_read_strictly_and_refused_by_name(kind: Any, text: str, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse(kind, text, DOG, IMAGE, ["User: Copied?\nAssistant: Yes, from the example."])
    assert caught.value.reason == reason and caught.value.text == text


def test_what_a_model_writes_well_becomes_turns() -> None:
    said = "User: How many dogs?\nAssistant: Two.\nUser: What color?\nAssistant: Both are\nbrown."
    turns = parse("conversation", said, DOG, IMAGE, [])
    assert [t.text for t in turns] == ["How many dogs?", "Two.", "What color?", "Both are brown."]
    assert turns[0].parts[0].source is DOG.media[IMAGE]  # type: ignore[union-attr]
    (medium,) = parse("detail", LONG, DOG, IMAGE, [])[0].parts
    assert medium.modality is IMAGE  # type: ignore[union-attr]
    said = "User: Two dogs, please.\nAssistant: Here. [image: two brown dogs run over a beach]"
    shown = parse("t2m", said, DOG, IMAGE, [])[1].parts[1]
    assert isinstance(shown, MediaOut) and shown.source is DOG.media[IMAGE]
    said = "User: [image] What are the dogs doing?\nAssistant: They run.\nUser: I want to hear them.\n"
    turns = parse("mosit", said + "Assistant: Here. [audio: two dogs bark]", DOG, IMAGE, [])
    shown = turns[3].parts[1]
    assert isinstance(shown, MediaOut) and (shown.modality, shown.source) == (AUDIO, None)
    assert len(turns[0].parts) == 2 and shown.caption == "two dogs bark"


def test_the_shipped_examples_are_of_the_form_that_they_ask_for() -> None:
    for kind in KINDS[1:]:
        prompts = load_prompts(shipped(), kind)
        assert len(prompts.examples) == 2 and len(prompts.sha256) == 64
        for source, answer in prompts.examples:
            modality = next(m for m in (IMAGE, AUDIO, VIDEO) if f"Captions of the {m}:" in source)
            texts = tuple(
                line[2:] for line in source.splitlines() if line.startswith("- ") and "[" not in line
            )
            subject = Subject(
                place=Place("x", 1), captions={modality: texts}, media={modality: FileSource("x")}
            )
            parse(kind, answer, subject, modality, [])


def test_one_s_own_prompts_are_read_whole_or_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match="found no detail/system.txt"):
        load_prompts(tmp_path, "detail")
    folder = tmp_path / "detail"
    folder.mkdir()
    (folder / "system.txt").write_text("Describe.")
    before = load_prompts(tmp_path, "detail")
    (folder / "1.source.txt").write_text("x")
    with pytest.raises(MissingPart, match="example 1 has one half only"):
        load_prompts(tmp_path, "detail")
    (folder / "1.answer.txt").write_text(" ")
    with pytest.raises(BadArgument, match="detail/1.answer.txt is empty"):
        load_prompts(tmp_path, "detail")
    (folder / "1.answer.txt").write_text("y")
    after = load_prompts(tmp_path, "detail")
    assert after.examples == (("x", "y"),) and after.sha256 != before.sha256
