"""Dialogues with two attached media: combined into one answer, or compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anygen.modality import Modality

from . import lexicon as lex
from .captions import caption
from .dialogue_answers import listing, show
from .dialogue_edits import INPUT_NAMES
from .dialogue_media import place
from .dialogue_requests import order, request, typed
from .dialogue_types import Dialogue, InputMedia, Split, Turn, assistant, user
from .scene import ATTRIBUTES, REVEALS, Scene, is_held_out, sample_scene

IMAGE, AUDIO, VIDEO, IMU = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.IMU
THERMAL, DEPTH = Modality.THERMAL, Modality.DEPTH

_RECIPES: tuple[tuple[Modality, tuple[str, ...], Modality, tuple[str, ...], Modality], ...] = (
    (AUDIO, ("shape",), IMAGE, ("color",), IMAGE),
    (AUDIO, ("shape", "size"), IMAGE, ("color", "background"), IMAGE),
    (AUDIO, ("shape", "size"), IMAGE, ("color",), IMAGE),
    (AUDIO, ("shape", "size"), IMAGE, ("background",), IMAGE),
    (AUDIO, ("motion",), IMAGE, ("shape", "color", "size", "background"), VIDEO),
    (IMU, ("motion",), IMAGE, ("shape", "color", "size", "background"), VIDEO),
    (IMU, ("motion",), IMAGE, ("shape", "color"), VIDEO),
    (DEPTH, ("shape", "size"), IMAGE, ("color", "background"), IMAGE),
    (DEPTH, ("shape",), THERMAL, ("color",), IMAGE),
    (VIDEO, ("motion",), IMAGE, ("shape", "color", "size", "background"), VIDEO),
    (IMU, ("motion",), AUDIO, ("shape", "size"), AUDIO),
    (VIDEO, ("motion",), AUDIO, ("shape", "size"), AUDIO),
    (VIDEO, ("motion",), IMAGE, ("shape", "size"), AUDIO),
)
"""Source, what it gives, other source, what that gives, medium of the answer."""


def _gift(names: tuple[str, ...], modality: Modality, rng: np.random.Generator) -> str:
    """Say it like "the shape and size of the sound"."""
    noun = lex.pick(rng, INPUT_NAMES[modality])
    said = listing(names)
    return lex.pick(rng, (f"the {said} of the {noun}", f"the {said} from the {noun}", f"the {noun}'s {said}"))


def _mixing_text(
    first: tuple[Modality, tuple[str, ...]],
    second: tuple[Modality, tuple[str, ...]],
    output: Modality,
    rng: np.random.Generator,
    split: Split,
) -> str:
    one, two = _gift(first[1], first[0], rng), _gift(second[1], second[0], rng)
    if rng.random() < 0.35:
        one, two = two, one
    name = output.value
    forms: tuple[str, ...] = (
        f"combine {one} with {two}",
        f"take {one} and {two}",
        f"mix {one} and {two}",
        f"make {lex.with_article(name)} with {one} and {two}",
        f"use {one} with {two}",
        f"generate {lex.with_article(name)} that has {one} and {two}",
    )
    if output is VIDEO and first[1] == ("motion",) and len(second[1]) == 4 and rng.random() < 0.5:
        mover = lex.pick(rng, INPUT_NAMES[first[0]])
        still = lex.pick(rng, INPUT_NAMES[second[0]])
        forms = (
            f"make the thing in the {still} move like the {mover}",
            f"animate the {still} with the motion of the {mover}",
            f"let the {still} move as in the {mover}",
        )
    if rng.random() < 0.15:
        return request(output, f"something with {one} and {two}", rng, split)
    return order(lex.pick(rng, forms), rng, split)


def mix(direction: str, rng: np.random.Generator, *, held_out: bool, split: Split) -> Dialogue:
    """Two media in; the answer takes some attributes from each, as told."""
    recipes = [
        r for r in _RECIPES if not held_out or {"shape", "color"} <= set(r[1] + r[3]) and r[4] is not AUDIO
    ]
    source, gives, other, brings, output = lex.pick(rng, recipes)
    for _ in range(5000):
        scenes = (
            sample_scene(rng),
            sample_scene(rng, held_out=held_out and {"shape", "color"} <= set(brings)),
        )
        target = {n: getattr(scenes[0], n) for n in gives} | {n: getattr(scenes[1], n) for n in brings}
        if is_held_out(target) == held_out:
            break
    media = [InputMedia(modality=source, scene=scenes[0]), InputMedia(modality=other, scene=scenes[1])]
    if rng.random() < 0.5:
        media.reverse()
    text = typed(_mixing_text((source, gives), (other, brings), output, rng, split), rng)
    parts, asked = show({n: target[n] for n in ATTRIBUTES if n in target}, [output])
    return Dialogue(direction=direction, turns=(place(media, text, rng), assistant(*parts)), asked=asked)


_COMPARE: dict[str, tuple[str, ...]] = {
    "shape": ("are these the same shape?", "do they have the same shape?", "is it the same shape in both?"),
    "color": ("are these the same color?", "do they have the same color?", "is the color the same in both?"),
    "size": (
        "are these the same size?",
        "are they equally big?",
        "is one of them bigger?",
        "which is larger?",
    ),
    "background": ("do they have the same background?", "is the background the same?"),
    "motion": ("do they move the same way?", "is the motion the same in both?", "do both move alike?"),
}


def _verdict(name: str, question: str, values: tuple[str, str]) -> str:
    """The answer to a comparison, in fixed words."""
    first, second = values
    if name == "size" and ("larger" in question or "bigger" in question):
        if first == second:
            return f"They are the same size: both are {first}."
        return f"The {'first' if first == 'large' else 'second'} one is larger."
    if first == second:
        return f"Yes. The {name} is {first} in both."
    return f"No. The {name} is {first} in the first and {second} in the second."


def compare(direction: str, rng: np.random.Generator, *, split: Split) -> Dialogue:
    """Two media in; do they agree in one attribute, or what are they both."""
    pairs = [
        (
            a,
            b,
            [
                n
                for n in ATTRIBUTES
                if n in REVEALS[a] and n in REVEALS[b] and not (n == "size" and IMU in (a, b))
            ],
        )
        for a in REVEALS
        for b in REVEALS
        if Modality.TEXT not in (a, b)
    ]
    one, two, shared = lex.pick(rng, [pair for pair in pairs if pair[2]])
    name = lex.pick(rng, shared)
    scenes = [sample_scene(rng), sample_scene(rng)]
    if rng.random() < 0.5:
        scenes[1] = _agreeing(scenes[0], name, rng)
    media = [InputMedia(modality=m, scene=s) for m, s in zip((one, two), scenes, strict=True)]
    if rng.random() < 0.2:
        text = lex.pick(
            rng,
            ("describe both", "what are these?", "describe these two", "what are the two?", "describe them"),
        )
        firsts = [caption(s.revealed(m)) for m, s in zip((one, two), scenes, strict=True)]
        reply = f"The first is {firsts[0]}. The second is {firsts[1]}."
    else:
        text = lex.pick(rng, _COMPARE[name])
        reply = _verdict(name, text, (getattr(scenes[0], name), getattr(scenes[1], name)))
    turns = (_placed_pair(media, typed(text, rng), rng), assistant(reply))
    return Dialogue(direction=direction, turns=turns, asked={})


def _agreeing(scene: Scene, name: str, rng: np.random.Generator) -> Scene:
    """Another seen scene with the same value of one attribute."""
    values: Mapping[str, str] = {name: getattr(scene, name)}
    while True:
        other = Scene(**{**sample_scene(rng).attributes(), **values})
        if not is_held_out(other.attributes()):
            return other


def _placed_pair(media: list[InputMedia], text: str, rng: np.random.Generator) -> Turn:
    return user(media[0], text, media[1]) if rng.random() < 0.1 else place(media, text, rng)
