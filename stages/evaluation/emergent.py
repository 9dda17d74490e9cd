"""Emergent alignment: zero-shot classification by cosine between modalities that were never paired.

Audio, depth, thermal and IMU are bound to images (or videos), and images to text; that audio and text then
agree is what "emergent" means (Girdhar et al. 2023, "ImageBind: One Embedding Space To Bind Them All",
section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.render import render
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, sample_scene

from .statistics import Tally

NEVER_PAIRED: tuple[Modality, ...] = (Modality.AUDIO, Modality.DEPTH, Modality.THERMAL, Modality.IMU)
"""Modalities without a single pair with text in training."""

PAIRED: tuple[Modality, ...] = (Modality.IMAGE,)
"""Modalities paired with text: the upper bound."""

LEAST = 0.80
"""What the bundled encoder must reach on each attribute that a picture shares with the modality."""

BOUND = REVEALS[Modality.IMAGE]
"""Attributes that pairs of images and text can bind. A motion in words is paired with nothing."""

PROTOCOL = (
    "For each attribute, one prompt vector a value: the renormalised mean over the canonical captions "
    "that complete the value with every combination of a picture's other attributes. A clean "
    "rendering is given the value whose prompt has the largest cosine. Chance is one over the number "
    "of values; the bound is the same for images, which were paired with text."
)
"""How the figures come about."""

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """What is graded; `EmbeddingPipeline` is one."""

    def embed(self, **items: Any) -> dict[str, Vectors]:
        """Unit-norm vectors (n, dim) of the items of each modality."""


def run_emergent(
    embedder: Embedder,
    *,
    modalities: Sequence[Modality] = NEVER_PAIRED,
    count: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Classify renderings by text, zero-shot.

    Args:
        embedder: The encoder.
        modalities: Which ones besides the paired bound.
        count: Scenes; all of them from seen pairs, then as many from held-out ones.
        seed: Draws scenes and renderings.

    Returns:
        A report for JSON. `modalities[m][group][attribute]` has right, count, share, low, high, `chance`, and
        `bound` where a picture reveals the attribute too; `mean` and `passed` are over the seen scenes and
        the attributes that pairs of images and text can bind.

    Raises:
        BadArgument: a modality other than media, or a count below 1.
    """
    if count < 1:
        raise BadArgument(f"Found count={count}; expected at least 1.")
    if Modality.TEXT in modalities:
        raise BadArgument("Found text among the modalities; expected media, since text gives the prompts.")
    rng = np.random.default_rng(seed)
    prompts = {name: prompt_vectors(embedder, name) for name in ATTRIBUTES}
    groups = {
        "seen": [sample_scene(rng) for _ in range(count)],
        "held_out": [sample_scene(rng, held_out=True) for _ in range(count)],
    }
    figures: dict[str, dict[str, Any]] = {}
    for modality in dict.fromkeys((*PAIRED, *modalities)):
        figures[str(modality)] = {
            group: _classify(embedder, modality, scenes, prompts, rng) for group, scenes in groups.items()
        }
    report = {str(m): _judge(figures[str(m)], figures[str(PAIRED[0])]) for m in modalities}
    return {
        "suite": "emergent-alignment",
        "protocol": PROTOCOL,
        "seed": seed,
        "count": count,
        "least": LEAST,
        "passed": all(row["passed"] for row in report.values()),
        "modalities": report,
        "paired": {str(m): _judge(figures[str(m)], figures[str(m)]) for m in PAIRED},
    }


def prompt_vectors(embedder: Embedder, name: str) -> Vectors:
    """One unit-norm vector for every value of an attribute, (values, dim)."""
    texts = [text for value in ATTRIBUTES[name] for text in _completed(name, value)]
    vectors = embedder.embed(text=texts)["text"]
    means = vectors.reshape(len(ATTRIBUTES[name]), -1, vectors.shape[1]).mean(axis=1)
    unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


def _completed(name: str, value: str) -> list[str]:
    """Canonical captions of a value with every combination of a picture's other attributes.

    Held-out pairs are among them: a mean without them would lean away from the color that a shape never had.
    """
    others = [other for other in BOUND if other != name]
    choices = product(*(ATTRIBUTES[other] for other in others))
    return [caption({name: value, **dict(zip(others, chosen, strict=True))}) for chosen in choices]


def _classify(
    embedder: Embedder,
    modality: Modality,
    scenes: Sequence[Scene],
    prompts: Mapping[str, Vectors],
    rng: np.random.Generator,
) -> dict[str, Tally]:
    """Tallies per attribute that the modality reveals."""
    media = [render(scene, modality, rng=rng) for scene in scenes]
    vectors = embedder.embed(**{str(modality): media})[str(modality)]
    tallies = {name: Tally() for name in REVEALS[modality]}
    for scene, vector in zip(scenes, vectors, strict=True):
        for name, value in scene.revealed(modality).items():
            best = int(np.argmax(prompts[name] @ vector))
            tallies[name].add(ATTRIBUTES[name][best] == value)
    return tallies


def _judge(
    groups: Mapping[str, Mapping[str, Tally]], paired: Mapping[str, Mapping[str, Tally]]
) -> dict[str, Any]:
    """Figures of one modality with chance and bound beside them."""
    rows: dict[str, Any] = {}
    for group, tallies in groups.items():
        rows[group] = {
            name: {
                **tally.as_dict(),
                "chance": round(1 / len(ATTRIBUTES[name]), 4),
                "bound": paired[group][name].as_dict()["share"] if name in paired[group] else None,
            }
            for name, tally in tallies.items()
        }
    bound = [tally.share for name, tally in groups["seen"].items() if name in BOUND and tally.count]
    rows["mean"] = round(float(np.mean(bound)), 4) if bound else None
    rows["passed"] = bool(bound) and min(bound) >= LEAST
    return rows


def format_emergent(report: Mapping[str, Any]) -> str:
    """The report as a table for a terminal."""
    lines = [
        f"emergent alignment, zero-shot by cosine, {report['count']} scenes a group, seed {report['seed']}"
    ]
    for modality, rows in report["modalities"].items():
        verdict = "pass" if rows["passed"] else "MISS"
        lines.append(f"{verdict}  {modality}-text, mean {100 * (rows['mean'] or 0):.1f}%")
        for group in ("seen", "held_out"):
            for name, row in rows[group].items():
                share = "-" if row["share"] is None else f"{100 * row['share']:.1f}%"
                bound = "-" if row["bound"] is None else f"{100 * row['bound']:.1f}%"
                beside = f"chance {100 * row['chance']:.1f}%, paired {bound}"
                lines.append(f"      {group:<9} {name:<11} {share:>6} of {row['count']}, {beside}")
    return "\n".join(lines)
