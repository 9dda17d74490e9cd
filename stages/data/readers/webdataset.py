"""WebDataset tars, and folders of the same layout: files of one sample share their name up to its first dot.

The layout is that of the webdataset library. Members are listed once and read in place by offset, so nothing
is unpacked, and no pickled member is ever opened.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument
from anygen.modality import Modality

from ..records import Place, Problem
from ..sources import FileSource, MediaSource, MemberSource
from .base import Bad, Entry, SourceConfig, existing, kind_of, reading
from .fields import FIELDS, record_from_fields

EXTENSIONS: dict[str, str] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"), "image"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"), "audio"),
    **dict.fromkeys(("mp4", "mov", "mkv", "webm", "avi"), "video"),
    **{f"depth.{e}": "depth" for e in ("npy", "png")},
    **{f"thermal.{e}": "thermal" for e in ("npy", "png")},
    **{f"imu.{e}": "imu" for e in ("npy", "csv")},
    **dict.fromkeys(("txt", "text", "caption"), "text"),
    "prompt.txt": "prompt",
    "id": "id",
}
"""Extension to field; `output_image.png` and its like are fields of their own, `json` has several."""

_MAX_TEXT = 4 * 2**20

Member = MemberSource | FileSource
"""A file of a sample."""


def shards(config: SourceConfig) -> list[Path]:
    """The tars of a data set, in order: one file, a pattern, or all of a folder.

    Raises:
        BadArgument: There are none, or they are compressed.
    """
    path = Path(config.path)
    found = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.is_file() else []
    found = found or [Path(name) for name in sorted(glob(config.path))]
    if not found:
        raise BadArgument(f"found no tar at {config.path}, expected a file, a pattern or a folder of tars")
    for tar in found:
        if tar.suffix != ".tar":
            raise BadArgument(f"found {tar.name}, expected plain .tar files; unpack the compression first")
    return found


def read_webdataset(config: SourceConfig) -> Iterator[Entry]:
    """Read the samples of all tars."""
    for tar in shards(config):
        yield from _read_tar(tar, config)


def read_folder(config: SourceConfig) -> Iterator[Entry]:
    """Read a folder of files, folders inside it included: `kite.jpg` beside `kite.txt`."""
    root = existing(config)
    samples: dict[str, dict[str, Member]] = {}
    for path in sorted(root.rglob("*")):
        base, dot, extension = path.name.partition(".")
        if path.is_file() and base and dot:
            shown = path.relative_to(root).as_posix()
            key = str(Path(shown).with_name(base))
            samples.setdefault(key, {})[extension.lower()] = FileSource(str(path), shown)
    for number, (key, members) in enumerate(samples.items(), 1):
        yield _entry(Place(config.path, number, key), members, config)


def _read_tar(tar: Path, config: SourceConfig) -> Iterator[Entry]:
    number, key = 0, ""
    members: dict[str, Member] = {}
    seen: set[str] = set()
    try:
        with tarfile.open(tar, "r:") as file:
            for member in file:
                name = Path(member.name)
                base, dot, extension = name.name.partition(".")
                found = str(name.parent / base)
                if not member.isfile() or not base or not dot:
                    continue
                if found != key and members:
                    number += 1
                    yield _entry(Place(str(tar), number, key), members, config)
                    members = {}
                if found != key and found in seen:
                    place = Place(str(tar), number + 1, found)
                    yield Problem(place, "structure", "the sample's files are apart; sort the tar by name")
                key = found
                seen.add(key)
                members[extension.lower()] = MemberSource(
                    str(tar), member.name, member.offset_data, member.size
                )
    except (tarfile.TarError, EOFError):
        place = Place(str(tar), number + 1, key)
        yield Problem(place, "syntax", "found no whole tar from here on, expected a plain tar; copy it again")
    if members:
        yield _entry(Place(str(tar), number + 1, key), members, config)


def _entry(place: Place, members: dict[str, Member], config: SourceConfig) -> Entry:
    def make() -> Any:
        return record_from_fields(_fields(members, config), place, config, _resolver(members))

    return reading(place, make)


def _fields(members: dict[str, Member], config: SourceConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for extension, member in members.items():
        if extension in config.ignore:
            continue
        if extension == "json":
            fields |= _json(member)
            continue
        name = _field(extension)
        texts = name in ("text", "caption", "prompt", "id")
        value: Any = _text(member).strip() if texts else member
        if name in fields and not texts:
            value = [*(fields[name] if isinstance(fields[name], list) else [fields[name]]), value]
        fields[name] = value
    if "messages" in fields:  # which name the members that they show
        members_or_lists = MemberSource | FileSource | list
        found = fields.pop("messages")
        fields = {name: value for name, value in fields.items() if not isinstance(value, members_or_lists)}
        return fields | {"messages": found}
    return fields


def _field(extension: str) -> str:
    """Field of an extension: by the whole of it, by its first part, or by its last one."""
    if extension in EXTENSIONS:
        return EXTENSIONS[extension]
    first, _, rest = extension.partition(".")
    if first in FIELDS:
        return first
    last = rest.rpartition(".")[2]
    return EXTENSIONS.get(last, extension)  # `0.png`, `1.png`: several of a kind


def _text(member: Member) -> str:
    size = member.size if isinstance(member, MemberSource) else os.path.getsize(member.path)
    if size > _MAX_TEXT:
        raise Bad("over-limits", f"{member.name}: found {size >> 20} MiB of text, expected at most 4")
    content = member.content()
    try:
        data = content if isinstance(content, bytes) else Path(content).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Bad("syntax", f"{member.name}: found no UTF-8, expected text") from None


def _json(member: Member) -> dict[str, Any]:
    try:
        found = json.loads(_text(member))
    except (ValueError, RecursionError):
        raise Bad("syntax", f"{member.name}: found no JSON, expected an object") from None
    if not isinstance(found, dict):
        raise Bad("structure", f"{member.name}: found {kind_of(found)}, expected an object")
    return found


def _resolver(members: dict[str, Member]) -> Any:
    """Media are members; the JSON of a sample names them by extension or by name."""
    by_name = {Path(m.name).name: m for m in members.values()} | members

    def resolve(modality: Modality, value: Any) -> MediaSource:
        if isinstance(value, MemberSource | FileSource):
            return value
        if isinstance(value, str) and value in by_name:
            return by_name[value]
        shown = repr(value)[:60]
        raise Bad("missing-file", f"{modality}: found no member {shown} in this sample; name its file")

    return resolve
