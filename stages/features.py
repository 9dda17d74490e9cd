"""Frozen encoder features, computed once, for many renders of all that a medium can reveal."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from anygen.encoders.imagebind import ImageBindModel, ImageBindProcessor
from anygen.errors import CheckpointCorrupt
from anygen.modality import MEDIA_INPUTS, Modality
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, is_held_out

from .binding_data import Perturbation, render_batch


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How many vectors of what."""

    renders: int = 4000
    """Vectors per modality, shared out evenly over all that it can reveal."""
    at_least: int = 2
    """Vectors of each combination all the same: films reveal so much that their share is small."""
    perturbed: float = 0.6
    """Share of renders with the binding stage's noise, zoom and blur; the rest are clean."""
    seed: int = 0
    """Draws what is not revealed, and the positions."""


def revealed_keys(modality: Modality, *, held_out: bool = False) -> list[tuple[str, ...]]:
    """Every combination of values that a modality reveals, of seen scenes or of held-out ones."""
    names = REVEALS[modality]
    keys = itertools.product(*(ATTRIBUTES[n] for n in names))
    named = {"shape", "color"} <= set(names)
    return [k for k in keys if not named or is_held_out(dict(zip(names, k, strict=True))) == held_out]


def _complete(modality: Modality, key: tuple[str, ...], rng: np.random.Generator) -> Scene:
    """A seen scene (or, where the key says so, a held-out one) with the rest drawn at random."""
    fixed = dict(zip(REVEALS[modality], key, strict=True))
    while True:
        rest = {n: v[rng.integers(len(v))] for n, v in ATTRIBUTES.items() if n not in fixed}
        if {"shape", "color"} <= fixed.keys() or not is_held_out(fixed | rest):
            return Scene(**(fixed | rest))


class MediaFeatures:
    """Vectors by modality and revealed values; `draw` picks one of a scene's many renders.

    Args:
        vectors: Per modality (keys, renders, dim), keys ordered as `revealed_keys`.
        held_out: Which scenes the keys are of.
    """

    def __init__(self, vectors: dict[Modality, Tensor], *, held_out: bool = False) -> None:
        self.vectors = vectors
        self._rows = {m: {k: i for i, k in enumerate(revealed_keys(m, held_out=held_out))} for m in vectors}
        self._means: dict[Modality, dict[str, dict[str, Tensor]]] = {}

    def draw(self, modality: Modality, scene: Scene, rng: np.random.Generator) -> Tensor:
        """A unit-norm vector (dim,) of some render that reveals what this scene does."""
        return self._render(modality, tuple(getattr(scene, n) for n in REVEALS[modality]), rng)

    def moved(self, modality: Modality, scene: Scene, rng: np.random.Generator) -> Tensor:
        """A vector (dim,) of another shape or color, moved by the difference of the two values' means.

        What a combination has beyond its values is then another one's, and tells nothing: a model has to read
        each value off what all scenes of that value share, which pairs never shown have too.
        """
        names = REVEALS[modality]
        key = [getattr(scene, name) for name in names]
        chosen = [i for i, name in enumerate(names) if name in ("shape", "color")]
        if not chosen:
            return self.draw(modality, scene, rng)
        index = chosen[rng.integers(len(chosen))]
        others = [[*key[:index], v, *key[index + 1 :]] for v in ATTRIBUTES[names[index]] if v != key[index]]
        others = [other for other in others if tuple(other) in self._rows[modality]]
        other = others[rng.integers(len(others))]
        means = self._value_means(modality)[names[index]]
        vector = self._render(modality, tuple(other), rng) + means[key[index]] - means[other[index]]
        return F.normalize(vector, dim=0)

    def _render(self, modality: Modality, key: tuple[str, ...], rng: np.random.Generator) -> Tensor:
        renders = self.vectors[modality][self._rows[modality][key]]
        return renders[rng.integers(len(renders))].float()

    def _value_means(self, modality: Modality) -> dict[str, dict[str, Tensor]]:
        """Mean vector (dim,) by attribute and value, computed when it is first asked for."""
        if modality in self._means:
            return self._means[modality]
        centres = self.vectors[modality].float().mean(1)
        keys = list(self._rows[modality])
        self._means[modality] = {
            name: {
                value: centres[[i for i, key in enumerate(keys) if key[place] == value]].mean(0)
                for value in {key[place] for key in keys}
            }
            for place, name in enumerate(REVEALS[modality])
        }
        return self._means[modality]

    @classmethod
    def load_or_compute(
        cls,
        path: Path,
        encoder: ImageBindModel,
        processor: ImageBindProcessor,
        config: FeatureConfig,
        *,
        held_out: bool = False,
    ) -> MediaFeatures:
        """Read the file, or compute and write it.

        Raises:
            CheckpointCorrupt: the file was made by another encoder or with other settings.
        """
        digest = _digest(encoder, config, held_out)
        if path.exists():
            with safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("digest")
            if found != digest:
                raise CheckpointCorrupt(
                    f"{path.name}: found features of another encoder or setting; delete the file."
                )
            return cls({Modality(k): v for k, v in load_file(path).items()}, held_out=held_out)
        vectors = {m: _compute(m, encoder, processor, config, held_out) for m in MEDIA_INPUTS}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({str(m): v for m, v in vectors.items()}, path, metadata={"digest": digest})
        return cls(vectors, held_out=held_out)


def _digest(encoder: ImageBindModel, config: FeatureConfig, held_out: bool) -> str:
    digest = hashlib.sha256(json.dumps([vars(config), held_out]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _compute(
    modality: Modality,
    encoder: ImageBindModel,
    processor: ImageBindProcessor,
    config: FeatureConfig,
    held_out: bool,
) -> Tensor:
    keys = revealed_keys(modality, held_out=held_out)
    each = max(config.at_least, config.renders // len(keys))
    rng = np.random.default_rng((config.seed, list(Modality).index(modality), held_out))
    scenes = [_complete(modality, key, rng) for key in keys for _ in range(each)]
    vectors = torch.cat(list(_encode(modality, scenes, encoder, processor, config, rng)))
    return vectors.unflatten(0, (len(keys), each)).half().contiguous()


def _encode(
    modality: Modality,
    scenes: list[Scene],
    encoder: ImageBindModel,
    processor: ImageBindProcessor,
    config: FeatureConfig,
    rng: np.random.Generator,
) -> Iterator[Tensor]:
    for start in range(0, len(scenes), 64):
        perturbation = Perturbation() if rng.random() < config.perturbed else None
        batch = render_batch(
            modality, scenes[start : start + 64], encoder.config, rng=rng, perturbation=perturbation
        )
        with torch.no_grad():
            yield encoder.encode(modality, processor(modality, batch))
