"""The index of a cache: what it was computed from, its shards and their hashes, and whether that holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anygen.checkpoints.manifest import sha256, write_atomic
from anygen.config import from_json, to_json
from anygen.errors import AnyGenError, BadArgument, CheckpointCorrupt, MissingPart, SaveFailed

from ..sampling import Source

INDEX = "index.json"
"""Name of the index; it is written last."""
PLAN = "plan.json"
"""What an unfinished cache is being computed from."""
SHARDS = "shards"
"""Folder of the shards."""
FORMAT = 2
"""Version of the layout."""
_ADVICE = "run `anygen cache` again, which computes what is damaged or missing"


@dataclass(frozen=True, kw_only=True)
class FileMark:
    """How a file looked when it was read."""

    bytes: int
    """Its size."""
    changed: int
    """Time of its last change in nanoseconds."""
    sha256: str
    """Of its content; empty for a large file, of which only the first two are compared."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of samples."""

    file: str
    """Name in `shards/`."""
    split: str
    """`train`, or the part of an evaluation."""
    begin: int
    """First sample."""
    end: int
    """Last sample, excluded."""
    sha256: str = ""
    """Of its bytes."""
    bytes: int = 0
    """How many."""
    files: dict[str, FileMark] = field(default_factory=dict)
    """Files that its samples were read from, by path."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """A whole cache."""

    format_version: int = FORMAT
    """Version of the layout."""
    stage: str
    """Stage that trains on it."""
    identity: dict[str, Any]
    """What it was computed from: settings, and hashes of weights, preprocessing and data."""
    made_with: dict[str, str]
    """Versions of packages, and the model's name and revision; never compared."""
    splits: dict[str, int]
    """Samples by split."""
    dtype: str
    """What tensors are kept in."""
    shards: tuple[Shard, ...]
    """Its files, in order."""
    start: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file in `start/`, the trained parts before training."""
    sources: tuple[Source, ...] = ()
    """Own data sets that are mixed by weight."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What building the trained part without the rest of the model takes."""


def seal(value: Any) -> bytes:
    """JSON with its own hash, in exactly one spelling."""
    body = json.dumps(value, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"sha256": "{digest}",\n"content": {body}}}\n'.encode()


def unseal(path: Path) -> Any:
    """Read what `seal` wrote.

    Raises:
        CheckpointCorrupt: It is not that, byte by byte.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)["content"]
        if seal(content) != data:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointCorrupt(f"{path.name} is damaged, expected what anygen wrote; {_ADVICE}.") from None
    return content


def write_index(folder: Path, index: Index) -> None:
    """Write the index of a finished cache."""
    with saving(folder):
        write_atomic(folder / INDEX, seal(to_json(index)))


def read_index(folder: Path) -> Index:
    """Read an index, and see that every file of the cache is there in its full length.

    Raises:
        MissingPart: There is no finished cache.
        CheckpointCorrupt: The index or a file is damaged.
    """
    if not (folder / INDEX).is_file():
        begun = " (it is not finished)" if (folder / PLAN).is_file() else ""
        raise MissingPart(f"found no cache in {folder}{begun}, expected {INDEX}; run `anygen cache`")
    content = unseal(folder / INDEX)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT:
        raise CheckpointCorrupt(f"{INDEX}: found format version {version}, expected {FORMAT}; cache again")
    try:
        index = from_json(Index, content, where=INDEX)
    except AnyGenError as error:
        raise CheckpointCorrupt(f"{error}; {_ADVICE}.") from None
    for shard in index.shards:
        _check_length(folder, shard)
    for name, digest in index.start.items():
        path = folder / "start" / name
        if not path.is_file() or sha256(path) != digest:
            raise CheckpointCorrupt(f"start/{name} is missing or damaged; {_ADVICE}.")
    return index


def _check_length(folder: Path, shard: Shard) -> None:
    path = folder / SHARDS / shard.file
    found = path.stat().st_size if path.is_file() else None
    if found is None:
        raise CheckpointCorrupt(f"the cache's {shard.file} is missing; {_ADVICE}.")
    if found != shard.bytes:
        raise CheckpointCorrupt(f"{shard.file} has {found} bytes, the index says {shard.bytes}; {_ADVICE}.")


def verify_shard(folder: Path, shard: Shard) -> None:
    """See that a shard is there with the bytes that were written.

    Raises:
        CheckpointCorrupt: It is not.
    """
    _check_length(folder, shard)
    if sha256(folder / SHARDS / shard.file) != shard.sha256:
        raise CheckpointCorrupt(f"{shard.file} does not have the SHA-256 of the index; {_ADVICE}.")


def write_shard(folder: Path, shard: Shard, tensors: Mapping[str, Tensor]) -> Shard:
    """Write a shard and, after it, the note that it is finished.

    Returns:
        The shard with hash and size.

    Raises:
        SaveFailed: The disk refused.
    """
    data = save(dict(tensors), metadata={"format": "pt"})
    digest = hashlib.sha256(data).hexdigest()
    done = Shard(
        file=shard.file, split=shard.split, begin=shard.begin, end=shard.end,
        sha256=digest, bytes=len(data), files=shard.files,
    )  # fmt: skip
    with saving(folder):
        write_atomic(folder / SHARDS / shard.file, data)
        write_atomic(note_of(folder, shard), seal(to_json(done)))
    return done


def note_of(folder: Path, shard: Shard) -> Path:
    """The note of a finished shard, until the index has it."""
    return folder / SHARDS / f"{shard.file}.json"


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Inside it, what the disk refuses becomes a `SaveFailed`."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "the disk refused"
        raise SaveFailed(
            f"{folder.name}: {reason}; make room and run it again, finished shards are kept"
        ) from None


def map_shard(folder: Path, shard: Shard) -> dict[str, Tensor]:
    """Verify a shard and map it into memory.

    Raises:
        CheckpointCorrupt: Its bytes are others than those written.
    """
    verify_shard(folder, shard)
    try:
        with safe_open(folder / SHARDS / shard.file, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        raise CheckpointCorrupt(f"{shard.file} is no safetensors file; {_ADVICE}.") from None


def dtype_of(name: str) -> torch.dtype:
    """The type of a name.

    Raises:
        BadArgument: Neither `float16` nor `float32`.
    """
    table = {"float16": torch.float16, "float32": torch.float32}
    if name not in table:
        raise BadArgument(f"found dtype {name!r}, expected one of {', '.join(table)}")
    return table[name]


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """Each thing that two identities do not share, in words."""
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            yield f"{key}: found {_shown(found.get(key))}, expected {_shown(expected.get(key))}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)[:60]
