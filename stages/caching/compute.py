"""What frozen parts say of samples: vectors for encoder alignment, signal states for decoder alignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anygen.modality import Modality
from anygen.prompting import Prompt

from ..base import to_device
from ..data.latents import RecordLatents
from ..system import Group, System
from .samples import Sample, StoredMedium, StoredSignal
from .stored import TRAIN


class Subject:
    """A live stage as the source of samples.

    Args:
        stage: A stage of alignment that reads no cache.
        count: Samples of a procedural data set.
        batch: Samples that go through the language model at once.
    """

    def __init__(self, stage: Any, *, count: int, batch: int) -> None:
        self.stage, self.batch = stage, batch
        self.system: System = stage.system
        self.system.model.eval()
        self._evaluation: dict[str, list[Prompt]] = stage.evaluation_prompts()
        size = stage.dataset_size
        self.splits: dict[str, int] = {TRAIN: count if size is None else size}
        self.splits |= {name: len(prompts) for name, prompts in self._evaluation.items()}

    def prompts(self, split: str, begin: int, end: int) -> list[Prompt]:
        """The samples as the stage makes them."""
        if split != TRAIN:
            return self._evaluation[split][begin:end]
        prompts: list[Prompt] = self.stage.training_prompts(range(begin, end))
        return prompts

    def samples(self, split: str, begin: int, end: int) -> tuple[list[Sample], list[Any]]:
        """Compute a run of samples.

        Returns:
            The samples, and the items behind their slots and signals.

        Raises:
            AnyGenError: A medium cannot be read; its entry is named.
        """
        prompts = self.prompts(split, begin, end)
        rng = np.random.default_rng((73, len(split), begin))
        items = [placed.item for p in prompts for placed in (*p.slots, *p.signals)]
        held_out = split.startswith("held_out")
        with torch.no_grad():
            make = COMPUTE[self.stage.name]
            return make(self, prompts, rng, held_out), items


def vectors(
    subject: Subject, prompts: Sequence[Prompt], rng: np.random.Generator, held_out: bool
) -> list[Sample]:
    """A vector for every medium in a slot, or its patch tokens."""
    items = [slot.item for prompt in prompts for slot in prompt.slots]
    found = iter(subject.system.media.vectors(items, rng, held_out=held_out))
    return [
        Sample(prompt, media=tuple(StoredMedium(next(found).cpu()) for _ in prompt.slots))
        for prompt in prompts
    ]


def signals(
    subject: Subject, prompts: Sequence[Prompt], rng: np.random.Generator, held_out: bool
) -> list[Sample]:
    """Hidden states, text target and latents for every signal group."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    states: dict[int, list[Tensor]] = {}
    for start in range(0, len(order), subject.batch):
        rows = order[start : start + subject.batch]
        (group,) = subject.system.grouped([prompts[i] for i in rows], rng, parts=1, held_out=held_out)
        found = {m: iter(s.float().cpu()) for m, s in _states(subject.system, group).items()}
        for row in rows:
            states[row] = [next(found[placed.modality]) for placed in prompts[row].signals]
    targets = _targets(subject.system, prompts)
    samples = []
    for row, prompt in enumerate(prompts):
        stored = [
            StoredSignal(
                caption=(caption := subject.system.media.caption(placed.item)),
                state=state,
                target=targets[placed.modality, caption],
                latents=_latents(subject, placed.modality, placed.item),
                attributes=dict(getattr(placed.item, "attributes", {})),
            )
            for placed, state in zip(prompt.signals, states[row], strict=True)
        ]
        samples.append(Sample(prompt, signals=tuple(stored)))
    return samples


def _states(system: System, group: Group) -> dict[Modality, Tensor]:
    """Hidden states at the signals; no loss is taken, so the head is not computed."""
    prompts = group.prompts.to(system.model.device)
    output = system.model(
        prompts.input_ids,
        prompts.attention_mask,
        slot_mask=prompts.slot_mask,
        media_vectors=to_device(group.vectors, system.model.device),
        share_prefix=system.share_prefix,
    )
    states: dict[Modality, Tensor] = output.signal_states
    return states


def _targets(system: System, prompts: Sequence[Prompt]) -> dict[tuple[Modality, str], Tensor]:
    """The embedding of every different caption."""
    wanted: dict[Modality, dict[str, None]] = {}
    for prompt in prompts:
        for placed in prompt.signals:
            wanted.setdefault(placed.modality, {})[system.media.caption(placed.item)] = None
    found: dict[tuple[Modality, str], Tensor] = {}
    for modality, captions in wanted.items():
        names = list(captions)
        for start in range(0, len(names), 64):
            some = names[start : start + 64]
            embeds = system.targets(modality, some).float().cpu()
            found |= {(modality, c): e for c, e in zip(some, embeds, strict=True)}
    return found


def _latents(subject: Subject, modality: Modality, item: Any) -> Tensor | None:
    bank = subject.stage.banks.get(modality)
    return bank.latents(item) if isinstance(bank, RecordLatents) else None


COMPUTE: dict[str, Callable[[Subject, Sequence[Prompt], np.random.Generator, bool], list[Sample]]] = {
    "encoder-alignment": vectors,
    "decoder-alignment": signals,
}
"""What is computed, by stage."""
