"""Attention windows by position, for language models whose layers look back only so far.

`transformers` counts a window in places of the cache. Our batches pad inside the cache (a row that starts a
signal group feeds several tokens at once, the others one), so a window counted in places would shrink for a
row whenever another one starts a group: a batch would no longer be its singles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def has_window(config: Any) -> bool:
    """Whether some layers of a language model look back only so far.

    Args:
        config: its `transformers` configuration.
    """
    layers = getattr(config, "layer_types", None)
    return bool(getattr(config, "sliding_window", None)) and (layers is None or "sliding_attention" in layers)


def whole_cache() -> Any:
    """A cache that keeps all places, for masks by position."""
    return DynamicCache()


def window_masks(
    config: Any, attention_mask: Tensor, key_positions: Tensor, query_positions: Tensor, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """Masks for a block of tokens behind a cache.

    Args:
        config: of a language model that `has_window`.
        attention_mask: (A, S) 1 at tokens of the cache and the block, 0 at padding.
        key_positions: (A, S) their positions in the text.
        query_positions: (A, T) positions of the block, the last T of the S places.
        dtype: floating-point type of the masks.

    Returns:
        (A, 1, T, S), 0 where a query sees a key and the lowest number elsewhere; by the name of the kind of
        layer where the model has several kinds.
    """
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    queries = places[-query_positions.shape[1] :]
    before = places[None, None, :] <= queries[None, :, None]
    own = places[None, None, :] == queries[None, :, None]  # padding sees itself: no row may be empty
    seen = (attention_mask[:, None, :].bool() & before) | own
    kinds = {"full_attention": seen, "sliding_attention": (seen & (distance < config.sliding_window)) | own}
    masks = {
        name: torch.zeros(kind.shape, dtype=dtype, device=kind.device)
        .masked_fill(~kind, torch.finfo(dtype).min)
        .unsqueeze(1)
        for name, kind in kinds.items()
    }
    return masks if getattr(config, "layer_types", None) else masks["sliding_attention"]
