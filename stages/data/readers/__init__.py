"""A reader for every format, and the one table of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anygen.errors import BadArgument

from .base import Entry, Format, Reader, SourceConfig, existing
from .conversations import read_conversations
from .huggingface import read_huggingface
from .manifest import ROWS, json_rows, jsonl_rows, read_manifest
from .webdataset import read_folder, read_webdataset

__all__ = ["READERS", "Entry", "Format", "Reader", "SourceConfig", "detect", "read"]

READERS: dict[Format, Reader] = {
    "manifest": read_manifest,
    "nextgpt": read_conversations,
    "llava": read_conversations,
    "webdataset": read_webdataset,
    "huggingface": read_huggingface,
    "folder": read_folder,
}
"""Reader of every format; NExT-GPT's and LLaVA's files differ in their fields alone."""

_NEXTGPT = ("image_name", "video_name", "audio_name", "mm_name", "conversation")


def detect(config: SourceConfig) -> Format:
    """Tell the format of a data set by its name and its first entry.

    Raises:
        BadArgument: Nothing is there, or nothing reads it.
    """
    if config.format != "auto":
        return config.format
    path = Path(config.path)
    if path.suffix == ".tar" or any(sign in config.path for sign in "*?["):
        return "webdataset"
    existing(config)
    if path.is_dir():
        return _detect_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "huggingface"
    if suffix not in ROWS:
        raise BadArgument(
            f"cannot tell the format of {config.path}; name one of {', '.join(READERS)} with `format`"
        )
    if suffix in (".csv", ".tsv"):
        return "manifest"
    return _detect_json(path, config)


def _detect_folder(path: Path) -> Format:
    if any(path.glob("*.tar")):
        return "webdataset"
    signs = ("state.json", "dataset_dict.json", "metadata.csv", "metadata.jsonl", "metadata.parquet")
    if any((path / name).is_file() for name in signs) or any(path.rglob("*.parquet")):
        return "huggingface"
    return "folder"


def _detect_json(path: Path, config: SourceConfig) -> Format:
    rows = jsonl_rows if path.suffix.lower() != ".json" else json_rows
    first = next((found for _, found in rows(path, config.path) if isinstance(found, dict)), {})
    names = set(first)
    if names & set(_NEXTGPT) or any(n.startswith("input_") or n.endswith("_captions") for n in names):
        return "nextgpt"
    if "conversations" in names:
        return "nextgpt" if any(n.startswith("output_") for n in names) else "llava"
    return "manifest"


def read(config: SourceConfig) -> Iterator[Entry]:
    """Read a data set from its beginning to its end: a record or a problem for every entry."""
    return READERS[detect(config)](config)
