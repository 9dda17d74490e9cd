"""Reads depth and thermal maps: one number per pixel instead of a color, the outline as in a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anygen.media import Depth, Thermal

from ..visual import TEMPERATURE
from .silhouette import SIDE, read_silhouette

Array = NDArray[np.float32]
Reading = dict[str, str | None]

DEPTH_NAMES = ("shape", "size")
"""What a depth map reveals."""

THERMAL_NAMES = ("shape", "color", "size")
"""What a thermal map reveals."""

LEAST_STEP = 0.5
"""Metres by which an object stands before the background; the world has 1.5 and 3."""

LEAST_WARMTH = 0.1
"""Contrast of an object that a thermal map shows; the world has 0.23 to 0.85."""

LEVEL_TOLERANCE = 0.08
"""Distance of a temperature from the nearest color's beyond which no color is read."""


def read_depth(depth: Depth) -> Reading:
    """Read shape and size of the nearer object; None for what cannot be read.

    Args:
        depth: Any size; pixels of 0 m, which mean no data, are filled with the median depth.
    """
    meters = depth.meters
    known = meters > 0
    if known.mean() < 0.5:
        return dict.fromkeys(DEPTH_NAMES)
    filled = np.where(known, meters, np.median(meters[known]))
    reading, _ = _look(-_fit(ndimage.median_filter(filled, 3)), LEAST_STEP)
    return reading


def read_thermal(thermal: Thermal) -> Reading:
    """Read shape, size and the color that the temperature stands for; None for what cannot be read.

    Args:
        thermal: Any size.
    """
    reading, level = _look(_fit(thermal.values), LEAST_WARMTH)
    color = None
    if level is not None:
        distance = {name: abs(level - value) for name, value in TEMPERATURE.items()}
        nearest = min(distance, key=distance.__getitem__)
        color = nearest if distance[nearest] < LEVEL_TOLERANCE else None
    return {"shape": reading["shape"], "color": color, "size": reading["size"]}


def _look(values: Array, least: float) -> tuple[Reading, float | None]:
    """Shape and size of what rises from the background, and its level; Nones where nothing rises `least`."""
    nothing: Reading = dict.fromkeys(DEPTH_NAMES)
    smooth: Array = ndimage.gaussian_filter(values, 0.8)
    ground = float(np.median(_border(smooth)))
    rise = smooth - ground
    count = max(8, rise.size // 100)
    top = float(np.median(np.partition(rise.reshape(-1), -count)[-count:]))
    if top < least:
        return nothing, None
    silhouette = read_silhouette((rise / top).astype(np.float32))
    if silhouette is None:
        return nothing, None
    depth = ndimage.distance_transform_edt(rise > 0.5 * top)
    level = float(np.median(values[depth >= 0.7 * depth.max()]))
    return {"shape": silhouette.shape, "size": silhouette.size}, level


def _fit(values: Array) -> Array:
    """The map with a short side of 64."""
    short = min(values.shape)
    if short == SIDE:
        return values.astype(np.float32)
    height, width = (max(1, round(side * SIDE / short)) for side in values.shape)
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _border(values: Array) -> Array:
    """The outermost two rows and columns, flat."""
    parts = (values[:2], values[-2:], values[2:-2, :2], values[2:-2, -2:])
    return np.concatenate([part.reshape(-1) for part in parts])
