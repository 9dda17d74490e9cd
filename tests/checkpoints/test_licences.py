"""Licences that restrict use: who asks, who does not, and that it is asked once."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from tiny import tiny_config

from anygen.app import cli
from anygen.checkpoints import manifest
from anygen.checkpoints.licences import accept, check_licences, default_store, pending, restricted
from anygen.config import AnyGenConfig, DecoderConfig, dumps
from anygen.errors import LicenceNotAccepted
from anygen.modality import Modality
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.embedding import EmbeddingPipeline
from anygen.presets import PRESETS, toybox_tiny


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/anygen/accepted-licences.json"


def limited(**changes: str) -> AnyGenConfig:
    """The tiny model with an image decoder that may not be used commercially."""
    part = DecoderConfig(**{"licence": "CC-BY-NC-4.0", "source": "somebody's decoder", **changes})
    config = tiny_config()
    return dataclasses.replace(config, decoders={**config.decoders, Modality.IMAGE: part})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("toybox-tiny", set()),
        ("clean-7b", set()),
        ("clean-7b-clip", set()),
        ("clean-7b-audio", {"Stability AI Community License"}),
        (
            "nextgpt-7b",
            {"CC-BY-NC-SA-4.0", "Llama 2 Community License", "CreativeML-OpenRAIL-M", "CC-BY-NC-4.0"},
        ),
    ],
)
def test_what_restricts_use(name: str, expected: set[str]) -> None:
    assert {terms.licence for terms in restricted(PRESETS[name]())} == expected


def test_acceptance_is_kept_by_part_and_licence(home: Path) -> None:
    assert default_store() == home
    check_licences(toybox_tiny())
    with pytest.raises(LicenceNotAccepted, match=r"parts of tiny-random .* somebody's decoder .CC-BY-NC-4.0"):
        check_licences(limited())
    check_licences(limited(), parts=["encoder"])
    check_licences(limited(), accepted=True)
    check_licences(limited())
    for change in ({"licence": "CC-BY-NC-SA-4.0"}, {"source": "another's decoder"}):
        with pytest.raises(LicenceNotAccepted):
            check_licences(limited(**change))
    assert len(pending(restricted(PRESETS["nextgpt-7b"]()))) == 5
    home.write_text("{broken")
    with pytest.raises(LicenceNotAccepted):
        check_licences(limited())


def test_what_cannot_be_written_is_asked_again(home: Path) -> None:
    home.parent.parent.write_text("a file where the folder goes")
    assert not accept(restricted(limited()))
    check_licences(limited(), accepted=True)
    with pytest.raises(LicenceNotAccepted):
        check_licences(limited())


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A folder whose files lie elsewhere: nothing is copied but what says what it is."""
    place = tmp_path / "model"
    place.mkdir()
    for path in tiny_folder.iterdir():
        if path.is_dir():
            (place / path.name).symlink_to(path)
    (place / "config.json").write_text(dumps(limited()))
    manifest.write(place)
    return place


def test_python_asks_once(folder: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="accept_license=True in Python"):
        AnyGenPipeline.from_pretrained(folder)
    assert EmbeddingPipeline.from_pretrained(folder).dim == 16  # the encoder is free
    AnyGenPipeline.from_pretrained(folder, accept_license=True)
    AnyGenPipeline.from_pretrained(folder)


def test_the_command_line_asks_once(
    folder: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["generate", "a star", "--model", str(folder), "--output", "text", "--quiet"]
    command = [*ask, "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "somebody's decoder (CC-BY-NC-4.0)" in err and "--accept-license" in err
    assert cli.main([*command, "--accept-license"]) == 0
    assert "decoders/image: somebody's decoder, CC-BY-NC-4.0" in capsys.readouterr().err
    assert home.is_file() and cli.main(command) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_people_are_asked(
    folder: Path, tmp_path: Path, typed: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", Terminal())
    ask = ["embed", "--text", "a star", "--model", str(folder), "--quiet"]
    assert cli.main(ask) == 0  # the encoder alone is free
    command = ["generate", "a star", "--model", str(folder), "--output", "text", "--quiet"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == status
