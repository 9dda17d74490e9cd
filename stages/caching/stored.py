"""A finished cache, read shard by shard as samples are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from anygen.errors import BadArgument, CheckpointCorrupt
from anygen.prompting import Prompt

from .identity import check_marks, identity
from .index import Index, Shard, differences, map_shard, read_index
from .samples import StoredMedium, StoredSignal, Unpacked

TRAIN = "train"
"""The split that trains; all others belong to evaluations."""


class Stored:
    """Prompts by split and position; a shard is verified and mapped when a sample of it is first needed.

    Args:
        folder: The cache.
        index: Its index.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder, self.index = folder, index
        self._shards: dict[str, list[Shard]] = {split: [] for split in index.splits}
        for shard in index.shards:
            self._shards.setdefault(shard.split, []).append(shard)
        for split, count in index.splits.items():
            ends = [shard.end for shard in self._shards[split]]
            begins = [shard.begin for shard in self._shards[split]]
            if [*begins, count] != [0, *ends]:
                raise CheckpointCorrupt(f"shards of {split} do not cover its {count} samples; cache again")
        self._starts = {s: np.array([shard.begin for shard in found]) for s, found in self._shards.items()}
        self._open: dict[str, Unpacked] = {}

    def count(self, split: str = TRAIN) -> int:
        """Samples of a split."""
        return self.index.splits[split]

    def prompts(self, split: str, indices: Iterable[int]) -> list[Prompt]:
        """Samples as prompts of `StoredMedium`s and `StoredSignal`s.

        Raises:
            CheckpointCorrupt: A shard is damaged.
        """
        return [self._prompt(split, int(index)) for index in indices]

    def _prompt(self, split: str, index: int) -> Prompt:
        shard = self._shards[split][int(np.searchsorted(self._starts[split], index, side="right")) - 1]
        if shard.file not in self._open:
            unpacked = Unpacked(map_shard(self.folder, shard))
            if len(unpacked) != shard.end - shard.begin:
                raise CheckpointCorrupt(f"{shard.file} has {len(unpacked)} samples; cache again")
            self._open[shard.file] = unpacked
        return self._open[shard.file].prompt(index - shard.begin)

    def evaluation(self) -> dict[str, list[Prompt]]:
        """All samples that evaluations look at, by split."""
        return {s: self.prompts(s, range(n)) for s, n in self.index.splits.items() if s != TRAIN}


class StoredMedia:
    """Stands behind slots and signals that came out of a cache."""

    def vectors(
        self, items: Sequence[StoredMedium], rng: np.random.Generator, *, held_out: bool, moved: float = 0.0
    ) -> list[Tensor]:
        """The vectors (dim,), or the patch tokens (L, dim), as they were computed."""
        return [item.vector.float() for item in items]

    def caption(self, target: StoredSignal) -> str:
        """What a signal is to mean."""
        return target.caption


def open_stored(stage: str, config: Any) -> Stored | None:
    """The cache that a stage's configuration names, or None.

    Args:
        stage: Name of the stage.
        config: Its configuration, with `cache`.

    Raises:
        MissingPart: There is none.
        CheckpointCorrupt: It is damaged, or files of the data have changed.
        BadArgument: It was computed from something else: each difference is named.
    """
    if config.cache is None:
        return None
    folder = Path(config.cache)
    index = read_index(folder)
    if index.stage != stage:
        raise BadArgument(f"found a cache of {index.stage} in {folder}, expected one of {stage}")
    others = list(differences(index.identity, identity(stage, config)))
    if others:
        raise BadArgument(
            f"found in {folder} a cache of something else ({'; '.join(others)}); cache into a new folder"
        )
    for shard in index.shards:
        check_marks(shard.files)
    return Stored(folder, index)
