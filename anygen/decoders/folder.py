"""What all decoders share: they open, describe and save a folder of parts, and encode text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..modality import Modality
from .base import ConditioningSpec
from .parts import DecoderParts


class FolderDecoder:
    """A decoder as a folder in diffusers' layout; how latents become media is the subclass's.

    Calling a decoder raises BadArgument for a value of the wrong type, shape or range, LimitExceeded for
    media that would be too large, MissingPart where the decoder lacks a part, Cancelled when `should_stop`
    said so, NonFinite where a NaN or infinity appeared, and OutOfMemory when the device's memory ran out.

    Args:
        parts: Its modules, in memory or on disk.
    """

    modality: ClassVar[Modality]

    def __init__(self, parts: DecoderParts) -> None:
        self.parts = parts

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        compile: Sequence[str] = (),  # as torch names it
    ) -> Self:
        """Open a folder in a layout of this modality, lazily; arguments and errors of `DecoderParts.open`."""
        return cls(DecoderParts.open(cls.modality, folder, device=device, dtype=dtype, compile=compile))

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the folder that `from_pretrained` reads; `dtype` is that of the weights on disk."""
        self.parts.save(folder, dtype=dtype)

    @property
    def spec(self) -> ConditioningSpec:
        """What the denoiser is conditioned on."""
        return self.parts.spec

    @property
    def negative_prompt_embeds(self) -> Tensor:
        """(1, tokens, width) unconditional embedding."""
        return self.parts.negative_prompt_embeds

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """(B, tokens, width) embeddings of the frozen text encoder; raises BadText or MissingPart."""
        return self.parts.encode_text(list(texts))
