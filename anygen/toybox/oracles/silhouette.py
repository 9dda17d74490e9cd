"""Reads shape, size and place from a soft mask of one object: shared by the image, depth and thermal oracles.

The mask is brought to a canonical frame (centroid in the middle, root-mean-square spread as the unit), where
position and scale no longer matter, and correlated with drawn templates of the six shapes. Every shape has a
few variants (a thinner ring, a sharper star), blurs, small shifts and small scale errors, so that somebody
else's star or a soft decoder's cross is recognised too. The best template also tells how far the shape
reaches, hence the size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

SIDE = 64
"""Short side in pixels at which masks are read."""

PATCH = 32
"""Side of the canonical patch in samples."""

REACH = 2.4
"""Half the canonical patch's side in units of the spread."""

LEAST_MATCH = 0.80
"""Correlation below which the shape is not read."""

SIZE_SPLIT = 0.21
"""Half extent, as a fraction of the side, that parts small (0.16) from large (0.28)."""

SIZE_RANGE = (0.09, 0.40)
"""Half extents outside this range are neither small nor large."""

LEAST_MASS = 0.004
"""Share of the picture that an object must cover."""

BLURS = (0.03, 0.15, 0.30)
SCALES = (0.90, 0.95, 1.0, 1.05, 1.10)
SHIFTS = (-0.12, 0.0, 0.12)


@dataclass(frozen=True)
class Silhouette:
    """What a mask shows; shape and size are None when nothing matches."""

    shape: str | None
    size: str | None
    center: tuple[float, float]
    """x and y of the middle of the object's box, as fractions of the mask's sides."""
    radius: float
    """Half the extent as a fraction of the short side."""
    match: float
    """Correlation with the best template."""


def soften(mask: Array) -> Array:
    """Push values near 0 and 1 to the ends, keeping one half in place: noise goes, edges stay."""
    return np.clip((mask - 0.2) / 0.6, 0.0, 1.0)


def main_object(mask: Array) -> Array | None:
    """Keep the largest connected piece of a mask in 0..1; None when it is too small or not alone."""
    soft = soften(mask)
    labels, count = ndimage.label(soft > 0.3)
    if count == 0:
        return None
    masses = ndimage.sum_labels(soft, labels, np.arange(1, count + 1))
    best = int(np.argmax(masses))
    if masses[best] < LEAST_MASS * mask.size or masses[best] < 0.6 * float(soft.sum()):
        return None
    near = ndimage.binary_dilation(labels == best + 1, iterations=2)
    return np.where(near, soft, 0.0).astype(np.float32)


def read_silhouette(mask: Array) -> Silhouette | None:
    """Recognise the object in a mask.

    Args:
        mask: (h, w) share of each pixel that the object covers, about 0..1, short side near 64.

    Returns:
        What was read, or None when there is no single object.
    """
    thing = main_object(mask)
    if thing is None:
        return None
    x, y, spread = _moments(thing)
    grid = np.linspace(-REACH, REACH, PATCH, dtype=np.float32) * spread
    rows, columns = np.meshgrid(y + grid, x + grid, indexing="ij")
    patch = ndimage.map_coordinates(thing, [rows, columns], order=1, mode="constant").reshape(-1)
    bank = _bank()
    scores = bank.patches @ _standardise(patch[None])[0]
    best = int(np.argmax(scores))
    short = min(mask.shape)
    radius = float(bank.reaches[best]) * spread / short
    match = float(scores[best])
    sure = match >= LEAST_MATCH
    size = ("large" if radius > SIZE_SPLIT else "small") if SIZE_RANGE[0] < radius < SIZE_RANGE[1] else None
    offset = bank.offsets[best] * spread
    height, width = mask.shape
    center = (float((x + offset[0] + 0.5) / width), float((y + offset[1] + 0.5) / height))
    return Silhouette(bank.shapes[best] if sure else None, size if sure else None, center, radius, match)


def _moments(mask: Array) -> tuple[float, float, float]:
    """Centroid x, y and root-mean-square distance from it, in pixels."""
    total = float(mask.sum())
    columns, rows = np.arange(mask.shape[1]), np.arange(mask.shape[0])
    across, down = mask.sum(0) / total, mask.sum(1) / total
    x, y = float(across @ columns), float(down @ rows)
    variance = float(across @ (columns - x) ** 2 + down @ (rows - y) ** 2)
    return x, y, max(variance, 1e-6) ** 0.5


def _standardise(rows: Array) -> Array:
    """Zero mean, unit length in every row, so that a dot product is a correlation."""
    centred = rows - rows.mean(1, keepdims=True)
    return (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)).astype(np.float32)


@dataclass(frozen=True)
class _Bank:
    """All templates: standardised patches (n, PATCH * PATCH) and what each one stands for."""

    patches: Array
    shapes: tuple[str, ...]
    reaches: Array
    """Half extent in units of the observed spread."""
    offsets: Array
    """Box centre minus centroid (x, y) in units of the observed spread."""


@lru_cache(maxsize=1)
def _bank() -> _Bank:
    """Draw every template once."""
    resolution = 192
    unit = 1.6
    axis = np.linspace(-unit, unit, resolution)
    x, y = np.meshgrid(axis, axis)
    per_radius = (resolution - 1) / (2 * unit)
    grid = np.linspace(-REACH, REACH, PATCH)
    patches, shapes, reaches, offsets = [], [], [], []
    for shape, inside in _VARIANTS:
        solid = inside(x, y).astype(np.float32)
        box_y, box_x = (np.flatnonzero(solid.any(a))[[0, -1]].astype(float) for a in (1, 0))
        extent = max(np.ptp(box_x), np.ptp(box_y)) / 2
        for blur in BLURS:
            soft = soften(ndimage.gaussian_filter(solid, blur * 0.6 * per_radius))
            cx, cy, spread = _moments(soft)
            for scale in SCALES:
                for dy in SHIFTS:
                    for dx in SHIFTS:
                        rows, columns = np.meshgrid(
                            cy + (grid + dy) * spread * scale,
                            cx + (grid + dx) * spread * scale,
                            indexing="ij",
                        )
                        patches.append(ndimage.map_coordinates(soft, [rows, columns], order=1).reshape(-1))
                        shapes.append(shape)
                        reaches.append(extent / (spread * scale))
                        middle = np.array([box_x.mean() - cx, box_y.mean() - cy]) / (spread * scale)
                        offsets.append(middle - np.array([dx, dy]))
    return _Bank(
        patches=_standardise(np.array(patches, np.float32)),
        shapes=tuple(shapes),
        reaches=np.array(reaches, np.float32),
        offsets=np.array(offsets, np.float32),
    )


Inside = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]


def _triangle(height: float) -> Inside:
    """Upright triangle with base 2 and the given height."""
    return lambda x, y: (y < height / 2) & (np.abs(x) < (y + height / 2) / height)


def _star(inner: float) -> Inside:
    """Five points up, the notches at `inner` of the points' radius."""
    tenth = np.pi / 5

    def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        angle = np.mod(np.arctan2(x, -y), 2 * tenth)
        angle = np.minimum(angle, 2 * tenth - angle)
        across = np.sin(angle) * (1 - inner * np.cos(tenth)) + np.cos(angle) * inner * np.sin(tenth)
        edge = inner * np.sin(tenth) / across
        return np.hypot(x, y) < edge

    return inside


def _ring(hole: float) -> Inside:
    return lambda x, y: (np.hypot(x, y) < 1) & (np.hypot(x, y) > hole)


def _cross(arm: float) -> Inside:
    return lambda x, y: (np.maximum(abs(x), abs(y)) < 1) & (np.minimum(abs(x), abs(y)) < arm)


_VARIANTS: tuple[tuple[str, Inside], ...] = (
    ("circle", lambda x, y: np.hypot(x, y) < 1),
    ("square", lambda x, y: np.maximum(abs(x), abs(y)) < 1),
    *(("triangle", _triangle(height)) for height in (2.0, 1.732, 1.5)),
    *(("star", _star(inner)) for inner in (0.38, 0.45, 0.55)),
    *(("ring", _ring(hole)) for hole in (0.45, 0.55, 0.65, 0.75)),
    *(("cross", _cross(arm)) for arm in (0.22, 0.28, 0.34, 0.42)),
)
