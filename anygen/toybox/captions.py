"""Captions: one canonical wording for every set of attributes, and a wide grammar of paraphrases.

`caption(attributes)` is what the model answers with and what decoders are conditioned on;
`caption(attributes, rng)` is what training hears.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from anygen.errors import BadArgument

from . import lexicon as lex
from .scene import ATTRIBUTES

Attributes = Mapping[str, str]
"""Attribute name to value; any non-empty subset of the five."""


def caption(attributes: Attributes, rng: np.random.Generator | None = None) -> str:
    """Describe attributes in words.

    Args:
        attributes: Any non-empty subset of the five attributes; what is absent stays unnamed.
        rng: None for the canonical wording ("a small red star moving left on a black background"); else the
            source of a paraphrase, sometimes capitalised or with a full stop.

    Raises:
        BadArgument: no attributes, an unknown name or an unknown value.
    """
    _check(attributes)
    if rng is None:
        return _canonical(attributes)
    text = paraphrase(attributes, rng)
    if rng.random() < 0.15:
        text = text[:1].upper() + text[1:]
        text += "." if rng.random() < 0.6 else ""
    return text


def paraphrase(attributes: Attributes, rng: np.random.Generator) -> str:
    """A paraphrase that fits inside a sentence: a noun phrase without capital or full stop."""
    grammar = lex.pick(rng, _GRAMMARS)
    return grammar(dict(attributes), rng)


def noun_phrase(attributes: Attributes, rng: np.random.Generator) -> str:
    """A paraphrase of the plainest kind: article, adjectives, noun, then motion and background."""
    return _plain(dict(attributes), rng)


def background_phrase(value: str, rng: np.random.Generator | None = None) -> str:
    """How a background is said after a noun: "on a black background"."""
    if rng is None:
        return f"on a {value} background"
    word = lex.pick_word(rng, lex.BACKGROUND_WORDS[value])
    noun = lex.pick_word(rng, lex.BACKGROUND_NOUNS, 0.7)
    placed = lex.with_article(f"{word} {noun}")
    forms = (
        f"on {placed}",
        f"on {placed}",
        f"on {word}",
        f"against {placed}",
        f"against {word}",
        f"over {placed}",
        f"with {placed}",
        f"in front of {placed}",
    )
    return lex.pick(rng, forms)


def _check(attributes: Attributes) -> None:
    if not attributes:
        raise BadArgument(
            "Found no attributes to describe; expected at least one of " + ", ".join(ATTRIBUTES) + "."
        )
    for name, value in attributes.items():
        if name not in ATTRIBUTES:
            raise BadArgument(f"Found attribute {name!r}; expected one of {', '.join(ATTRIBUTES)}.")
        if value not in ATTRIBUTES[name]:
            raise BadArgument(f"Found {name}={value!r}; expected one of {', '.join(ATTRIBUTES[name])}.")


def _canonical(attributes: Attributes) -> str:
    words = [attributes[name] for name in ("size", "color") if name in attributes]
    words.append(attributes.get("shape", lex.PLAIN_NOUNS[0]))
    text = lex.with_article(" ".join(words))
    if "motion" in attributes:
        text += " " + lex.MOTION_DOING[attributes["motion"]][0]
    if "background" in attributes:
        text += " " + background_phrase(attributes["background"])
    return text


def _noun(attributes: Attributes, rng: np.random.Generator) -> str:
    if "shape" in attributes:
        return lex.pick_word(rng, lex.SHAPE_NOUNS[attributes["shape"]], 0.6)
    return lex.pick_word(rng, lex.PLAIN_NOUNS)


def _adjectives(attributes: Attributes, rng: np.random.Generator) -> list[str]:
    """Size and color words, in the usual order mostly."""
    words = []
    if "size" in attributes:
        words.append(lex.pick_word(rng, lex.SIZE_WORDS[attributes["size"]]))
    if "color" in attributes:
        words.append(lex.pick_word(rng, lex.COLOR_WORDS[attributes["color"]], 0.55))
    return words[::-1] if rng.random() < 0.15 else words


def _article(phrase: str, rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < 0.72:
        return lex.with_article(phrase)
    if chance < 0.80:
        return "one " + phrase
    if chance < 0.84:
        return "a single " + phrase
    return phrase


def _tails(attributes: Attributes, rng: np.random.Generator) -> list[str]:
    """Motion and background as phrases after the noun, in either order."""
    tails = []
    if "motion" in attributes:
        motion = attributes["motion"]
        if rng.random() < 0.75:
            tails.append(lex.pick_word(rng, lex.MOTION_DOING[motion], 0.3))
        else:
            tails.append("that " + lex.pick_word(rng, lex.MOTION_DOES[motion], 0.3))
    if "background" in attributes:
        tails.append(background_phrase(attributes["background"], rng))
    return tails[::-1] if rng.random() < 0.3 else tails


def _plain(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "a tiny scarlet star drifting left on a dark blue background"."""
    head = _article(" ".join([*_adjectives(attributes, rng), _noun(attributes, rng)]), rng)
    joint = ", " if rng.random() < 0.12 else " "
    return joint.join([head, *_tails(attributes, rng)])


def _moving_adjective(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "a rising red star on black"."""
    if "motion" not in attributes:
        return _plain(attributes, rng)
    mover = lex.pick_word(rng, lex.MOTION_ADJECTIVES[attributes.pop("motion")])
    words = _adjectives(attributes, rng)
    words.insert(int(rng.integers(len(words) + 1)), mover)
    head = _article(" ".join([*words, _noun(attributes, rng)]), rng)
    return " ".join([head, *_tails(attributes, rng)])


def _apposition(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "a star, red and tiny, moving left on brown"."""
    head = _article(_noun(attributes, rng), rng)
    qualities = _adjectives(attributes, rng)[:: 1 if rng.random() < 0.5 else -1]
    tails = _tails(attributes, rng)
    if not qualities:
        return " ".join([head, *tails])
    said = " and ".join(qualities)
    forms = (f"{head}, {said}", f"{head} that is {said}", f"{head} which is {said}")
    parts = [lex.pick(rng, forms)]
    if rng.random() < 0.6:
        return ", ".join([*parts, *tails])
    return " and ".join([", ".join([*parts, *tails[:-1]]), tails[-1]]) if tails else parts[0]


def _tags(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "star, red, small, black background, moving left"."""
    tags = [_noun(attributes, rng)] if "shape" in attributes else []
    if "color" in attributes:
        tags.append(lex.pick_word(rng, lex.COLOR_WORDS[attributes["color"]]))
    if "size" in attributes:
        tags.append(lex.pick_word(rng, lex.SIZE_WORDS[attributes["size"]]))
    if "motion" in attributes:
        tags.append(lex.pick_word(rng, lex.MOTION_DOING[attributes["motion"]], 0.3))
    if "background" in attributes:
        word = lex.pick_word(rng, lex.BACKGROUND_WORDS[attributes["background"]])
        tags.append(f"{word} {lex.pick_word(rng, lex.BACKGROUND_NOUNS, 0.8)}")
    order = rng.permutation(len(tags)) if rng.random() < 0.5 else range(len(tags))
    return ", ".join(tags[i] for i in order)


def _place_first(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "on a gray background, a small star going up"."""
    if "background" not in attributes:
        return _plain(attributes, rng)
    word = lex.pick_word(rng, lex.BACKGROUND_WORDS[attributes.pop("background")])
    noun = lex.pick_word(rng, lex.BACKGROUND_NOUNS, 0.7)
    placed = lex.with_article(f"{word} {noun}")
    rest = _plain(attributes, rng) if attributes else _article(lex.pick_word(rng, lex.PLAIN_NOUNS), rng)
    return lex.pick(rng, (f"on {placed}, {rest}", f"on {placed} {rest}", f"{placed} with {rest} on it"))


def _colored(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "a star in red", "a star colored red", "a red-colored star", "a star of small size"."""
    if "color" not in attributes:
        return _sized(attributes, rng)
    color = lex.pick_word(rng, lex.COLOR_WORDS[attributes.pop("color")], 0.6)
    tails = _tails(attributes, rng)
    size = _adjectives(attributes, rng)
    noun = _noun(attributes, rng)
    if rng.random() < 0.3:
        return " ".join([_article(" ".join([*size, f"{color}-colored", noun]), rng), *tails])
    after = lex.pick(rng, (f"in {color}", f"colored {color}", f"of {color} color", f"painted {color}"))
    return " ".join([_article(" ".join([*size, noun]), rng), after, *tails])


def _sized(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "a star of small size"."""
    if "size" not in attributes:
        return _plain(attributes, rng)
    size = attributes.pop("size")
    noun = " ".join([*_adjectives(attributes, rng), _noun(attributes, rng)])
    after = lex.pick(rng, (f"of {size} size", f"{size} in size", f"that is {size}"))
    return " ".join([_article(noun, rng), after, *_tails(attributes, rng)])


def _something(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """Say it like "something small and red moving left", when the shape is not named."""
    if "shape" in attributes:
        return _plain(attributes, rng)
    words = _adjectives(attributes, rng)
    return " ".join(["something", *([" and ".join(words)] if words else []), *_tails(attributes, rng)])


_GRAMMARS: tuple[Callable[[dict[str, str], np.random.Generator], str], ...] = (
    *(_plain,) * 7,
    *(_moving_adjective,) * 2,
    *(_apposition,) * 2,
    _tags,
    _place_first,
    _colored,
    _sized,
    _something,
)
