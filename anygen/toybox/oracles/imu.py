"""Reads a motion trace: the axis and sign of the push for the motion, its height for the size."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anygen.media import IMU

from ..sensors import AMPLITUDE, AXIS

Reading = dict[str, str | None]

NAMES = ("size", "motion")
"""What a trace reveals; the size only of what moves."""

SMOOTH_SECONDS = 0.05
"""Span over which sensor noise is averaged."""

STILL_BELOW = 0.4
"""Acceleration in m/s^2 below which nothing moves; the gentlest push has 1."""

CLEAR = 0.6
"""Height of the other axis's swing, as a share of the stronger one, from which no direction is read."""


def read_imu(imu: IMU) -> Reading:
    """Read size and motion; None for what cannot be read, which is the size of what stands still.

    Args:
        imu: Any length and rate; gravity and constant offsets do not matter.
    """
    span = max(1, round(SMOOTH_SECONDS * imu.sample_rate))
    plane = imu.samples[:2].astype(np.float64)
    smooth = ndimage.uniform_filter1d(plane - np.median(plane, axis=1, keepdims=True), span, axis=1)
    heights = np.abs(smooth).max(axis=1)
    row = int(np.argmax(heights))
    height = float(heights[row])
    if height < STILL_BELOW:
        return {"size": None, "motion": "still"}
    if heights[1 - row] > CLEAR * height:
        return dict.fromkeys(NAMES)
    first = smooth[row, int(np.argmax(np.abs(smooth[row]) > 0.5 * height))]
    motion = next(name for name, (axis, sign) in AXIS.items() if axis == row and sign * first > 0)
    split = float(np.sqrt(AMPLITUDE["small"] * AMPLITUDE["large"]))
    return {"size": "small" if height > split else "large", "motion": motion}
