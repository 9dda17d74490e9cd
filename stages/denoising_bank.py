"""A frozen decoder's denoising loss under projected conditioning, on latents that fit the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from anygen.decoders.denoising import denoising_loss
from anygen.decoders.registry import open_decoder
from anygen.modality import Modality
from anygen.model import ModelOutput
from anygen.toybox.dialogue_types import Signal
from anygen.toybox.scene import ATTRIBUTES

from .pretraining.diffusion import bank_scenes
from .system import Group, System


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """Whose loss, on which latents."""

    decoder: str
    """Folder of the frozen decoder."""
    bank: str
    """Latents that decoder pretraining encoded."""
    bank_size: int
    """Scenes in the bank."""
    bank_seed: int = 0
    """Seed of the pretraining run that encoded them."""
    samples: int = 8
    """Most signal groups per step that the loss is taken on."""


class DenoisingBank:
    """Latents by attributes, and the UNet that judges a conditioning by them."""

    def __init__(self, modality: Modality, config: DenoisingConfig) -> None:
        self.modality, self.config = modality, config
        decoder = open_decoder(modality, config.decoder)
        self.unet, self.scheduler, self.spec = decoder.parts.unet, decoder.parts.scheduler, decoder.spec
        stored = load_file(Path(config.bank))
        self.latents, self.masks = stored["latents"], stored["masks"]
        scenes = bank_scenes(config.bank_size, config.bank_seed)
        self._codes = {
            name: np.array([values.index(getattr(s, name)) for s in scenes])
            for name, values in ATTRIBUTES.items()
        }

    def _fitting(self, attributes: Mapping[str, str], rng: np.random.Generator) -> int | None:
        fits = np.ones(len(self.latents), bool)
        for name, value in attributes.items():
            fits &= self._codes[name] == ATTRIBUTES[name].index(value)
        rows = np.flatnonzero(fits)
        return int(rows[rng.integers(len(rows))]) if rows.size else None

    def loss(self, system: System, groups: list[Group], outputs: list[ModelOutput]) -> Tensor | None:
        """The object-weighted denoising loss on up to `samples` groups of this step; None where none fits."""
        rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        states: list[Tensor] = []
        embeds: list[Tensor] = []
        rows: list[int] = []
        for group, output in zip(groups, outputs, strict=True):
            signals: list[Signal] = [p.item for p in group.prompts.signals if p.modality is self.modality]
            for index, signal in enumerate(signals):
                row = self._fitting(signal.attributes, rng)
                if row is not None and len(rows) < self.config.samples:
                    rows.append(row)
                    states.append(output.signal_states[self.modality][index])
                    embeds.append(output.signal_embeds[self.modality][index])
        if not rows:
            return None
        projected = system.model.project(self.modality, torch.stack(states), torch.stack(embeds))
        return denoising_loss(
            self.unet,
            self.scheduler,
            self.latents[rows].float(),
            projected,
            self.spec,
            generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
            weights=1 + 3 * self.masks[rows].float(),
        )
