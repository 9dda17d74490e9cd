"""One table that reads the attributes out of any of the seven modalities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anygen.errors import BadArgument
from anygen.modality import Modality

from ..read_text import read_text
from .audio import read_audio
from .image import read_image
from .imu import read_imu
from .maps import read_depth, read_thermal
from .video import read_video

READERS: dict[Modality, Callable[[Any], dict[str, str | None]]] = {
    Modality.TEXT: read_text,
    Modality.IMAGE: read_image,
    Modality.AUDIO: read_audio,
    Modality.VIDEO: read_video,
    Modality.DEPTH: read_depth,
    Modality.THERMAL: read_thermal,
    Modality.IMU: read_imu,
}
"""Modality to its oracle."""


def read(modality: Modality, media: Any) -> dict[str, str | None]:
    """Read the attributes that a modality reveals.

    Args:
        modality: What the medium is.
        media: A `str`, a PIL image, or an `Audio`, `Video`, `Depth`, `Thermal` or `IMU`.

    Returns:
        Attribute to value for every attribute in `REVEALS[modality]`; None where it could not be read.

    Raises:
        BadArgument: `modality` is not one of the seven.
    """
    reader = READERS.get(modality)
    if reader is None:
        raise BadArgument(f"found modality {str(modality)!r}, expected one of {', '.join(Modality)}")
    return reader(media)
