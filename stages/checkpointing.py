"""Training checkpoints that survive kill -9, a full disk and bit rot.

A checkpoint is a directory `step-00001200` with `state.safetensors`, `meta.json` and `MANIFEST.json` (sha256
of both). It is written under a temporary name, synced and renamed, so a directory with a valid name is
complete; its hashes are verified on load, and the newest one that verifies is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anygen.errors import BadArgument, CheckpointCorrupt, SaveFailed

logger = logging.getLogger(__name__)

STATE, META, MANIFEST = "state.safetensors", "meta.json", "MANIFEST.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at one step."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def step_folders(folder: Path) -> list[Path]:
    """Complete-looking checkpoint directories, newest first."""
    found = [p for p in folder.glob("step-*") if p.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")), reverse=True)


def save(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Write a checkpoint and delete all but the newest `keep`.

    Raises:
        BadArgument: `keep` is below 2; the newest may be the one a crash has just spoilt.
        SaveFailed: the disk refused; earlier checkpoints are untouched.
    """
    if keep < 2:
        raise BadArgument(
            f"Found keep={keep}; expected at least 2, so that one good checkpoint always remains."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveFailed(f"Found no way to make {folder.name} ({error.strerror}); make room.") from None
    for stale in folder.glob(".tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder / f".tmp-{checkpoint.step}-{os.getpid()}"
    final = folder / f"step-{checkpoint.step:08d}"
    try:
        temporary.mkdir()
        save_file({k: v.detach().contiguous() for k, v in checkpoint.tensors.items()}, temporary / STATE)
        (temporary / META).write_text(json.dumps({"step": checkpoint.step, **checkpoint.meta}, indent=1))
        hashes = {name: _sha256(temporary / name) for name in (STATE, META)}
        (temporary / MANIFEST).write_text(json.dumps(hashes, indent=1))
        for name in (STATE, META, MANIFEST):
            _sync(temporary / name)
        _sync(temporary)
        if final.exists():
            final.rename(folder / f".tmp-{checkpoint.step}-{os.getpid()}-old")
        temporary.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SaveFailed(
            f"Found the disk refusing the checkpoint of step {checkpoint.step} ({reason}); the one before is "
            "good. Make room, then resume."
        ) from None
    finally:
        for draft in folder.glob(f".tmp-{checkpoint.step}-{os.getpid()}*"):
            shutil.rmtree(draft, ignore_errors=True)
    for old in step_folders(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        CheckpointCorrupt: a file is missing or its hash differs from the manifest's.
    """
    try:
        hashes = json.loads((path / MANIFEST).read_text())
        for name in (STATE, META):
            if _sha256(path / name) != hashes[name]:
                raise CheckpointCorrupt(
                    f"{path.name}/{name}: found another sha256 than the manifest's; use an older checkpoint."
                )
        meta = json.loads((path / META).read_text())
        return Checkpoint(step=meta.pop("step"), tensors=load_file(path / STATE), meta=meta)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointCorrupt(
            f"{path.name}: found a missing or unreadable file; use an older checkpoint."
        ) from error


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None when there is none at all.

    Raises:
        CheckpointCorrupt: there are checkpoints, but none verifies.
    """
    folders = step_folders(folder)
    for path in folders:
        try:
            return load(path)
        except CheckpointCorrupt as error:
            logger.warning("%s", error)
    if folders:
        raise CheckpointCorrupt(
            f"Found {len(folders)} checkpoints and none verifies; start again in a new run folder."
        )
    return None
