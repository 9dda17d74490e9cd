"""Signal states with the conditioning that they are to become, and how far a projection is from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anygen.modality import Modality
from anygen.model import AnyGenModel, ModelOutput

if TYPE_CHECKING:
    from .system import Group, System


@dataclass(frozen=True)
class Signals:
    """Groups of signal tokens of one modality."""

    states: Tensor
    """(M, K, D) last hidden states."""
    embeds: Tensor
    """(M, K, D) input embeddings."""
    wanted: Tensor
    """(M, tokens, width) embeddings that the frozen text encoder gives the captions."""

    def distances(self, model: AnyGenModel, modality: Modality) -> Tensor:
        """Relative squared distance of each projected group to its caption's embedding, (M,).

        NExT-GPT (arXiv 2309.05519, section 4.2) takes the Euclidean distance; the square over the targets'
        spread is smooth at zero and of like size for every decoder.
        """
        projected = model.project(modality, self.states, self.embeds)
        spread = self.wanted.var() if len(self.wanted) > 1 else self.wanted.square().mean()
        return (projected - self.wanted).square().flatten(1).mean(1) / spread.clamp(min=1e-6)

    def between(self) -> Signals:
        """Points between random pairs of these (mixup, Zhang et al. 2018, arXiv 1710.09412, section 2).

        A projection that is straight between what it was shown adds up what the states say of shape and of
        color, and so is right on pairs that it was never shown. Without, it learns the shown ones by heart.
        """
        other = torch.randperm(len(self.states), device=self.states.device)
        share = torch.rand(len(self.states), 1, 1).to(self.states)
        pairs = ((x, x[other]) for x in (self.states, self.embeds, self.wanted))
        return Signals(*(torch.lerp(b, a, share.to(a)) for a, b in pairs))


def gather(system: System, groups: list[Group], outputs: list[ModelOutput]) -> dict[Modality, Signals]:
    """All signal groups of a batch by modality."""
    found: dict[Modality, list[Signals]] = {}
    for group, output in zip(groups, outputs, strict=True):
        for modality, captions in group.captions.items():
            wanted = system.targets(modality, captions).to(system.model.device)
            states, embeds = output.signal_states[modality], output.signal_embeds[modality]
            found.setdefault(modality, []).append(Signals(states, embeds, wanted))
    return {modality: _joined(signals) for modality, signals in found.items()}


def _joined(signals: list[Signals]) -> Signals:
    return Signals(*(torch.cat([getattr(s, field.name) for s in signals]) for field in fields(Signals)))


def mean_distances(system: System, groups: list[Group], outputs: list[ModelOutput]) -> dict[Modality, Tensor]:
    """Mean distance to the captions' embeddings over a batch, by modality."""
    return {m: s.distances(system.model, m).mean() for m, s in gather(system, groups, outputs).items()}


def distance_losses(
    system: System, groups: list[Group], outputs: list[ModelOutput], *, mixing: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The distance loss, and its parts to report.

    Args:
        system: What the groups went through.
        groups: The batch.
        outputs: The model's output of each group.
        mixing: Weight of the distances between pairs of signal groups; 0 leaves them out.

    Returns:
        Scalar loss, 0 where the batch has no signals; `distance/MODALITY` and `between/MODALITY`.
    """
    found = gather(system, groups, outputs)
    parts = {f"distance/{m}": s.distances(system.model, m).mean() for m, s in found.items()}
    loss = sum(parts.values(), start=torch.zeros((), device=system.model.device))
    if mixing:
        mixed = {f"between/{m}": s.between().distances(system.model, m).mean() for m, s in found.items()}
        loss, parts = loss + mixing * sum(mixed.values()), parts | mixed
    return loss, parts
