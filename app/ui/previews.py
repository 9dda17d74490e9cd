"""Pictures of what browsers cannot show by themselves: depth maps, thermal maps and motion traces."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from anygen.modality import Modality

DEPTH_RAMP = ((13, 20, 60), (32, 92, 150), (70, 175, 170), (190, 220, 150), (252, 244, 200))
"""Colors of depth maps from the farthest to the nearest."""
HEAT_RAMP = ((8, 8, 24), (92, 20, 110), (200, 55, 75), (248, 150, 40), (252, 250, 190))
"""Colors of thermal maps from the coldest to the hottest."""
_AXES = ("#c8452c", "#2e8b6f", "#3569b8", "#e39b7c", "#8fc7b2", "#93b2e0")
_SIDE = 256
_PLOT = (480, 200)


def sensor_picture(modality: Modality, path: Path) -> bytes:
    """Draw a depth map, thermal map or motion trace.

    Args:
        modality: DEPTH, THERMAL or IMU.
        path: `.npy` file of the workspace.

    Returns:
        A PNG.
    """
    values = np.load(path, allow_pickle=False).astype(np.float64)
    if modality is Modality.IMU:
        picture = _traces(values)
    elif modality is Modality.DEPTH:
        picture = _colored(-values, known=values > 0, ramp=DEPTH_RAMP)
    else:
        picture = _colored(values, known=np.ones_like(values, dtype=bool), ramp=HEAT_RAMP)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _colored(values: np.ndarray, *, known: np.ndarray, ramp: tuple[tuple[int, int, int], ...]) -> Image.Image:
    """A (h, w) map in the colors of a ramp from its lowest to its highest value; black where unknown."""
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    stops = np.linspace(0, 1, len(ramp))
    channels = [np.interp(share, stops, [color[c] for color in ramp]) for c in range(3)]
    pixels = np.where(known[..., None], np.stack(channels, axis=-1), 0)
    picture = Image.fromarray(pixels.astype(np.uint8))
    scale = _SIDE / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _traces(samples: np.ndarray) -> Image.Image:
    """Six lines over time: accelerometer above, gyroscope below, each in a scale of its own."""
    width, height = _PLOT
    picture = Image.new("RGB", (2 * width, 2 * height), "#fbf9f5")
    draw: Any = ImageDraw.Draw(picture)
    half = height
    for row in range(min(6, samples.shape[0])):
        group = samples[:3] if row < 3 else samples[3:]
        centre = group.mean(axis=1, keepdims=True)
        reach = max(float(np.abs(group - centre).max()), 1e-6)
        line = (samples[row] - centre[row % 3]) / reach
        pick = np.linspace(0, line.size - 1, min(line.size, 2 * width)).astype(int)
        x = np.linspace(10, 2 * width - 10, pick.size)
        y = (half / 2 if row < 3 else 3 * half / 2) - line[pick] * (half / 2 - 14)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=_AXES[row], width=3)
    draw.line([(10, half), (2 * width - 10, half)], fill="#d8d2c4", width=2)
    return picture.resize(_PLOT, Image.Resampling.LANCZOS)
