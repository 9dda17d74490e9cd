"""Requests of the toybox suite: dialogues of the evaluation split, rendered into the chat convention."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anygen.modality import Modality
from anygen.toybox.dialogue_followups import complete_scene
from anygen.toybox.dialogues import Dialogue, InputMedia, Part, Turn, make_dialogue
from anygen.toybox.render import render


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request with its fixed seed and what a right answer shows."""

    conversation: list[dict[str, Any]]
    """Messages in the chat convention of the `transformers` any-to-any pipeline."""
    seed: int
    """Seed of the pipeline call."""
    asked: Mapping[Modality, Mapping[str, str]]
    """Modality to the attributes it must show; empty where the answer is words that describe no scene."""
    answer: str
    """The words of the regular answer."""
    outputs: tuple[Modality, ...]
    """The media of the regular answer."""

    @property
    def text(self) -> str:
        """The user's words, every turn."""
        parts = (part for turn in self.conversation if turn["role"] == "user" for part in turn["content"])
        return " | ".join(part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in parts)


def build_request(direction: str, index: int, *, seed: int, held_out: bool = False) -> Request:
    """Draw one request; it depends on the arguments alone, neither on the count nor on other directions.

    Args:
        direction: One of `anygen.toybox.dialogues.DIRECTIONS`.
        index: Number of the request.
        seed: Seed of the suite.
        held_out: Whether it is about a held-out pair.
    """
    key = (seed, zlib.crc32(direction.encode()), int(held_out), index)
    words, media, call = np.random.SeedSequence(key).spawn(3)
    dialogue = make_dialogue(direction, np.random.default_rng(words), held_out=held_out, split="eval")
    rng = np.random.default_rng(media)
    return Request(
        conversation=[_message(turn, rng) for turn in dialogue.prompt],
        seed=int(call.generate_state(1)[0]),
        asked=dialogue.asked,
        answer=regular_text(dialogue),
        outputs=tuple(signal.modality for signal in dialogue.turns[-1].signals),
    )


def regular_text(dialogue: Dialogue) -> str:
    """The words of the last turn, its pieces joined by single spaces as a reply's text is."""
    return " ".join(part.strip() for part in dialogue.turns[-1].parts if isinstance(part, str))


def _message(turn: Turn, rng: np.random.Generator) -> dict[str, Any]:
    return {"role": turn.role, "content": [_content(part, rng) for part in turn.parts]}


def _content(part: Part, rng: np.random.Generator) -> dict[str, Any]:
    """One part; a signal of an earlier answer becomes a medium that shows what it should."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    scene = part.scene if isinstance(part, InputMedia) else complete_scene(part.attributes, rng)
    name = str(part.modality)
    return {"type": name, name: render(scene, part.modality, rng=rng)}
