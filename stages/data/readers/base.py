"""What the readers share: where a data set lies, how bad entries are told, how names become media."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from anygen.config import unknown_name
from anygen.errors import AnyGenError, BadArgument
from anygen.messages import TextPart
from anygen.modality import MEDIA_INPUTS, Modality

from ..records import Kind, Part, Place, Problem, Record, Turn
from ..sources import FileSource, MediaSource

Format = Literal["auto", "manifest", "nextgpt", "llava", "webdataset", "huggingface", "folder"]
"""How a data set is written; `auto` tells by its name and its first entry."""

FOLDERS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("images", "image"),
    Modality.VIDEO: ("videos", "video"),
    Modality.AUDIO: ("audios", "audio"),
    Modality.DEPTH: ("depth",),
    Modality.THERMAL: ("thermal",),
    Modality.IMU: ("imu",),
}
"""Folders that media are also looked for in, as the published sets have them."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One data set on disk."""

    path: str
    """A manifest (.jsonl, .csv, .json), a tar or a pattern of tars, a parquet file, or a folder."""
    format: Format = "auto"
    """How it is written."""
    media: str | None = None
    """Folder that names of media are relative to; None for the folder of the manifest."""
    columns: dict[str, str] = field(default_factory=dict)
    """Names of the data set to names of fields, as in `{img: image, title: text}`."""
    ignore: tuple[str, ...] = ()
    """Fields of the data set that say nothing here; any other unknown field is an error."""
    split: str | None = None
    """Which split of a Hugging Face data set; None where there is only one."""
    weight: float | None = None
    """Share of the training samples that come from here, relative to the other sources; None for all of them
    mixes the entries evenly."""


class Bad(Exception):
    """An entry cannot be read; carried as a `Problem` from there on."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message


Entry: TypeAlias = Record | Problem
"""What a reader yields for every entry of the file."""

Reader: TypeAlias = Callable[[SourceConfig], Iterator[Entry]]
"""Reads a data set from its beginning to its end."""

Resolve: TypeAlias = Callable[[Modality, Any], MediaSource]
"""From what a field has to where the medium lies; raises Bad."""


def reading(place: Place, make: Callable[[], Record]) -> Entry:
    """The record, or the problem that came up on the way.

    Args:
        place: Where the entry stands.
        make: Parses it.
    """
    try:
        return make()
    except Bad as bad:
        return Problem(place, bad.kind, bad.message)


class FileFinder:
    """From file names to files: beside the manifest, in `media`, or in a folder named for the modality.

    Args:
        config: The data set.
    """

    def __init__(self, config: SourceConfig) -> None:
        path = Path(config.path)
        beside = path if path.is_dir() else path.parent
        self._root = Path(config.media) if config.media is not None else beside
        self._last: dict[Modality, Path] = {}

    def __call__(self, modality: Modality, value: Any) -> FileSource:
        """Find a medium; one that is nowhere is reported as missing where it was looked for first.

        Raises:
            Bad: The value is no file name.
        """
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise Bad("structure", f"{modality}: found {kind_of(value)}, expected the name of a file")
        if "://" in value or value.startswith("data:"):
            return FileSource("", value)
        first = self._root / value
        last = self._last.get(modality, self._root)
        for folder in (last, self._root, *(self._root / name for name in FOLDERS[modality])):
            if (folder / value).is_file():
                self._last[modality] = folder
                return FileSource(str(folder / value), value)
        return FileSource(str(first), value)


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    if value is None or value == "":
        return "nothing"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def check_fields(found: Collection[str], known: Collection[str], config: SourceConfig) -> None:
    """Raise Bad for a field that is neither known nor ignored, with the nearest name."""
    for name in found:
        if name not in known and name not in config.ignore:
            said = unknown_name(str(name), known, "a field here")
            raise Bad("unknown-field", f"{said} Rename it with `columns`, or leave it out with `ignore`.")


def renamed(values: Mapping[str, Any], config: SourceConfig) -> dict[str, Any]:
    """The fields under the names that `columns` gives them, without empty ones; raises Bad for doubles."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        field_name = config.columns.get(str(name), str(name))
        if value is None or value == "":
            continue
        if field_name in fields:
            raise Bad("structure", f"found {field_name} twice, once as {name}; leave one out with `ignore`")
        fields[field_name] = value
    return fields


def as_list(value: Any) -> list[Any]:
    """A value, or the values of a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def check_text(text: Any, what: str) -> str:
    """A text that every tokenizer takes; raises Bad."""
    try:
        return TextPart(text).text
    except AnyGenError as error:
        raise Bad("structure", f"{what}: {error}") from None


def check_caption(text: Any, what: str = "caption") -> str:
    """A text that says something; raises Bad."""
    if text is None or (isinstance(text, str) and not text.strip()):
        raise Bad(
            "empty-caption", f"{what}: found nothing, expected words; write them or leave the entry out"
        )
    return check_text(text, what).strip()


def finish(place: Place, turns: list[Turn], identity: str = "") -> Record:
    """A record of turns that make a conversation.

    Raises:
        Bad: No answer, a turn that says and shows nothing, or a system turn in the middle.
    """
    if not turns or turns[-1].role != "assistant":
        found = f"the {turns[-1].role}'s turn" if turns else "no turns"
        raise Bad("structure", f"found {found} at the end, expected the assistant's answer")
    if all(turn.role != "user" for turn in turns):
        raise Bad("structure", "found no user turn, expected at least one")
    for number, turn in enumerate(turns, 1):
        if turn.role == "system" and number > 1:
            raise Bad("structure", f"turn {number}: found a system turn, expected it first only")
        if not turn.text.strip() and not any(not isinstance(p, str) for p in turn.parts):
            kind: Kind = "empty-caption" if turn.role == "assistant" else "structure"
            raise Bad(kind, f"turn {number}: the {turn.role} says and shows nothing, expected words or media")
    return Record(place, tuple(turns), identity)


def join_texts(parts: list[Part]) -> tuple[Part, ...]:
    """The parts without empty texts."""
    return tuple(part for part in parts if not isinstance(part, str) or part != "")


def media_modality(name: Any, what: str) -> Modality:
    """A modality of media by its name; raises Bad."""
    if name not in [str(m) for m in MEDIA_INPUTS]:
        raise Bad("structure", f"{what}: {unknown_name(str(name), MEDIA_INPUTS, 'a modality of media')}")
    return Modality(name)


def existing(config: SourceConfig) -> Path:
    """The data set's path, which must exist. Raises BadArgument."""
    path = Path(config.path)
    if not path.exists():
        raise BadArgument(f"found no {config.path}, expected a data set; check the path")
    return path
