"""Media from a weighted sum of encoder vectors: what things have in common, or one without another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anygen.errors import BadArgument
from anygen.modality import GENERATED, Modality
from anygen.prompting import SlotPart, TrainingTurn

from .answering import Request
from .any_to_any import AnyGenPipeline
from .events import Event
from .options import media_options, output_modalities, request_seeds, text_options

WORDS = {
    Modality.IMAGE: "Draw this.",
    Modality.AUDIO: "Play the sound of this.",
    Modality.VIDEO: "Film this.",
}
"""What is asked with a blend when the caller says nothing."""


def blend(vectors: Tensor, weights: Sequence[float]) -> Tensor:
    """Mix vectors.

    Args:
        vectors: (N, D) of unit norm.
        weights: N numbers; negative ones take away.

    Returns:
        (D,) of unit norm: the input projection has seen no other.

    Raises:
        BadArgument: nothing to mix, another number of weights, or the sum vanishes.
    """
    if len(vectors) != len(weights) or not len(vectors):
        raise BadArgument(f"found {len(weights)} weights for {len(vectors)} items, expected one for each")
    if not all(math.isfinite(weight) for weight in weights):
        raise BadArgument("found a weight that is no finite number; move its slider")
    mixed = torch.as_tensor(weights, dtype=torch.float32) @ vectors.float().cpu()
    if mixed.norm() < 1e-3:
        raise BadArgument("the items cancel each other out; change a weight")
    return functional.normalize(mixed, dim=0)


def stream_blend(
    pipe: AnyGenPipeline,
    vectors: Tensor,
    weights: Sequence[float],
    *,
    output: Modality,
    text: str = "",
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Show the language model the blend as one medium and have it make something of it.

    Args:
        pipe: the model.
        vectors: (N, D) of its encoder, of unit norm.
        weights: one for each.
        output: what to make.
        text: what is asked; empty takes `WORDS`.
        seed: fixes what is drawn.
        options: of the decoder.

    Returns:
        As `AnyGenPipeline.stream`.

    Raises:
        AnyGenError: as `AnyGenPipeline.stream` and `blend`.
    """
    if output not in GENERATED:
        raise BadArgument(f"found output {output!s}, expected one of {', '.join(GENERATED)}")
    parts = (SlotPart(Modality.IMAGE, blend(vectors, weights).to(pipe.model.device)), text or WORDS[output])
    request = Request(
        conversations=[],
        outputs=output_modalities(pipe.config, [output]),
        seeds=request_seeds(seed, 1),
        media=media_options(pipe.config, {output: options}),
        text=text_options(pipe.config, {}),
    )
    turns: list[Any] = [TrainingTurn("user", parts)]
    request.conversations.append(turns)
    return pipe.stream_request(request)
