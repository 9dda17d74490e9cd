"""Which modality a file is, where nobody says: by its suffix, and for arrays by their shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anygen.config import unknown_name
from anygen.errors import BadArgument, BadMedia
from anygen.modality import MEDIA_INPUTS, Modality

SUFFIXES: dict[str, Modality] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"), Modality.IMAGE),
    **dict.fromkeys((".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"), Modality.AUDIO),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".webm", ".avi"), Modality.VIDEO),
    ".csv": Modality.IMU,
}
"""Modality by file suffix; `.npy` is told by its shape."""

_ADVICE = "say it in front, as in depth=FILE, thermal=FILE or imu=FILE"


def split_name(text: str) -> tuple[Modality, str]:
    """Tell the modality of FILE or MODALITY=FILE.

    Args:
        text: what the user typed.

    Returns:
        The modality and the file's name.

    Raises:
        BadArgument: when the modality is unknown or cannot be told.
    """
    head, sign, tail = text.partition("=")
    if sign and not Path(text).exists():
        valid = [m.value for m in MEDIA_INPUTS]
        if head not in valid:
            raise BadArgument(unknown_name(head, valid, "a modality of files"))
        return Modality(head), tail
    suffix = Path(text).suffix.lower()
    if suffix == ".npy":
        return _of_array(text), text
    if suffix not in SUFFIXES:
        raise BadArgument(f"Cannot tell what {text} is from its suffix; {_ADVICE}.")
    return SUFFIXES[suffix], text


def load_attachment(text: str) -> tuple[Modality, Any]:
    """Read FILE or MODALITY=FILE.

    Args:
        text: what the user typed.

    Returns:
        The modality and the medium.

    Raises:
        BadArgument: when the modality cannot be told.
        BadMedia: when the file cannot be read.
    """
    from anygen.media import load_media

    modality, name = split_name(text)
    return modality, load_media(modality, name)


def _of_array(name: str) -> Modality:
    import numpy as np

    try:
        shape = np.load(name, mmap_mode="r", allow_pickle=False).shape
    except (OSError, ValueError, EOFError):
        raise BadMedia(
            f"{name} cannot be read as a .npy array; check that it exists and is complete."
        ) from None
    if len(shape) == 2 and 6 in shape and max(shape) > 6:
        return Modality.IMU
    raise BadArgument(f"Cannot tell whether {name} is depth or thermal; {_ADVICE}.")
