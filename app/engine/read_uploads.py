"""The process behind `anygen.app.engine.reading`: reads files, writes clean copies."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anygen.errors import AnyGenError, BadArgument, BadMedia
from anygen.media import load_media
from anygen.modality import Modality

from ..attachments import SUFFIXES
from .child import channel
from .workspace import write_bytes, write_new

MOST_MEMORY = 6 * 2**30
"""Bytes of address space; half of it goes to libraries."""

LONGEST_SIDE = 1536
"""Pixels of an image that is kept: several times what the towers look at."""


def main() -> None:
    """Answer orders until the parent is gone."""
    orders, send = channel()
    _limit_memory()
    for order in orders:
        try:
            send({"id": _copy(order)})
        except AnyGenError as error:
            send({"code": error.code, "sentence": str(error)})
        except MemoryError:
            send({"code": "limit_exceeded", "sentence": "the file needs too much memory; make it smaller"})
        except Exception as error:  # whatever a decoder raises on a stranger's bytes
            kind = type(error).__name__
            sentence = f"the file cannot be read ({kind}); save it again as PNG, WAV or MP4"
            send({"code": "bad_media", "sentence": sentence})


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _copy(order: Mapping[str, Any]) -> str:
    data = Path(order["path"]).read_bytes()
    given = order["modality"]
    modality = Modality(given) if given is not None else tell_modality(data, order["suffix"])
    media = load_media(modality, data)
    if order["unchanged"]:
        return write_bytes(data, modality, Path(order["folder"]))
    if modality is Modality.IMAGE:
        media.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return write_new(media, Path(order["folder"]))


def tell_modality(data: bytes, suffix: str) -> Modality:
    """Tell what an upload is.

    Args:
        data: its content.
        suffix: of its name, lower case.

    Returns:
        The modality.

    Raises:
        BadArgument: it cannot be told.
        BadMedia: the array cannot be read.
    """
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    advice = "attach it as depth, thermal or imu"
    if suffix != ".npy":
        raise BadArgument(
            f"found a file of type {suffix or 'unknown'!r}, expected a picture, sound, video, .csv or .npy; "
            f"save it as PNG, WAV or MP4, or {advice}"
        )
    import numpy as np

    try:
        shape = np.load(io.BytesIO(data), allow_pickle=False).shape
    except (OSError, ValueError, EOFError, AttributeError, SyntaxError):
        raise BadMedia(f"the .npy file cannot be read as one array; save it again or {advice}") from None
    if len(shape) == 2 and 6 in shape and max(shape) > 6:
        return Modality.IMU
    raise BadArgument(f"found an array of shape {shape}, which may be depth or thermal; {advice}")


if __name__ == "__main__":
    main()
