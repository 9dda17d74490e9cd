"""What instruction data is made from: captioned media, perhaps with boxes, each with its place in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anygen.errors import BadArgument
from anygen.modality import GENERATED, Modality
from anygen.toybox.captions import caption
from anygen.toybox.export import INDEX
from anygen.toybox.read_text import read_text
from anygen.toybox.scene import REVEALS, Scene

from ..readers import SourceConfig, read
from ..readers.base import Bad, FileFinder, as_list, check_caption, check_fields, existing, kind_of
from ..readers.manifest import ROWS
from ..records import Place, Problem, Record
from ..sources import FileSource

FIELDS = ("id", "captions", "caption", "text", "boxes", *map(str, GENERATED))
"""Fields of a line that has boxes, or several captions."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where something is in a picture."""

    name: str
    """What it is."""
    corners: tuple[float, float, float, float]
    """Left, top, right, bottom as fractions of the sides."""

    def __str__(self) -> str:
        """As prompts have it."""
        return f"{self.name}: [{', '.join(f'{c:.2f}' for c in self.corners)}]"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing that samples are made about."""

    place: Place
    """Where it stands."""
    identity: str = ""
    """The data set's own id; empty where it has none."""
    captions: Mapping[Modality, tuple[str, ...]]
    """What each of its media shows."""
    media: Mapping[Modality, FileSource]
    """Its files, those of `captions`."""
    boxes: tuple[Box, ...] = ()
    """What is where in its picture."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What a toybox scene is; read out of the captions where nobody says it."""

    def revealed(self, modality: Modality) -> dict[str, str]:
        """The toybox attributes that a medium shows."""
        return {n: v for n, v in self.attributes.items() if n in REVEALS[modality]}


def read_subjects(config: SourceConfig) -> Iterator[Subject | Problem]:
    """Read captioned pictures, sounds and films.

    Args:
        config: A toybox export (`scenes.jsonl` or its folder), a JSONL with `captions` or `boxes`, or any
            data set of captioned files.

    Yields:
        A subject, or what is wrong with an entry, in the order of the file.
    """
    path = Path(config.path)
    if path.is_dir() and (path / INDEX).is_file():
        path = path / INDEX
    if path.name == INDEX:
        yield from _rows(SourceConfig(path=str(path), media=config.media), _scene)
    elif path.suffix.lower() in (".jsonl", ".ndjson") and _has_own_fields(path):
        yield from _rows(config, _line)
    else:
        for entry in read(config):
            yield entry if isinstance(entry, Problem) else _of_record(entry)


def _has_own_fields(path: Path) -> bool:
    rows = (found for _, found in ROWS[path.suffix.lower()](path, str(path)))
    return any(isinstance(row, dict) and {"captions", "boxes"} & set(row) for row in rows)


def _rows(config: SourceConfig, parse: Any) -> Iterator[Subject | Problem]:
    path, find = existing(config), FileFinder(config)
    for place, found in ROWS[path.suffix.lower()](path, config.path):
        try:
            if isinstance(found, Problem):
                yield found
            elif isinstance(found, Mapping):
                yield _checked(parse(found, place, config, find))
            else:
                raise Bad("structure", f"found {kind_of(found)}, expected an object with fields")
        except Bad as bad:
            yield Problem(place, bad.kind, bad.message)


def _checked(subject: Subject) -> Subject:
    for modality, source in subject.media.items():
        if (reason := source.missing()) is not None:
            raise Bad("missing-file", f"{modality}: found {reason}")
    return subject


def _line(values: Mapping[str, Any], place: Place, config: SourceConfig, find: FileFinder) -> Subject:
    """A line with `captions` (or `caption`, `text`), `boxes` and one file of each modality."""
    check_fields(values, FIELDS, config)
    said = values.get("captions", values.get("caption", values.get("text")))
    captions = tuple(check_caption(text, "captions") for text in as_list(said))
    media = {m: find(m, values[str(m)]) for m in GENERATED if str(m) in values}
    if not media:
        raise Bad("structure", f"found no medium, expected one of {', '.join(GENERATED)}")
    return Subject(
        place=place, identity=str(values.get("id", "")), captions=dict.fromkeys(media, captions),
        media=media, boxes=tuple(map(_box, as_list(values.get("boxes", [])))),
        attributes=_named(captions),
    )  # fmt: skip


def _box(value: Any) -> Box:
    """`{"name": ..., "box": [left, top, right, bottom]}`; raises Bad."""
    corners = value.get("box") if isinstance(value, Mapping) else None
    numbers = isinstance(corners, list) and len(corners) == 4
    if not numbers or not all(isinstance(c, int | float) and 0 <= c <= 1 for c in corners or ()):
        raise Bad("structure", "boxes: expected {name, box: [left, top, right, bottom]}, fractions of 0 to 1")
    left, top, right, bottom = map(float, corners or ())
    if left >= right or top >= bottom:
        raise Bad("structure", f"boxes: found {corners}, expected left < right and top < bottom")
    return Box(name=check_caption(value.get("name"), "boxes"), corners=(left, top, right, bottom))


def _scene(values: Mapping[str, Any], place: Place, config: SourceConfig, find: FileFinder) -> Subject:
    """A line of `anygen toybox export`."""
    try:
        scene = Scene(**values["attributes"])
        files = {m: find(m, values["files"][str(m)]) for m in GENERATED if str(m) in values["files"]}
    except (KeyError, TypeError, BadArgument):
        raise Bad("structure", "found no scene, expected a line that `anygen toybox export` wrote") from None
    captions = {m: (caption(scene.revealed(m)),) for m in files}
    boxes: tuple[Box, ...] = ()
    if Modality.IMAGE in files and os.path.isfile(files[Modality.IMAGE].path):
        boxes = _seen_box(files[Modality.IMAGE].path)
    return Subject(
        place=place, identity=str(values.get("id", "")), captions=captions, media=files, boxes=boxes,
        attributes=scene.attributes(),
    )  # fmt: skip


def _seen_box(path: str) -> tuple[Box, ...]:
    """The object's box, measured in the picture by the oracle."""
    from PIL import Image

    from anygen.toybox.oracles.image import look, pixels_of

    with Image.open(path) as image:
        _, found = look(pixels_of(image))
        wide, high = image.size
    if found is None or found.shape is None:
        return ()
    x, y = found.center
    dx, dy = (found.radius * min(wide, high) / side for side in (wide, high))
    corners = tuple(float(min(1.0, max(0.0, c))) for c in (x - dx, y - dy, x + dx, y + dy))
    return (Box(name=found.shape, corners=(corners[0], corners[1], corners[2], corners[3])),)


def _of_record(record: Record) -> Subject | Problem:
    """A captioned pair of any format, if its medium is a file."""
    said = record.caption
    media = {m.modality: m.source for m in record.inputs if m.modality in GENERATED}
    files = {m: source for m, source in media.items() if isinstance(source, FileSource)}
    if said is None or not files or len(files) < len(record.inputs):
        expected = "a caption for one file of each of " + ", ".join(GENERATED)
        return Problem(record.place, "structure", f"found something else, expected {expected}")
    for modality, source in files.items():
        if (reason := source.missing()) is not None:
            return Problem(record.place, "missing-file", f"{modality}: found {reason}")
    return Subject(
        place=record.place, identity=record.identity, captions=dict.fromkeys(files, (said,)), media=files,
        attributes=_named((said,)),
    )  # fmt: skip


def _named(captions: tuple[str, ...]) -> dict[str, str]:
    """What captions say of the toybox's attributes, where they agree."""
    found = read_text(". ".join(captions))
    return {name: value for name, value in found.items() if value is not None}
