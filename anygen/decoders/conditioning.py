"""What two layouts make of their conditioning once a run, beyond what a `ConditioningSpec` says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Conditioner = Callable[[Tensor, int], dict[str, Any]]
"""Fitted embeddings (B, tokens, width), and how many leading rows are unconditional, to network arguments."""


class Parts(Protocol):
    """What a conditioner sees of `DecoderParts`."""

    @property
    def context(self) -> Tensor:
        """(1, L, D) tokens of the empty text."""
        ...

    def get(self, name: str) -> Any:
        """A part by name."""
        ...


MakeConditioner = Callable[[Parts, list[torch.Generator], float | None], Conditioner]
"""Parts, generators of the samples, and seconds of sound to the conditioner of one run."""


def image_vectors(parts: Parts, generators: list[torch.Generator], seconds: float | None) -> Conditioner:
    """StableUnCLIP: image embeddings with a little noise and its level, beside the empty text's tokens.

    unCLIP (Ramesh et al. 2022) trains on embeddings noised to a random level and is told the level; level 0,
    the least, is what reproduces the image best and what diffusers takes unless told otherwise. The
    unconditional half is zero throughout.

    Args:
        parts: With `image_normalizer` and `image_noising_scheduler`.
        generators: One a sample; each draws one embedding's noise.
        seconds: Not used.

    Returns:
        A conditioner that gives `class_labels` (B, 2 D) and `encoder_hidden_states` (B, L, D).
    """
    normalizer, noising = parts.get("image_normalizer"), parts.get("image_noising_scheduler")

    def condition(embeds: Tensor, unconditional: int) -> dict[str, Any]:
        vectors = embeds[unconditional:, 0]
        drawn = [torch.randn(vectors.shape[1], generator=generator) for generator in generators]
        levels = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
        scaled = normalizer.scale(vectors)
        noised = normalizer.unscale(noising.add_noise(scaled, torch.stack(drawn).to(scaled), levels))
        half = vectors.shape[1] // 2  # level 0 as sinusoids: cosines of 0, then sines of 0
        level = torch.cat([noised.new_ones(len(noised), half), noised.new_zeros(len(noised), half)], dim=1)
        labels = torch.cat([noised.to(embeds), level.to(embeds)], dim=1)
        labels = torch.cat([labels.new_zeros(unconditional, labels.shape[1]), labels])
        return {
            "class_labels": labels,
            "encoder_hidden_states": parts.context.to(embeds).expand(len(labels), -1, -1),
        }

    return condition


def timed_tokens(parts: Parts, generators: list[torch.Generator], seconds: float | None) -> Conditioner:
    """Stable Audio (Evans et al. 2024): text tokens, then the start and the end of the sound as tokens.

    The two times also enter as one global token. Unconditional rows have zeros for all tokens, times
    included, and keep the global one.

    Args:
        parts: With `projection_model` and `transformer`.
        generators: Not used.
        seconds: Length of the sound.

    Returns:
        A conditioner that gives `encoder_hidden_states` (B, L + 2, D), `global_hidden_states` (B, 1, 2 D) and
        `rotary_embedding`.
    """
    projection, config = parts.get("projection_model"), parts.get("transformer").config
    length = config.sample_size + 1  # the global token goes before the latents
    rotary = _rotary(config.attention_head_dim // 2, length)

    def condition(embeds: Tensor, unconditional: int) -> dict[str, Any]:
        ends = torch.tensor([0.0, seconds or 0.0], device=embeds.device)
        start = projection.start_number_conditioner(ends[:1]).to(embeds).expand(len(embeds), -1, -1)
        end = projection.end_number_conditioner(ends[1:]).to(embeds).expand(len(embeds), -1, -1)
        tokens = torch.cat([embeds, start, end], dim=1)
        tokens = torch.cat([torch.zeros_like(tokens[:unconditional]), tokens[unconditional:]])
        return {
            "encoder_hidden_states": tokens,
            "global_hidden_states": torch.cat([start, end], dim=2),
            "rotary_embedding": tuple(part.to(embeds.device) for part in rotary),
        }

    return condition


def _rotary(width: int, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, width) of rotary positions (Su et al. 2021), halves repeated."""
    rates = 1.0 / (10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    angles = torch.outer(torch.arange(length, dtype=torch.float32), rates)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def guidance_embedding(scale: float, width: int) -> Tensor:
    """Sinusoids (1, width) of a guidance scale, for networks distilled with guidance (LCM, Luo et al. 2023).

    Args:
        scale: w + 1 in the notation of Meng et al. 2023: 1 means no guidance.
        width: `time_cond_proj_dim` of the UNet, even.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000.0) / (half - 1)))
    angles = (scale - 1.0) * 1000.0 * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
