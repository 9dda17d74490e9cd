"""Encoder alignment: the input projection turns encoder vectors into what the frozen model reads.

NExT-GPT (arXiv 2309.05519, section 4.1), the caption loss: cross-entropy of what the assistant says of the
media.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.prompting import Prompt, TrainingTurn
from anygen.toybox.dialogue_types import Dialogue, Signal
from anygen.toybox.dialogues import make_dialogue, sample_dialogue

from .caching.stored import TRAIN, StoredMedia, open_stored
from .caption_start import begin_at_captions
from .data.conversations import describable, describe
from .data.model import Parts
from .data.own import DataConfig
from .data.scores import caption_scores
from .dialogue_data import seen_turns
from .pretraining.language_model import exact_answers
from .system import Group, SystemConfig, toybox_seed

DESCRIBING = (
    "image-to-text",
    "video-to-text",
    "audio-to-text",
    "depth-to-text",
    "thermal-to-text",
    "imu-to-text",
)
"""Directions whose answers are captions."""

MOST_TO_BEGIN = 2048
"""Samples that `begin: captions` looks at."""


@dataclass(frozen=True, kw_only=True)
class EncoderAlignmentConfig:
    """What the input projection is aligned on."""

    system: SystemConfig | None = None
    """The frozen parts, one by one; or `model`."""
    model: str | None = None
    """A model folder or bundled name that the parts come from; the result is a whole model folder."""
    data: DataConfig | None = None
    """Own data in place of the toybox."""
    describing: float = 0.6
    """Share of the toybox's plain captioning; the rest are other requests about media, answered in words."""
    cache: str | None = None
    """Folder that `anygen cache` fills: its samples are trained on, and no media are read or encoded."""
    begin: Literal["as-given", "captions"] = "as-given"
    """`captions` begins at the regression from media to the language model's embeddings of their captions
    (`caption_start`), so that a large one need not find them first; `as-given` begins with what is there."""
    evaluated: int = 64
    """Toybox samples of each direction that an evaluation looks at."""

    def parts(self) -> Parts:
        """What is trained, and on what."""
        return Parts(system=self.system, model=self.model, data=self.data)


def without_signals(dialogue: Dialogue) -> list[TrainingTurn]:
    """The dialogue's words and media; signals come later."""
    turns = seen_turns(dialogue)
    return [
        TrainingTurn(
            role=t.role, parts=tuple(p for p in t.parts if not isinstance(getattr(p, "target", None), Signal))
        )
        for t in turns
    ]


def with_media(rng: np.random.Generator) -> Dialogue:
    """A training dialogue that has media in it."""
    while True:
        dialogue = sample_dialogue(rng)
        if any(turn.media for turn in dialogue):
            return dialogue


class EncoderAlignmentStage:
    """Caption loss; only the input projection trains."""

    name = "encoder-alignment"

    def __init__(self, config: EncoderAlignmentConfig) -> None:
        self.config = config
        self.stored = open_stored(self.name, config)
        self.opened = config.parts().open(
            stored=StoredMedia() if self.stored else None,
            fits=describable, converse=describe, what="media to describe",
        )  # fmt: skip
        self.system, self.data = self.opened.system, self.opened.data
        self.dataset_size = None if self.data is None else len(self.data.training)
        self.sources = () if self.data is None else self.data.sources
        if self.stored is not None:
            self.dataset_size, self.sources = self.stored.count(), self.stored.index.sources
        if config.begin == "captions":
            count = min(MOST_TO_BEGIN, self.dataset_size or MOST_TO_BEGIN)
            begin_at_captions(self.system, self.training_prompts(range(count)), np.random.default_rng(25))

    def modules(self) -> dict[str, nn.Module]:
        """The whole model."""
        return {"model": self.system.model}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """The input projection."""
        self.system.model.set_trainable(["input_projection"])
        return [{"params": [p for p in self.system.model.parameters() if p.requires_grad]}]

    def batch(self, indices: NDArray[np.int64]) -> list[Group]:
        """Dialogues about media, in groups of like length."""
        groups_rng = np.random.default_rng((22, int(indices[0])))
        return self.system.grouped(self.training_prompts(indices), groups_rng, parts=3)

    def training_prompts(self, indices: Iterable[int]) -> list[Prompt]:
        """The samples at `indices`: out of the cache, of own data, or of the toybox."""
        if self.stored is not None:
            return self.stored.prompts(TRAIN, indices)
        if self.data is not None:
            return self.data.prompts(indices, self.system.builder, self.opened.lead_ins)
        conversations = []
        for index in indices:
            rng = np.random.default_rng((toybox_seed(self.config.system), 21, int(index)))
            if rng.random() < self.config.describing:
                dialogue = make_dialogue(DESCRIBING[rng.integers(len(DESCRIBING))], rng)
            else:
                dialogue = with_media(rng)
            conversations.append(without_signals(dialogue))
        return [self.system.builder.encode(turns, add_generation_prompt=False) for turns in conversations]

    def evaluation_prompts(self) -> dict[str, list[Prompt]]:
        """What an evaluation looks at, by part of it."""
        if self.stored is not None:
            return self.stored.evaluation()
        builder = self.system.builder
        if self.data is not None:
            return {"held_out": self.data.held_out_prompts(builder, self.opened.lead_ins)}
        found = {}
        for direction in DESCRIBING:
            for group_name, held_out in (("seen", False), ("held_out", True)):
                if held_out and direction not in DESCRIBING[:2]:
                    continue
                rng = np.random.default_rng((toybox_seed(self.config.system) + 1, 23, held_out))
                turns = [
                    without_signals(make_dialogue(direction, rng, held_out=held_out, split="eval"))
                    for _ in range(self.config.evaluated)
                ]
                prompts = [builder.encode(t, add_generation_prompt=False) for t in turns]
                found[f"{group_name}/{direction}"] = prompts
        return found

    def training_forward(self, batch: list[Group]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Mean cross-entropy over all answers' tokens."""
        losses = torch.cat([self._token_losses(group) for group in batch])
        return {"loss": losses.mean()}, {}

    def _token_losses(self, group: Group) -> Tensor:
        losses = self.system.forward(group).token_losses
        assert losses is not None
        return losses

    def evaluate(self) -> dict[str, float]:
        """Share of captions right to the letter, seen and held out; on own data, held-out losses."""
        found = self.evaluation_prompts()
        if self.config.data is not None:
            return caption_scores(self.system, found.get("held_out", []))
        scores = {}
        for name, prompts in found.items():
            held_out, right = name.startswith("held_out"), []
            rng = np.random.default_rng((toybox_seed(self.config.system) + 1, 24, held_out))
            for group in self.system.grouped(prompts, rng, parts=2, held_out=held_out):
                logits = self.system.forward(group, return_logits=True).logits
                assert logits is not None
                right.append(exact_answers(logits, group.prompts.labels))
            scores[name] = float(torch.cat(right).float().mean())
        return scores

    def save(self, folder: Path) -> None:
        """Projections, adapter and rows; the whole model folder where it began with one."""
        self.opened.save(self.name, folder)
