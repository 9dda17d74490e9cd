"""Dialogues of several turns: "now make it blue", "and its sound?", "as a video moving up", "describe it"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anygen.modality import GENERATED, MEDIA_INPUTS, Modality

from . import lexicon as lex
from .dialogue_answers import sentence, show, value_statement, visible
from .dialogue_edits import EDIT_TAILS, change
from .dialogue_media import draw_changes, name_some, place, request_changes, several_outputs
from .dialogue_requests import request, request_scene, request_several, typed, unnamed_medium, wording
from .dialogue_types import Dialogue, InputMedia, Part, Signal, Split, Turn, assistant, user
from .dialogue_words import AGAIN, NAMES
from .scene import ATTRIBUTES, Scene, is_held_out, sample_scene

IMAGE, AUDIO, VIDEO, TEXT = Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT


@dataclass(frozen=True, kw_only=True)
class _State:
    """Where a conversation stands."""

    target: Mapping[str, str]
    """What is known of the object."""
    shown: Modality
    """The medium that "it" is, for a change."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One exchange, and where it leads."""

    prompt: Turn
    reply: Turn
    asked: Mapping[Modality, Mapping[str, str]]
    state: _State


def _step(text: str, target: Mapping[str, str], outputs: list[Modality], rng: np.random.Generator) -> _Step:
    parts, asked = show(target, outputs)
    state = _State(target=target, shown=outputs[-1])
    return _Step(prompt=user(typed(text, rng)), reply=assistant(*parts), asked=asked, state=state)


def _open_with_words(rng: np.random.Generator, split: Split) -> _Step:
    """Say it like "draw a small red star"."""
    outputs = several_outputs(rng, 1 if rng.random() < 0.85 else 2)
    named = name_some(sample_scene(rng), outputs, rng)
    if len(outputs) == 1:
        return _step(request_scene(outputs[0], named, rng, split), named, outputs, rng)
    text = request_several(outputs, wording(named, rng), rng, split, unnamed=unnamed_medium(named))
    return _step(text, named, outputs, rng)


def _open_with_media(rng: np.random.Generator, split: Split) -> _Step:
    """A medium attached, to be described or shown in another way."""
    source = lex.pick(rng, [m for m in MEDIA_INPUTS if m is not Modality.IMU])
    scene = sample_scene(rng)
    known = scene.revealed(source)
    outputs = [TEXT] if rng.random() < 0.7 else [lex.pick(rng, [m for m in GENERATED if m is not source])]
    text = "what is this?" if outputs == [TEXT] else request(outputs[0], "this", rng, split)
    if outputs == [TEXT]:
        text = lex.pick(rng, (text, "describe this", "describe it", "what do you notice?", "caption this"))
    step = _step(text, known, outputs, rng)
    shown = outputs[0] if outputs != [TEXT] else source if source in GENERATED else IMAGE
    prompt = place([InputMedia(modality=source, scene=scene)], step.prompt.text, rng)
    return _Step(prompt=prompt, reply=step.reply, asked=step.asked, state=_State(target=known, shown=shown))


def _then_change(state: _State, rng: np.random.Generator, split: Split) -> _Step | None:
    """Say it like "now make it blue"."""
    names = {IMAGE: ("shape", "color", "size", "background"), AUDIO: ("shape", "size", "motion", "color")}
    changes = draw_changes(state.target, names.get(state.shown, tuple(ATTRIBUTES)), rng, held_out=False)
    output = state.shown
    if output is AUDIO and ("color" in changes or "background" in changes):
        output = IMAGE
    target = {**state.target, **changes}
    if not changes or not visible(target, output):
        return None
    nouns = (state.target["shape"],) if "shape" in state.target else ()
    text = request_changes(changes, rng, split, output=output, nouns=nouns, explicit=0.15)
    text = lex.pick(rng, ("{}", "{}", "now {}", "ok, {}", "and now {}", "great, {}", "then {}")).format(text)
    return _step(text, target, [output], rng)


def _then_other(state: _State, rng: np.random.Generator, split: Split) -> _Step | None:
    """Say it like "and its sound?", "now as a video moving up"."""
    outputs = [m for m in several_outputs(rng, 1 if rng.random() < 0.85 else 2) if visible(state.target, m)]
    if not outputs:
        return None
    target = dict(state.target)
    name = lex.pick(rng, NAMES[outputs[0]])
    if outputs[0] is not IMAGE and rng.random() < 0.4:
        target["motion"] = lex.pick(rng, ATTRIBUTES["motion"])
        tail = change(EDIT_TAILS, "motion", target["motion"], rng, split=split)
        if len(outputs) > 1:
            return _step(request_several(outputs, f"it {tail}", rng, split), target, outputs, rng)
        forms = (f"now as {name} {tail}", f"as {name} {tail}", request(outputs[0], f"it {tail}", rng, split))
        text = lex.pick(rng, forms)
        return _step(text, target, outputs, rng)
    if len(outputs) > 1:
        return _step(request_several(outputs, "it", rng, split), target, outputs, rng)
    again = AGAIN[outputs[0]].draw(rng, split)
    short = {IMAGE: "how does it look?", AUDIO: "and its sound?", VIDEO: "and as a video?"}[outputs[0]]
    plain = (again, f"now {again}", short, f"and {name}?", f"now as {name}", f"{name} too, please")
    text = lex.pick(rng, plain) if rng.random() < 0.6 else request(outputs[0], "it", rng, split)
    return _step(text, target, outputs, rng)


def _then_words(state: _State, rng: np.random.Generator, split: Split) -> _Step:
    """Say it like "describe it", "what color is it?"."""
    known = visible(state.target, state.shown)
    if not known or rng.random() < 0.5:
        forms = ("describe it", "what is it?", "describe it in words", "what did you make?", "what was it?")
        text = lex.pick(rng, forms)
        step = _step(text, known or state.target, [TEXT], rng)
        return _Step(prompt=step.prompt, reply=step.reply, asked=step.asked, state=state)
    name = lex.pick(rng, list(known))
    text = {
        "shape": "what shape is it?",
        "color": "what color is it?",
        "size": "how big is it?",
        "background": "what is the background?",
        "motion": "how does it move?",
    }[name]
    reply = assistant(sentence(value_statement(name, known[name])))
    return _Step(prompt=user(typed(text, rng)), reply=reply, asked={TEXT: {name: known[name]}}, state=state)


def _as_attached(turn: Turn, rng: np.random.Generator) -> Turn:
    """A reply as a caller's history may bring it: media in the place of signals."""
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Signal):
            part = InputMedia(modality=part.modality, scene=complete_scene(part.attributes, rng))
        parts.append(part)
    return Turn(role="assistant", parts=tuple(parts))


def complete_scene(attributes: Mapping[str, str], rng: np.random.Generator) -> Scene:
    """Complete named attributes to a seen scene, as one who shows them has to."""
    while True:
        scene = {**sample_scene(rng).attributes(), **attributes}
        if not is_held_out(scene):
            return Scene(**scene)


def follow_up(direction: str, rng: np.random.Generator, *, split: Split) -> Dialogue:
    """Two or three exchanges about one object; the last one is the graded one."""
    steps = [_open_with_words(rng, split) if rng.random() < 0.65 else _open_with_media(rng, split)]
    wanted = 2 if rng.random() < 0.75 else 3
    while len(steps) < wanted:
        chance = rng.random()
        state = steps[-1].state
        if chance < 0.45:
            step = _then_change(state, rng, split)
        elif chance < 0.8:
            step = _then_other(state, rng, split)
        elif chance < 0.93:
            step = _then_words(state, rng, split)
        else:
            step = _open_with_words(rng, split)
        if step is not None:
            steps.append(step)
    attached = rng.random() < 0.35
    turns: list[Turn] = []
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        turns += [step.prompt, _as_attached(step.reply, rng) if attached and not last else step.reply]
    return Dialogue(direction=direction, turns=tuple(turns), asked=steps[-1].asked)
