"""One table that renders a scene into any of the seven modalities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import Modality

from .captions import caption
from .scene import Scene
from .sensors import move_imu
from .sound import play_sound
from .visual import draw_depth, draw_image, draw_thermal, draw_video


def _describe(scene: Scene, *, rng: np.random.Generator) -> str:
    return caption(scene.attributes(), rng)


RENDERERS: dict[Modality, Callable[..., Any]] = {
    Modality.TEXT: _describe,
    Modality.IMAGE: draw_image,
    Modality.AUDIO: play_sound,
    Modality.VIDEO: draw_video,
    Modality.DEPTH: draw_depth,
    Modality.THERMAL: draw_thermal,
    Modality.IMU: move_imu,
}
"""Modality to its renderer, called as `renderer(scene, rng=rng)`."""


def render(scene: Scene, modality: Modality, *, rng: np.random.Generator) -> Any:
    """Render a scene at the world's default sizes.

    Args:
        scene: What to render.
        modality: Into what.
        rng: Source of position, noise and wording.

    Returns:
        A `str` that names all five attributes, a PIL image, or an `Audio`, `Video`, `Depth`, `Thermal` or
        `IMU`.

    Raises:
        BadArgument: `modality` is not one of the seven.
    """
    renderer = RENDERERS.get(modality)
    if renderer is None:
        raise BadArgument(f"found modality {str(modality)!r}, expected one of {', '.join(Modality)}")
    return renderer(scene, rng=rng)
