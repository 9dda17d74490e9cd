"""How encoders that were bound by different recipes compare: retrieval between every pair of modalities.

All encoders see the same scenes, so differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from anygen.encoders.imagebind import ImageBindModel, ImageBindProcessor
from anygen.modality import MEDIA_INPUTS, Modality
from anygen.toybox.captions import caption
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, is_held_out

from .binding_data import UNNAMED, render_batch, revealed_codes
from .evaluation.retrieval_metrics import CUTS, chance_recall, first_right
from .evaluation.statistics import wilson_interval

COMPLETIONS = 24
"""Captions whose mean is the prompt of an attribute's value."""

Vectors = NDArray[np.float32]
Pair = tuple[Modality, Modality]

PROTOCOL = (
    "Clean renderings of the same seen scenes for every encoder. Query and gallery are all scenes, one item "
    "each; the text of a pair is a caption that names what the other modality shows. An item is right when "
    "it agrees with the query on every attribute that both reveal; R@k counts queries with a right item "
    "among the k nearest by cosine, so chance is the share of right items and is given beside it. Zero-shot: "
    "the value whose prompt (mean of captions that complete it at random) is nearest. Intervals of a recipe "
    "are Wilson's at 95%; those of a difference are a bootstrap over scenes at 95%, both directions of a "
    "pair together. Neither covers the chance of another training seed."
)
"""How the figures come about."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The evaluation scenes in one encoder's space."""

    media: Mapping[Modality, Vectors]
    """Unit-norm vectors (n, d) of every medium."""
    captions: Mapping[Modality, Vectors]
    """Of the captions that name what each medium shows."""
    prompts: Mapping[str, Vectors]
    """Of the values of each attribute, (values, d)."""

    def pair(self, query: Modality, gallery: Modality) -> tuple[Vectors, Vectors]:
        """Vectors of both sides of a pair."""
        if Modality.TEXT in (query, gallery):
            other = gallery if query is Modality.TEXT else query
            sides = (self.media[other], self.captions[other])
            return sides if gallery is Modality.TEXT else sides[::-1]
        return self.media[query], self.media[gallery]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What every encoder is shown."""

    scenes: Sequence[Scene]
    """One item of every modality each."""
    inputs: Mapping[Modality, torch.Tensor]
    """Prepared media."""
    captions: Mapping[Modality, Sequence[str]]
    """What each medium shows, in words."""
    prompts: Mapping[str, Sequence[str]]
    """`COMPLETIONS` captions for every value of an attribute, one value after another."""


def make_trial(
    scenes: Sequence[Scene], processor: ImageBindProcessor, *, seed: int = 0, chunk: int = 64
) -> Trial:
    """Render and word the evaluation scenes.

    Args:
        scenes: What to show.
        processor: Of any of the encoders; they share the sizes of their inputs.
        seed: Draws renderings and prompts.
        chunk: Scenes rendered at a time.
    """
    rng = np.random.default_rng((seed, 2**31))
    inputs = {}
    for m in MEDIA_INPUTS:
        parts = [scenes[i : i + chunk] for i in range(0, len(scenes), chunk)]
        inputs[m] = torch.cat(
            [
                processor(m, render_batch(m, part, processor.config, rng=rng, perturbation=None))
                for part in parts
            ]
        )
    prompts = {
        name: [caption(_completed(name, v, rng), rng) for v in values for _ in range(COMPLETIONS)]
        for name, values in ATTRIBUTES.items()
    }
    captions = {m: [caption(s.revealed(m)) for s in scenes] for m in MEDIA_INPUTS}
    return Trial(scenes=scenes, inputs=inputs, captions=captions, prompts=prompts)


def _completed(name: str, value: str, rng: np.random.Generator) -> dict[str, str]:
    """A value with some others, drawn; never a held-out pair."""
    while True:
        chosen = {n: v[rng.integers(len(v))] for n, v in ATTRIBUTES.items() if rng.random() < 0.5}
        chosen[name] = value
        if len(chosen) > 1 and not is_held_out(chosen):
            return {n: chosen[n] for n in ATTRIBUTES if n in chosen}


@torch.inference_mode()
def embed_trial(
    model: ImageBindModel, processor: ImageBindProcessor, trial: Trial, *, chunk: int = 128
) -> Embedded:
    """Embed a trial.

    Args:
        model: With all towers.
        processor: Its processor, for texts.
        trial: What to show it.
        chunk: Items at a time.
    """
    model.eval()

    def encode(modality: Modality, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([model.encode(modality, part) for part in inputs.split(chunk)]).float()

    def texts(values: Sequence[str]) -> torch.Tensor:
        return encode(Modality.TEXT, processor(Modality.TEXT, values))

    prompts = {}
    for name, values in trial.prompts.items():
        means = texts(values).unflatten(0, (len(ATTRIBUTES[name]), COMPLETIONS)).mean(dim=1)
        prompts[name] = F.normalize(means, dim=1).numpy()
    return Embedded(
        media={m: encode(m, x).numpy() for m, x in trial.inputs.items()},
        captions={m: texts(values).numpy() for m, values in trial.captions.items()},
        prompts=prompts,
    )


def right_items(scenes: Sequence[Scene], query: Modality, gallery: Modality) -> NDArray[np.bool_]:
    """Whether item j of the gallery is right for query i, as (n, n): they agree on what both reveal."""
    mediums = [m for m in (query, gallery) if m is not Modality.TEXT]
    shared = [n for n in ATTRIBUTES if all(n in REVEALS[m] for m in mediums)]
    right = np.ones((len(scenes), len(scenes)), bool)
    columns = [list(ATTRIBUTES).index(n) for n in shared]
    codes = {m: revealed_codes([s.revealed(m) for s in scenes]) for m in mediums}
    for column in columns:
        a, b = codes[mediums[0]][:, column], codes[mediums[-1]][:, column]
        right &= (a[:, None] == b[None]) | (a[:, None] == UNNAMED) | (b[None] == UNNAMED)
    return right


def compare(
    scenes: Sequence[Scene], embedded: Mapping[str, Embedded], trained: Mapping[str, Sequence[Pair]]
) -> dict[str, Any]:
    """All figures of several encoders.

    Args:
        scenes: The trial's.
        embedded: Recipe to its vectors.
        trained: Recipe to the pairs that it or its start was trained on; all others are emergent.

    Returns:
        For JSON: `pairs["audio-text"][recipe]` has `trained`, and per direction right, count, share, low and
        high of R@1, 5 and 10, with `chance`; `zero_shot["audio"][recipe][attribute]` likewise.
    """
    pairs: dict[str, Any] = {}
    modalities = list(Modality)
    for i, a in enumerate(modalities):
        for b in modalities[i + 1 :]:
            pairs[f"{a}-{b}"] = {
                name: {
                    "trained": any({a, b} == set(pair) for pair in trained[name]),
                    "directions": {
                        f"{x}-to-{y}": _recalls(scenes, vectors, x, y) for x, y in ((a, b), (b, a))
                    },
                }
                for name, vectors in embedded.items()
            }
    zero_shot = {
        str(m): {name: _zero_shot(scenes, vectors, m) for name, vectors in embedded.items()}
        for m in MEDIA_INPUTS
    }
    return {"protocol": PROTOCOL, "count": len(scenes), "pairs": pairs, "zero_shot": zero_shot}


def _recalls(
    scenes: Sequence[Scene], vectors: Embedded, query: Modality, gallery: Modality
) -> dict[str, Any]:
    right = right_items(scenes, query, gallery)
    ranks = first_right(*vectors.pair(query, gallery), right)
    figures: dict[str, Any] = {"median_rank": float(np.median(ranks))}
    for k in CUTS:
        figures[f"R@{k}"] = {**_share(ranks <= k), "chance": round(chance_recall(right, k), 4)}
    return figures


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {
        "right": int(hits.sum()),
        "count": len(hits),
        "share": round(float(hits.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def _zero_shot(scenes: Sequence[Scene], vectors: Embedded, modality: Modality) -> dict[str, Any]:
    """Per attribute that the modality reveals, and `mean` over all of its answers."""
    codes = revealed_codes([s.revealed(modality) for s in scenes])
    figures, hits = {}, []
    for name in REVEALS[modality]:
        column = codes[:, list(ATTRIBUTES).index(name)]
        known = column != UNNAMED
        found = (vectors.media[modality] @ vectors.prompts[name].T).argmax(axis=1)
        figures[name] = {**_share((found == column)[known]), "chance": round(1 / len(ATTRIBUTES[name]), 4)}
        hits.append((found == column)[known])
    return {"mean": _share(np.concatenate(hits)), **figures}


def difference(
    scenes: Sequence[Scene],
    first: Embedded,
    second: Embedded,
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, float]:
    """R@1 of the first encoder less that of the second, mean over pairs and both directions.

    Args:
        scenes: The trial's.
        first: One encoder's vectors.
        second: Another's.
        pairs: Over which to average.
        seed: Of the bootstrap.
        resamples: Of the scenes.

    Returns:
        `difference`, and the ends of its 95% interval `low` and `high`.
    """
    gains = np.zeros(len(scenes))
    directions = [d for a, b in pairs for d in ((a, b), (b, a))]
    for query, gallery in directions:
        right = right_items(scenes, query, gallery)
        hits = [first_right(*v.pair(query, gallery), right) == 1 for v in (first, second)]
        gains += (hits[0].astype(float) - hits[1]) / len(directions)
    rng = np.random.default_rng(seed)
    means = gains[rng.integers(len(gains), size=(resamples, len(gains)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "difference": round(float(gains.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
