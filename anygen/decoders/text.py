"""Captions to conditioning, by a decoder's own frozen text encoder."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ..errors import BadText
from .base import ConditioningSpec

_log = logging.getLogger(__name__)


def encode_text(texts: list[str], *, tokenizer: Any, text_encoder: Any, spec: ConditioningSpec) -> Tensor:
    """What diffusers' pipelines feed their UNet for a prompt.

    Args:
        texts: Captions; the empty text gives the unconditional embedding.
        tokenizer: The decoder's tokenizer.
        text_encoder: `CLIPTextModel` (its last hidden states, padding included) or
            `ClapTextModelWithProjection` (its projected vector, padding masked, unit norm).
        spec: The decoder's conditioning.

    Returns:
        (B, tokens, width) on the text encoder's device, without gradient.

    Raises:
        BadText: There is no text, or something that is not a text.
    """
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadText(
            "texts: found nothing or something that is not a text, expected a list of texts; pass at "
            "least one"
        )
    vector = spec.entry == "class_labels"
    positions = text_encoder.config.max_position_embeddings
    # RoBERTa counts positions from padding_idx + 1, so it has that many fewer than its table has rows
    length = min(
        tokenizer.model_max_length,
        positions - text_encoder.config.pad_token_id - 1 if vector else spec.tokens,
    )
    inputs = tokenizer(
        texts,
        padding="longest" if vector else "max_length",
        max_length=length,
        truncation=True,
        return_tensors="pt",
    )
    if (inputs.input_ids.shape[1] == length) and any(len(ids) > length for ids in tokenizer(texts).input_ids):
        _log.warning("a text was cut to the %d tokens that the text encoder takes", length)
    ids = inputs.input_ids.to(text_encoder.device)
    with torch.no_grad():
        if vector:
            embeds = text_encoder(ids, attention_mask=inputs.attention_mask.to(ids.device)).text_embeds
        else:
            masked = getattr(text_encoder.config, "use_attention_mask", False)
            mask = inputs.attention_mask.to(ids.device) if masked else None
            embeds = text_encoder(ids, attention_mask=mask).last_hidden_state
    return spec.fit(embeds)
