"""Reads a film: a vote over what its frames show, and the track of the object's place for the motion."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygen.media import Video

from .image import NAMES as IMAGE_NAMES
from .image import look, pixels_of

Reading = dict[str, str | None]

NAMES = (*IMAGE_NAMES, "motion")
"""What a film reveals."""

MOST_FRAMES = 16
"""Frames read of a film, evenly spread."""

STILL_BELOW = 0.12
"""Travel over the film, as a fraction of the side, below which the object is still."""

MOVES_FROM = 0.17
"""Travel from which the object moves; between the two no motion is read. A full move is 0.35 to 0.45."""

STEEPEST = 0.6
"""Travel across the main direction, as a share of the travel along it, from which no direction is read."""


def read_video(video: Video) -> Reading:
    """Read shape, color, size, background and motion; None for what cannot be read.

    Args:
        video: A film of any size, length and rate.
    """
    count = len(video.frames)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
    votes: dict[str, Counter[str]] = {name: Counter() for name in IMAGE_NAMES}
    times, places = [], []
    for index in chosen:
        reading, silhouette = look(pixels_of(Image.fromarray(video.frames[index])))
        for name, value in reading.items():
            if value is not None:
                votes[name][value] += 1
        if silhouette is not None:
            times.append(index / max(count - 1, 1))
            places.append(silhouette.center)
    result: Reading = {name: _winner(votes[name], len(chosen)) for name in IMAGE_NAMES}
    enough = len(places) >= max(2, len(chosen) / 2)
    result["motion"] = _motion(np.array(times), np.array(places)) if enough else None
    return result


def _winner(votes: Counter[str], frames: int) -> str | None:
    """The value that most of the frames that show one agree on, if at least a third of all frames do."""
    if not votes:
        return None
    value, count = votes.most_common(1)[0]
    return value if count > votes.total() / 2 and count >= frames / 3 else None


def _motion(times: NDArray[np.float64], places: NDArray[np.float64]) -> str | None:
    """Direction of a robust straight line through the places, or still, or None when it is neither.

    The line's slope is the median over all pairs of moments at least a quarter of the film apart (Theil and
    Sen).
    """
    first, second = np.triu_indices(len(times), 1)
    gap = times[second] - times[first]
    apart = gap >= min(0.25, gap.max())
    slopes = (places[second] - places[first])[apart] / gap[apart, None]
    x, y = (float(value) for value in np.median(slopes, axis=0))
    travel, across = max(abs(x), abs(y)), min(abs(x), abs(y))
    if travel < STILL_BELOW:
        return "still"
    if travel < MOVES_FROM or across > STEEPEST * travel:
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"
