from __future__ import annotations

import json

import numpy as np
import pytest

from anygen.errors import BadArgument
from anygen.media import load_media
from anygen.modality import Modality
from anygen.toybox import export, is_held_out, read
from anygen.toybox.scene import Scene


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def records(folder):
    return [json.loads(line) for line in (folder / "scenes.jsonl").read_text(encoding="utf-8").splitlines()]


def test_export_writes_every_modality_and_reads_back(tmp_path):
    export(tmp_path, count=2, seed=5)
    for record in records(tmp_path):
        scene = Scene(**record["attributes"])
        assert set(record["files"]) == set(Modality) - {Modality.TEXT}
        for name, path in record["files"].items():
            modality = Modality(name)
            reading = read(modality, load_media(modality, tmp_path / path))
            assert {k: v for k, v in reading.items() if v is not None} == scene.revealed(modality)
        assert read(Modality.TEXT, record["text"]) == scene.attributes()
    assert np.load(tmp_path / "imu" / "000000.npy").shape == (6, 2000)
    card = json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))
    assert (card["scenes"], card["seed"], card["held_out"]) == (2, 5, False)


def test_the_seed_fixes_every_file(tmp_path):
    for name in ("a", "b"):
        export(tmp_path / name, count=2, seed=7)
    export(tmp_path / "c", count=2, seed=8)
    first, second = content(tmp_path / "a"), content(tmp_path / "b")
    assert set(first) == set(second)
    # Rate control may spend its bits on a film in two ways, so films are compared by what they show.
    for path in first:
        if path.endswith(".mp4"):
            films = [load_media(Modality.VIDEO, tmp_path / name / path).frames for name in ("a", "b")]
            assert np.abs(films[0].astype(int) - films[1].astype(int)).mean() < 2.0
        else:
            assert first[path] == second[path], path
    assert content(tmp_path / "a")["image/000000.png"] != content(tmp_path / "c")["image/000000.png"]


def test_a_part_of_an_export_is_the_same_files(tmp_path):
    wanted = [Modality.TEXT, Modality.DEPTH]
    export(tmp_path / "all", count=2, seed=1)
    export(tmp_path / "part", count=1, seed=1, modalities=wanted)
    whole, part = content(tmp_path / "all"), content(tmp_path / "part")
    assert part["depth/000000.npy"] == whole["depth/000000.npy"]
    assert set(part) == {"dataset.json", "scenes.jsonl", "depth/000000.npy"}
    assert records(tmp_path / "part")[0]["text"] == records(tmp_path / "all")[0]["text"]


@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_pairs_are_apart(tmp_path, held_out):
    export(tmp_path, count=40, seed=2, modalities=[Modality.TEXT], held_out=held_out)
    found = records(tmp_path)
    assert {is_held_out(record["attributes"]) for record in found} == {held_out}
    assert {record["held_out"] for record in found} == {held_out}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0, "seed": 0}, "found count=0, expected at least 1 scene"),
        ({"count": 1, "seed": -1}, "found seed=-1, expected 0 or more"),
        ({"count": 1, "seed": 0, "modalities": []}, "found no modality, expected some of text, image"),
        ({"count": 1, "seed": 0, "modalities": ["smell"]}, "found smell, expected some of text, image"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, options, message):
    with pytest.raises(BadArgument, match=message):
        export(tmp_path, **options)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadArgument, match="in use, expected a new or empty folder"):
        export(tmp_path, count=1, seed=0)
    assert content(tmp_path) == {"mine.txt": b"mine"}
