"""What the assistant says: short, regular, and always the canonical caption right before a signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anygen.modality import Modality

from .captions import caption
from .dialogue_types import Part, Signal
from .lexicon import MOTION_DOING, with_article
from .scene import ATTRIBUTES, REVEALS

HERE: dict[Modality, str] = {
    Modality.TEXT: "This is {}.",
    Modality.IMAGE: "Here is an image of {}.",
    Modality.AUDIO: "Here is the sound of {}.",
    Modality.VIDEO: "Here is a video of {}.",
}
"""How an answer introduces each modality; the caption comes last, so the signal follows it directly."""

SOURCE_NAMES: dict[Modality, str] = {
    Modality.IMAGE: "an image",
    Modality.AUDIO: "a sound",
    Modality.VIDEO: "a video",
    Modality.DEPTH: "a depth map",
    Modality.THERMAL: "a thermal map",
    Modality.IMU: "a motion trace",
}
"""What the assistant calls an input."""


def listing(words: Sequence[str], last: str = "and") -> str:
    """Say it like "a, b and c"; a single word as it is."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


_PLURALS = [shape + ("es" if shape == "cross" else "s") for shape in ATTRIBUTES["shape"]]

OUTSIDE = (
    f"That is outside my small world. I know {listing(_PLURALS)}, "
    "and I can describe, draw, play and film them."
)
"""The answer to requests for what the world does not have."""

UNKNOWN: dict[str, str] = {
    "shape": f"I do not know that shape. My shapes are {listing(ATTRIBUTES['shape'])}.",
    "color": f"I do not know that color. My colors are {listing(ATTRIBUTES['color'])}.",
    "size": f"I do not know that size. My sizes are {listing(ATTRIBUTES['size'])}.",
    "background": f"I do not know that background. My backgrounds are {listing(ATTRIBUTES['background'])}.",
    "motion": f"I do not know that motion. My motions are {listing(ATTRIBUTES['motion'])}.",
}
"""The answer to a request with a value that an attribute does not have."""

ONE_AT_A_TIME = "I can only show one shape at a time."
"""The answer to a request for several objects."""


def visible(attributes: Mapping[str, str], modality: Modality) -> dict[str, str]:
    """Those of the attributes that the modality can show, in canonical order."""
    return {name: attributes[name] for name in REVEALS[modality] if name in attributes}


def show(
    target: Mapping[str, str], outputs: Sequence[Modality]
) -> tuple[tuple[Part, ...], dict[Modality, Mapping[str, str]]]:
    """The answer that shows `target` in every output modality, in the order given.

    Args:
        target: What is asked for; what an output cannot show is left out of it.
        outputs: TEXT or any of `GENERATED`.

    Returns:
        The parts of the assistant's turn, and what a grader checks per modality.
    """
    parts: list[Part] = []
    asked: dict[Modality, Mapping[str, str]] = {}
    for modality in outputs:
        attributes = visible(target, modality)
        parts.append((" " if parts else "") + HERE[modality].format(caption(attributes)))
        if modality is not Modality.TEXT:
            parts.append(Signal(modality=modality, attributes=attributes))
        asked[modality] = attributes
    return tuple(parts), asked


def value_statement(name: str, value: str) -> str:
    """One attribute as a clause: "it is red", "it is a star", "the background is black"."""
    if name == "shape":
        return f"it is {with_article(value)}"
    if name == "background":
        return f"the background is {value}"
    if name == "motion":
        return f"it is {MOTION_DOING[value][0]}"
    return f"it is {value}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + "."


def cannot_tell(name: str, modality: Modality) -> str:
    """The answer to a question about an attribute that the input does not reveal."""
    return f"I cannot tell the {name} from {SOURCE_NAMES[modality]}."
