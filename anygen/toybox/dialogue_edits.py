"""How users ask for changes, and how they point at what they attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anygen.modality import Modality

from . import lexicon as lex
from .captions import background_phrase
from .dialogue_types import Split
from .dialogue_words import Pool

REFERENTS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: (
        "this",
        "it",
        "this picture",
        "this image",
        "the picture",
        "the image",
        "the thing in the picture",
        "the object in this image",
        "the shape in the image",
        "what you see",
        "what you see here",
        "this photo",
        "what is in the picture",
        "the scene",
        "this scene",
    ),
    Modality.AUDIO: (
        "this",
        "it",
        "this sound",
        "the sound",
        "this audio",
        "the audio",
        "what you hear",
        "what you hear here",
        "this recording",
        "the thing that makes this sound",
        "the object you hear",
        "the shape you hear",
        "this clip",
        "this noise",
        "the scene",
    ),
    Modality.VIDEO: (
        "this",
        "it",
        "this video",
        "the video",
        "this clip",
        "the object in the video",
        "the thing in this video",
        "the shape in the clip",
        "what you see",
        "what happens here",
        "this movie",
        "the scene",
    ),
    Modality.DEPTH: (
        "this",
        "it",
        "this depth map",
        "the depth map",
        "this depth image",
        "the object in the depth map",
        "the shape in this depth map",
        "this depth scan",
        "the thing in the depth image",
    ),
    Modality.THERMAL: (
        "this",
        "it",
        "this thermal map",
        "the thermal image",
        "this heat map",
        "this thermal image",
        "the object in the thermal map",
        "the warm shape",
        "this infrared image",
        "the shape in the heat map",
    ),
    Modality.IMU: (
        "this",
        "it",
        "this motion trace",
        "the motion trace",
        "this IMU recording",
        "the IMU data",
        "this sensor data",
        "this movement",
        "the accelerometer data",
        "the thing that moved like this",
    ),
}
"""Noun phrases for an attached medium or what it shows."""

INPUT_NAMES: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: ("picture", "image", "photo"),
    Modality.AUDIO: ("sound", "audio", "recording"),
    Modality.VIDEO: ("video", "clip"),
    Modality.DEPTH: ("depth map", "depth image"),
    Modality.THERMAL: ("thermal map", "thermal image", "heat map"),
    Modality.IMU: ("motion trace", "IMU trace", "sensor data"),
}
"""Single nouns for an attached medium."""

EDIT_ORDERS: dict[str, Pool] = {
    "color": Pool(
        common=(
            "make it {v}",
            "make it {v}",
            "make it {v}",
            "turn it {v}",
            "color it {v}",
            "paint it {v}",
            "change the color to {v}",
            "change its color to {v}",
            "recolor it to {v}",
            "make the color {v}",
            "make the {n} {v}",
            "paint the {n} {v}",
            "turn the {n} {v}",
            "make this {v}",
            "let it be {v}",
            "set the color to {v}",
            "give it a {v} color",
            "draw it in {v}",
            "show it in {v}",
        ),
        reserved=("change it to {v}", "color the {n} {v}"),
    ),
    "background": Pool(
        common=(
            "put it on a {v} background",
            "put it on a {v} background",
            "change the background to {v}",
            "make the background {v}",
            "use a {v} background",
            "set the background to {v}",
            "give it a {v} background",
            "place it on {v}",
            "put the {n} on {v}",
            "put it against {v}",
            "replace the background with {v}",
            "swap the background for {v}",
            "show it on a {v} background",
            "draw it on {v}",
            "turn the background {v}",
        ),
        reserved=("place it on a {v} background", "paint the background {v}"),
    ),
    "shape": Pool(
        common=(
            "make it {a}",
            "turn it into {a}",
            "turn this into {a}",
            "change it to {a}",
            "change it into {a}",
            "change the shape to {a}",
            "replace it with {a}",
            "transform it into {a}",
            "swap the shape for {a}",
            "make this {a}",
            "make the {n} {a}",
            "replace the {n} with {a}",
            "let it be {a}",
            "set the shape to {v}",
        ),
        reserved=("convert it into {a}", "change the {n} into {a}"),
    ),
    "motion": Pool(
        common=(
            "make it {do}",
            "make it {do}",
            "let it {do}",
            "have it {do}",
            "make the {n} {do}",
            "let the {n} {do}",
            "change the motion to {v}",
            "set the motion to {v}",
        ),
        reserved=("have the {n} {do}",),
    ),
    "small": Pool(
        common=(
            "make it smaller",
            "make it small",
            "make it {v}",
            "shrink it",
            "make the {n} smaller",
            "make the {n} {v}",
            "reduce its size",
            "change the size to small",
            "scale it down",
            "set the size to small",
            "let it be small",
            "make this smaller",
            "turn it small",
        ),
        reserved=("shrink the {n}", "make the size small"),
    ),
    "large": Pool(
        common=(
            "make it bigger",
            "make it larger",
            "make it large",
            "make it {v}",
            "enlarge it",
            "make the {n} bigger",
            "make the {n} larger",
            "make the {n} {v}",
            "increase its size",
            "change the size to large",
            "scale it up",
            "set the size to large",
            "let it be big",
            "make this bigger",
            "blow it up",
            "turn it big",
        ),
        reserved=("enlarge the {n}", "make the size large"),
    ),
}
"""Orders that change one attribute. `{v}` is a word for the value, `{a}` a shape with its article, `{do}`,
`{doing}`, `{does}` and `{way}` a motion, `{n}` a noun for the object."""

EDIT_SAYINGS: dict[str, Pool] = {
    "color": Pool(
        common=(
            "it should be {v}",
            "I want it {v}",
            "I want it in {v}",
            "the same but {v}",
            "the same in {v}",
            "in {v}",
            "in {v} please",
            "but {v}",
            "{v} instead",
            "what if it were {v}?",
            "could it be {v}?",
            "now in {v}",
            "can I have it in {v}?",
            "as {v} as can be",
        ),
    ),
    "background": Pool(
        common=(
            "on a {v} background",
            "with a {v} background",
            "the background should be {v}",
            "on {v} instead",
            "I want a {v} background",
            "the same on {v}",
            "{v} background please",
            "now on {v}",
            "the same on a {v} background",
        ),
    ),
    "shape": Pool(
        common=(
            "as {a}",
            "I want {a} instead",
            "{a} instead",
            "it should be {a}",
            "the same but as {a}",
            "the same as {a}",
            "what if it were {a}?",
            "now as {a}",
            "could it be {a}?",
        ),
    ),
    "motion": Pool(
        common=(
            "it should {do}",
            "I want it to {do}",
            "now {doing}",
            "the same but {doing}",
            "but {doing}",
            "what if it {does}?",
            "{doing} instead",
        ),
    ),
    "small": Pool(
        common=("smaller please", "it should be small", "the same but smaller", "but {v}", "now {v}")
    ),
    "large": Pool(
        common=("bigger please", "it should be big", "the same but bigger", "but {v}", "now {v}", "larger")
    ),
}
"""Changes said without an order; nothing is wrapped around them."""

EDIT_TAILS: dict[str, Pool] = {
    "color": Pool(common=("in {v}", "but {v}", "colored {v}", "but make it {v}", "but in {v}", ", but {v}")),
    "background": Pool(
        common=("on a {v} background", "on {v}", "but on {v}", "against {v}", "with a {v} background")
    ),
    "shape": Pool(common=("but as {a}", "as {a}", "but make it {a}", ", but as {a}")),
    "motion": Pool(common=("{doing}", "{doing}", "that {does}", "but {doing}", "and make it {do}", "{way}")),
    "small": Pool(common=("but small", "but smaller", "but {v}", "but make it small", ", only smaller")),
    "large": Pool(common=("but large", "but bigger", "but {v}", "but make it big", ", only bigger")),
}
"""Changes behind a request: "draw it in blue"."""


def change(
    table: Mapping[str, Pool],
    name: str,
    value: str,
    rng: np.random.Generator,
    *,
    split: Split = "train",
    nouns: Sequence[str] = (),
) -> str:
    """Word the change of one attribute with a template of `EDIT_ORDERS`, `EDIT_SAYINGS` or `EDIT_TAILS`.

    Args:
        table: Where the template comes from.
        name: Attribute.
        value: Its new value.
        rng: Source of all randomness.
        split: Whether reserved templates may be used.
        nouns: What the object may be called, besides "shape" and its like.
    """
    template = table[value if name == "size" else name].draw(rng, split)
    if name == "background" and "a {v} background" in template and rng.random() < 0.3:
        return template.replace("on a {v} background", "{p}").format(p=background_phrase(value, rng), v=value)
    words: dict[str, str] = {"v": value, "n": lex.pick(rng, (*nouns, *lex.PLAIN_NOUNS[:3]))}
    if name == "motion":
        words["do"] = lex.pick_word(rng, lex.MOTION_DO[value], 0.35)
        words["doing"] = lex.pick_word(rng, lex.MOTION_DOING[value], 0.35)
        words["way"] = lex.pick(rng, lex.WAYS.get(value, ("at rest", "without moving")))
        words["does"] = lex.pick_word(rng, lex.MOTION_DOES[value], 0.35)
    elif name == "shape":
        words["a"] = lex.with_article(lex.pick_word(rng, lex.SHAPE_NOUNS[value], 0.7))
    else:
        choices = {"color": lex.COLOR_WORDS, "size": lex.SIZE_WORDS, "background": lex.BACKGROUND_WORDS}[name]
        words["v"] = lex.pick_word(rng, choices[value], 0.7)
    text = template.format(**words)
    return text.replace("a orange", "an orange").replace("a emerald", "an emerald").replace("a a", "an a")
