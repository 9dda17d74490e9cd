"""How a decoder samples when the caller says nothing."""

from __future__ import annotations

from dataclasses import dataclass

MAX_INTERVAL = 20
"""Longest time, in steps, for which a UNet's deep features may be kept."""


@dataclass(frozen=True, kw_only=True)
class DecoderDefaults:
    """How a decoder samples when the caller says nothing; sizes of other modalities are None."""

    num_inference_steps: int = 50
    """Denoising steps."""
    guidance_scale: float = 7.5
    """Weight of classifier-free guidance; 1 turns it off."""
    guidance_rescale: float = 0.0
    """phi of Lin et al. 2023, eq. 16; 0 turns it off."""
    height: int | None = None
    """Pixels, image and video."""
    width: int | None = None
    """Pixels, image and video."""
    num_frames: int | None = None
    """Frames, video."""
    fps: float | None = None
    """Frames a second, video."""
    audio_length_in_s: float | None = None
    """Seconds, audio."""
    shared_noise: float = 0.0
    """Share of the starting noise's variance that the frames of a film have in common; 0 in all published
    decoders."""
