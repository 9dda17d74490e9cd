"""From records to training turns: what each stage makes of a sample.

A captioned medium serves both directions: it is described in encoder alignment, and turned round (asked for
in words, shown in signals) in decoder alignment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from anygen.chat_templates import MEDIA_NAMES
from anygen.modality import GENERATED, Modality
from anygen.prompting import SignalPart, SlotPart, TrainingTurn

from .records import MediaIn, MediaOut, Part, Place, Record

DESCRIBE = (
    "Describe this {}.",
    "What is in this {}?",
    "Tell me in a sentence what this {} has.",
    "Write a caption for this {}.",
    "Please say what you make of this {}.",
)
"""Requests for a caption, for captioned media that come without one."""

SHOW = (
    "Make a {} of this: {}",
    "I would like a {} of this: {}",
    "{1} Give me that as a {0}, please.",
    "Please turn these words into a {}: {}",
    "Could you make a {}? {}",
)
"""Requests for media, for captioned media that are to be shown."""

Turns = list[TrainingTurn]
"""A conversation as the prompt builder takes it."""

Converse = Callable[[Record, np.random.Generator, Mapping[Modality, str]], Turns]
"""From a record, randomness and the model's lead-ins to turns."""


@dataclass(frozen=True, slots=True)
class At:
    """A medium with the place of its entry, so that whoever opens it can say whose fault it is."""

    medium: MediaIn | MediaOut
    """What stands there."""
    place: Place
    """Where the entry is."""


def describable(record: Record) -> bool:
    """Whether there is a medium to describe, come in or known by its caption."""
    return bool(record.inputs) or any(out.source is not None for out in record.outputs)


def showable(record: Record) -> bool:
    """Whether there is something to show: media that go out, or a captioned medium that decoders make."""
    return bool(record.outputs) or _captioned(record)


def _captioned(record: Record) -> bool:
    return record.caption is not None and any(m.modality in GENERATED for m in record.inputs)


def describe(record: Record, rng: np.random.Generator, lead_ins: Mapping[Modality, str]) -> Turns:
    """Words about media: signals are left out, and media that go out are described instead."""
    if record.inputs:
        return _with_request(record, rng, signals=False)
    out = next(out for out in record.outputs if out.source is not None)
    assert out.source is not None
    slot = SlotPart(out.modality, At(MediaIn(out.modality, out.source), record.place))
    asked = TrainingTurn(role="user", parts=(slot, f" {_request(rng, [out.modality])}"))
    return [asked, TrainingTurn(role="assistant", parts=(out.caption,))]


def show(record: Record, rng: np.random.Generator, lead_ins: Mapping[Modality, str]) -> Turns:
    """Words and signals: a captioned medium is asked for by its caption."""
    if record.outputs:
        return _with_request(record, rng, signals=True)
    caption = record.caption
    assert caption is not None
    media = [m for m in record.inputs if m.modality in GENERATED]
    kinds = list(dict.fromkeys(m.modality for m in media))
    request = SHOW[rng.integers(len(SHOW))].format(" and a ".join(MEDIA_NAMES[m] for m in kinds), caption)
    said = f"{lead_ins.get(kinds[0], '')} {caption}".strip()
    signals = tuple(
        SignalPart(m.modality, At(MediaOut(m.modality, caption, m.source), record.place)) for m in media
    )
    return [
        TrainingTurn(role="user", parts=(request,)),
        TrainingTurn(role="assistant", parts=(said, *signals)),
    ]


def tune(record: Record, rng: np.random.Generator, lead_ins: Mapping[Modality, str]) -> Turns:
    """The whole sample; a captioned medium is described or shown, as chance has it."""
    if not record.outputs and _captioned(record) and rng.random() < 0.5:
        return show(record, rng, lead_ins)
    return _with_request(record, rng, signals=True)


def _with_request(record: Record, rng: np.random.Generator, *, signals: bool) -> Turns:
    """The record's turns; a user's turn of media alone gets a request where the answer is a caption."""
    turns = []
    for turn in record.turns:
        parts = [_convert(part, record.place) for part in turn.parts]
        if record.caption is not None and turn.role == "user":
            parts.append(f" {_request(rng, [m.modality for m in record.inputs])}")
        kept = tuple(p for p in parts if signals or not isinstance(p, SignalPart))
        turns.append(TrainingTurn(role=turn.role, parts=kept))
    return turns


def _request(rng: np.random.Generator, modalities: list[Modality]) -> str:
    names = list(dict.fromkeys(MEDIA_NAMES[m] for m in modalities))
    return DESCRIBE[rng.integers(len(DESCRIBE))].format(" and this ".join(names))


def _convert(part: Part, place: Place) -> str | SlotPart | SignalPart:
    if isinstance(part, MediaIn):
        return SlotPart(part.modality, At(part, place))
    if isinstance(part, MediaOut):
        return SignalPart(part.modality, At(part, place))
    return part
