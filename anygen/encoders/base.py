"""What every encoder offers: any modality in, one unit-norm vector per item out, or its patch tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from anygen.modality import Modality


@runtime_checkable
class Encoder(Protocol):
    """Maps prepared media of several modalities into one space of `embed_dim` dimensions."""

    @property
    def embed_dim(self) -> int:
        """Width of the vectors that `encode` returns."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """The modalities whose towers are loaded."""
        ...

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared inputs of one modality into (N, embed_dim) float32 of unit norm."""
        ...

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared media into their patch tokens (N, L, embed_dim) float32, each of unit norm."""
        ...


@runtime_checkable
class Processor(Protocol):
    """Turns media objects (or texts) of one modality into the batch tensor that the encoder takes."""

    def __call__(self, modality: Modality, items: Sequence[Any]) -> Tensor:
        """Prepare N items as one tensor whose first dimension is N."""
        ...
