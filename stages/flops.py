"""Floating-point operations of decoder alignment, counted on modules without memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from anygen.checkpoints.folder import build_output_projection
from anygen.config import AnyGenConfig
from anygen.errors import BadArgument
from anygen.language_models import VICUNA
from anygen.llm import build_backbone


@dataclass(frozen=True, kw_only=True)
class AlignmentFlops:
    """Operations of one sample of decoder alignment, the mean over what can be generated."""

    llm_forward: int
    """The language model over the prompt and the signal tokens."""
    llm_backward: int
    """Back through it to the rows of the signal tokens; its weights are frozen."""
    projection: int
    """The output projection, forward and backward."""

    @property
    def ratio(self) -> float:
        """Uncached over cached, the rows of the signal tokens frozen in both."""
        return (self.llm_forward + self.projection) / self.projection

    @property
    def ratio_training_rows(self) -> float:
        """The same, where without a cache the rows train too."""
        return (self.llm_forward + self.llm_backward + self.projection) / self.projection


def decoder_alignment_flops(config: AnyGenConfig, length: int) -> AlignmentFlops:
    """Count what one sample costs, alignment losses alone.

    Args:
        config: a preset whose language model is known by its layers.
        length: tokens of the sample, signal tokens included.

    Raises:
        BadArgument: the preset's language model has no known layers.
    """
    from transformers import LlamaConfig

    if config.llm.source not in VICUNA:
        raise BadArgument(
            f"Found the language model {config.llm.source!r} in {config.name}; expected one whose layers are "
            f"known: {', '.join(VICUNA)}."
        )
    projections = []
    with torch.device("meta"):
        llm = build_backbone(LlamaConfig(**VICUNA[config.llm.source]["layers"])).requires_grad_(False)
        embeds = torch.empty(1, length, config.llm.hidden_dim, requires_grad=True)
        # A mask and positions of our own: transformers would look for packed sequences in the values.
        options = {
            "attention_mask": torch.empty(1, 1, length, length),
            "position_ids": torch.empty(1, length).long(),
        }
        with FlopCounterMode(display=False) as forward:
            states = llm.get_decoder()(inputs_embeds=embeds, use_cache=False, **options).last_hidden_state
        with FlopCounterMode(display=False) as backward:
            states.sum().backward()
        for modality, count in config.signal_tokens.items():
            projection: Any = build_output_projection(config, modality)
            signals = torch.empty(1, count, config.llm.hidden_dim)
            with FlopCounterMode(display=False) as both:
                projection(signals, signals).sum().backward()
            projections.append(both.get_total_flops())
    return AlignmentFlops(
        llm_forward=forward.get_total_flops(),
        llm_backward=backward.get_total_flops(),
        projection=sum(projections) // len(projections),
    )
