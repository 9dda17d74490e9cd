"""Images: files, arrays and PIL images to one clean RGB `PIL.Image.Image`, and PNG files."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from anygen.errors import BadArgument, BadMedia, LimitExceeded

from .limits import MediaLimits, check_size
from .source import decoding, describe_bytes, is_file_source, label_of, open_source

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow readers that a stranger's file may reach; the content decides among them, not the name."""

_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
)
_WARNINGS_LOCK = threading.Lock()


def read_image(source: object, limits: MediaLimits, rate: float | None = None) -> Image:
    """Read an image as RGB: upright, 8 bits a channel, transparency over white, metadata dropped.

    Args:
        source: A path, file content as `bytes`, a PIL image, or an array: uint8 or uint16 (h, w), uint8 (h,
            w, 3) or (h, w, 4), or floats in [0, 1] of these shapes.
        limits: Enforced on the declared size, before any pixel is decoded.
        rate: Must be None; here so that all readers look alike.

    Raises:
        BadMedia: not an image, damaged, or of a kind that has no honest RGB form.
        LimitExceeded: too many bytes or pixels.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        check_size("image", *source.size, limits)
        with decoding("image", "image"):
            return _to_rgb(source, "image")
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        check_size("image array", *image.size, limits)
        return _to_rgb(image, "image array")
    if not is_file_source(source):
        kind = type(source).__name__
        raise BadMedia(f"image: found {kind}, expected a path, bytes, a PIL image or a numpy array")
    with open_image(source, "image", limits) as image:
        if getattr(image, "is_animated", False):
            logger.warning("%s is animated: its first frame is used", label_of(source, "image"))
        return _to_rgb(image, label_of(source, "image"))


@contextmanager
def open_image(source: object, kind: str, limits: MediaLimits) -> Iterator[Image]:
    """Open an image file and decode its pixels, after its header passed the limits.

    Yields:
        The PIL image in the file's own mode, pixels loaded, orientation not yet applied.

    Raises:
        BadMedia: see `read_image`.
        LimitExceeded: see `read_image`.
    """
    label = label_of(source, kind)
    # The lock keeps threads from restoring each other's warning filters. Pillow only warns between 89 and 179
    # megapixels; `check_size` has the last word there.
    with open_source(source, kind, limits) as file, _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open_header(file, label, kind) as image:
            check_size(label, *image.size, limits)
            with decoding(label, kind):
                image.load()
                yield image


def _open_header(file: BinaryIO, label: str, kind: str) -> Image:
    """The image with nothing but its header read."""
    from PIL import Image

    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise LimitExceeded(f"{label}: found far too many pixels for an {kind}; make it smaller") from None
    except Exception:
        expected = ", ".join(FORMATS)
        raise BadMedia(
            f"{label}: found {describe_bytes(file)}, expected {expected}; convert the file"
        ) from None


def _to_rgb(image: Image, label: str) -> Image:
    """Upright RGB without metadata. Raises BadMedia for a mode that has no honest 8-bit form."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns most 16-bit pictures white.
        wide = np.asarray(upright).astype(np.uint32)
        rgb = Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    elif upright.mode not in _EIGHT_BIT_MODES:
        found = f"{label}: found pixels of mode {upright.mode}"
        raise BadMedia(f"{found}, expected 8-bit color or 8 or 16-bit gray; convert the image first")
    elif upright.has_transparency_data:
        over = upright.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    else:
        rgb = upright.convert("RGB")
    rgb.info = {}
    return rgb


def _from_array(array: np.ndarray) -> Image:
    """A PIL image of an array. Raises BadMedia for other shapes, types and ranges than `read_image` names."""
    from PIL import Image

    found = f"image array: found {array.dtype} {array.shape}"
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or (array.ndim == 3 and channels not in (3, 4)) or array.size == 0:
        raise BadMedia(f"{found}, expected (height, width), (height, width, 3) or (height, width, 4)")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise BadMedia(
                f"{found} with values from {low:g} to {high:g}, expected floats in 0 to 1; rescale it"
            )
        array = np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)
    if array.dtype == np.uint8 or (array.dtype == np.uint16 and array.ndim == 2):
        return Image.fromarray(np.ascontiguousarray(array))
    raise BadMedia(f"{found}, expected uint8, gray uint16 or floats in 0 to 1; convert it")


def write_png(image: Any, path: str | os.PathLike[str], tags: Mapping[str, str]) -> None:
    """Write an RGB image as PNG with one text entry for each tag.

    Raises:
        BadArgument: the image is not in mode RGB.
    """
    from PIL.PngImagePlugin import PngInfo

    if image.mode != "RGB":
        raise BadArgument(f"image has mode {image.mode}, expected RGB; convert it before saving")
    info = PngInfo()
    for key, value in tags.items():
        info.add_itxt(key, value)
    # A bare copy: the writer would otherwise carry over text, ICC and EXIF of wherever the image came from.
    bare = image.copy()
    bare.info = {}
    bare.save(path, format="PNG", pnginfo=info)
