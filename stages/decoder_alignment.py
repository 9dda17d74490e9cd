"""Decoder alignment: signals learn to tell the frozen decoders what the answer says in words.

NExT-GPT (arXiv 2309.05519, section 4.2): cross-entropy of the signal tokens, distance of the projection to
the frozen text encoder's embedding of the caption, and the decoder's own denoising loss under the projected
conditioning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.model import ModelOutput
from anygen.prompting import Prompt
from anygen.toybox.dialogues import HELD_OUT_DIRECTIONS, make_dialogue, sample_dialogue

from .caching.decoding import StoredLatents, StoredSystem, open_origin, save_stored
from .caching.stored import TRAIN, open_stored
from .data.conversations import show, showable
from .data.latents import RecordLatents
from .data.model import Opened, Parts
from .data.own import DataConfig
from .data.scores import signal_scores
from .denoising_bank import DenoisingBank, DenoisingConfig
from .dialogue_data import seen_turns, told_turns
from .samples import SampleFolder
from .showing import FolderDecoders, show_signals
from .signals import distance_losses, mean_distances
from .system import Group, SystemConfig, toybox_seed

TEXT_TO_MEDIA = ("text-to-image", "text-to-audio", "text-to-video")
"""Directions that an evaluation asks."""


@dataclass(frozen=True, kw_only=True)
class DecoderAlignmentConfig:
    """What the signals are aligned on."""

    system: SystemConfig | None = None
    """The frozen parts, one by one; or `model`."""
    model: str | None = None
    """A model folder or bundled name that the parts come from; the result is a whole model folder."""
    data: DataConfig | None = None
    """Own data in place of the toybox."""
    told: float = 1.0
    """Share of the toybox's dialogues whose media are told in words. The others' are shown, which is of use
    once the encoder is aligned."""
    distance_weight: float = 1.0
    """Weight of the distance to the text embeddings."""
    mixing: float = 0.0
    """Weight of the same distance between pairs of answers, where the answers have 1 (`Signals.between`)."""
    denoising: dict[Modality, DenoisingConfig] = field(default_factory=dict)
    """Decoders whose denoising loss is added, on the toybox's bank of latents."""
    denoise: tuple[Modality, ...] = ()
    """Decoders of `model` whose denoising loss is added, on the media of one's own data."""
    denoising_weight: float = 0.3
    """The weight of either."""
    cache: str | None = None
    """Folder that `anygen cache` fills: output projections train on its signal states, and nothing else."""

    def __post_init__(self) -> None:
        if (self.denoise and self.model is None) or (self.denoising and self.data is not None):
            raise BadArgument(
                "found `denoise` without `model`, or `denoising` with `data`; expected `denoise` for one's "
                "own data, `denoising` for the toybox"
            )

    def parts(self) -> Parts:
        """What is trained, and on what."""
        return Parts(system=self.system, model=self.model, data=self.data)


class DecoderAlignmentStage:
    """Signal cross-entropy, caption distance and denoising; output projections and signal rows train."""

    name = "decoder-alignment"

    def __init__(self, config: DecoderAlignmentConfig) -> None:
        self.config = config
        self.samples: SampleFolder | None = None
        self.stored = open_stored(self.name, config)
        if self.stored is None:
            self.opened = config.parts().open(fits=showable, converse=show, what="media to show")
        else:
            origin = open_origin(config.parts())
            self.opened = Opened(system=StoredSystem(self.stored), origin=origin)
        self.system, self.data = self.opened.system, self.opened.data
        self.dataset_size = None if self.data is None else len(self.data.training)
        self.sources = () if self.data is None else self.data.sources
        if self.stored is not None:
            self.dataset_size, self.sources = self.stored.count(), self.stored.index.sources
        self.banks: dict[Modality, DenoisingBank | RecordLatents] = {
            m: DenoisingBank(m, c) for m, c in config.denoising.items()
        }
        if self.opened.origin is not None and config.data is not None:
            decoders, capacity = self.opened.origin.decoders, config.data.cached_items
            kind = RecordLatents if self.stored is None else StoredLatents
            self.banks |= {m: kind(m, decoders[m], capacity=capacity) for m in config.denoise}

    def modules(self) -> dict[str, nn.Module]:
        """The whole model, and the decoders' UNets where their loss is used."""
        return {"model": self.system.model, **{f"{m}_unet": b.unet for m, b in self.banks.items()}}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """Output projections and signal rows; from a cache the rows stay as they are."""
        self.system.model.set_trainable(["output_projections", "signal_rows"])
        return [{"params": [p for p in self.system.model.parameters() if p.requires_grad]}]

    def batch(self, indices: NDArray[np.int64]) -> list[Group]:
        """Dialogues with signals, in groups of like length; the toybox's media are told or shown."""
        groups_rng = np.random.default_rng((32, int(indices[0])))
        return self.system.grouped(self.training_prompts(indices), groups_rng, parts=3)

    def training_prompts(self, indices: Iterable[int]) -> list[Prompt]:
        """The samples at `indices`: out of the cache, of own data, or of the toybox."""
        if self.stored is not None:
            return self.stored.prompts(TRAIN, indices)
        if self.data is not None:
            return self.data.prompts(indices, self.system.builder, self.opened.lead_ins)
        conversations = []
        for index in indices:
            rng = np.random.default_rng((toybox_seed(self.config.system), 31, int(index)))
            dialogue = sample_dialogue(rng)
            while not any(turn.signals for turn in dialogue):
                dialogue = sample_dialogue(rng)
            words = self.config.told == 1 or rng.random() < self.config.told
            conversations.append(told_turns(dialogue, rng, signals=True) if words else seen_turns(dialogue))
        return [self.system.builder.encode(turns, add_generation_prompt=False) for turns in conversations]

    def evaluation_prompts(self) -> dict[str, list[Prompt]]:
        """What an evaluation looks at, by part of it."""
        if self.stored is not None:
            return self.stored.evaluation()
        if self.data is not None:
            return {"held_out": self.data.held_out_prompts(self.system.builder, self.opened.lead_ins)}
        found = {}
        for name, held_out in (("seen", False), ("held_out", True)):
            rng = np.random.default_rng((toybox_seed(self.config.system) + 1, 33, held_out))
            directions = [d for d in TEXT_TO_MEDIA if not held_out or d in HELD_OUT_DIRECTIONS]
            dialogues = [
                make_dialogue(d, rng, held_out=held_out, split="eval") for d in directions for _ in range(64)
            ]
            turns = [told_turns(d, rng, signals=True) for d in dialogues]
            found[name] = [self.system.builder.encode(t, add_generation_prompt=False) for t in turns]
        return found

    def training_forward(self, batch: list[Group]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The three losses."""
        outputs = [self.system.forward(group) for group in batch]
        distance, losses = distance_losses(self.system, batch, outputs, mixing=self.config.mixing)
        loss = self.config.distance_weight * distance
        if self.stored is None:  # with rows and model frozen it is a constant
            losses["signal"] = torch.cat([self._signal_losses(output) for output in outputs]).mean()
            loss = losses["signal"] + loss
        for modality, bank in self.banks.items():
            denoising = bank.loss(self.system, batch, outputs)
            if denoising is not None:
                losses[f"denoising/{modality}"] = denoising
                loss = loss + self.config.denoising_weight * denoising
        return {"loss": loss, **losses}, {}

    def _signal_losses(self, output: ModelOutput) -> Tensor:
        """Cross-entropy at signal tokens and at eos: where a signal belongs, and where none does any more."""
        assert output.token_losses is not None and output.token_labels is not None
        ids = [i for group in self.system.tokens.groups.values() for i in group]
        signals = torch.tensor([*ids, self.system.tokenizer.eos_token_id], device=output.token_labels.device)
        return output.token_losses[torch.isin(output.token_labels, signals)]

    def evaluate(self) -> dict[str, float]:
        """Distance to the caption's embedding, seen and held out; on own data, to others' as well."""
        found = self.evaluation_prompts()
        for name, prompts in found.items():
            self._show(name.replace("_", " "), prompts)
        if self.config.data is not None:
            return signal_scores(self.system, found.get("held_out", []))
        scores = {}
        for name, prompts in found.items():
            held_out = name == "held_out"
            rng = np.random.default_rng((toybox_seed(self.config.system) + 1, 34, held_out))
            groups = self.system.grouped(prompts, rng, parts=3, held_out=held_out)
            outputs = [self.system.forward(group) for group in groups]
            for modality, distance in mean_distances(self.system, groups, outputs).items():
                scores[f"{name}/distance/{modality}"] = float(distance)
        return scores

    def _show(self, name: str, prompts: Sequence[Prompt]) -> None:
        if self.samples is not None:
            origin = self.opened.origin
            given = None if origin is None else origin.decoders
            folders = {m: c.decoder for m, c in self.config.denoising.items()}
            show_signals(self.samples, name, self.system, prompts, given or FolderDecoders(folders))

    def save(self, folder: Path) -> None:
        """Projections, adapter and rows; the whole model folder where it began with one."""
        if self.stored is not None:
            save_stored(self.stored, self.opened.origin, self.system.model, self.name, folder)
        else:
            self.opened.save(self.name, folder)
