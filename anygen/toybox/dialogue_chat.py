"""Dialogues answered in words: descriptions, questions about an attached medium, talk about the world."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anygen.modality import MEDIA_INPUTS, Modality

from . import lexicon as lex
from .captions import caption
from .dialogue_answers import HERE, cannot_tell, listing, sentence, value_statement
from .dialogue_edits import INPUT_NAMES, REFERENTS
from .dialogue_media import place
from .dialogue_requests import order, typed
from .dialogue_types import Dialogue, InputMedia, Split, assistant, user
from .dialogue_words import Pool
from .dialogue_wraps import ASK_WRAPS
from .scene import ATTRIBUTES, REVEALS, is_held_out, sample_scene

_DESCRIBE_ORDERS = Pool(
    common=(
        "describe {x}",
        "describe {x}",
        "caption {x}",
        "describe {x} in words",
        "describe {x} in one sentence",
        "tell me what {x} shows",
        "write a caption for {x}",
        "say what {x} is",
        "tell me about {x}",
        "explain {x}",
        "give me a description of {x}",
        "put {x} into words",
        "identify {x}",
        "summarize {x}",
    ),
    reserved=("give a short caption for {x}", "describe {x} to me"),
)

_DESCRIBE_QUESTIONS: dict[Modality, Pool] = {
    Modality.IMAGE: Pool(
        common=(
            "what is this",
            "what do you see",
            "what is in the picture",
            "what's in this image",
            "what does the picture show",
            "what is shown here",
            "what can you see here",
            "what's this",
            "what do we have here",
            "what object is in the image",
        ),
        reserved=("what does this image show", "what is in this photo"),
    ),
    Modality.AUDIO: Pool(
        common=(
            "what is this",
            "what do you hear",
            "what can you hear",
            "what makes this sound",
            "what is this sound",
            "what's making that noise",
            "what does this sound belong to",
            "what object sounds like this",
            "what am I listening to",
            "what is it",
            "which shape makes this sound",
            "what kind of thing makes this sound",
        ),
        reserved=("what do you hear in this recording", "what made this sound"),
    ),
    Modality.VIDEO: Pool(
        common=(
            "what is this",
            "what happens in the video",
            "what do you see",
            "what's going on here",
            "what does the video show",
            "what is shown in this clip",
            "what moves here",
            "what's in this video",
            "what is happening",
        ),
        reserved=("what happens in this clip", "what can you see in the video"),
    ),
    Modality.DEPTH: Pool(
        common=(
            "what is this",
            "what does the depth map show",
            "what object is in this depth map",
            "what do you see in this depth image",
            "what's in the depth map",
            "what stands in front of the wall",
            "what shape is this",
        ),
        reserved=("what is in this depth image",),
    ),
    Modality.THERMAL: Pool(
        common=(
            "what is this",
            "what does the thermal image show",
            "what object is in this heat map",
            "what is warm here",
            "what do you see in this thermal map",
            "what's in the thermal image",
        ),
        reserved=("what is in this heat map",),
    ),
    Modality.IMU: Pool(
        common=(
            "what is this",
            "what does the motion trace show",
            "how did it move",
            "what movement is this",
            "what motion do you see in this data",
            "where did it go",
            "what's happening in this IMU trace",
            "what does the sensor say",
            "which way did it move",
        ),
        reserved=("what does this sensor data show",),
    ),
}


def describe(
    direction: str, source: Modality, rng: np.random.Generator, *, held_out: bool, split: Split
) -> Dialogue:
    """A medium in, the canonical caption of what it reveals out."""
    scene = sample_scene(rng, held_out=held_out)
    chance = rng.random()
    if chance < 0.12:
        text = ""
    elif chance < 0.55:
        x = lex.pick(rng, REFERENTS[source])
        text = typed(order(_DESCRIBE_ORDERS.draw(rng, split).format(x=x), rng, split), rng)
    elif chance < 0.93:
        text = typed(ASK_WRAPS.draw(rng, split).format(r=_DESCRIBE_QUESTIONS[source].draw(rng, split)), rng)
    else:
        noun = lex.pick(rng, INPUT_NAMES[source])
        text = typed(
            lex.pick(rng, ("caption", "description", f"{noun} to text", "in words please", "caption:")), rng
        )
    revealed = scene.revealed(source)
    return Dialogue(
        direction=direction,
        turns=(
            place([InputMedia(modality=source, scene=scene)], text, rng),
            assistant(HERE[Modality.TEXT].format(caption(revealed))),
        ),
        asked={Modality.TEXT: revealed},
    )


_WHAT: dict[str, tuple[str, ...]] = {
    "shape": (
        "what shape is it?",
        "which shape is this?",
        "what is the shape?",
        "what shape do you see?",
        "the shape?",
    ),
    "color": (
        "what color is it?",
        "which color is this?",
        "what is the color?",
        "what colour is the object?",
        "tell me the color",
        "the color?",
        "what color does it have?",
    ),
    "size": (
        "how big is it?",
        "what size is it?",
        "is it small or large?",
        "is it big or small?",
        "how large is this?",
    ),
    "background": (
        "what is the background?",
        "what color is the background?",
        "which background is it on?",
        "what is behind it?",
        "tell me the background color",
    ),
    "motion": (
        "how does it move?",
        "which way does it move?",
        "where is it going?",
        "does it move?",
        "what is the motion?",
        "in which direction is it moving?",
    ),
}

_IS_IT: dict[str, tuple[str, ...]] = {
    "shape": ("is it {a}?", "is this {a}?", "do you see {a}?"),
    "color": ("is it {v}?", "is the color {v}?", "is this {v}?"),
    "size": ("is it {v}?", "is this {v}?"),
    "background": ("is the background {v}?", "is it on a {v} background?"),
    "motion": ("is it {doing}?", "is this {doing}?", "is the object {doing}?"),
}

_ADVERB_ONLY = ("at rest", "without moving")


def question(direction: str, rng: np.random.Generator, *, split: Split) -> Dialogue:
    """A medium in, one attribute out: asked openly, as yes or no, or where the medium does not show it."""
    source = lex.pick(rng, MEDIA_INPUTS)
    scene = sample_scene(rng)
    revealed = scene.revealed(source)
    media = [InputMedia(modality=source, scene=scene)]
    if rng.random() < 0.12:
        return _unanswerable(direction, media[0], rng)
    name = lex.pick(rng, list(revealed))
    if rng.random() < 0.35:
        text, reply = _yes_or_no(name, revealed, rng)
    else:
        text, reply = lex.pick(rng, _WHAT[name]), sentence(value_statement(name, revealed[name]))
    turns = (place(media, typed(_polite(text, rng, split), rng), rng), assistant(reply))
    return Dialogue(direction=direction, turns=turns, asked={Modality.TEXT: {name: revealed[name]}})


def _polite(text: str, rng: np.random.Generator, split: Split) -> str:
    if rng.random() < 0.6 or not text.endswith("?"):
        return text
    return ASK_WRAPS.draw(rng, split).format(r=text[:-1])


def _unanswerable(direction: str, medium: InputMedia, rng: np.random.Generator) -> Dialogue:
    hidden = [n for n in ATTRIBUTES if n not in REVEALS[medium.modality]]
    if not hidden:
        medium = InputMedia(modality=Modality.DEPTH, scene=medium.scene)
        hidden = ["color", "background", "motion"]
    name = lex.pick(rng, hidden)
    prompt = place([medium], typed(lex.pick(rng, _WHAT[name]), rng), rng)
    return Dialogue(direction=direction, turns=(prompt, assistant(cannot_tell(name, medium.modality))))


def _yes_or_no(name: str, revealed: Mapping[str, str], rng: np.random.Generator) -> tuple[str, str]:
    """A yes-or-no question about one attribute, and its answer; never one that names a held-out pair."""
    value = revealed[name]
    if rng.random() < 0.5:
        others = [v for v in ATTRIBUTES[name] if v != value and not is_held_out({**revealed, name: v})]
        value = lex.pick(rng, others)
    words = {"shape": lex.SHAPE_NOUNS, "color": lex.COLOR_WORDS, "size": lex.SIZE_WORDS}
    words |= {"background": lex.BACKGROUND_WORDS, "motion": lex.MOTION_DOING}
    said = lex.pick_word(rng, words[name][value], 0.75)
    text = lex.pick(rng, _IS_IT[name]).format(v=said, doing=said, a=lex.with_article(said))
    answer = "Yes" if value == revealed[name] else "No"
    return text, f"{answer}, {value_statement(name, revealed[name])}."


_ABOUT_ME = "I am a tiny model of a small world of shapes. I can describe, draw, play and film them."

_SOUNDS = {
    "circle": "a pure tone",
    "square": "a square wave",
    "triangle": "a sawtooth",
    "star": "a bell",
    "ring": "a trembling tone",
    "cross": "a band of noise",
}

_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hello", "hi", "hey", "hi there", "good morning", "hello there", "good evening"),
        "Hello! What shall I show you?",
    ),
    (
        ("thanks", "thank you", "thank you very much", "great, thanks", "thanks a lot", "nice"),
        "You are welcome.",
    ),
    (("bye", "goodbye", "see you", "good bye", "see you later", "good night"), "Goodbye!"),
    (
        ("how are you?", "how are you doing?", "how is it going?", "are you well?"),
        "I am well. What shall I show you?",
    ),
    (
        (
            "who are you?",
            "what are you?",
            "what is your name?",
            "introduce yourself",
            "tell me about yourself",
            "are you a model?",
            "are you a human?",
            "are you chatgpt?",
        ),
        _ABOUT_ME,
    ),
    (
        (
            "what can you do?",
            "help",
            "how can you help me?",
            "what do you know?",
            "what are you able to do?",
            "what should I ask you?",
            "what is your world?",
            "what can you generate?",
            "how do you work?",
        ),
        _ABOUT_ME,
    ),
    *(
        (tuple(form.format(n=noun) for form in forms), f"I know {listing(ATTRIBUTES[name])}.")
        for name, noun, forms in (
            (
                n,
                m,
                (
                    "which {n} do you know?",
                    "what {n} do you know?",
                    "list your {n}",
                    "what {n} are there?",
                    "{n}?",
                ),
            )
            for n, m in (
                ("shape", "shapes"),
                ("color", "colors"),
                ("color", "colours"),
                ("size", "sizes"),
                ("background", "backgrounds"),
                ("motion", "motions"),
            )
        )
    ),
    (
        (
            "which sounds higher, small or large?",
            "what sounds high?",
            "does a small shape sound high or low?",
        ),
        "Small shapes sound high, large shapes sound low.",
    ),
    (
        (
            "what is louder?",
            "does color change the sound?",
            "do colors make a sound?",
            "what does red sound like?",
        ),
        "Colors and backgrounds make no sound.",
    ),
    *(
        (
            (
                f"what is the sound of a {shape}, in words?",
                f"describe the sound of a {shape} in words",
                f"in words, how does a {shape} sound?",
                f"explain how a {shape} sounds",
            ),
            f"A {shape} sounds like {sound}.",
        )
        for shape, sound in _SOUNDS.items()
    ),
    (
        (
            "which modalities do you know?",
            "what can I give you?",
            "which inputs do you take?",
            "what can you read?",
        ),
        "I read text, images, sounds, videos, depth maps, thermal maps and motion traces.",
    ),
    (
        (
            "which outputs can you make?",
            "what media can you make?",
            "what can you create?",
            "what do you produce?",
        ),
        "I make text, images, sounds and videos.",
    ),
)
"""Questions about the model and its world, each group with its answer."""


def chat(direction: str, rng: np.random.Generator) -> Dialogue:
    """Words in, words out."""
    questions, answer = lex.pick(rng, _TALK)
    text = lex.pick(rng, questions)
    if rng.random() < 0.15:
        text = lex.pick(rng, ("hi, ", "please, ", "hello! ", "hey, ", "so, ")) + text
    return Dialogue(direction=direction, turns=(user(typed(text, rng)), assistant(answer)))
