"""How much of a stranger's file is read before it is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from anygen.errors import BadArgument


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """Ceilings (and a few floors) that the readers enforce while they decode. Raises BadArgument for bad values."""

    max_file_bytes: int = 256 * 2**20
    """Largest file that is opened at all."""
    max_pixels: int = 24_000_000
    """Width times height of one image, depth map, thermal image or video frame, as the header declares it."""
    min_side: int = 8
    """Shortest side in pixels of an image or video frame."""
    max_aspect: float = 20.0
    """Longest side over shortest side: towers resize the short side, so a thread of pixels would explode."""
    max_audio_seconds: float = 60.0
    """Longest sound; decoding stops there."""
    min_audio_seconds: float = 0.025
    """Shortest sound: one analysis window of the audio tower."""
    max_audio_channels: int = 8
    """Most channels of a sound."""
    min_sample_rate: int = 4_000
    """Hz."""
    max_sample_rate: int = 384_000
    """Hz."""
    max_video_seconds: float = 600.0
    """Longest clip."""
    max_video_frames: int = 64
    """Frames kept of a clip: longer ones are sampled evenly in time."""
    max_decoded_frames: int = 18_000
    """Frames decoded on the way to the ones that are kept."""
    max_video_pixels: int = 96_000_000
    """Kept frames times width times height; frames of a larger clip are halved until they fit."""
    max_imu_samples: int = 240_000
    """Samples per channel (ten minutes at 400 Hz)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise BadArgument(f"media limit {field.name} is {value!r}, expected a finite number above 0")
