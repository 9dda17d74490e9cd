"""Decoders: from conditioning to images, sounds and videos, by one latent-diffusion sampler."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio import AudioDecoder
    from .base import ConditioningSpec, Decoder, OnStep, StepEvent
    from .image import ImageDecoder
    from .parts import DecoderDefaults, DecoderParts
    from .registry import DECODERS, open_decoder
    from .video import VideoDecoder

__all__ = [
    "DECODERS",
    "AudioDecoder",
    "ConditioningSpec",
    "Decoder",
    "DecoderDefaults",
    "DecoderParts",
    "ImageDecoder",
    "OnStep",
    "StepEvent",
    "VideoDecoder",
    "open_decoder",
]

_HOMES = {
    "AudioDecoder": "audio",
    "ConditioningSpec": "base",
    "DECODERS": "registry",
    "Decoder": "base",
    "DecoderDefaults": "parts",
    "DecoderParts": "parts",
    "ImageDecoder": "image",
    "OnStep": "base",
    "StepEvent": "base",
    "VideoDecoder": "video",
    "open_decoder": "registry",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): torch and diffusers are slow and the command line must start fast."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
