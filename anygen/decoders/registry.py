"""The decoder of each modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import BadArgument
from ..modality import GENERATED, Modality
from .audio import AudioDecoder
from .image import ImageDecoder
from .video import VideoDecoder

DECODERS: dict[Modality, type[ImageDecoder] | type[AudioDecoder] | type[VideoDecoder]] = {
    Modality.IMAGE: ImageDecoder,
    Modality.AUDIO: AudioDecoder,
    Modality.VIDEO: VideoDecoder,
}
"""Class of each modality's decoder."""


def open_decoder(
    modality: Modality,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    compile: Sequence[str] = (),  # as torch names it
) -> ImageDecoder | AudioDecoder | VideoDecoder:
    """Open a decoder's folder; weights are loaded at first use.

    Args:
        modality: IMAGE, AUDIO or VIDEO.
        folder: Local folder in a diffusers layout of that modality; the families are in `layouts.LAYOUTS`.
        device: Where the parts will go.
        dtype: Floating-point type of the parts.
        compile: Parts to compile by `torch.compile` as they are loaded, such as ("unet",).

    Raises:
        BadArgument: Nothing decodes to that modality.
    """
    if modality not in DECODERS:
        raise BadArgument(
            f"decoder: found {modality}, expected one of {', '.join(GENERATED)}; nothing else can be "
            "generated"
        )
    return DECODERS[modality].from_pretrained(folder, device=device, dtype=dtype, compile=compile)
