"""Reads a picture: background from the edge, color from the core, shape and size from the outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..visual import BACKGROUND_RGB, COLOR_RGB
from .silhouette import SIDE, Silhouette, read_silhouette

Array = NDArray[np.float32]
Reading = dict[str, str | None]

NAMES = ("shape", "color", "size", "background")
"""What a picture reveals."""

LEAST_CONTRAST = 45.0
"""RGB distance from the background below which there is no object; the palette's closest pair is 97 apart."""

COLOR_TOLERANCE = 65.0
"""RGB distance beyond which a color or background is none of the palette."""

BLEND_PENALTY = 0.2
"""Cost of explaining a color as palette color mixed with the background, against plain distance."""


def read_image(image: Image.Image) -> Reading:
    """Read shape, color, size and background; None for what cannot be read.

    Args:
        image: Picture of any mode and size.
    """
    return look(pixels_of(image))[0]


def look(pixels: Array) -> tuple[Reading, Silhouette | None]:
    """Read (h, w, 3) pixels in 0..255 and tell where the object is.

    Returns:
        The reading, and the silhouette or None when there is no single object.
    """
    nothing: Reading = dict.fromkeys(NAMES)
    smooth = ndimage.gaussian_filter(pixels, (0.8, 0.8, 0.0))
    border = _border(smooth)
    ground = np.median(border, axis=0)
    if np.mean(np.linalg.norm(border - ground, axis=1) < LEAST_CONTRAST) < 0.6:
        return nothing, None
    core = _core_color(smooth, ground)
    if core is None:
        return nothing, None
    direction = core - ground
    mask = ((smooth - ground) @ direction) / float(direction @ direction)
    silhouette = read_silhouette(mask.astype(np.float32))
    if silhouette is None:
        return nothing, None
    reading: Reading = {
        "shape": silhouette.shape,
        "color": nearest_color(core, ground),
        "size": silhouette.size,
        "background": _nearest_background(ground),
    }
    return reading, silhouette


def nearest_color(core: Array, ground: Array) -> str | None:
    """Palette color whose mixture with the background best explains `core`, or None when none is close.

    Soft decoders mix the background into thin shapes, so a share of 0.65 to 1.1 of the color is allowed, at a
    cost.
    """
    palette = np.array(list(COLOR_RGB.values()), np.float64)
    direction = palette - ground
    length = np.maximum((direction**2).sum(1), 1.0)
    share = np.clip(((core - ground) * direction).sum(1) / length, 0.65, 1.1)
    share = (share + BLEND_PENALTY) / (1 + BLEND_PENALTY)
    error = ((core - ground - share[:, None] * direction) ** 2).sum(1)
    cost = np.sqrt(error + BLEND_PENALTY * (1 - share) ** 2 * length)
    best = int(np.argmin(cost))
    return list(COLOR_RGB)[best] if cost[best] < COLOR_TOLERANCE else None


def pixels_of(image: Image.Image) -> Array:
    """RGB floats with a short side of 64."""
    picture = image.convert("RGB")
    short = min(picture.size)
    if short != SIDE:
        width, height = (max(1, round(side * SIDE / short)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32)


def _border(pixels: Array) -> Array:
    """The outermost two rows and columns, (n, 3)."""
    parts = (pixels[:2], pixels[-2:], pixels[2:-2, :2], pixels[2:-2, -2:])
    return np.concatenate([part.reshape(-1, 3) for part in parts])


def _core_color(smooth: Array, ground: Array) -> Array | None:
    """Median color of the pixels that differ most from the background; None when nothing differs."""
    flat = smooth.reshape(-1, 3)
    distance = np.linalg.norm(flat - ground, axis=1)
    count = max(8, flat.shape[0] // 100)
    top = np.partition(distance, -count)[-count:]
    if float(np.median(top)) < LEAST_CONTRAST:
        return None
    strong = flat[distance >= 0.75 * float(np.median(top))]
    core = np.median(strong, axis=0)
    direction = core - ground
    share = ((flat - ground) @ direction) / float(direction @ direction)
    inner = flat[(share > 0.85) & (distance < 1.3 * np.linalg.norm(direction))]
    return np.median(inner, axis=0) if len(inner) >= 8 else core


def _nearest_background(ground: Array) -> str | None:
    distance = np.linalg.norm(np.array(list(BACKGROUND_RGB.values()), np.float64) - ground, axis=1)
    best = int(np.argmin(distance))
    return list(BACKGROUND_RGB)[best] if distance[best] < COLOR_TOLERANCE else None
