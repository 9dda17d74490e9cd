"""Draws scenes as pictures, films, depth maps and thermal maps, anti-aliased, a batch at a time.

Each shape is an implicit function that is positive inside, in units of the picture's side; an edge pixel's
coverage is that distance in pixels plus one half, clamped to 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygen.media import Depth, Thermal, Video

from .scene import RADIUS, Scene

Array = NDArray[np.float32]

COLOR_RGB: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 60),
    "green": (50, 170, 70),
    "cyan": (60, 200, 220),
    "blue": (50, 80, 220),
    "purple": (150, 60, 190),
    "white": (240, 240, 240),
}
BACKGROUND_RGB: dict[str, tuple[int, int, int]] = {
    "black": (15, 15, 15),
    "gray": (120, 120, 120),
    "navy": (20, 25, 70),
    "brown": (95, 60, 30),
}
OBJECT_METERS = {"large": 1.0, "small": 2.5}
BACKGROUND_METERS = 4.0
TEMPERATURE = {
    "white": 1.0,
    "yellow": 0.92,
    "orange": 0.84,
    "red": 0.76,
    "purple": 0.62,
    "green": 0.54,
    "cyan": 0.46,
    "blue": 0.38,
}
BACKGROUND_TEMPERATURE = 0.15
DIRECTION = {
    "still": (0.0, 0.0),
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}
"""Unit step in picture coordinates (x right, y down)."""

TRAVEL = (0.35, 0.45)
MARGIN = 0.02
"""Least distance, as a fraction of the side, that is kept between the object and the frame."""

RING_HOLE = 0.55
CROSS_ARM = 0.34
STAR_INNER = 0.42


def _circle(x: Array, y: Array, r: Array) -> Array:
    return r - np.hypot(x, y)


def _square(x: Array, y: Array, r: Array) -> Array:
    return r - np.maximum(np.abs(x), np.abs(y))


def _triangle(x: Array, y: Array, r: Array) -> Array:
    # Upright isosceles triangle that fills the 2r x 2r box: apex (0, -r), base y = r; sides have slope 2.
    return np.minimum((r + y - 2 * np.abs(x)) / np.sqrt(5.0).astype(np.float32), r - y)


def _star(x: Array, y: Array, r: Array) -> Array:
    # Five points: fold the plane into one half wedge (36 degrees), where the edge is a single straight line.
    wedge = np.float32(2 * np.pi / 5)
    angle = np.arctan2(x, -y)
    angle = np.abs(angle - wedge * np.round(angle / wedge))
    distance = np.hypot(x, y)
    px, py = distance * np.cos(angle), distance * np.sin(angle)
    tip, inner = np.array([1.0, 0.0]), STAR_INNER * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = inner - tip
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    offset = float(normal @ tip)
    return (offset * r - (normal[0] * px + normal[1] * py)).astype(np.float32)


def _ring(x: Array, y: Array, r: Array) -> Array:
    distance = np.hypot(x, y)
    return np.minimum(r - distance, distance - RING_HOLE * r)


def _cross(x: Array, y: Array, r: Array) -> Array:
    ax, ay = np.abs(x), np.abs(y)
    arm = CROSS_ARM * r
    return np.maximum(np.minimum(r - ax, arm - ay), np.minimum(arm - ax, r - ay))


INSIDE: dict[str, Callable[[Array, Array, Array], Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
"""Shape name to its implicit function of (x, y, radius), positive inside."""


def coverage(shapes: Sequence[str], centers: Array, radii: Array, size: int) -> Array:
    """Share of each pixel that the object covers.

    Args:
        shapes: One shape name per picture.
        centers: Object centres (x, y) as fractions of the side, shape (n, 2).
        radii: Half extents as fractions of the side, shape (n,).
        size: Side in pixels.

    Returns:
        Coverage in 0..1, shape (n, size, size).
    """
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    out = np.empty((len(shapes), size, size), np.float32)
    names = np.asarray(shapes)
    for name, inside in INSIDE.items():
        rows = np.flatnonzero(names == name)
        if rows.size:
            x = grid[None, None, :] - centers[rows, 0, None, None]
            y = grid[None, :, None] - centers[rows, 1, None, None]
            across, along = np.broadcast_arrays(x.astype(np.float32), y.astype(np.float32))
            distance = inside(across, along, radii[rows, None, None].astype(np.float32))
            out[rows] = np.clip(distance * size + 0.5, 0.0, 1.0)
    return out


def _radii(scenes: Sequence[Scene]) -> Array:
    return np.array([RADIUS[s.size] for s in scenes], np.float32)


def _centers(scenes: Sequence[Scene], rng: np.random.Generator, jitter: float) -> Array:
    room = np.minimum(jitter, 0.5 - MARGIN - _radii(scenes))[:, None]
    return (0.5 + room * rng.uniform(-1, 1, (len(scenes), 2))).astype(np.float32)


def _paths(scenes: Sequence[Scene], rng: np.random.Generator, jitter: float, num_frames: int) -> Array:
    """Object centres per frame, shape (n, num_frames, 2); paths are centred but for the jitter."""
    room = 2 * (0.5 - _radii(scenes)) - 0.01
    travel = np.minimum(rng.uniform(*TRAVEL, len(scenes)), room)
    step = np.array([DIRECTION[s.motion] for s in scenes])
    span = travel[:, None] * step
    slack = np.clip((room[:, None] - np.abs(span)) / 2 - 0.005, 0.0, jitter)
    middle = 0.5 + slack * rng.uniform(-1, 1, (len(scenes), 2))
    time = np.linspace(-0.5, 0.5, num_frames)
    return (middle[:, None] + span[:, None] * time[None, :, None]).astype(np.float32)


def _paint(cover: Array, scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    front = np.array([COLOR_RGB[s.color] for s in scenes], np.float32)[:, None, None]
    back = np.array([BACKGROUND_RGB[s.background] for s in scenes], np.float32)[:, None, None]
    return np.rint(back + cover[..., None] * (front - back)).astype(np.uint8)


def image_batch(
    scenes: Sequence[Scene], *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1
) -> NDArray[np.uint8]:
    """Draw pictures, shape (n, size, size, 3).

    Args:
        scenes: What to draw.
        size: Side in pixels.
        rng: Draws the positions.
        jitter: Largest offset of the centre, as a fraction of the side; the object always stays in the frame.
    """
    centers = _centers(scenes, rng, jitter)
    return _paint(coverage([s.shape for s in scenes], centers, _radii(scenes), size), scenes)


def video_batch(
    scenes: Sequence[Scene],
    *,
    size: int = 64,
    num_frames: int = 16,
    rng: np.random.Generator,
    jitter: float = 0.1,
) -> NDArray[np.uint8]:
    """Draw films, shape (n, num_frames, size, size, 3); arguments as in `image_batch`."""
    paths = _paths(scenes, rng, jitter, num_frames).reshape(-1, 2)
    repeated = [s for s in scenes for _ in range(num_frames)]
    cover = coverage([s.shape for s in repeated], paths, _radii(repeated), size)
    return _paint(cover, repeated).reshape(len(scenes), num_frames, size, size, 3)


def depth_batch(
    scenes: Sequence[Scene], *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1
) -> Array:
    """Depth maps in metres, shape (n, size, size), with hard edges: no blend of two depths exists."""
    cover = coverage([s.shape for s in scenes], _centers(scenes, rng, jitter), _radii(scenes), size)
    front = np.array([OBJECT_METERS[s.size] for s in scenes], np.float32)[:, None, None]
    return np.where(cover >= 0.5, front, np.float32(BACKGROUND_METERS)).astype(np.float32)


def thermal_batch(
    scenes: Sequence[Scene], *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1
) -> Array:
    """Thermal maps in 0..1, shape (n, size, size)."""
    cover = coverage([s.shape for s in scenes], _centers(scenes, rng, jitter), _radii(scenes), size)
    front = np.array([TEMPERATURE[s.color] for s in scenes], np.float32)[:, None, None]
    return (BACKGROUND_TEMPERATURE + cover * (front - BACKGROUND_TEMPERATURE)).astype(np.float32)


def draw_image(scene: Scene, *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1) -> Image.Image:
    """Draw one picture, RGB."""
    return Image.fromarray(image_batch([scene], size=size, rng=rng, jitter=jitter)[0])


def draw_video(
    scene: Scene,
    *,
    size: int = 64,
    num_frames: int = 16,
    fps: float = 8.0,
    rng: np.random.Generator,
    jitter: float = 0.1,
) -> Video:
    """Draw one film; it lasts num_frames / fps seconds."""
    frames = video_batch([scene], size=size, num_frames=num_frames, rng=rng, jitter=jitter)[0]
    return Video(frames=frames, fps=fps)


def draw_depth(scene: Scene, *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1) -> Depth:
    """Draw one depth map."""
    return Depth(meters=depth_batch([scene], size=size, rng=rng, jitter=jitter)[0])


def draw_thermal(scene: Scene, *, size: int = 64, rng: np.random.Generator, jitter: float = 0.1) -> Thermal:
    """Draw one thermal map."""
    return Thermal(values=thermal_batch([scene], size=size, rng=rng, jitter=jitter)[0])
