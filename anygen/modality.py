"""The seven modalities, the one key every table in this project is indexed by."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    """What a message part, a tower, a projection or a decoder deals in."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DEPTH = "depth"
    THERMAL = "thermal"
    IMU = "imu"


MEDIA_INPUTS: tuple[Modality, ...] = tuple(m for m in Modality if m is not Modality.TEXT)
"""Modalities that enter through the encoder rather than the tokenizer."""

GENERATED: tuple[Modality, ...] = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)
"""Modalities that have signal tokens, an output projection and a decoder."""
