"""docs/own-data.md does what it says: its files and its commands, on a folder of things no toybox has."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from strangers_folder import make_folder

from anygen.app.cli import main

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "own-data.md").read_text(encoding="utf-8")
GUIDE = PAGE.partition("## The guide\n")[2].partition("\n## ")[0]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_guide(folder: Path, *, steps: int | None = None) -> Iterator[tuple[str, dict[str, float]]]:
    """Write the guide's files, run its commands; yields each command with the scores of its run."""
    for kind, text in (match.groups() for match in BLOCK.finditer(GUIDE)):
        if kind == "yaml":
            assert len(text.splitlines()) <= 11, "ten lines and a name"
            name = text.splitlines()[0].removeprefix("# ")
            shortened = re.sub(r"steps: \d+", f"steps: {steps}", text, count=1) if steps else text
            (folder / name).write_text(shortened)
        for line in text.splitlines() if kind == "bash" else ():
            arguments = shlex.split(line)
            assert arguments[0] == "anygen"
            assert main(arguments[1:]) == 0, line
            scores: dict[str, float] = {}
            if "--config" in arguments:
                run = yaml.safe_load((folder / arguments[-1]).read_text())["run_folder"]
                scores = json.loads((folder / run / "summary.json").read_text())["scores"]
            yield line, scores


def test_the_manifest_shown_is_the_manifest_used(tmp_path: Path) -> None:
    shown = [json.loads(line) for line in BLOCK.findall(GUIDE)[0][1].splitlines()]
    made = make_folder(tmp_path / "my-data", pictures=1, sounds=1) / "captions.jsonl"
    used = [json.loads(line) for line in made.read_text().splitlines()]
    assert [list(row) for row in shown] == [list(row) for row in used]
    assert [row.get("image", row.get("audio")) for row in shown] == ["photos/0000.png", "recordings/0000.wav"]


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "my-data", pictures=10, sounds=10)
    monkeypatch.chdir(tmp_path)
    ran = [line.split()[1:3] for line, _ in run_guide(tmp_path, steps=1)]
    assert ran[:3] == [["data", "check"], ["train", "encoder-alignment"], ["train", "decoder-alignment"]]
    assert list((tmp_path / "results").glob("*.png"))


@pytest.mark.slow
def test_held_out_captions_fit_their_own_media_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "my-data")
    monkeypatch.chdir(tmp_path)
    runs = {line.split()[2]: scores for line, scores in run_guide(tmp_path) if scores}
    encoder, decoder = runs["encoder-alignment"], runs["decoder-alignment"]
    for kind in ("", "image/", "audio/"):
        assert encoder[f"held_out/{kind}caption_loss"] < encoder[f"held_out/{kind}shuffled_loss"]
    assert encoder["held_out/better"] > 0.75
    for modality in ("image", "audio"):
        assert decoder[f"held_out/distance/{modality}"] < decoder[f"held_out/shuffled_distance/{modality}"]
        assert decoder[f"held_out/nearest/{modality}"] > 3 / decoder[f"held_out/choices/{modality}"]
