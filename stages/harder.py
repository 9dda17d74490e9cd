"""Harder training data: words of answers that are hidden, vectors of media that are blurred."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.model import MediaFeatures
from anygen.prompting import IGNORED, PromptBatch


def drop_words(
    batch: PromptBatch, share: float, rng: np.random.Generator, *, kept: Collection[int], hidden: int
) -> PromptBatch:
    """Hide a share of an answer's words from what goes on (Bowman et al. 2016, arXiv 1511.06349, 3.1).

    A model that cannot see "green" must read the shape off the picture; one that can learns which shapes
    follow it, and so which pairs it was never shown.

    Args:
        batch: Prompts with labels, which stay as they are.
        share: How many of the learned tokens are hidden, each drawn for itself.
        rng: Draws them.
        kept: Ids that are never hidden: control ids.
        hidden: What stands in their place, such as the padding's id.
    """
    open_ = (batch.labels != IGNORED) & ~torch.isin(batch.input_ids, torch.tensor(sorted(kept)))
    drawn = torch.from_numpy(rng.random(tuple(open_.shape)) < share)
    return replace(batch, input_ids=batch.input_ids.masked_fill(open_ & drawn, hidden))


def blurred(vectors: MediaFeatures, norm: float, rng: np.random.Generator) -> MediaFeatures:
    """Unit vectors (N, D) with Gaussian noise of an expected norm added, of unit norm again.

    Patch tokens (L, D) of N media likewise, token by token.
    """
    if not isinstance(vectors, Tensor):
        return [_blurred(tokens, norm, rng) for tokens in vectors]
    return _blurred(vectors, norm, rng)


def _blurred(vectors: Tensor, norm: float, rng: np.random.Generator) -> Tensor:
    noise = torch.from_numpy(rng.standard_normal(tuple(vectors.shape))).to(vectors)
    return F.normalize(vectors + noise * (norm / vectors.shape[-1] ** 0.5), dim=-1)
