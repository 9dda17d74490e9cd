"""Where the input projection can begin: at the language model's own words for what the media show.

A linear layer from random numbers must first find out where words lie in the embedding of a language model
that never saw anything else. This is found in closed form: for
media vectors x and captions that are pooled to as many embeddings as a medium has slots, y, ridge regression
gives the layer whose slots come nearest to the caption's words. Training goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anygen.errors import BadArgument
from anygen.projections import InputProjection
from anygen.prompting import IGNORED, Prompt

from .system import System

RIDGE = 1e-2
"""Weight of the penalty, as a share of the mean variance of the vectors' entries."""


@torch.no_grad()
def begin_at_captions(system: System, prompts: Sequence[Prompt], rng: np.random.Generator) -> int:
    """Set the input projection to the ridge regression from media to their captions' words.

    Args:
        system: Its projection is changed in place.
        prompts: Samples; those with one medium and an answer in words count.
        rng: Draws renders, where the media are the toybox's.

    Returns:
        How many samples counted.

    Raises:
        BadArgument: The projection is not linear, or no sample counts.
    """
    projection = system.model.input_projection
    if not isinstance(projection, InputProjection):
        raise BadArgument("found a projection that is not linear, expected one for `begin: captions`")
    pairs = [(p.slots[0].item, words) for p in prompts if len(p.slots) == 1 and (words := _words(system, p))]
    if not pairs:
        raise BadArgument("found no medium with a caption among the samples, expected some to begin with")
    vectors = system.media.vectors([item for item, _ in pairs], rng, held_out=False)
    embedding = system.model.llm.get_input_embeddings()
    device = system.model.device
    targets = [
        pooled(embedding(torch.tensor(words, device=device)).double(), projection.num_tokens).flatten()
        for _, words in pairs
    ]
    weight, bias = ridge(torch.stack(vectors).double().to(device), torch.stack(targets), RIDGE)
    projection.linear.weight.copy_(weight)
    projection.linear.bias.copy_(bias)
    return len(pairs)


def _words(system: System, prompt: Prompt) -> list[int]:
    """What the assistant says, control tokens left out."""
    return [i for i in prompt.labels if i != IGNORED and i not in system.tokens.control_ids]


def pooled(embeds: Tensor, count: int) -> Tensor:
    """Means of `count` even pieces of a sequence, each of one token at least.

    Args:
        embeds: (T, D).
        count: Pieces; where there are fewer tokens, neighbours share one.

    Returns:
        (count, D).
    """
    length = embeds.shape[0]
    bounds = [
        (k * length // count, max(k * length // count + 1, (k + 1) * length // count)) for k in range(count)
    ]
    return torch.stack([embeds[begin:end].mean(0) for begin, end in bounds])


def ridge(inputs: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (out, in) and bias (out,) with the least squared error plus penalty; the bias is not penalised.

    Args:
        inputs: (N, in).
        targets: (N, out).
        penalty: Relative to the mean variance of an input's entry.
    """
    centre, mean = inputs.mean(0), targets.mean(0)
    x, y = inputs - centre, targets - mean
    gram = x.T @ x
    scale = gram.diagonal().mean().clamp(min=torch.finfo(gram.dtype).tiny)
    solved = torch.linalg.solve(
        gram + penalty * scale * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), x.T @ y
    )
    return solved.T, mean - centre @ solved
