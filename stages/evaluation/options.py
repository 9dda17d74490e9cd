"""What every suite can be told, and what it is given to grade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from anygen.errors import BadArgument, MissingPart
from anygen.modality import MEDIA_INPUTS, Modality

from .items import TOYBOX, Embedder, Item, own_items, toybox_items


class Graded(Protocol):
    """A model under test; its parts are loaded when a suite first asks for them."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def pipe(self) -> Callable[..., Sequence[Any]]:
        """Answers a batch of conversations: `AnyGenPipeline`."""
        ...

    @property
    def embedder(self) -> Embedder:
        """Embeds media and texts: `EmbeddingPipeline`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model under test, from functions that load its parts when they are first asked for."""

    name: str
    """How reports call it."""
    load_pipe: Callable[[], Any]
    """Makes an `AnyGenPipeline`."""
    load_embedder: Callable[[], Any]
    """Makes an `EmbeddingPipeline`."""

    @cached_property
    def pipe(self) -> Any:
        """The pipeline of the whole model."""
        return self.load_pipe()

    @cached_property
    def embedder(self) -> Any:
        """The encoder alone."""
        return self.load_embedder()


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What to grade a model on."""

    count: int = 100
    """Items; of one's own data at most so many."""
    seed: int = 0
    """Draws items, requests and resamples."""
    batch_size: int = 8
    """Requests at a time."""
    modalities: tuple[Modality, ...] = ()
    """Which media; empty for all that the suite and the model know."""
    data: str | Path | None = None
    """A data set of one's own, as `anygen data check` reads it; None for the toybox."""
    shots: tuple[int, ...] = (1, 2, 4, 8)
    """Training items of each class of the few-shot suite."""
    trials: int = 5
    """Draws of the few-shot suite's training items."""
    extractors: tuple[str, ...] = ("encoder",)
    """Features of the distance suite, by name."""
    progress: Callable[[str], None] | None = None
    """Told in words how far it is."""

    def __post_init__(self) -> None:
        if min(self.count, self.batch_size, self.trials) < 1:
            raise BadArgument(
                f"Found count={self.count}, batch_size={self.batch_size}, trials={self.trials}; expected at "
                "least 1 of each."
            )
        if not self.shots or min(self.shots) < 1:
            raise BadArgument(f"Found shots {self.shots}; expected at least one number of 1 or more.")

    @property
    def data_name(self) -> str:
        """How reports call the data."""
        return TOYBOX if self.data is None else Path(self.data).name

    def say(self, text: str) -> None:
        """Report progress."""
        if self.progress is not None:
            self.progress(text)

    def choose(self, known: Sequence[Modality]) -> tuple[Modality, ...]:
        """Those of the known modalities that are asked for.

        Raises:
            MissingPart: another one is asked for.
        """
        for modality in self.modalities:
            if modality not in known:
                raise MissingPart(
                    f"Found modality {modality}; expected one of {', '.join(known)} in this suite. Leave it "
                    "out."
                )
        return tuple(m for m in known if not self.modalities or m in self.modalities)

    def items(
        self, modalities: Sequence[Modality], *, stream: int = 0, count: int | None = None
    ) -> list[Item]:
        """Items with all of some media.

        Args:
            modalities: Which media.
            stream: Another number gives other toybox items.
            count: Instead of the options' own.
        """
        if self.data is not None:
            return own_items(self.data, modalities, count or self.count)
        return toybox_items(modalities, count or self.count, seed=self.seed, stream=stream)


def embeddable(embedder: Embedder) -> tuple[Modality, ...]:
    """Media that an embedder takes."""
    known = getattr(embedder, "modalities", tuple(Modality))
    return tuple(m for m in MEDIA_INPUTS if m in known)
