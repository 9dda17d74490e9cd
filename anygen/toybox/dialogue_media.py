"""Dialogues whose answer shows media: from words, from attached media, with changes, from mixed inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anygen.errors import BadArgument
from anygen.modality import GENERATED, Modality

from . import lexicon as lex
from .dialogue_answers import show, visible
from .dialogue_edits import EDIT_ORDERS, EDIT_SAYINGS, EDIT_TAILS, INPUT_NAMES, REFERENTS, change
from .dialogue_requests import order, request, request_scene, request_several, typed, unnamed_medium, wording
from .dialogue_types import Dialogue, InputMedia, Split, Turn, assistant, user
from .dialogue_words import NAMES, ORDERS
from .scene import ATTRIBUTES, Scene, is_held_out, sample_scene

IMAGE, AUDIO, VIDEO, IMU = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.IMU

_NAMED: dict[Modality, dict[str, float]] = {
    IMAGE: {"shape": 0.92, "color": 0.8, "size": 0.65, "background": 0.5, "motion": 0.0},
    AUDIO: {"shape": 0.92, "color": 0.15, "size": 0.8, "background": 0.07, "motion": 0.7},
    VIDEO: {"shape": 0.92, "color": 0.8, "size": 0.6, "background": 0.45, "motion": 0.85},
}
"""How often a request for each medium names each attribute."""


def name_some(
    scene: Scene, outputs: Sequence[Modality], rng: np.random.Generator, *, pair: bool = False
) -> dict[str, str]:
    """Choose what a request names: mostly two attributes or more, and one at least that each output can show.

    Args:
        scene: Where the values come from.
        outputs: What is asked for.
        rng: Source of all randomness.
        pair: Whether shape and color must both be named.
    """
    chances = {n: max(_NAMED[m][n] for m in outputs) for n in ATTRIBUTES}
    while True:
        named = {n: v for n, v in scene.attributes().items() if rng.random() < chances[n]}
        if pair:
            named = {n: v for n, v in scene.attributes().items() if n in named or n in ("shape", "color")}
        enough = len(named) > 1 or rng.random() < 0.15
        if enough and all(visible(named, modality) for modality in outputs):
            return named


def place(media: Sequence[InputMedia], text: str, rng: np.random.Generator) -> Turn:
    """A user's turn: the media before the words mostly, or after them."""
    return user(*media, text) if rng.random() < 0.65 else user(text, *media)


def finish(direction: str, prompt: Turn, target: Mapping[str, str], outputs: Sequence[Modality]) -> Dialogue:
    """Answer the prompt with `target` in every output."""
    parts, asked = show(target, outputs)
    return Dialogue(direction=direction, turns=(prompt, assistant(*parts)), asked=asked)


def from_words(
    direction: str, outputs: Sequence[Modality], rng: np.random.Generator, *, held_out: bool, split: Split
) -> Dialogue:
    """Words in, one medium or several out."""
    named = name_some(sample_scene(rng, held_out=held_out), outputs, rng, pair=held_out)
    if len(outputs) == 1:
        if outputs[0] is IMAGE and rng.random() < 0.05:
            named["motion"] = lex.pick(rng, ATTRIBUTES["motion"])
        text = request_scene(outputs[0], named, rng, split)
    else:
        x = wording(named, rng)
        text = request_several(outputs, x, rng, split, unnamed=unnamed_medium(named))
    return finish(direction, user(typed(text, rng)), named, outputs)


def _source_scene(
    source: Modality, outputs: Sequence[Modality], rng: np.random.Generator, held_out: bool
) -> Scene:
    """A scene of which the source reveals something that every output can show."""
    while True:
        scene = sample_scene(rng, held_out=held_out)
        if all(visible(scene.revealed(source), modality) for modality in outputs):
            return scene


def _conversion(source: Modality, output: Modality, rng: np.random.Generator, split: Split) -> str:
    """Ask for one medium of an attached one."""
    x = lex.pick(rng, REFERENTS[source])
    chance = rng.random()
    if chance < 0.72:
        return request(output, x, rng, split)
    name = lex.pick(rng, NAMES[output])
    noun = lex.pick(rng, INPUT_NAMES[source])
    if chance < 0.8:
        bare = (name, f"{name} please", f"{noun} to {output.value}", f"{output.value}?", f"as {name}")
        return lex.pick(rng, bare)
    forms = (
        f"turn {x} into {name}",
        f"convert {x} to {name}",
        f"convert this {noun} into {name}",
        f"make {name} from {x}",
        f"make {name} out of this {noun}",
        f"translate {x} into {name}",
        f"give me {name} that fits {x}",
        f"make {name} to go with {x}",
    )
    return order(lex.pick(rng, forms), rng, split)


def convert(
    direction: str,
    source: Modality,
    outputs: Sequence[Modality],
    rng: np.random.Generator,
    *,
    held_out: bool = False,
    split: Split = "train",
    motion: float = 0.0,
) -> Dialogue:
    """A medium in, others out that show what it reveals.

    Args:
        direction: Name of the dialogue.
        source: The attached medium.
        outputs: Media of the answer; TEXT, where present, comes first.
        rng: Source of all randomness.
        held_out: Whether the scene has a held-out pair.
        split: Whether reserved templates may be used.
        motion: How often the request names a motion too (sources that reveal none).
    """
    scene = _source_scene(source, outputs, rng, held_out)
    target = dict(scene.revealed(source))
    if "motion" not in target and rng.random() < motion:
        return _convert_moving(direction, source, outputs, scene, rng, split)
    wanted = [m for m in outputs if m is not Modality.TEXT]
    if len(wanted) == 1:
        text = _conversion(source, wanted[0], rng, split)
    else:
        text = request_several(wanted, lex.pick(rng, REFERENTS[source]), rng, split)
    if Modality.TEXT in outputs:
        say = lex.pick(
            rng, ("describe this", "tell me what this is", "say what it is", "describe it", "caption it")
        )
        then = ORDERS[wanted[0]].draw(rng, split).format(x="it")
        text = order(
            lex.pick(rng, (f"{say} and {then}", f"{say}, then {then}", f"{say}. {then}")), rng, split
        )
    return finish(
        direction, place([InputMedia(modality=source, scene=scene)], typed(text, rng), rng), target, outputs
    )


def _convert_moving(
    direction: str,
    source: Modality,
    outputs: Sequence[Modality],
    scene: Scene,
    rng: np.random.Generator,
    split: Split,
) -> Dialogue:
    """A still medium in; the request names the motion."""
    motion = lex.pick(rng, ATTRIBUTES["motion"])
    target = {**scene.revealed(source), "motion": motion}
    nouns = (scene.shape,) if "shape" in target else ()
    if list(outputs) == [VIDEO] and rng.random() < 0.4:
        table = EDIT_ORDERS if rng.random() < 0.8 else EDIT_SAYINGS
        text = change(table, "motion", motion, rng, split=split, nouns=nouns)
        text = order(text, rng, split) if table is EDIT_ORDERS else text
    else:
        x = lex.pick(rng, REFERENTS[source])
        tail = change(EDIT_TAILS, "motion", motion, rng, split=split)
        if len(outputs) == 1 and rng.random() < 0.25:
            first = request(outputs[0], x, rng, split).rstrip("?!.")
            opening = lex.pick(rng, ("It should", "Let it", "Make it"))
            text = f"{first}. {opening} {lex.pick(rng, lex.MOTION_DO[motion])}"
        elif len(outputs) == 1:
            text = request(outputs[0], f"{x} {tail}", rng, split)
        else:
            text = request_several(outputs, f"{x} {tail}", rng, split)
    return finish(
        direction, place([InputMedia(modality=source, scene=scene)], typed(text, rng), rng), target, outputs
    )


def draw_changes(
    target: Mapping[str, str], names: Sequence[str], rng: np.random.Generator, *, held_out: bool
) -> dict[str, str]:
    """Draw one change or two that lead to a pair that is held out or is not, as asked; empty if none does.

    Args:
        target: What holds before the change.
        names: Attributes that may change; one that `target` lacks may be set.
        rng: Source of all randomness.
        held_out: Whether the result must be a held-out pair.
    """
    for _ in range(60):
        count = 1 if len(names) == 1 or rng.random() < 0.8 else 2
        chosen = [names[i] for i in rng.permutation(len(names))[:count]]
        changes = {n: lex.pick(rng, [v for v in ATTRIBUTES[n] if v != target.get(n)]) for n in chosen}
        alone = any(is_held_out({**target, n: v}) for n, v in changes.items())
        if is_held_out({**target, **changes}) == held_out and (held_out or not alone):
            return changes
    return {}


def request_changes(
    changes: Mapping[str, str],
    rng: np.random.Generator,
    split: Split,
    *,
    output: Modality,
    referent: str = "it",
    nouns: Sequence[str] = (),
    explicit: float = 0.25,
) -> str:
    """Ask for changes: as an order, as a wish, or behind a request that names the medium.

    Args:
        changes: Attribute to new value, in the order in which they are named.
        rng: Source of all randomness.
        split: Whether reserved templates may be used.
        output: The medium, for requests that name it.
        referent: How such a request points at the source.
        nouns: What the object may be called.
        explicit: How often the medium is named.
    """
    items = list(changes.items())
    if rng.random() < explicit:
        tails = [change(EDIT_TAILS, n, v, rng, split=split) for n, v in items]
        x = (f"{referent} " + " ".join(tails)).replace(" ,", ",")
        return request(output, x, rng, split)
    if len(items) == 1 and rng.random() < 0.2:
        return change(EDIT_SAYINGS, *items[0], rng, split=split)
    orders = [change(EDIT_ORDERS, n, v, rng, split=split, nouns=nouns) for n, v in items]
    return order(lex.pick(rng, (" and ", " and ", ", ", ", then ")).join(orders), rng, split)


def edit(
    direction: str,
    source: Modality,
    output: Modality,
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    held_out: bool = False,
    split: Split = "train",
    explicit: float = 0.25,
) -> Dialogue:
    """A medium in, the same thing changed out.

    Args:
        direction: Name of the dialogue.
        source: The attached medium.
        output: The medium of the answer.
        names: Attributes that may change or be set.
        rng: Source of all randomness.
        held_out: Whether the result is a held-out pair (what is attached never is).
        split: Whether reserved templates may be used.
        explicit: How often the request names the output medium.

    Raises:
        BadArgument: `held_out` where the source and `names` cannot lead to a pair.
    """
    for _ in range(2000):
        scene = _source_scene(source, [output], rng, held_out=False)
        known = scene.revealed(source)
        changes = draw_changes(known, names, rng, held_out=held_out)
        if changes:
            break
    else:
        raise BadArgument(
            f"Found held_out=True for {direction}; expected a direction that shows shape and color."
        )
    referent = lex.pick(rng, REFERENTS[source])
    nouns = (scene.shape,) if "shape" in known else ()
    text = request_changes(
        changes, rng, split, output=output, referent=referent, nouns=nouns, explicit=explicit
    )
    prompt = place([InputMedia(modality=source, scene=scene)], typed(text, rng), rng)
    return finish(direction, prompt, {**known, **changes}, [output])


def several_outputs(rng: np.random.Generator, count: int) -> list[Modality]:
    """Distinct generated modalities; image, audio, video in that order half of the time."""
    order_of = np.sort(rng.permutation(3)[:count]) if rng.random() < 0.5 else rng.permutation(3)[:count]
    return [GENERATED[int(i)] for i in order_of]
