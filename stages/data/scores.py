"""Held-out scores on own data: what fits must fare better than what was shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anygen.modality import Modality
from anygen.prompting import IGNORED, Prompt

from ..system import Group, System

SHIFTS = 4
"""How many wrong partners each item is given."""


def caption_scores(system: System, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Loss of what the assistant says with the right media, and with other entries' media of the same kind.

    Args:
        system: The model.
        prompts: Held-out samples.

    Returns:
        `held_out/caption_loss` and `held_out/shuffled_loss` (means over entries of their mean token loss),
        `held_out/better` (share of entries that the right media make more likely), and the first two by
        modality where entries have media of one kind; empty without prompts.
    """
    if not prompts:
        return {}
    groups = system.grouped(prompts, np.random.default_rng(0), parts=max(1, len(prompts) // 16))
    right = _row_losses(system, groups)
    kinds = [kind for group in groups for kind in _row_kinds(group)]
    shuffled = [_row_losses(system, _shifted(system, groups, shift)) for shift in range(1, SHIFTS + 1)]
    wrong = torch.stack(shuffled).mean(0)
    scores = {
        "held_out/caption_loss": float(right.mean()),
        "held_out/shuffled_loss": float(wrong.mean()),
        "held_out/better": float((right < wrong).float().mean()),
    }
    for kind in sorted({kind for kind in kinds if kind}):
        rows = torch.tensor([found == kind for found in kinds])
        scores[f"held_out/{kind}/caption_loss"] = float(right[rows].mean())
        scores[f"held_out/{kind}/shuffled_loss"] = float(wrong[rows].mean())
    return scores


def _row_losses(system: System, groups: Sequence[Group]) -> Tensor:
    """Mean loss of every prompt's learned words (n,), signals excepted."""
    signals = torch.tensor(system.tokens.new_ids)
    losses = []
    for group in groups:
        output = system.forward(group)
        assert output.token_losses is not None and output.token_labels is not None
        rows = (group.prompts.labels[:, 1:] != IGNORED).nonzero()[:, 0]
        words = ~torch.isin(output.token_labels.cpu(), signals)
        sums, counts = torch.zeros(2, len(group.prompts.labels))
        sums.index_add_(0, rows[words], output.token_losses.float().cpu()[words])
        counts.index_add_(0, rows[words], torch.ones(int(words.sum())))
        losses.append(sums / counts.clamp(min=1))
    return torch.cat(losses)


def _row_kinds(group: Group) -> list[str]:
    """The one modality of each row's media; empty where there are several, or none."""
    kinds: list[set[str]] = [set() for _ in group.prompts.labels]
    slots_of_row = group.prompts.slot_mask.sum(1)
    position = 0
    for row, count in enumerate(slots_of_row.tolist()):
        while count > 0:
            slot = group.prompts.slots[position]
            kinds[row].add(str(slot.modality))
            count, position = count - slot.length, position + 1
    return [next(iter(found)) if len(found) == 1 else "" for found in kinds]


def _shifted(system: System, groups: Sequence[Group], shift: int) -> list[Group]:
    """The groups with each medium's vector replaced by another's of the same modality, `shift` further on."""
    slots = [slot for group in groups for slot in group.prompts.slots]
    vectors = [vector for group in groups for vector in group.vectors]
    order = np.arange(len(slots))
    mixed = np.random.default_rng(0).permutation(len(slots))
    for modality in dict.fromkeys(slot.modality for slot in slots):
        rows = np.array([i for i in mixed if slots[i].modality is modality])
        order[rows] = np.roll(rows, 1 + (shift - 1) % max(1, len(rows) - 1))
    others = iter(vectors[i] for i in order)
    return [
        Group(g.prompts, system.model.collect([next(others) for _ in g.prompts.slots]), g.captions)
        for g in groups
    ]


def signal_scores(system: System, prompts: Sequence[Prompt]) -> dict[str, float]:
    """How near projected signals come to their own caption's embedding, and to other entries'.

    Args:
        system: The model.
        prompts: Held-out samples.

    Returns:
        By modality `held_out/distance/M` and `held_out/shuffled_distance/M` (squared distance over the
        variance of the targets), and `held_out/nearest/M` (share of signals whose own caption is the nearest
        of all different ones; chance is one over their number, `held_out/choices/M`).
    """
    if not prompts:
        return {}
    groups = system.grouped(prompts, np.random.default_rng(0), parts=max(1, len(prompts) // 16))
    projected: dict[Modality, list[Tensor]] = {}
    captions: dict[Modality, list[str]] = {}
    for group in groups:
        output = system.forward(group)
        for modality, said in group.captions.items():
            states, embeds = output.signal_states[modality], output.signal_embeds[modality]
            projected.setdefault(modality, []).append(system.model.project(modality, states, embeds).cpu())
            captions.setdefault(modality, []).extend(said)
    scores: dict[str, float] = {}
    for modality, said in captions.items():
        distances, own = _distances(system, modality, torch.cat(projected[modality]), said)
        others = torch.ones_like(distances, dtype=torch.bool).scatter_(1, own[:, None], False)
        scores[f"held_out/distance/{modality}"] = float(distances.gather(1, own[:, None]).mean())
        if others.any():
            scores[f"held_out/shuffled_distance/{modality}"] = float(distances[others].mean())
        scores[f"held_out/nearest/{modality}"] = float((distances.argmin(1) == own).float().mean())
        scores[f"held_out/choices/{modality}"] = float(distances.shape[1])
    return scores


def _distances(
    system: System, modality: Modality, projected: Tensor, said: list[str]
) -> tuple[Tensor, Tensor]:
    """Distances (n, different captions) in units of the targets' variance, and each row's own column."""
    different = list(dict.fromkeys(said))
    wanted = system.targets(modality, different).float().cpu().flatten(1)
    own = torch.tensor([different.index(words) for words in said])
    spread = wanted.var() if len(different) > 1 else wanted.square().mean()
    squares = torch.cdist(projected.float().flatten(1), wanted).square() / wanted.shape[1]
    return squares / spread.clamp(min=1e-6), own
