"""Whole requests, composed from the users' words: one medium or several, split sentences, typing habits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anygen.modality import Modality

from . import lexicon as lex
from .captions import caption, noun_phrase, paraphrase
from .dialogue_answers import listing
from .dialogue_edits import EDIT_ORDERS, change
from .dialogue_types import Split
from .dialogue_words import (
    AGAIN,
    NAMES,
    NEUTRAL,
    ORDERS,
    QUESTIONS,
    THINGS,
    UTTERANCES,
)
from .dialogue_wraps import ASK_WRAPS, DO_WRAPS, THING_WRAPS


def typed(text: str, rng: np.random.Generator) -> str:
    """The text as people type it: capital or not, full stop or not, rarely all capitals or a doubled mark."""
    chance = rng.random()
    if chance < 0.28:
        text = text.lower()
    elif chance < 0.31:
        text = text.upper()
    else:
        text = text[:1].upper() + text[1:]
    if text.endswith("?"):
        return text if rng.random() < 0.85 else text[:-1]
    if text.endswith((".", "!")):
        return text
    return text + lex.pick(rng, ("", "", "", ".", ".", ".", "!"))


def wording(attributes: Mapping[str, str], rng: np.random.Generator) -> str:
    """How a user names attributes inside a sentence."""
    chance = rng.random()
    if chance < 0.2:
        return caption(attributes)
    return noun_phrase(attributes, rng) if chance < 0.65 else paraphrase(attributes, rng)


def order(text: str, rng: np.random.Generator, split: Split) -> str:
    """An order with politeness around it."""
    return DO_WRAPS.draw(rng, split).format(r=text)


def request(modality: Modality, x: str, rng: np.random.Generator, split: Split) -> str:
    """Ask for one medium of `x` (a caption, a pronoun or a way to point), naming the medium."""
    chance = rng.random()
    if chance < 0.42:
        return order(ORDERS[modality].draw(rng, split).format(x=x), rng, split)
    if chance < 0.72:
        return THING_WRAPS.draw(rng, split).format(r=THINGS[modality].draw(rng, split).format(x=x))
    if chance < 0.88:
        return ASK_WRAPS.draw(rng, split).format(r=QUESTIONS[modality].draw(rng, split).format(x=x))
    return UTTERANCES[modality].draw(rng, split).format(x=x)


def unnamed_medium(attributes: Mapping[str, str]) -> Modality | None:
    """What "show me {x}" means: a video when a movement is named, an image when no motion is."""
    if "motion" not in attributes:
        return Modality.IMAGE
    return Modality.VIDEO if attributes["motion"] != "still" else None


def request_scene(
    modality: Modality, attributes: Mapping[str, str], rng: np.random.Generator, split: Split
) -> str:
    """Ask in words alone for one medium that shows the attributes."""
    if len(attributes) > 1 and rng.random() < 0.12:
        return request_in_pieces(modality, attributes, rng, split)
    x = wording(attributes, rng)
    if modality is unnamed_medium(attributes) and rng.random() < 0.35:
        text = NEUTRAL.draw(rng, split).format(x=x)
        return order(text, rng, split) if text.split()[0] in _VERBS else text
    return request(modality, x, rng, split)


_VERBS = frozenset(
    ("show", "generate", "create", "make", "render", "let", "display", "give", "design", "produce")
)


def request_in_pieces(
    modality: Modality, attributes: Mapping[str, str], rng: np.random.Generator, split: Split
) -> str:
    """Ask for one medium in several sentences: "Draw a star. Make it red. The background is black."."""
    names = list(attributes)
    first = "shape" if "shape" in attributes else names[0]
    rest = [name for name in names if name != first]
    opening = request(modality, noun_phrase({first: attributes[first]}, rng), rng, split)
    sentences = [opening]
    for index in rng.permutation(len(rest)):
        name = rest[index]
        sentences.append(_aside(name, attributes[name], rng))
    ends = [text if text.endswith(("?", ".", "!")) else text + "." for text in sentences]
    return " ".join(text[:1].upper() + text[1:] for text in ends)


def _aside(name: str, value: str, rng: np.random.Generator) -> str:
    """One attribute in a sentence of its own."""
    if rng.random() < 0.4 and name != "size":
        return change(EDIT_ORDERS, name, value, rng)
    if name == "motion":
        does = lex.pick_word(rng, lex.MOTION_DOES[value], 0.4)
        return lex.pick(
            rng, (f"it {does}", f"motion: {value}", f"it should {lex.pick(rng, lex.MOTION_DO[value])}")
        )
    if name == "background":
        word = lex.pick_word(rng, lex.BACKGROUND_WORDS[value])
        return lex.pick(rng, (f"the background is {word}", f"background: {word}", f"it is on {word}"))
    words = {"color": lex.COLOR_WORDS, "size": lex.SIZE_WORDS, "shape": lex.SHAPE_NOUNS}[name]
    word = lex.pick_word(rng, words[value], 0.6)
    return lex.pick(rng, (f"it is {word}", f"it should be {word}", f"make it {word}", f"{name}: {word}"))


def request_several(
    outputs: Sequence[Modality],
    x: str,
    rng: np.random.Generator,
    split: Split,
    *,
    unnamed: Modality | None = None,
) -> str:
    """Ask for several media of `x` at once, in the order of `outputs`.

    Args:
        outputs: Two media or three.
        x: A caption, a pronoun or a way to point.
        rng: Source of all randomness.
        split: Whether reserved templates may be used.
        unnamed: The medium that "show me {x}" means, if any.
    """
    if rng.random() < 0.5:
        return _as_list(outputs, x, rng, split)
    return _as_chain(outputs, x, rng, split, unnamed)


def _as_list(outputs: Sequence[Modality], x: str, rng: np.random.Generator, split: Split) -> str:
    """Say it like "make an image, a sound and a video of a red star"."""
    names = [lex.pick(rng, NAMES[modality]) for modality in outputs]
    said = lex.pick(
        rng, (listing(names), listing(names), " and ".join(names), ", ".join(names), " + ".join(names))
    )
    if len(names) == 2 and rng.random() < 0.2:
        said = f"both {listing(names)}"
    forms = (f"{said} of {x}", f"{said} of {x}", f"{x} as {said}", f"{said} for {x}", f"{x} in {said}")
    plain = (f"{x}: {said}", f"{said}: {x}", f"show me {x} as {said}", f"{x}. I want {said}", f"{x}, {said}")
    if rng.random() < 0.7:
        return THING_WRAPS.draw(rng, split).format(r=lex.pick(rng, forms))
    return lex.pick(rng, plain)


def _as_chain(
    outputs: Sequence[Modality], x: str, rng: np.random.Generator, split: Split, unnamed: Modality | None
) -> str:
    """Say it like "draw a red star, play its sound and film it"."""
    first = ORDERS[outputs[0]].draw(rng, split).format(x=x)
    if outputs[0] is unnamed and rng.random() < 0.5:
        first = lex.pick(rng, ("show me {x}", "show {x}", "let me see {x}", "make {x}")).format(x=x)
    rest = [AGAIN[modality].draw(rng, split) for modality in outputs[1:]]
    if rng.random() < 0.2:
        return ". ".join(
            text[:1].upper() + text[1:] for text in (order(first, rng, split).rstrip("?!."), *rest)
        )
    joints = (", then ", " and ", " and then ", ", ", " and also ", ", and ")
    text = first
    for index, clause in enumerate(rest):
        text += (
            lex.pick(rng, joints) if index == len(rest) - 1 else lex.pick(rng, (", ", " and ", ", then "))
        ) + clause
    return order(text, rng, split)
