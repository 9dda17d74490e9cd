"""What a dialogue is made of: text, media that a user attaches, places where the assistant shows media."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from anygen.errors import BadArgument
from anygen.modality import GENERATED, MEDIA_INPUTS, Modality

from .scene import REVEALS, Scene

Split = Literal["train", "eval"]
"""Training dialogues leave out a few wordings that only evaluation uses."""


@dataclass(frozen=True, kw_only=True)
class InputMedia:
    """A rendering of a scene that enters through the encoder; whoever trains renders it.

    Raises:
        BadArgument: the modality is text.
    """

    modality: Modality
    """Any of `MEDIA_INPUTS`."""
    scene: Scene
    """What is rendered."""

    def __post_init__(self) -> None:
        if self.modality not in MEDIA_INPUTS:
            raise BadArgument(
                f"Found input medium {self.modality}; expected one of {', '.join(MEDIA_INPUTS)}."
            )


@dataclass(frozen=True, kw_only=True)
class Signal:
    """The place where the assistant emits the signal group of one modality.

    Raises:
        BadArgument: nothing decodes this modality, or it cannot show one of the attributes.
    """

    modality: Modality
    """Any of `GENERATED`."""
    attributes: Mapping[str, str]
    """What the decoder must show; the canonical caption of exactly these stands right before the signal."""

    def __post_init__(self) -> None:
        if self.modality not in GENERATED:
            raise BadArgument(f"Found signal for {self.modality}; expected one of {', '.join(GENERATED)}.")
        hidden = set(self.attributes) - set(REVEALS[self.modality])
        if hidden or not self.attributes:
            found = ", ".join(sorted(hidden)) or "no attributes"
            raise BadArgument(
                f"Found {found} for {self.modality}; expected some of {REVEALS[self.modality]}."
            )


Part = str | InputMedia | Signal
"""One piece of a turn."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message. Text pieces are to be joined as they stand: they bring their own spaces."""

    role: Literal["user", "assistant"]
    """Who speaks."""
    parts: tuple[Part, ...]
    """In order. A user has text and media. An assistant has text and signals, or, in a turn before the last,
    media in the place of a signal: so a caller's history shows what the assistant generated before."""

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals, in order."""
        return tuple(part for part in self.parts if isinstance(part, Signal))

    @property
    def media(self) -> tuple[InputMedia, ...]:
        """The attached media, in order."""
        return tuple(part for part in self.parts if isinstance(part, InputMedia))


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """A conversation that ends with the assistant's turn: the unit of training and of evaluation."""

    direction: str
    """Which of `DIRECTIONS` made it."""
    turns: tuple[Turn, ...]
    """User and assistant in turn, the user first."""
    asked: Mapping[Modality, Mapping[str, str]] = field(default_factory=dict)
    """What a grader checks in the last turn: for every modality that the user asked for, the attributes it
    must show. Empty when the right answer is words that describe no scene."""

    def __iter__(self) -> Iterator[Turn]:
        """The turns."""
        return iter(self.turns)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """Everything before the last turn: what a pipeline is given."""
        return self.turns[:-1]


def user(*parts: Part) -> Turn:
    """A user's turn, without its empty texts."""
    return Turn(role="user", parts=tuple(part for part in parts if part != ""))


def assistant(*parts: Part) -> Turn:
    """An assistant's turn."""
    return Turn(role="assistant", parts=parts)
