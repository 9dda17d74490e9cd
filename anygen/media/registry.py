"""The one way in and the one way out: tables of readers and writers keyed by `Modality`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from anygen.errors import BadArgument, BadMedia
from anygen.modality import MEDIA_INPUTS, Modality

from .atomic import atomic_path
from .audio import read_audio, write_wav
from .container import open_container
from .image import open_image, read_image, write_png
from .limits import MediaLimits
from .sensors import read_depth, read_imu, read_thermal
from .source import open_source
from .types import IMU, Audio, Depth, Thermal, Video
from .video import read_video, write_mp4

if TYPE_CHECKING:
    from PIL.Image import Image

Media: TypeAlias = Union["Image", Audio, Video, Depth, Thermal, IMU]
"""Any media object."""

_TYPES: dict[type, Modality] = {
    Audio: Modality.AUDIO,
    Video: Modality.VIDEO,
    Depth: Modality.DEPTH,
    Thermal: Modality.THERMAL,
    IMU: Modality.IMU,
}
_READERS: dict[Modality, Callable[[object, MediaLimits, float | None], Any]] = {
    Modality.IMAGE: read_image,
    Modality.AUDIO: read_audio,
    Modality.VIDEO: read_video,
    Modality.DEPTH: read_depth,
    Modality.THERMAL: read_thermal,
    Modality.IMU: read_imu,
}
_RATED = frozenset({Modality.AUDIO, Modality.VIDEO, Modality.IMU})


def _write_array(field: str) -> Callable[[Any, Path, Mapping[str, str]], None]:
    """A writer of one array attribute as `.npy`."""

    def write(media: Any, path: Path, tags: Mapping[str, str]) -> None:
        if tags:
            raise BadArgument(
                "found metadata for a .npy file, which has no place for it; save without metadata"
            )
        with open(path, "wb") as file:
            np.save(file, np.ascontiguousarray(getattr(media, field)), allow_pickle=False)

    return write


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """How one modality is written."""

    suffix: str
    """What the file's name must end in."""
    write: Callable[[Any, Path, Mapping[str, str]], None]
    """Writes (media, path, tags)."""


_WRITERS: dict[Modality, _Writer] = {
    Modality.IMAGE: _Writer(suffix=".png", write=write_png),
    Modality.AUDIO: _Writer(suffix=".wav", write=write_wav),
    Modality.VIDEO: _Writer(suffix=".mp4", write=write_mp4),
    Modality.DEPTH: _Writer(suffix=".npy", write=_write_array("meters")),
    Modality.THERMAL: _Writer(suffix=".npy", write=_write_array("values")),
    Modality.IMU: _Writer(suffix=".npy", write=_write_array("samples")),
}


def modality_of(media: object) -> Modality:
    """The modality of a media object.

    Raises:
        BadArgument: not a media object.
    """
    from PIL.Image import Image

    modality = Modality.IMAGE if isinstance(media, Image) else _TYPES.get(type(media))
    if modality is None:
        expected = "a PIL image or an anygen Audio, Video, Depth, Thermal or IMU"
        raise BadArgument(f"found {type(media).__name__}, expected {expected}; load it with load_media")
    return modality


def load_media(
    modality: Modality | str, source: object, limits: MediaLimits | None = None, *, rate: float | None = None
) -> Any:
    """Read one item and check it, within limits that hold while decoding.

    Args:
        modality: What the source is to be read as; never TEXT.
        source: A path, the content of a file as `bytes`, a PIL image, a numpy array, or a media object.
        limits: `MediaLimits()` when None.
        rate: For arrays, which cannot carry it: samples a second of audio, frames a second of video. For IMU
            files and arrays: samples a second, 400 assumed with a warning in the log when None.

    Returns:
        A `PIL.Image.Image` (RGB), `Audio`, `Video`, `Depth`, `Thermal` or `IMU`.

    Raises:
        BadArgument: no such modality, or a rate where the source brings its own or has none.
        BadMedia: missing, unreadable, damaged, or of another kind.
        LimitExceeded: larger than the limits.
    """
    if not isinstance(modality, str) or modality not in _READERS:
        allowed = ", ".join(MEDIA_INPUTS)
        raise BadArgument(f"found modality {str(modality)!r}, expected one of {allowed}")
    modality = Modality(modality)
    if type(source) in _TYPES and _TYPES[type(source)] is not modality:
        raise BadMedia(
            f"{modality}: found anygen.{type(source).__name__}, expected {modality}; name it by its kind"
        )
    if rate is not None:
        _check_rate(modality, source, rate)
    return _READERS[modality](source, limits or MediaLimits(), rate)


def _check_rate(modality: Modality, source: object, rate: object) -> None:
    """Raise BadArgument for a rate that is no number or that nothing would use."""
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or not 0 < rate < float("inf"):  # type: ignore[operator]
        raise BadArgument(f"rate is {rate!r}, expected a finite number above 0")
    own = type(source) in _TYPES or (
        isinstance(source, str | os.PathLike | bytes) and modality is not Modality.IMU
    )
    if modality not in _RATED or own:
        raise BadArgument(f"found a rate for {modality} that needs none; leave it out")


def save_media(
    media: Any, path: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write one item: PNG, 16-bit PCM WAV, H.264 MP4, or `.npy` for depth, thermal and IMU.

    The file appears whole or not at all, and equal content gives equal bytes. A `.npy` file does not hold
    the rate of an IMU trace.

    Args:
        media: A PIL image (RGB), `Audio`, `Video`, `Depth`, `Thermal` or `IMU`.
        path: Where to; its ending must be the one of the modality. An existing file is replaced.
        metadata: Provenance tags, text to text: PNG text entries, a JSON comment in WAV and MP4. `load_tags`
            reads them back.

    Raises:
        BadArgument: not a media object, another ending, tags that are not text, or a place that cannot be
            written.
    """
    modality = modality_of(media)
    writer = _WRITERS[modality]
    if Path(path).suffix.lower() != writer.suffix:
        name = Path(path).name
        raise BadArgument(
            f"found the file name {name!r} for {modality}, expected it to end in {writer.suffix}"
        )
    tags = dict(metadata or {})
    for key, value in tags.items():
        if not (isinstance(key, str) and isinstance(value, str)) or not (0 < len(key) < 80 and key.isascii()):
            raise BadArgument(f"found the metadata entry {key!r}, expected a short ASCII name and a text")
    with atomic_path(path) as draft:
        writer.write(media, draft, tags)


def load_tags(path: str | os.PathLike[str] | bytes, limits: MediaLimits | None = None) -> dict[str, str]:
    """The provenance tags that `save_media` wrote; empty for files without any.

    Raises:
        BadMedia: neither an image nor an audio or video file.
    """
    limits = limits or MediaLimits()
    with open_source(path, "image", limits) as file:
        is_png = file.read(4) == b"\x89PNG"
    if is_png:
        with open_image(path, "image", limits) as image:
            return {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
    with (
        open_source(path, "audio", limits) as file,
        open_container(file, "media", "audio", limits) as container,
    ):
        comment = container.metadata.get("comment", "")
    try:
        tags = json.loads(comment)
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {}
