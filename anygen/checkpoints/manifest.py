"""`manifest.json`: the SHA-256 of every file of a model folder, since safetensors carry no checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from anygen.config import read_json
from anygen.errors import CheckpointCorrupt

NAME = "manifest.json"
"""Name of the manifest inside a model folder."""
_VERSION = 1
_ADVICE = "fetch or build the model again"


def sha256(path: Path) -> str:
    """Hash a file.

    Args:
        path: the file.

    Returns:
        SHA-256 of its bytes in hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves either the old bytes or the new ones, readable by everyone (0644).

    Args:
        path: where to write; its folder must exist.
        data: what to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside a folder survive a power cut.

    Args:
        folder: the folder whose entries to flush to disk.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_of(folder: Path) -> list[str]:
    """List what a manifest covers.

    Args:
        folder: a model folder.

    Returns:
        Sorted relative POSIX paths of all files but the manifest itself and hidden ones.
    """
    found = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and relative.as_posix() != NAME:
            found.append(relative.as_posix())
    return sorted(found)


def write(folder: Path) -> None:
    """Hash every file of a folder and write its manifest.

    Args:
        folder: a model folder.
    """
    entries = {
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in files_of(folder)
    }
    text = json.dumps({"format_version": _VERSION, "files": entries}, indent=1) + "\n"
    write_atomic(folder / NAME, text.encode())


def read(folder: Path) -> dict[str, tuple[str, int]]:
    """Read a manifest.

    Args:
        folder: a model folder.

    Returns:
        Per relative path its SHA-256 and its size in bytes.

    Raises:
        CheckpointCorrupt: when the manifest is missing or not one.
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckpointCorrupt(f"The model folder has no {NAME}, expected every file's hash; {_ADVICE}.")
    data = read_json(path)
    entries: dict[str, tuple[str, int]] = {}
    try:
        if data["format_version"] != _VERSION:
            raise ValueError
        for name, entry in data["files"].items():
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or not isinstance(entry["bytes"], int):
                raise ValueError
            entries[name] = (str(entry["sha256"]), entry["bytes"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointCorrupt(
            f"{NAME} is not a manifest of format version {_VERSION}, expected what anygen writes; {_ADVICE}."
        ) from None
    return entries


def verify(folder: Path, parts: Iterable[str] | None = None) -> None:
    """Compare the files of a folder with its manifest.

    Args:
        folder: a model folder.
        parts: relative files or folders to look at, such as "config.json" or "decoders/image"; None looks at
            all of them.

    Raises:
        CheckpointCorrupt: naming the first file that is missing, is not listed, or has other bytes.
    """
    entries = read(folder)
    prefixes = None if parts is None else [PurePosixPath(part) for part in parts]

    def wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return prefixes is None or any(path.is_relative_to(prefix) for prefix in prefixes)

    present = set(files_of(folder))
    for name in sorted(present - set(entries)):
        if wanted(name):
            raise CheckpointCorrupt(f"{name} is not listed in {NAME}; remove the file, or {_ADVICE}.")
    for name, (digest, size) in entries.items():
        if not wanted(name):
            continue
        if name not in present:
            raise CheckpointCorrupt(f"{name} is missing although {NAME} lists it; {_ADVICE}.")
        found = (folder / name).stat().st_size
        if found != size:
            raise CheckpointCorrupt(f"{name} has {found} bytes, {NAME} says {size}; {_ADVICE}.")
        if sha256(folder / name) != digest:
            raise CheckpointCorrupt(f"{name} does not have the SHA-256 that {NAME} gives; {_ADVICE}.")
