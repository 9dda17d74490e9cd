"""Where a medium of a data set lies: a file, a member of a tar, a cell of a table. All are read on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anygen.errors import AnyGenError, BadMedia
from anygen.media import MediaLimits, load_media
from anygen.modality import Modality


class MediaSource(Protocol):
    """The bytes of one medium, wherever they lie."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def key(self) -> str:
        """What tells it from every other medium: caches and checks count by it."""
        ...

    def missing(self) -> str | None:
        """Why it is certainly not there, without reading it; None where it may be."""
        ...

    def content(self) -> str | bytes:
        """A path, or the content of a file: what `load_media` reads."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on disk."""

    path: str
    """Where it lies."""
    shown: str = ""
    """What the data set calls it; the path when empty."""

    @property
    def name(self) -> str:
        """As the data set has it."""
        return self.shown or self.path

    @property
    def key(self) -> str:
        """Its path."""
        return self.path

    def missing(self) -> str | None:
        """Whether there is no such file."""
        if "://" in self.name or self.name.startswith("data:"):
            return "a URL, which is never fetched; download the file and give its path"
        if not self.path or not os.path.isfile(self.path):
            return f"no file {self.name!r}; check the path and the folder that media are looked for in"
        return None

    def content(self) -> str:
        """The path."""
        return self.path


@dataclass(frozen=True, slots=True)
class MemberSource:
    """A member of an uncompressed tar: nothing is unpacked."""

    tar: str
    """The tar file."""
    member: str
    """Name inside it."""
    offset: int
    """Where its content begins."""
    size: int
    """Bytes of its content."""

    @property
    def name(self) -> str:
        """Its name inside the tar."""
        return self.member

    @property
    def key(self) -> str:
        """Tar and member."""
        return f"{self.tar}::{self.member}"

    def missing(self) -> str | None:
        """A member that was listed is there."""
        return None

    def content(self) -> bytes:
        """Its bytes. Raises BadMedia when the tar is cut short."""
        with open(self.tar, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            name = Path(self.tar).name
            raise BadMedia(f"{self.member}: the tar {name} ends inside this member; copy it again")
        return data


@dataclass(frozen=True, slots=True)
class CellSource:
    """A cell of a table that is read when it is asked for."""

    table: str
    """What the table is called."""
    row: int
    """Row number, from 0."""
    column: str
    """Its column."""
    item: int
    """Position in a cell that holds a list."""
    read: Callable[[int, str, int], Any] = field(compare=False, repr=False)
    """Gives a path or bytes, or raises BadMedia."""

    @property
    def name(self) -> str:
        """Column and row."""
        return f"{self.column} of row {self.row + 1}"

    @property
    def key(self) -> str:
        """Table, column and row."""
        return f"{self.table}::{self.row}::{self.column}::{self.item}"

    def missing(self) -> str | None:
        """Only reading tells."""
        return None

    def content(self) -> str | bytes:
        """A path or bytes."""
        found: str | bytes = self.read(self.row, self.column, self.item)
        return found


def load(
    modality: Modality, source: MediaSource, limits: MediaLimits | None = None, *, rate: float | None = None
) -> Any:
    """Read one medium.

    Args:
        modality: What it is to be read as.
        source: Where it lies.
        limits: What it may be at most.
        rate: Samples a second of an IMU trace.

    Returns:
        What `anygen.media.load_media` gives.

    Raises:
        BadMedia: Missing or undecodable.
        LimitExceeded: Larger than the limits.
    """
    reason = source.missing()
    if reason is not None:
        raise BadMedia(f"{modality}: found {reason}")
    content = source.content()
    try:
        return load_media(modality, content, limits, rate=rate)
    except AnyGenError as error:
        if isinstance(content, str):
            raise
        raise type(error)(f"{source.name}: {error}") from None
