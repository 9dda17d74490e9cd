"""One sample, whatever file it came from: turns of texts, media that come in and media that go out.

Every reader yields `Record`s and `Problem`s; everything behind the readers (checks, caches, stages) knows
these alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from anygen.errors import AnyGenError
from anygen.modality import Modality

from .sources import MediaSource

Role = Literal["system", "user", "assistant"]
"""Who speaks."""

Kind = Literal[
    "syntax", "structure", "unknown-field", "empty-caption", "missing-file", "undecodable", "over-limits",
    "duplicate-id", "placeholders",
]  # fmt: skip
"""What can be wrong with an entry."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands, so that people find it."""

    file: str
    """File of the data set."""
    line: int
    """Line where the entry begins, from 1; of a table its row, of a tar the sample's position."""
    key: str = ""
    """Name of the entry inside a tar, or its number in a JSON list."""

    def __str__(self) -> str:
        """As compilers say it."""
        return f"{self.file}:{self.line}" + (f" ({self.key})" if self.key else "")


@dataclass(frozen=True, slots=True)
class Problem:
    """A bad entry, or one bad thing about it."""

    place: Place
    """Which entry."""
    kind: Kind
    """What is wrong, as a word to count by."""
    message: str
    """What was found, what is expected, what to do."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.place}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class MediaIn:
    """A medium that the model is shown."""

    modality: Modality
    """Any of `MEDIA_INPUTS`."""
    source: MediaSource
    """Where it lies."""
    rate: float | None = None
    """Samples a second of an IMU trace; None for all else, and where it is not known."""


@dataclass(frozen=True, slots=True)
class MediaOut:
    """A medium that the model is to show: the place of its signal group."""

    modality: Modality
    """Any of `GENERATED`."""
    caption: str
    """What it shows: the decoder's text encoder turns this into the target of the output projection."""
    source: MediaSource | None = None
    """The medium itself, for the denoising loss; None where only the caption is known."""


Part = str | MediaIn | MediaOut
"""One piece of a turn."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says and shows, in order."""

    role: Role
    """Who."""
    parts: tuple[Part, ...]
    """Texts stand as they are in the data; media of a user come in, media of an assistant go out."""

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Record:
    """One sample."""

    place: Place
    """Where it stands."""
    turns: tuple[Turn, ...]
    """Perhaps a system turn, then user and assistant; the assistant speaks last."""
    identity: str = ""
    """The data set's own id; empty where it has none."""

    @property
    def inputs(self) -> tuple[MediaIn, ...]:
        """Media that come in, in order."""
        return tuple(p for turn in self.turns for p in turn.parts if isinstance(p, MediaIn))

    @property
    def outputs(self) -> tuple[MediaOut, ...]:
        """Media that go out, in order."""
        return tuple(p for turn in self.turns for p in turn.parts if isinstance(p, MediaOut))

    @property
    def media(self) -> tuple[MediaIn, ...]:
        """All media that lie somewhere, as what they are read as."""
        shown = tuple(MediaIn(p.modality, p.source) for p in self.outputs if p.source is not None)
        return self.inputs + shown

    @property
    def caption(self) -> str | None:
        """The caption of a plain pair (media without words, answered by words alone); else None."""
        if len(self.turns) != 2 or self.outputs or self.turns[0].text.strip() or not self.inputs:
            return None
        return self.turns[1].text.strip()


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Put the entry's place in front of an error's message, keeping its type."""
    try:
        yield
    except AnyGenError as error:
        if str(error).startswith(f"{place.file}:"):
            raise
        raise type(error)(f"{place}: {error}") from None


def caption_record(
    place: Place, media: tuple[MediaIn, ...], caption: str, *, prompt: str = "", identity: str = ""
) -> Record:
    """A captioned medium as a conversation: shown by the user, said by the assistant."""
    asked: tuple[Part, ...] = (*media, prompt) if prompt else media
    return Record(place, (Turn("user", asked), Turn("assistant", (caption,))), identity)
