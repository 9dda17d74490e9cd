"""The words of toybox: which words name which attribute value, shared by the captions and by the text oracle.

Every synonym names one value in its role. A background word ("dark blue") is only used with the background
role ("on a dark blue background"), so it cannot be taken for the object's color.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SHAPE_NOUNS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc", "disk", "ball", "dot", "round shape", "round thing", "circular shape"),
    "square": ("square", "box", "block", "square shape", "four-sided square", "square tile"),
    "triangle": ("triangle", "triangular shape", "three-sided shape", "triangular object"),
    "star": ("star", "star shape", "five-pointed star", "pointy star", "star-shaped object"),
    "ring": ("ring", "donut", "doughnut", "hoop", "ring shape", "annulus"),
    "cross": ("cross", "plus sign", "plus", "cross shape", "plus shape", "plus-shaped object"),
}
"""Shape to its nouns; the first is the canonical one."""

COLOR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "scarlet", "crimson", "ruby", "bright red", "cherry red", "ruby red"),
    "orange": ("orange", "tangerine", "bright orange", "pumpkin orange", "amber"),
    "yellow": ("yellow", "golden", "lemon", "bright yellow", "lemon yellow", "sunny yellow"),
    "green": ("green", "emerald", "grass green", "emerald green", "leaf green", "bright green"),
    "cyan": ("cyan", "aqua", "turquoise", "teal", "aquamarine", "bright cyan"),
    "blue": ("blue", "royal blue", "cobalt", "bright blue", "sapphire", "cobalt blue"),
    "purple": ("purple", "violet", "bright purple", "lilac", "plum", "deep purple"),
    "white": ("white", "snow white", "snowy white", "bright white", "snow-white", "pure white"),
}
"""Object color to its adjectives; the first is the canonical one."""

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "tiny", "little", "mini", "miniature", "small-sized", "teeny"),
    "large": ("large", "big", "huge", "giant", "enormous", "great big", "large-sized", "massive"),
}
"""Size to its adjectives; the first is the canonical one."""

BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "pitch-black", "jet black", "pitch black", "plain black"),
    "gray": ("gray", "grey", "charcoal", "plain gray", "ash gray", "charcoal grey"),
    "navy": ("navy", "dark blue", "navy blue", "midnight blue", "deep blue"),
    "brown": ("brown", "chocolate", "chocolate brown", "coffee brown", "chestnut brown"),
}
"""Background color to its adjectives; the first is the canonical one."""

BACKGROUND_NOUNS: tuple[str, ...] = ("background", "backdrop", "ground", "canvas", "field")
"""What a background is called; the first is the canonical one."""

WAYS: dict[str, tuple[str, ...]] = {
    "left": (
        "left",
        "to the left",
        "leftward",
        "leftwards",
        "toward the left",
        "towards the left",
        "to the left side",
    ),
    "right": (
        "right",
        "to the right",
        "rightward",
        "rightwards",
        "toward the right",
        "towards the right",
        "to the right side",
    ),
    "up": ("up", "upward", "upwards", "to the top", "toward the top"),
    "down": ("down", "downward", "downwards", "to the bottom", "toward the bottom"),
}
"""Motion to the adverbs that say where to."""

_VERBS: tuple[tuple[str, str, str], ...] = (
    ("moving", "moves", "move"),
    ("going", "goes", "go"),
    ("drifting", "drifts", "drift"),
    ("sliding", "slides", "slide"),
    ("gliding", "glides", "glide"),
    ("traveling", "travels", "travel"),
    ("heading", "heads", "head"),
    ("flying", "flies", "fly"),
    ("floating", "floats", "float"),
)

_OWN_VERBS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "left": (),
    "right": (),
    "up": (("rising", "rises", "rise"), ("climbing", "climbs", "climb"), ("ascending", "ascends", "ascend")),
    "down": (
        ("falling", "falls", "fall"),
        ("sinking", "sinks", "sink"),
        ("descending", "descends", "descend"),
        ("dropping", "drops", "drop"),
    ),
}


def _conjugated(form: int) -> dict[str, tuple[str, ...]]:
    """Motion phrases with the verbs in one form: 0 "moving left", 1 "moves left", 2 "move left"."""
    table = {}
    for way, adverbs in WAYS.items():
        phrases = [f"{verbs[form]} {adverb}" for verbs in _VERBS for adverb in adverbs]
        table[way] = tuple(phrases + [verbs[form] for verbs in _OWN_VERBS[way]])
    return table


_STILL_DOING = (
    "standing still",
    "staying still",
    "not moving",
    "motionless",
    "at rest",
    "stationary",
    "holding still",
)
_STILL_DOES = (
    "stands still",
    "does not move",
    "stays still",
    "stays put",
    "is at rest",
    "is not moving",
    "never moves",
)
_STILL_DO = ("stand still", "stay still", "not move", "stay put", "hold still", "stay in place", "rest")

MOTION_DOING: dict[str, tuple[str, ...]] = {
    "still": (
        *_STILL_DOING,
        "staying put",
        "staying in place",
        "unmoving",
        "frozen in place",
        "without moving",
    ),
    **_conjugated(0),
}
"""Motion to phrases that follow a noun ("a star moving left"); the first is the canonical one."""

MOTION_DOES: dict[str, tuple[str, ...]] = {"still": (*_STILL_DOES, "stays in place"), **_conjugated(1)}
"""Motion to finite phrases ("it moves left")."""

MOTION_DO: dict[str, tuple[str, ...]] = {"still": _STILL_DO, **_conjugated(2)}
"""Motion to infinitives ("make it move left")."""

MOTION_ADJECTIVES: dict[str, tuple[str, ...]] = {
    "still": ("still", "motionless", "stationary", "unmoving", "static", "resting"),
    "left": ("left-moving", "leftward-moving", "left-drifting"),
    "right": ("right-moving", "rightward-moving", "right-drifting"),
    "up": ("rising", "upward-moving", "ascending", "climbing"),
    "down": ("falling", "sinking", "descending", "downward-moving", "dropping"),
}
"""Motion to adjectives ("a rising star")."""

PLAIN_NOUNS: tuple[str, ...] = ("shape", "object", "thing", "figure", "form")
"""Nouns for an object whose shape is not named; the first is the canonical one."""


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One option, uniformly."""
    return options[int(rng.integers(len(options)))]


def pick_word(rng: np.random.Generator, words: Sequence[str], first: float = 0.45) -> str:
    """The first (canonical) word with probability `first`, else any of the others uniformly."""
    if len(words) == 1 or rng.random() < first:
        return words[0]
    return words[1 + int(rng.integers(len(words) - 1))]


def with_article(phrase: str) -> str:
    """The phrase behind "a" or "an"."""
    return ("an " if phrase[:1].lower() in "aeiou" else "a ") + phrase
