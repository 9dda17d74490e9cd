"""Captions to a small decoder's conditioning, by its text encoder alone: training has no decoder at hand."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast


def embed_texts(encoder: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Embed texts as the decoders' own text encoders do, padded and cut to the tokenizer's length."""
    inputs = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    if "ClapText" in type(encoder).__name__:
        mask = inputs["attention_mask"]
        return F.normalize(encoder(inputs["input_ids"], attention_mask=mask).text_embeds, dim=-1)
    return encoder(inputs["input_ids"]).last_hidden_state
