"""Media in memory, and the readers and writers between them and files.

`load_media` reads one item of any modality from a path, the bytes of a file, an array or one of the classes
here; `save_media` writes one. An image is a `PIL.Image.Image` in mode RGB.
"""

from __future__ import annotations

from .audio import resample, to_mono
from .limits import MediaLimits
from .registry import Media, load_media, load_tags, modality_of, save_media
from .types import IMU, IMU_SAMPLE_RATE, Audio, Depth, Thermal, Video

__all__ = [
    "IMU",
    "IMU_SAMPLE_RATE",
    "Audio",
    "Depth",
    "Media",
    "MediaLimits",
    "Thermal",
    "Video",
    "load_media",
    "load_tags",
    "modality_of",
    "resample",
    "save_media",
    "to_mono",
]
