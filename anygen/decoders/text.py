"""Captions to conditioning, by a decoder's own frozen text encoder."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from typing import Any, Protocol

import ftfy
import torch
from torch import Tensor

from ..errors import BadText, MissingPart
from .base import ConditioningSpec

_log = logging.getLogger(__name__)


class Parts(Protocol):
    """What a text encoder sees of `DecoderParts`."""

    def get(self, name: str) -> Any:
        """A part by name."""
        ...


def encode_text(texts: list[str], *, parts: Parts, kind: str, spec: ConditioningSpec) -> Tensor:
    """What diffusers' pipelines feed their network for a prompt.

    Args:
        texts: Captions; the empty text gives the unconditional embedding of most decoders.
        parts: The decoder's tokenizers and text encoders.
        kind: How the layout reads text, a name of `ENCODERS`.
        spec: The decoder's conditioning.

    Returns:
        (B, tokens, width) on the text encoder's device, without gradient.

    Raises:
        BadText: There is no text, or something that is not a text.
        MissingPart: The decoder does not read text.
    """
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadText(
            "texts: found nothing or something that is not a text, expected a list of texts; pass at "
            "least one"
        )
    if kind not in ENCODERS:
        raise MissingPart(
            "text encoder: found a decoder of image vectors, expected one of text; embed the text with "
            "an encoder whose vectors it takes"
        )
    with torch.no_grad():
        return spec.fit(ENCODERS[kind](texts, parts, spec))


def context_tokens(texts: list[str], parts: Parts) -> Tensor:
    """(B, L, D) last hidden states of a CLIP text encoder: text beside a decoder's own conditioning."""
    encoder = parts.get("text_encoder")
    with torch.no_grad():
        return _clip_states(texts, parts.get("tokenizer"), encoder, encoder.config.max_position_embeddings)


def _clip(texts: list[str], parts: Parts, spec: ConditioningSpec) -> Tensor:
    """Stable Diffusion, Zeroscope: CLIP's last hidden states, padding included."""
    return _clip_states(texts, parts.get("tokenizer"), parts.get("text_encoder"), spec.tokens)


def _clip_states(texts: list[str], tokenizer: Any, encoder: Any, tokens: int) -> Tensor:
    ids, mask = _tokenize(
        texts, tokenizer, min(tokenizer.model_max_length, tokens), encoder, padding="max_length"
    )
    masked = getattr(encoder.config, "use_attention_mask", False)
    states: Tensor = encoder(ids, attention_mask=mask if masked else None).last_hidden_state
    return states


def _clap(texts: list[str], parts: Parts, spec: ConditioningSpec) -> Tensor:
    """AudioLDM: CLAP's projected vector, padding masked."""
    tokenizer, encoder = parts.get("tokenizer"), parts.get("text_encoder")
    # RoBERTa counts positions from padding_idx + 1, so it has that many fewer than its table has rows
    positions = encoder.config.max_position_embeddings - encoder.config.pad_token_id - 1
    length = min(tokenizer.model_max_length, positions)
    ids, mask = _tokenize(texts, tokenizer, length, encoder, padding="longest")
    vectors: Tensor = encoder(ids, attention_mask=mask).text_embeds
    return vectors


def _clip_pair(texts: list[str], parts: Parts, spec: ConditioningSpec) -> Tensor:
    """SDXL (Podell et al. 2023): both encoders' last states but one, then the second's vector."""
    states, pooled = [], None
    for suffix in ("", "_2"):
        tokenizer, encoder = parts.get(f"tokenizer{suffix}"), parts.get(f"text_encoder{suffix}")
        length = min(tokenizer.model_max_length, spec.tokens - 1)
        ids, _ = _tokenize(texts, tokenizer, length, encoder, padding="max_length")
        output = encoder(ids, output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = output.get("text_embeds", pooled)
    assert pooled is not None  # the second encoder is a CLIPTextModelWithProjection
    vector = torch.nn.functional.pad(pooled, (0, spec.width - pooled.shape[-1]))
    return torch.cat([torch.cat(states, dim=-1), vector[:, None].to(states[0])], dim=1)


def _t5(texts: list[str], parts: Parts, spec: ConditioningSpec) -> Tensor:
    """Wan: T5's last hidden states, zero at the padding, of cleaned text."""
    cleaned = [" ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()) for text in texts]
    states, mask = _t5_states(cleaned, parts, spec)
    return states * mask[..., None].to(states)


def _t5_projected(texts: list[str], parts: Parts, spec: ConditioningSpec) -> Tensor:
    """Stable Audio: T5's last hidden states, projected, zero at the padding."""
    states, mask = _t5_states(texts, parts, spec)
    projected: Tensor = parts.get("projection_model").text_projection(states)
    return projected * mask[..., None].to(projected)


def _t5_states(texts: list[str], parts: Parts, spec: ConditioningSpec) -> tuple[Tensor, Tensor]:
    encoder = parts.get("text_encoder")
    ids, mask = _tokenize(texts, parts.get("tokenizer"), spec.tokens, encoder, padding="max_length")
    return encoder(ids, attention_mask=mask).last_hidden_state, mask


def _tokenize(
    texts: list[str], tokenizer: Any, length: int, encoder: Any, *, padding: str
) -> tuple[Tensor, Tensor]:
    """Ids and attention mask (B, T) on the encoder's device; says so where a text is cut."""
    inputs = tokenizer(texts, padding=padding, max_length=length, truncation=True, return_tensors="pt")
    if inputs.input_ids.shape[1] == length and any(len(ids) > length for ids in tokenizer(texts).input_ids):
        _log.warning("a text was cut to the %d tokens that the text encoder takes", length)
    return inputs.input_ids.to(encoder.device), inputs.attention_mask.to(encoder.device)


ENCODERS: dict[str, Callable[[list[str], Parts, ConditioningSpec], Tensor]] = {
    "clap": _clap,
    "clip": _clip,
    "clip-pair": _clip_pair,
    "t5": _t5,
    "t5-projected": _t5_projected,
}
"""How layouts read text, by name."""
