"""How often the oracles are right, measured on rendered scenes."""

from __future__ import annotations

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import Modality

from ..render import render
from ..scene import sample_scene
from .table import read


def oracle_accuracy(count: int, seed: int = 0) -> dict[Modality, dict[str, float]]:
    """Render scenes into every modality, read them back and compare.

    Every second scene is of a held-out pair. A text names all five attributes. The size of a still scene is
    not asked of its IMU trace, which does not show it.

    Args:
        count: Scenes per modality.
        seed: Fixes all that is drawn.

    Returns:
        For each modality, the share of scenes read right for each attribute that the modality reveals.

    Raises:
        BadArgument: `count` is below 1.
    """
    if count < 1:
        raise BadArgument(f"found count={count}, expected at least 1 scene")
    shares: dict[Modality, dict[str, float]] = {}
    for order, modality in enumerate(Modality):
        rng = np.random.default_rng((seed, order))
        right: dict[str, list[bool]] = {}
        for index in range(count):
            scene = sample_scene(rng, held_out=index % 2 == 1)
            reading = read(modality, render(scene, modality, rng=rng))
            for name, value in scene.revealed(modality).items():
                right.setdefault(name, []).append(reading[name] == value)
        shares[modality] = {name: float(np.mean(hits)) for name, hits in right.items()}
    return shares
