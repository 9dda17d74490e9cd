"""Which samples a step sees: a pure function of (seed, step), so two integers resume a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument


@dataclass(frozen=True, kw_only=True)
class IndexSampler:
    """Draws index batches; the data order does not depend on the number of processes."""

    batch_size: int
    """Samples in a global batch, over all processes."""
    seed: int
    """Decides the order of a finite data set; a procedural one is simply numbered."""
    dataset_size: int | None = None
    """Samples in the data set, or None for a procedural one."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.dataset_size is not None and self.dataset_size < 1):
            raise BadArgument(
                f"Found batch_size={self.batch_size}, dataset_size={self.dataset_size}; expected at least 1."
            )

    def indices(self, step: int, *, rank: int = 0, world_size: int = 1) -> NDArray[np.int64]:
        """Sample indices of one step for one process, shape (batch_size / world_size,)."""
        if self.batch_size % world_size:
            raise BadArgument(
                f"Found a global batch of {self.batch_size} over {world_size} processes; expected a multiple."
            )
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        if self.dataset_size is not None:
            epochs, offsets = np.divmod(positions, self.dataset_size)
            orders = {int(e): self._order(int(e)) for e in np.unique(epochs)}
            positions = np.array([orders[int(e)][o] for e, o in zip(epochs, offsets, strict=True)], np.int64)
        return positions[rank::world_size]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        assert self.dataset_size is not None
        return np.random.default_rng((self.seed, epoch)).permutation(self.dataset_size)
