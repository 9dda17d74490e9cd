"""Scenes: five attributes, what each modality reveals of them, and the held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import Modality

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "star", "ring", "cross"),
    "color": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"),
    "size": ("small", "large"),
    "background": ("black", "gray", "navy", "brown"),
    "motion": ("still", "left", "right", "up", "down"),
}
"""Attribute name to its values."""

REVEALS: dict[Modality, tuple[str, ...]] = {
    Modality.TEXT: ("shape", "color", "size", "background", "motion"),
    Modality.IMAGE: ("shape", "color", "size", "background"),
    Modality.VIDEO: ("shape", "color", "size", "background", "motion"),
    Modality.AUDIO: ("shape", "size", "motion"),
    Modality.DEPTH: ("shape", "size"),
    Modality.THERMAL: ("shape", "color", "size"),
    Modality.IMU: ("size", "motion"),
}
"""What can be read back from each modality. An IMU trace reveals the size only of a scene that moves."""

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("circle", "cyan"),
        ("square", "purple"),
        ("triangle", "white"),
        ("star", "green"),
        ("ring", "orange"),
        ("cross", "blue"),
    }
)
"""(shape, color) pairs that no training sample of any stage shows or names."""

RADIUS: dict[str, float] = {"small": 0.16, "large": 0.28}
"""Half the object's extent as a fraction of the picture's side."""


@dataclass(frozen=True)
class Scene:
    """One object on a background, fully specified. Raises BadArgument for an unknown value."""

    shape: str
    color: str
    size: str
    background: str
    motion: str

    def __post_init__(self) -> None:
        for name, value in self.attributes().items():
            if value not in ATTRIBUTES[name]:
                raise BadArgument(f"Found {name}={value!r}; expected one of {', '.join(ATTRIBUTES[name])}.")

    def attributes(self) -> dict[str, str]:
        """All five attributes, in canonical order."""
        return asdict(self)

    def revealed(self, modality: Modality) -> dict[str, str]:
        """The attributes that a rendering of this scene in `modality` shows."""
        names = [
            n
            for n in REVEALS[modality]
            if not (modality is Modality.IMU and self.motion == "still" and n == "size")
        ]
        return {name: getattr(self, name) for name in names}


def is_held_out(attributes: Mapping[str, str]) -> bool:
    """Whether these attributes name a held-out pair; false when shape or color is absent."""
    return (attributes.get("shape", ""), attributes.get("color", "")) in HELD_OUT


def sample_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """Draw a scene uniformly from the seen scenes, or from the held-out ones.

    Args:
        rng: Source of all randomness.
        held_out: Draw from the held-out (shape, color) pairs instead of the seen ones.
    """
    pairs = sorted(
        (s, c) for s in ATTRIBUTES["shape"] for c in ATTRIBUTES["color"] if ((s, c) in HELD_OUT) == held_out
    )
    shape, color = pairs[rng.integers(len(pairs))]
    rest = {n: ATTRIBUTES[n][rng.integers(len(ATTRIBUTES[n]))] for n in ("size", "background", "motion")}
    return Scene(shape=shape, color=color, **rest)
