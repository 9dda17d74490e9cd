"""Analytic oracles: they read a scene's attributes back out of every modality, without any learned part."""

from __future__ import annotations

from .accuracy import oracle_accuracy
from .audio import read_audio
from .image import read_image
from .imu import read_imu
from .maps import read_depth, read_thermal
from .table import read
from .video import read_video

__all__ = [
    "oracle_accuracy",
    "read",
    "read_audio",
    "read_depth",
    "read_image",
    "read_imu",
    "read_thermal",
    "read_video",
]
