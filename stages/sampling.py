"""Which samples a step sees: a pure function of (seed, step), so two integers resume a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument

PERIOD = 1000
"""Slots over which the shares of a mixture are exact."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of a mixture."""

    size: int
    """Its samples."""
    weight: float = 1.0
    """Its share of the samples seen, relative to the other sources'."""

    def __post_init__(self) -> None:
        if self.size < 1 or not self.weight > 0:
            raise BadArgument(
                f"Found a source of {self.size} samples with weight {self.weight}; expected at least one "
                "sample and a weight above 0. Leave an unused source out."
            )


@dataclass(frozen=True, kw_only=True)
class IndexSampler:
    """Draws index batches; the data order does not depend on the number of processes."""

    batch_size: int
    """Samples in a global batch, over all processes."""
    seed: int
    """Decides the order of a finite data set; a procedural one is simply numbered."""
    dataset_size: int | None = None
    """Samples in the data set, or None for a procedural one."""
    sources: tuple[Source, ...] = ()
    """Data sets to mix by weight; an index counts through them as if they were one after another. Each is
    seen in epochs of its own."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.dataset_size is not None and self.dataset_size < 1):
            raise BadArgument(
                f"Found batch_size={self.batch_size}, dataset_size={self.dataset_size}; expected at least 1."
            )

    def indices(self, step: int, *, rank: int = 0, world_size: int = 1) -> NDArray[np.int64]:
        """Sample indices of one step for one piece of the batch, shape (batch_size / world_size,)."""
        if self.batch_size % world_size:
            raise BadArgument(
                f"Found a global batch of {self.batch_size} over {world_size} processes; expected a multiple."
            )
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        if self.sources:
            positions = np.array([self._mixed(int(p)) for p in positions], np.int64)
        elif self.dataset_size is not None:
            positions = np.array([self._shuffled(int(p), self.dataset_size, ()) for p in positions], np.int64)
        return positions[rank::world_size]

    def state(self, step: int) -> dict[str, int]:
        """Where the data stand before a step: seed, epoch and position within the epoch."""
        seen = step * self.batch_size
        size = self.dataset_size if not self.sources else sum(s.size for s in self.sources)
        epoch, position = divmod(seen, size) if size else (0, seen)
        return {"seed": self.seed, "epoch": epoch, "position": position}

    def _shuffled(self, position: int, size: int, key: tuple[int, ...]) -> int:
        epoch, offset = divmod(position, size)
        return int(_order((self.seed, epoch, *key), size)[offset])

    def _mixed(self, position: int) -> int:
        period, slot = divmod(position, PERIOD)
        pattern = slots(tuple(s.weight for s in self.sources))
        pattern = pattern[_order((self.seed, period, 1), PERIOD)]
        number = int(pattern[slot])
        earlier = period * int((pattern == number).sum()) + int((pattern[:slot] == number).sum())
        start = sum(s.size for s in self.sources[:number])
        return start + self._shuffled(earlier, self.sources[number].size, (2, number))


@lru_cache(maxsize=16)
def _order(seed: tuple[int, ...], size: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(size)


def slots(weights: Sequence[float]) -> NDArray[np.int64]:
    """`PERIOD` source numbers in the shares that the weights ask for, by largest remainder."""
    wanted = np.asarray(weights, np.float64) / np.sum(weights) * PERIOD
    counts = np.floor(wanted).astype(np.int64)
    counts[np.argsort(counts - wanted, kind="stable")[: PERIOD - int(counts.sum())]] += 1
    if counts.min() < 1:
        raise BadArgument(
            f"Found a source with a share below 1 in {PERIOD}; expected more. Raise its weight or "
            "leave it out."
        )
    return np.repeat(np.arange(len(counts)), counts)
