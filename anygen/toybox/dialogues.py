"""Instruction dialogues: every direction of the world, for training and for evaluation.

`make_dialogue(direction, rng)` is a function of the generator alone. `sample_dialogue(rng)` mixes all
directions for instruction tuning and never shows or names a held-out pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import GENERATED, MEDIA_INPUTS, Modality

from . import lexicon as lex
from .dialogue_chat import chat, describe, question
from .dialogue_followups import follow_up
from .dialogue_media import convert, edit, from_words, several_outputs
from .dialogue_mix import compare, mix
from .dialogue_outside import outside
from .dialogue_types import Dialogue, InputMedia, Part, Signal, Split, Turn

__all__ = [
    "DIRECTIONS",
    "EVAL_DIRECTIONS",
    "HELD_OUT_DIRECTIONS",
    "Dialogue",
    "InputMedia",
    "Part",
    "Signal",
    "Split",
    "Turn",
    "make_dialogue",
    "sample_dialogue",
]

TEXT, IMAGE, AUDIO, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO
DEPTH, THERMAL, IMU = Modality.DEPTH, Modality.THERMAL, Modality.IMU


class _Maker(Protocol):
    def __call__(self, rng: np.random.Generator, held_out: bool, split: Split) -> Dialogue: ...


def _words(direction: str, outputs: Sequence[Modality]) -> _Maker:
    return lambda rng, held_out, split: from_words(direction, outputs, rng, held_out=held_out, split=split)


def _describes(direction: str, source: Modality) -> _Maker:
    return lambda rng, held_out, split: describe(direction, source, rng, held_out=held_out, split=split)


def _converts(direction: str, source: Modality, output: Modality, motion: float = 0.0) -> _Maker:
    return lambda rng, held_out, split: convert(
        direction, source, [output], rng, held_out=held_out, split=split, motion=motion
    )


def _edits(
    direction: str, source: Modality, output: Modality, names: Sequence[str], explicit: float = 0.25
) -> _Maker:
    return lambda rng, held_out, split: edit(
        direction, source, output, names, rng, held_out=held_out, split=split, explicit=explicit
    )


def _text_to_all(rng: np.random.Generator, held_out: bool, split: Split) -> Dialogue:
    return from_words("text-to-all", several_outputs(rng, 3), rng, held_out=held_out, split=split)


def _text_to_some(rng: np.random.Generator, held_out: bool, split: Split) -> Dialogue:
    return from_words("text-to-some", several_outputs(rng, 2), rng, held_out=held_out, split=split)


def _any_to_any(rng: np.random.Generator, held_out: bool, split: Split) -> Dialogue:
    """Any input to one, two or three media, now and then described first."""
    source = lex.pick(rng, MEDIA_INPUTS)
    outputs = several_outputs(rng, int(rng.choice([1, 1, 2, 3])))
    if source in outputs and len(outputs) == 1:
        outputs = [m for m in GENERATED if m is not source][:1]
    if len(outputs) == 1 and rng.random() < 0.25:
        outputs = [TEXT, *outputs]
    motion = 0.3 if source is not VIDEO and VIDEO in outputs and TEXT not in outputs else 0.0
    return convert("any-to-any", source, outputs, rng, held_out=held_out, split=split, motion=motion)


def _sensor_edit(rng: np.random.Generator, held_out: bool, split: Split) -> Dialogue:
    """A depth or thermal map, changed, as an image or a video."""
    source = lex.pick(rng, (DEPTH, THERMAL))
    output = lex.pick(rng, (IMAGE, IMAGE, VIDEO))
    names = ("shape", "color", "size", "background")
    return edit(
        "sensor-edit",
        source,
        output,
        names,
        rng,
        held_out=held_out,
        split=split,
        explicit=1.0 if output is VIDEO else 0.4,
    )


_MAKERS: dict[str, tuple[_Maker, float, bool]] = {
    "text-to-image": (_words("text-to-image", [IMAGE]), 10, True),
    "text-to-video": (_words("text-to-video", [VIDEO]), 9, True),
    "text-to-audio": (_words("text-to-audio", [AUDIO]), 8, False),
    "image-to-text": (_describes("image-to-text", IMAGE), 5, True),
    "video-to-text": (_describes("video-to-text", VIDEO), 5, True),
    "audio-to-text": (_describes("audio-to-text", AUDIO), 5, False),
    "depth-to-text": (_describes("depth-to-text", DEPTH), 3, False),
    "thermal-to-text": (_describes("thermal-to-text", THERMAL), 3, True),
    "imu-to-text": (_describes("imu-to-text", IMU), 3, False),
    "image-to-audio": (_converts("image-to-audio", IMAGE, AUDIO, 0.15), 4, False),
    "audio-to-image": (_converts("audio-to-image", AUDIO, IMAGE), 4, False),
    "depth-to-image": (_converts("depth-to-image", DEPTH, IMAGE), 3, False),
    "thermal-to-image": (_converts("thermal-to-image", THERMAL, IMAGE), 3, True),
    "image-to-video": (_converts("image-to-video", IMAGE, VIDEO, 1.0), 4, True),
    "video-to-audio": (_converts("video-to-audio", VIDEO, AUDIO), 4, False),
    "audio-to-video": (_converts("audio-to-video", AUDIO, VIDEO), 4, False),
    "image-edit": (_edits("image-edit", IMAGE, IMAGE, ("shape", "color", "size", "background")), 7, True),
    "audio-edit-to-image": (
        _edits("audio-edit-to-image", AUDIO, IMAGE, ("color", "color", "background"), 0.35),
        4,
        True,
    ),
    "text-to-all": (_text_to_all, 6, True),
    "text-to-some": (_text_to_some, 5, True),
    "any-to-any": (_any_to_any, 6, False),
    "video-edit": (
        _edits("video-edit", VIDEO, VIDEO, ("shape", "color", "size", "background", "motion")),
        3,
        True,
    ),
    "audio-edit": (_edits("audio-edit", AUDIO, AUDIO, ("shape", "size", "motion")), 2, False),
    "sensor-edit": (_sensor_edit, 2, True),
    "mix": (lambda rng, held_out, split: mix("mix", rng, held_out=held_out, split=split), 4, True),
    "question": (lambda rng, held_out, split: question("question", rng, split=split), 6, False),
    "compare": (lambda rng, held_out, split: compare("compare", rng, split=split), 2, False),
    "chat": (lambda rng, held_out, split: chat("chat", rng), 3, False),
    "outside": (lambda rng, held_out, split: outside("outside", rng, split=split), 7, False),
    "follow-up": (lambda rng, held_out, split: follow_up("follow-up", rng, split=split), 9, False),
}
"""Direction to its maker, its weight in training, and whether it has held-out dialogues."""

DIRECTIONS: tuple[str, ...] = tuple(_MAKERS)
"""Every direction."""

EVAL_DIRECTIONS: tuple[str, ...] = DIRECTIONS[: DIRECTIONS.index("text-to-all") + 1]
"""The directions that are reported, in the order of the report."""

HELD_OUT_DIRECTIONS: frozenset[str] = frozenset(name for name, maker in _MAKERS.items() if maker[2])
"""The directions with dialogues about held-out pairs."""

_WEIGHTS = np.array([maker[1] for maker in _MAKERS.values()], dtype=np.float64)
_CHANCES = _WEIGHTS / _WEIGHTS.sum()


def make_dialogue(
    direction: str, rng: np.random.Generator, *, held_out: bool = False, split: Split = "train"
) -> Dialogue:
    """Draw one dialogue.

    Args:
        direction: One of `DIRECTIONS`.
        rng: Source of all randomness; the dialogue depends on nothing else.
        held_out: Whether the answer is about a held-out pair; otherwise none is shown or named.
        split: "eval" also uses wordings that training never hears.

    Raises:
        BadArgument: an unknown direction or split, or `held_out` where shape and color are not both shown.
    """
    if direction not in _MAKERS:
        raise BadArgument(f"Found direction {direction!r}; expected one of {', '.join(DIRECTIONS)}.")
    if split not in ("train", "eval"):
        raise BadArgument(f"Found split {split!r}; expected 'train' or 'eval'.")
    if held_out and direction not in HELD_OUT_DIRECTIONS:
        raise BadArgument(
            f"Found held_out=True for {direction}; expected one of {', '.join(sorted(HELD_OUT_DIRECTIONS))}."
        )
    return _MAKERS[direction][0](rng, held_out, split)


def sample_dialogue(rng: np.random.Generator) -> Dialogue:
    """Draw a training dialogue: a direction by its weight, then a dialogue without held-out pairs."""
    return make_dialogue(DIRECTIONS[int(rng.choice(len(DIRECTIONS), p=_CHANCES))], rng)
