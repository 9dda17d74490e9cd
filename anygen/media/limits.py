"""How much of a stranger's file is read before it is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from anygen.errors import BadArgument, BadMedia, LimitExceeded


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """Ceilings (and a few floors) that the readers enforce while they decode.

    Raises:
        BadArgument: a limit is not a finite number above 0.
    """

    max_file_bytes: int = 256 * 2**20
    """Largest file that is opened at all."""
    max_pixels: int = 24 * 2**20
    """Width times height of one image, depth map or thermal image, as the header declares it."""
    min_side: int = 8
    """Shortest side in pixels of anything with pixels."""
    max_aspect: float = 20.0
    """Longest side over shortest side: towers resize the short side, so a thread of pixels would explode."""
    max_depth_meters: float = 1000.0
    """Farthest depth: more is most likely millimetres that were not converted."""
    max_audio_seconds: float = 60.0
    """Longest sound."""
    min_audio_seconds: float = 0.025
    """Shortest sound: one analysis window of the audio tower."""
    max_audio_channels: int = 8
    """Most channels of a sound."""
    max_audio_samples: int = 24_000_000
    """Channels times samples of a sound (a minute of 8 channels at 48 kHz)."""
    min_sample_rate: int = 4_000
    """Hz, of sounds."""
    max_sample_rate: int = 384_000
    """Hz, of sounds."""
    max_video_seconds: float = 60.0
    """Longest clip."""
    max_video_frames: int = 64
    """Frames kept of a clip: longer ones are sampled evenly in time."""
    max_frame_pixels: int = 4096 * 2304
    """Width times height of one video frame: a decoder holds up to 16 of them."""
    max_decoded_pixels: int = 6_000_000_000
    """Frames times width times height that may be decoded on the way to the kept ones."""
    max_video_pixels: int = 64_000_000
    """Kept frames times width times height: frames of a file are scaled down until they fit."""
    max_imu_samples: int = 240_000
    """Samples per channel of a motion trace (ten minutes at 400 Hz)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise BadArgument(f"media limit {field.name} is {value!r}, expected a finite number above 0")


def check_size(
    label: str, width: int, height: int, limits: MediaLimits, *, max_pixels: int | None = None
) -> None:
    """Refuse a picture by its declared size, before its pixels are decoded.

    Args:
        label: How messages name the source.
        width: Pixels.
        height: Pixels.
        limits: What is allowed.
        max_pixels: Ceiling to use in place of `limits.max_pixels`.

    Raises:
        LimitExceeded: too many pixels.
        BadMedia: a side too short or a picture too long and thin.
    """
    most = max_pixels or limits.max_pixels
    found = f"{label}: found {width} x {height} pixels"
    if width * height > most:
        size = f"{width * height / 1e6:.1f} megapixels"
        raise LimitExceeded(f"{found} ({size}), the limit is {most / 1e6:.1f} megapixels; make it smaller")
    if min(width, height) < limits.min_side:
        raise BadMedia(f"{found}, expected at least {limits.min_side} on each side; use a larger picture")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise BadMedia(f"{found}, expected sides of at most {limits.max_aspect:g} to 1; crop the longer side")
