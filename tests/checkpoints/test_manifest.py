"""The manifest finds every change of a file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from anygen.checkpoints import manifest
from anygen.errors import CheckpointCorrupt


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").write_bytes(bytes(range(256)) * 16)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".hidden").write_text("not covered")
    manifest.write(tmp_path)
    return tmp_path


def test_an_untouched_folder_verifies(folder: Path) -> None:
    manifest.verify(folder)
    assert manifest.files_of(folder) == ["config.json", "encoder/model.safetensors"]
    assert (folder / manifest.NAME).stat().st_mode & 0o777 == 0o644


def test_every_single_bit_counts(folder: Path) -> None:
    rng, target = random.Random(0), folder / "encoder" / "model.safetensors"
    good = target.read_bytes()
    for _ in range(50):
        bad, place = bytearray(good), rng.randrange(len(good))
        bad[place] ^= 1 << rng.randrange(8)
        target.write_bytes(bad)
        with pytest.raises(CheckpointCorrupt, match="encoder/model.safetensors does not have the SHA-256"):
            manifest.verify(folder)


def test_truncation_absence_and_strangers(folder: Path) -> None:
    target = folder / "encoder" / "model.safetensors"
    target.write_bytes(target.read_bytes()[:100])
    with pytest.raises(CheckpointCorrupt, match="has 100 bytes, manifest.json says 4096"):
        manifest.verify(folder)
    manifest.verify(folder, ["config.json"])
    target.unlink()
    with pytest.raises(CheckpointCorrupt, match="encoder/model.safetensors is missing although"):
        manifest.verify(folder, ["encoder"])
    (folder / "encoder" / "extra.bin").write_bytes(b"x")
    with pytest.raises(CheckpointCorrupt, match="encoder/extra.bin is not listed"):
        manifest.verify(folder)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", json.dumps({"format_version": 9, "files": {}}),
     json.dumps({"format_version": 1, "files": {"../up": {"sha256": "", "bytes": 1}}}),
     json.dumps({"format_version": 1, "files": {"/etc/x": {"sha256": "", "bytes": 1}}}),
     json.dumps({"format_version": 1, "files": {"a": {"sha256": ""}}}),
     json.dumps({"format_version": 1, "files": [1]})],
)  # fmt: skip
def test_what_is_not_a_manifest(folder: Path, text: str) -> None:
    (folder / manifest.NAME).write_text(text)
    with pytest.raises(CheckpointCorrupt, match="manifest.json is not a manifest of format version 1"):
        manifest.verify(folder)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointCorrupt, match="has no manifest.json"):
        manifest.verify(tmp_path)


def test_a_failed_write_keeps_the_old_file(folder: Path) -> None:
    with pytest.raises(TypeError):
        manifest.write_atomic(folder / "config.json", "text")  # type: ignore[arg-type]
    assert (folder / "config.json").read_text() == "{}"
    assert sorted(p.name for p in folder.iterdir()) == [".hidden", "config.json", "encoder", "manifest.json"]
