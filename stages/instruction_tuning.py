"""Instruction tuning: LoRA and all projections together, on dialogues of every direction.

NExT-GPT (arXiv 2309.05519, section 5): cross-entropy of the whole answer, words and signals, plus the
generation loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.errors import BadArgument
from anygen.llm import ATTENTION_PROJECTIONS
from anygen.model import TrainablePart
from anygen.prompting import Prompt
from anygen.toybox.dialogue_types import Dialogue
from anygen.toybox.dialogues import DIRECTIONS, make_dialogue, sample_dialogue

from .caption_start import begin_at_captions
from .data.conversations import tune
from .data.model import Parts
from .data.own import DataConfig
from .data.scores import caption_scores, signal_scores
from .dialogue_data import filled, seen_turns, shouted
from .encoder_alignment import DESCRIBING, MOST_TO_BEGIN
from .harder import blurred, drop_words
from .pretraining.language_model import exact_answers
from .replay import read_answers, replay_prompt
from .signals import distance_losses, mean_distances
from .system import Group, SystemConfig, ensure_lora, toybox_seed


@dataclass(frozen=True, kw_only=True)
class InstructionConfig:
    """What is tuned, and how."""

    system: SystemConfig | None = None
    """The frozen parts, one by one; `start` is the result of decoder alignment. Or `model`."""
    model: str | None = None
    """A model folder or bundled name that the parts come from; the result is a whole model folder."""
    data: DataConfig | None = None
    """Own data in place of the toybox."""
    rank: int = 16
    """Rank of the adapter."""
    alpha: int = 32
    """The adapter's update is scaled by alpha / rank."""
    dropout: float = 0.0
    """Dropout of the adapter's input."""
    target_modules: tuple[str, ...] = ATTENTION_PROJECTIONS
    """Layers of the language model that get an adapter, by the last part of their names."""
    distance_weight: float = 1.0
    """Weight of the distance to the text embeddings."""
    mixing: float = 0.0
    """Weight of the same distance between pairs of answers, where the answers have 1 (`Signals.between`)."""
    more: dict[str, float] = field(default_factory=dict)
    """Shares of the toybox's dialogues that are of a direction, beyond the mixture's own."""
    without: tuple[str, ...] = ()
    """Directions of the toybox's dialogues that are left out."""
    replay: str | None = None
    """File of what the language model says by itself (`anygen.stages.replay`), so that it goes on to."""
    replayed: float = 0.1
    """Share of the toybox's dialogues in whose place such an answer stands, where there is a file."""
    begin: Literal["as-given", "captions"] = "as-given"
    """`captions` begins at the regression from media to the language model's embeddings of their captions
    (`caption_start`); `as-given` at what the stage before left."""
    filled: float = 0.0
    """Share of the toybox's dialogues whose user puts idle words into a request."""
    shouted: float = 0.0
    """Share of the toybox's dialogues whose user types in capitals, beyond the few that do anyway."""
    hidden: float = 0.0
    """Share of an answer's words that the model does not see when it goes on (`harder.drop_words`)."""
    moved: float = 0.0
    """Share of the toybox's media whose vectors are another shape's or color's (`MediaFeatures.moved`)."""
    blurred: float = 0.0
    """Norm of Gaussian noise on the media's vectors, which have norm 1: what is read off them then changes
    slowly between them, and so is right on pairs that were never shown."""
    trains: tuple[TrainablePart, ...] = ("lora", "input_projection", "output_projections", "signal_rows")
    """What trains; the rest stays as the stage before left it."""

    evaluated: int = 48
    """Toybox samples of each direction that an evaluation looks at."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.without if name not in DIRECTIONS]:
            raise BadArgument(f"found direction {unknown[0]!r}, expected one of {', '.join(DIRECTIONS)}")

    def parts(self) -> Parts:
        """What is trained, and on what."""
        return Parts(system=self.system, model=self.model, data=self.data)


def _parts(prompts: Sequence[Prompt]) -> int:
    """Groups of a batch: at most four, so that like lengths meet, of at least six, or products are slow."""
    return min(4, max(1, len(prompts) // 6))


class InstructionStage:
    """Cross-entropy of the answers plus caption distances; LoRA, projections and rows train."""

    name = "instruction-tuning"

    def __init__(self, config: InstructionConfig) -> None:
        self.config = config
        self.opened = config.parts().open(fits=lambda record: True, converse=tune, what="turns")
        self.system, self.data = self.opened.system, self.opened.data
        self.dataset_size = None if self.data is None else len(self.data.training)
        self.sources = () if self.data is None else self.data.sources
        self.replay = [] if config.replay is None else read_answers(Path(config.replay))
        if config.begin == "captions":
            self._begin_at_captions()
        ensure_lora(
            self.system.model, rank=config.rank, alpha=config.alpha, dropout=config.dropout,
            target_modules=config.target_modules,
        )  # fmt: skip

    def _begin_at_captions(self) -> None:
        """Set the input projection to the regression from media to their captions' words."""
        if self.data is not None:
            count = min(MOST_TO_BEGIN, len(self.data.training))
            prompts = self.data.prompts(range(count), self.system.builder, self.opened.lead_ins)
        else:
            rng = np.random.default_rng((toybox_seed(self.config.system), 44))
            directions = [DESCRIBING[i % len(DESCRIBING)] for i in range(MOST_TO_BEGIN)]
            turns = [seen_turns(make_dialogue(direction, rng)) for direction in directions]
            prompts = [self.system.builder.encode(t, add_generation_prompt=False) for t in turns]
        begin_at_captions(self.system, prompts, np.random.default_rng(45))

    def modules(self) -> dict[str, nn.Module]:
        """The whole model."""
        return {"model": self.system.model}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """What the configuration says: LoRA, projections and signal rows, or some of them."""
        self.system.model.set_trainable(self.config.trains)
        return [{"params": [p for p in self.system.model.parameters() if p.requires_grad]}]

    def batch(self, indices: NDArray[np.int64]) -> list[Group]:
        """Mixed dialogues, in groups of like length."""
        groups_rng = np.random.default_rng((42, int(indices[0])))
        if self.data is not None:
            prompts = self.data.prompts(indices, self.system.builder, self.opened.lead_ins)
            return self._harder(self.system.grouped(prompts, groups_rng, parts=_parts(prompts)), groups_rng)
        prompts = [self._prompt(int(index)) for index in indices]
        groups = self.system.grouped(prompts, groups_rng, parts=_parts(prompts), moved=self.config.moved)
        return self._harder(groups, groups_rng)

    def _prompt(self, index: int) -> Prompt:
        """A dialogue of the toybox, or what the language model says by itself."""
        rng = np.random.default_rng((toybox_seed(self.config.system), 41, index))
        if self.replay and rng.random() < self.config.replayed:
            return replay_prompt(self.system.builder, self.replay[int(rng.integers(len(self.replay)))])
        dialogue = self._dialogue(rng)
        turns = seen_turns(dialogue)
        turns = filled(turns, rng) if rng.random() < self.config.filled else turns
        turns = shouted(turns) if rng.random() < self.config.shouted else turns
        return self.system.builder.encode(turns, add_generation_prompt=False)

    def _harder(self, groups: list[Group], rng: np.random.Generator) -> list[Group]:
        """The same with the configured noise on vectors and share of the answers' words hidden."""
        config, builder = self.config, self.system.builder
        if config.blurred:
            groups = [replace(group, vectors=blurred(group.vectors, config.blurred, rng)) for group in groups]
        if not config.hidden:
            return groups
        kept, pad = (*builder.tokens.new_ids, builder.tokenizer.eos_token_id), builder.pad_id
        return [
            replace(g, prompts=drop_words(g.prompts, config.hidden, rng, kept=kept, hidden=pad))
            for g in groups
        ]

    def _dialogue(self, rng: np.random.Generator) -> Dialogue:
        """One of the mixture, or of a direction that gets more."""
        while (dialogue := self._any_dialogue(rng)).direction in self.config.without:
            pass
        return dialogue

    def _any_dialogue(self, rng: np.random.Generator) -> Dialogue:
        chance = rng.random() if self.config.more else 1.0
        for direction, share in self.config.more.items():
            if chance < share:
                return make_dialogue(direction, rng)
            chance -= share
        return sample_dialogue(rng)

    def training_forward(self, batch: list[Group]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Answer cross-entropy plus the weighted distances."""
        outputs = [self.system.forward(group) for group in batch]
        entropy = torch.cat([o.token_losses for o in outputs if o.token_losses is not None]).mean()
        distance, parts = distance_losses(self.system, batch, outputs, mixing=self.config.mixing)
        return {"loss": entropy + self.config.distance_weight * distance, "answer": entropy, **parts}, {}

    def evaluate(self) -> dict[str, float]:
        """Share of answers right to the letter, by direction, and the distances; on own data, losses."""
        scores: dict[str, float] = {}
        if self.data is not None:
            prompts = self.data.held_out_prompts(self.system.builder, self.opened.lead_ins)
            return caption_scores(self.system, prompts) | signal_scores(self.system, prompts)
        for direction in (d for d in DIRECTIONS if d not in self.config.without):
            rng = np.random.default_rng((toybox_seed(self.config.system) + 1, 43))
            dialogues = [make_dialogue(direction, rng, split="eval") for _ in range(self.config.evaluated)]
            groups = self.system.groups([seen_turns(d) for d in dialogues], rng, parts=2)
            outputs = [self.system.forward(group, return_logits=True) for group in groups]
            right = [
                exact_answers(o.logits, g.prompts.labels)
                for g, o in zip(groups, outputs, strict=True)
                if o.logits is not None
            ]
            scores[direction] = float(torch.cat(right).float().mean())
            for modality, value in mean_distances(self.system, groups, outputs).items():
                scores[f"{direction}/distance/{modality}"] = float(value)
        return scores

    def save(self, folder: Path) -> None:
        """Projections, adapter and rows; the whole model folder where it began with one."""
        self.opened.save(self.name, folder)
