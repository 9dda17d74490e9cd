"""Frozen vectors of the media of records, computed when they are first seen and kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from anygen.media import MediaLimits
from anygen.modality import Modality

from .conversations import At
from .records import MediaIn, MediaOut, located
from .sources import load


class FrozenEncoder(Protocol):
    """What the encoder of a model folder offers (`anygen.checkpoints.lazy.LazyEncoder`)."""

    def prepare(self, modality: Modality, items: list[Any]) -> Tensor:
        """Media to the inputs of their tower."""
        ...

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Inputs to unit-norm vectors (N, dim)."""
        ...

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Inputs to patch tokens (N, L, dim)."""
        ...


class LoadedEncoder:
    """An encoder in memory and its processor, as one.

    Args:
        encoder: The towers.
        processor: Prepares media for them.
    """

    def __init__(self, encoder: Any, processor: Any) -> None:
        self._encoder, self._processor = encoder, processor

    def prepare(self, modality: Modality, items: list[Any]) -> Tensor:
        """Media to the inputs of their tower."""
        inputs: Tensor = self._processor(modality, items)
        return inputs

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Inputs to unit-norm vectors (N, dim)."""
        vectors: Tensor = self._encoder.encode(modality, inputs)
        return vectors

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Inputs to patch tokens (N, L, dim)."""
        tokens: Tensor = self._encoder.encode_tokens(modality, inputs)
        return tokens


MOST_BYTES = 2**31
"""Most bytes of vectors or patch tokens that are kept: at full size, two thousand pictures' tokens."""


class RecordMedia:
    """Vectors of media in slots, and captions of signals, for records.

    Args:
        encoder: Computes what is not in memory.
        capacity: Most media whose vectors are kept; the ones longest unused go first, as beyond `most_bytes`.
        tokens: Give patch tokens rather than pooled vectors.
        limits: What media may be at most.
        chunk: Media encoded at once.
        most_bytes: Most bytes of vectors that are kept between batches.
    """

    def __init__(
        self,
        encoder: FrozenEncoder,
        *,
        capacity: int,
        tokens: bool = False,
        limits: MediaLimits | None = None,
        chunk: int = 32,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._encoder, self._limits, self._chunk = encoder, limits, chunk
        self._encode = encoder.encode_tokens if tokens else encoder.encode
        self._capacity, self._most_bytes, self._bytes = capacity, most_bytes, 0
        self._known: OrderedDict[tuple[Modality, str], Tensor] = OrderedDict()
        self.computed = 0
        """Media encoded so far."""

    def vectors(
        self, items: Sequence[At], rng: np.random.Generator, *, held_out: bool, moved: float = 0.0
    ) -> list[Tensor]:
        """Unit-norm vectors (dim,) or patch tokens (L, dim) of the items; none is drawn, and none moved.

        Raises:
            BadMedia: A medium cannot be read; its entry is named.
            LimitExceeded: A medium is too large; its entry is named.
        """
        media = [item.medium for item in items]
        keys = [(m.modality, _source(m).key) for m in media]
        wanted = {key: item for key, item in zip(keys, items, strict=True) if key not in self._known}
        for modality in dict.fromkeys(modality for modality, _ in wanted):
            names = [key for key in wanted if key[0] is modality]
            for start in range(0, len(names), self._chunk):
                self._compute(modality, names[start : start + self._chunk], wanted)
        found = []
        for key in keys:
            self._known.move_to_end(key)
            found.append(self._known[key])
        while len(self._known) > self._capacity or self._bytes > self._most_bytes:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return found

    def _compute(
        self, modality: Modality, keys: list[tuple[Modality, str]], wanted: dict[tuple[Modality, str], At]
    ) -> None:
        loaded = []
        for key in keys:
            item = wanted[key]
            rate = item.medium.rate if isinstance(item.medium, MediaIn) else None
            with located(item.place):
                loaded.append(load(modality, _source(item.medium), self._limits, rate=rate))
        with torch.no_grad():
            vectors = self._encode(modality, self._encoder.prepare(modality, loaded)).float().cpu()
        self.computed += len(keys)
        self._known.update(zip(keys, (v.clone() for v in vectors), strict=True))
        self._bytes += vectors.nbytes

    def caption(self, target: At) -> str:
        """What a signal is to mean."""
        assert isinstance(target.medium, MediaOut)
        return target.medium.caption


def _source(medium: MediaIn | MediaOut) -> Any:
    return medium.source
