"""Media in memory, and the readers and writers between them and files."""

from __future__ import annotations

from .limits import MediaLimits
from .types import IMU, IMU_SAMPLE_RATE, Audio, Depth, Thermal, Video

__all__ = ["IMU", "IMU_SAMPLE_RATE", "Audio", "Depth", "MediaLimits", "Thermal", "Video"]
