"""Puts projected media where the prompt keeps their places."""

from __future__ import annotations

from torch import Tensor

from anygen.errors import BadArgument


def fuse(inputs_embeds: Tensor, media_embeds: Tensor, slot_mask: Tensor) -> Tensor:
    """Replace the embeddings at media slots.

    Args:
        inputs_embeds: (B, S, D) embeddings of the prompt's ids.
        media_embeds: (N, K, D) projected media items, row by row, in order.
        slot_mask: (B, S) bool, True at N x K positions.

    Returns:
        (B, S, D), gradients flowing to both.

    Raises:
        BadArgument: when the numbers of slots and media differ, so that no item can slip into another's
            place.
    """
    places, count = int(slot_mask.sum()), media_embeds.shape[0] * media_embeds.shape[1]
    if places != count:
        raise BadArgument(
            f"found {media_embeds.shape[0]} media of {media_embeds.shape[1]} tokens for {places} slot "
            f"positions, expected {count}; give one vector for every slot of the prompt"
        )
    if count == 0:
        return inputs_embeds
    values = media_embeds.reshape(count, -1).to(inputs_embeds.dtype)
    return inputs_embeds.masked_scatter(slot_mask.unsqueeze(-1), values)
