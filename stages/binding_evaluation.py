"""How well an encoder binds the toybox: zero-shot accuracy, retrieval between modalities, and linear probes.

Every figure is given for seen and for held-out (shape, color) pairs apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anygen.encoders.imagebind import ImageBindModel, ImageBindProcessor
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, is_held_out, sample_scene

from .binding_data import UNNAMED, render_batch, target_classes

TAUGHT = REVEALS[Modality.IMAGE]
"""Attributes that captions teach; a motion in words is paired with nothing, so it has no zero-shot score."""


def evaluate_binding(
    model: ImageBindModel, processor: ImageBindProcessor, *, count: int = 256, seed: int = 0
) -> dict[str, float]:
    """Score an encoder on clean renders.

    Args:
        model: In evaluation mode.
        processor: Its processor.
        count: Scenes per group; probes are fitted on twice as many seen ones.
        seed: Draws the scenes; none of them is a training sample's.

    Returns:
        `zero_shot/{group}/{modality}/{attribute}`: nearest prompt by cosine, prompts averaged over
        completions. `retrieval/{group}/{a}-{b}`: share of items of b that find an item of a which agrees on
        all attributes that both reveal. `probe/{group}/{modality}/{attribute}`: ridge regression fitted on
        seen scenes. And means of each.
    """
    rng = np.random.default_rng((seed, 2**31))
    train = [sample_scene(rng) for _ in range(2 * count)]
    groups = {
        "seen": [sample_scene(rng) for _ in range(count)],
        "held_out": [sample_scene(rng, held_out=True) for _ in range(count)],
    }
    modalities = [m for m in Modality if m in model.modalities]
    fitted = {m: embed_scenes(model, processor, m, train, rng) for m in modalities}
    prompts = prompt_vectors(model, processor, rng) if Modality.TEXT in model.modalities else {}
    scores: dict[str, float] = {}
    for group, scenes in groups.items():
        vectors = {m: embed_scenes(model, processor, m, scenes, rng) for m in modalities}
        for modality in modalities:
            classes = target_classes(scenes, modality)
            if modality is not Modality.TEXT:
                for name in (n for n in classes if n in prompts):
                    found = (vectors[modality] @ prompts[name].T).argmax(dim=1).numpy()
                    scores[f"zero_shot/{group}/{modality}/{name}"] = _accuracy(found, classes[name])
            for name, known in target_classes(train, modality).items():
                if modality is Modality.TEXT and name not in TAUGHT:
                    continue
                found = probe(fitted[modality], known, vectors[modality], len(ATTRIBUTES[name]))
                scores[f"probe/{group}/{modality}/{name}"] = _accuracy(found, classes[name])
        for a, b in combinations(modalities, 2):
            scores[f"retrieval/{group}/{a}-{b}"] = _retrieval(vectors[a], vectors[b], scenes, a, b)
    return _means(scores) | scores


def _means(scores: dict[str, float]) -> dict[str, float]:
    """`{kind}/{group}/mean`; for reports that show the first few figures."""
    means = {}
    for kind in ("zero_shot", "probe", "retrieval"):
        for group in ("seen", "held_out"):
            values = [v for k, v in scores.items() if k.startswith(f"{kind}/{group}/")]
            if values:
                means[f"{kind}/{group}/mean"] = float(np.mean(values))
    return means


def embed_scenes(
    model: ImageBindModel,
    processor: ImageBindProcessor,
    modality: Modality,
    scenes: Sequence[Scene],
    rng: np.random.Generator,
    *,
    chunk: int = 64,
) -> Tensor:
    """Unit-norm vectors (n, embed_dim) of clean renders; texts are canonical captions without the motion."""
    device = next(model.parameters()).device
    rows = []
    for start in range(0, len(scenes), chunk):
        part = scenes[start : start + chunk]
        if modality is Modality.TEXT:
            inputs = processor(modality, [caption({n: getattr(s, n) for n in TAUGHT}) for s in part])
        else:
            inputs = processor(
                modality, render_batch(modality, part, model.config, rng=rng, perturbation=None)
            )
        rows.append(model.encode(modality, inputs.to(device)).cpu())
    return torch.cat(rows)


def prompt_vectors(
    model: ImageBindModel, processor: ImageBindProcessor, rng: np.random.Generator, *, completions: int = 16
) -> dict[str, Tensor]:
    """One vector per value of every taught attribute, (values, embed_dim) by attribute.

    It is the mean over canonical captions that complete the value at random, as CLIP averages over templates.
    """
    device = next(model.parameters()).device
    prompts = {}
    for name in TAUGHT:
        rows = []
        for value in ATTRIBUTES[name]:
            texts = [caption(_complete({name: value}, rng)) for _ in range(completions)]
            vectors = model.encode(Modality.TEXT, processor(Modality.TEXT, texts).to(device))
            rows.append(F.normalize(vectors.mean(dim=0), dim=0))
        prompts[name] = torch.stack(rows).cpu()
    return prompts


def _complete(attributes: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """All taught attributes, those not given drawn; never a held-out pair."""
    while True:
        drawn = {n: attributes.get(n) or ATTRIBUTES[n][rng.integers(len(ATTRIBUTES[n]))] for n in TAUGHT}
        if not is_held_out(drawn):
            return drawn


def probe(
    vectors: Tensor, classes: NDArray[np.int64], queries: Tensor, num_classes: int, *, ridge: float = 1e-2
) -> NDArray[np.int64]:
    """Classes (m,) of queries (m, d), by ridge regression of one-hot targets on vectors (n, d)."""
    known = torch.from_numpy(classes != UNNAMED)
    x = F.pad(vectors[known].double(), (0, 1), value=1.0)
    y = F.one_hot(torch.from_numpy(classes)[known], num_classes).double()
    weight = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
    return (F.pad(queries.double(), (0, 1), value=1.0) @ weight).argmax(dim=1).numpy()


def _accuracy(found: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    known = classes != UNNAMED
    return float((found[known] == classes[known]).mean())


def _retrieval(a: Tensor, b: Tensor, scenes: Sequence[Scene], first: Modality, second: Modality) -> float:
    """Share of b whose nearest a agrees on what both reveal; captions are given without the motion."""
    of_a, of_b = target_classes(scenes, first), target_classes(scenes, second)
    shared = [n for n in of_a if n in of_b and not (Modality.TEXT in (first, second) and n == "motion")]
    nearest = (b @ a.T).argmax(dim=1).numpy()
    agree = np.ones(len(scenes), bool)
    for name in shared:
        hidden = (of_b[name] == UNNAMED) | (of_a[name][nearest] == UNNAMED)
        agree &= hidden | (of_a[name][nearest] == of_b[name])
    return float(agree.mean())
