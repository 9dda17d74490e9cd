"""Pictures that pages draw of media: maps with a scale, waves of sounds, traces of motion."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .previews import DEPTH_RAMP, HEAT_RAMP

Ramp = tuple[tuple[int, int, int], ...]
"""Colors from the lowest to the highest value."""

NEAR_AND_FAR: Ramp = tuple(reversed(DEPTH_RAMP))
"""Colors of depth from 0 m on."""

COLD_AND_HOT: Ramp = HEAT_RAMP
"""Colors of heat from 0 on."""

ACCELEROMETER, GYROSCOPE = ("acceleration, m/s\u00b2", "rotation, rad/s")
"""Titles of the two halves of a motion trace."""

_POINTS = 400
_WAVE = (640, 120)


def color_map(values: np.ndarray, *, low: float, high: float, ramp: Ramp, side: int = 256) -> bytes:
    """Draw a map in false colors on a fixed scale.

    Args:
        values: (h, w).
        low: value of the first color; what is below gets it too.
        high: value of the last color; what is above gets it too.
        ramp: the colors.
        side: pixels of the picture's longer side.

    Returns:
        A PNG.
    """
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    stops = np.linspace(0, 1, len(ramp))
    channels = [np.interp(share, stops, [color[c] for color in ramp]) for c in range(3)]
    picture = Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return _png(picture.resize(size, Image.Resampling.BICUBIC))


def scale_bar(*, low: str, high: str, ramp: Ramp) -> str:
    """The legend of a color map.

    Args:
        low: words at the first color.
        high: words at the last color.
        ramp: the colors.

    Returns:
        HTML for `st.html`.
    """
    stops = ", ".join(f"rgb{color}" for color in ramp)
    bar = f"height:.55rem;border-radius:.3rem;background:linear-gradient(to right, {stops})"
    words = "display:flex;justify-content:space-between;font-size:.8rem;opacity:.75"
    ends = f"<span>{html.escape(low)}</span><span>{html.escape(high)}</span>"
    label = html.escape(f"color scale from {low} to {high}", quote=True)
    inside = f'<div style="{bar}"></div><div style="{words}">{ends}</div>'
    return f'<div role="img" aria-label="{label}">{inside}</div>'


def wave_picture(samples: np.ndarray, *, color: str = "#c8452c") -> bytes:
    """Draw the loudness of a sound over time.

    Args:
        samples: (n,) or (channels, n) in -1 to 1.
        color: of the wave.

    Returns:
        A PNG with a transparent ground.
    """
    width, height = _WAVE
    mono = samples.mean(axis=0) if samples.ndim == 2 else samples
    picture = Image.new("RGBA", _WAVE, (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    bars = np.array_split(mono.astype(np.float64), min(width // 4, max(1, mono.size)))
    for index, part in enumerate(bars):
        reach = max(1.0, float(np.abs(part).max()) * (height / 2 - 4))
        x = index * width / len(bars)
        draw.rounded_rectangle((x, height / 2 - reach, x + 2, height / 2 + reach), radius=1, fill=color)
    return _png(picture)


def wave_of_file(path: str | Path) -> bytes:
    """Draw the loudness of a sound file of the workspace.

    Args:
        path: WAV file.

    Returns:
        A PNG.

    Raises:
        BadMedia: the file cannot be read.
    """
    from anygen.media import load_media
    from anygen.modality import Modality

    return wave_picture(load_media(Modality.AUDIO, path).samples)


def motion_chart(samples: np.ndarray, rate: float) -> Any:
    """Chart a motion trace: accelerations above, rotations below.

    Args:
        samples: (6, n), accelerometer x y z in m/s^2, gyroscope x y z in rad/s.
        rate: samples a second.

    Returns:
        An `altair.Chart`; gravity (9.81 on z) is left in.
    """
    import altair as alt

    count = samples.shape[1]
    blocks = np.array_split(np.arange(count), min(_POINTS, count))
    rows = [
        {
            "time": round(float(block.mean()) / rate, 3),
            "value": round(float(samples[row, block].mean()), 4),
            "axis": "xyz"[row % 3],
            "sensor": ACCELEROMETER if row < 3 else GYROSCOPE,
        }
        for block in blocks
        for row in range(6)
    ]
    base = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("time:Q", title=None, axis=alt.Axis(format="~g", labelExpr="datum.label + ' s'")),
            color=alt.Color(
                "axis:N",
                title=None,
                scale=alt.Scale(domain=list("xyz"), range=["#c8452c", "#2e8b6f", "#3569b8"]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["time:Q", "axis:N", "value:Q"],
        )
    )
    halves = [
        base.transform_filter(alt.datum.sensor == title)
        .encode(y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)))
        .properties(height=95, width="container")
        for title in (ACCELEROMETER, GYROSCOPE)
    ]
    return alt.vconcat(*halves).resolve_scale(color="shared")


def _png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
