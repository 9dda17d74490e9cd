"""A made sample, where it came from, and why one was not made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..records import Place, Turn
from .kinds import Kind
from .subjects import Subject


class Rejected(Exception):
    """A sample that is not good enough to be written; counted by its reason.

    Args:
        reason: A word to count by.
        message: What was found.
        text: What the model wrote; empty where no model was asked.
    """

    def __init__(self, reason: str, message: str, text: str = "") -> None:
        super().__init__(message)
        self.reason, self.message, self.text = reason, message, text


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a generator makes."""

    turns: tuple[Turn, ...]
    """What is said and shown."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else its trace is to say."""


class Generator(Protocol):
    """Makes samples: the grammar, or a model."""

    name: str
    """What the trace calls it."""
    seed: int
    """Of all that it draws."""

    def about(self) -> dict[str, str]:
        """What a sample's trace says of it, beyond name and seed."""
        ...

    def make(self, kind: Kind, subject: Subject, number: int) -> Sample:
        """One sample; raises Rejected."""
        ...


def trace(kind: Kind, subject: Subject, number: int, generator: Generator, sample: Sample) -> dict[str, Any]:
    """`source_data` of an entry: enough to find the source and to make the sample again."""
    return {
        **_place(subject.place),
        **({"id": subject.identity} if subject.identity else {}),
        "kind": kind,
        "generator": generator.name,
        "seed": generator.seed,
        "number": number,
        **generator.about(),
        **sample.more,
    }


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line} | ({"key": place.key} if place.key else {})
