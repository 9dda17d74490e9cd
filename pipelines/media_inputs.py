"""From conversations to what the language model reads: turns, and one vector for every medium in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anygen.errors import MissingPart, NonFinite
from anygen.messages import MediaPart, Message
from anygen.modality import Modality
from anygen.model import AnyGenModel, MediaFeatures
from anygen.prompting import Placed, SignalPart, TrainingTurn

from .encoded import EncodedMedia, content_key
from .reply import Reply


def with_messages(value: Any) -> Any:
    """Replace every reply inside a conversation, or a list of them, by the assistant's message that it is.

    Args:
        value: what the caller passed.

    Returns:
        The same without replies (one that says and shows nothing is left out); text stays as it is.
    """
    if isinstance(value, Reply):
        return value.message
    if isinstance(value, (list, tuple)):
        said = (item for item in value if not (isinstance(item, Reply) and not item.parts))
        return [with_messages(item) for item in said]
    return value


def as_turns(conversation: Sequence[Message], generated: Sequence[Modality]) -> list[Any]:
    """Write what the assistant showed earlier as the signal groups it was shown by, as in training.

    Args:
        conversation: parsed messages.
        generated: modalities that the model has signals for.

    Returns:
        Turns for `PromptBuilder.encode`.
    """
    return [
        TrainingTurn(role="assistant", parts=tuple(_as_signal(part, generated) for part in message.parts))
        if message.role == "assistant"
        else message
        for message in conversation
    ]


def _as_signal(part: Any, generated: Sequence[Modality]) -> Any:
    return SignalPart(part.modality) if isinstance(part, MediaPart) and part.modality in generated else part


def encode_slots(
    model: AnyGenModel, slots: Sequence[Placed], *, batch_size: int, known: EncodedMedia | None = None
) -> MediaFeatures | None:
    """Encode the media of a batch of prompts, each modality together.

    Args:
        model: whose encoder is lazy (`anygen.checkpoints.folder.load_model`).
        slots: media items in the order of the prompts; a tensor (encoder_dim,) is a vector already.
        batch_size: items that go through a tower at once.
        known: features of media that were encoded before; new ones are added.

    Returns:
        What `AnyGenModel.collect` makes of their features, or None without media.

    Raises:
        MissingPart: the model has no encoder, or no tower for a modality.
        NonFinite: the encoder gave a NaN or infinity.
    """
    if not slots:
        return None
    known = EncodedMedia() if known is None else known
    keys = [content_key(slot.modality, slot.item) for slot in slots]
    features: dict[int, Tensor] = {}
    for place, (slot, key) in enumerate(zip(slots, keys, strict=True)):
        found = slot.item if isinstance(slot.item, Tensor) else known.find(key)
        if found is not None:
            features[place] = found
    for modality in dict.fromkeys(slot.modality for slot in slots):
        places = [i for i, s in enumerate(slots) if s.modality is modality and i not in features]
        for start in range(0, len(places), batch_size):
            chunk = places[start : start + batch_size]
            encoded = _encode(model, modality, [slots[i].item for i in chunk])
            for place, feature in zip(chunk, encoded, strict=True):
                features[place] = feature
                known.keep(keys[place], feature)
    return model.collect([features[i] for i in range(len(slots))])


def _encode(model: AnyGenModel, modality: Modality, items: list[Any]) -> MediaFeatures:
    encoded = model.encode_media([modality] * len(items), {modality: _prepare(model, modality, items)})
    if not all(bool(torch.isfinite(feature).all()) for feature in encoded):
        raise NonFinite(f"The encoder gave NaN or infinity for {modality.value}; load the model in float32.")
    return encoded


def _prepare(model: AnyGenModel, modality: Modality, items: list[Any]) -> Tensor:
    if model.encoder is None:
        raise MissingPart(f"The model has no encoder, so it cannot take {modality.value}; ask in words.")
    inputs: Tensor = model.encoder.prepare(modality, items)
    return inputs
