"""From toybox dialogues to prompts: the one reading of a dialogue that all language stages share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anygen.chat_templates import MEDIA_NAMES
from anygen.prompting import SignalPart, SlotPart, TrainingTurn
from anygen.toybox.captions import caption
from anygen.toybox.dialogue_types import Dialogue, InputMedia, Part, Signal

NewPart = str | SlotPart | SignalPart | None


def _turns(dialogue: Dialogue, convert: Callable[[Part], NewPart]) -> list[TrainingTurn]:
    return [
        TrainingTurn(role=turn.role, parts=tuple(p for p in map(convert, turn.parts) if p is not None))
        for turn in dialogue.turns
    ]


def seen_turns(dialogue: Dialogue) -> list[TrainingTurn]:
    """Media become slots that hold the `InputMedia`; signals become groups that hold the `Signal`."""

    def convert(part: Part) -> NewPart:
        if isinstance(part, InputMedia):
            return SlotPart(part.modality, part)
        return SignalPart(part.modality, part) if isinstance(part, Signal) else part

    return _turns(dialogue, convert)


def told_turns(dialogue: Dialogue, rng: np.random.Generator, *, signals: bool) -> list[TrainingTurn]:
    """Media are told in words; signals are kept or left out.

    Args:
        dialogue: Any dialogue.
        rng: Draws the wording.
        signals: Keep the signal groups.
    """

    def convert(part: Part) -> NewPart:
        if isinstance(part, InputMedia):
            words = caption(part.scene.revealed(part.modality), rng if rng.random() < 0.3 else None)
            return f" ({MEDIA_NAMES[part.modality]}: {words}) "
        if isinstance(part, Signal):
            return SignalPart(part.modality, part) if signals else None
        return part

    return _turns(dialogue, convert)


FILLERS = (
    "well", "so", "just", "really", "kindly", "maybe", "perhaps", "quickly", "simply", "honestly",
    "again", "then", "actually", "today", "first", "quite", "surely", "gladly", "happily", "soon",
    "there", "friend", "sure", "truly", "totally", "somehow", "always", "ever", "also", "hm", "oh",
    "ah", "wow", "nice", "great", "good", "alright", "fine", "cool", "dear", "buddy", "sir",
    "think", "believe", "guess", "hope", "wonder", "wish", "mean", "know", "help", "here",
)  # fmt: skip
"""Words that change nothing of a request."""


def filled(turns: list[TrainingTurn], rng: np.random.Generator) -> list[TrainingTurn]:
    """The same with one to three idle words among the first of the user's texts.

    People word a request in more ways than any list of templates has; this teaches to pass over what is idle.
    """

    def fill(text: str) -> str:
        words = text.split(" ")
        for _ in range(int(rng.integers(1, 4))):
            words.insert(int(rng.integers(min(3, len(words)))), FILLERS[int(rng.integers(len(FILLERS)))])
        return " ".join(words)

    return [
        turn
        if turn.role != "user"
        else TrainingTurn(turn.role, tuple(fill(p) if isinstance(p, str) else p for p in turn.parts))
        for turn in turns
    ]


def shouted(turns: list[TrainingTurn]) -> list[TrainingTurn]:
    """The same with the user's words in capitals: other tokens, which are rare in what people type."""
    return [
        turn
        if turn.role != "user"
        else TrainingTurn(turn.role, tuple(p.upper() if isinstance(p, str) else p for p in turn.parts))
        for turn in turns
    ]


def plain_text(turns: list[TrainingTurn]) -> str:
    """All words of a dialogue, as a tokenizer's training text."""
    return " ".join("".join(p for p in turn.parts if isinstance(p, str)) for turn in turns)
