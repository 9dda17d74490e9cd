"""What to try when a chat is empty: requests that the model can answer, with inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from anygen.modality import Modality
from anygen.toybox import Scene, render

from .components import empty_state
from .services import services, session, workspace
from .texts import literal


@dataclass(frozen=True, kw_only=True)
class Example:
    """One request."""

    label: str
    """What the button says."""
    icon: str
    """Its sign."""
    text: str
    """What is asked."""
    inputs: tuple[tuple[Modality, Scene], ...] = ()
    """What goes with it."""


TOYBOX = "toybox-tiny"
"""The model that the toybox's examples are for."""

WORLD = (
    "toybox-tiny knows circles, squares, triangles, stars, rings and crosses. "
    "Ask for anything else, and it says so or makes one of these."
)
"""What to expect of it, for under the message box."""

_STAR = Scene(shape="star", color="red", size="small", background="gray", motion="still")
_RING = Scene(shape="ring", color="blue", size="large", background="black", motion="up")
_SQUARE = Scene(shape="square", color="green", size="large", background="navy", motion="left")

TOYBOX_EXAMPLES = (
    Example(
        label="A picture of a large blue ring",
        icon=":material/image:",
        text="Show me a picture of a large blue ring",
    ),
    Example(
        label="A picture, a sound and a video of one star",
        icon=":material/auto_awesome:",
        text="Show me a small red star, play its sound and make a video of it moving up",
    ),
    Example(
        label="Film a green square moving left",
        icon=":material/movie:",
        text="Make a video of a large green square moving left",
    ),
    Example(
        label="What makes this sound?",
        icon=":material/graphic_eq:",
        text="What is this?",
        inputs=((Modality.AUDIO, _RING),),
    ),
    Example(
        label="Draw this sound in the color of this picture",
        icon=":material/join_inner:",
        text="Draw the sound in the color of the picture",
        inputs=((Modality.IMAGE, _STAR), (Modality.AUDIO, _RING)),
    ),
    Example(
        label="Describe this depth map",
        icon=":material/landscape:",
        text="What is this?",
        inputs=((Modality.DEPTH, _SQUARE),),
    ),
)
"""Requests in the world of the bundled model."""

PLAIN_EXAMPLES = (
    Example(
        label="A lighthouse in a storm",
        icon=":material/image:",
        text="Show me a picture of a lighthouse in a storm",
    ),
    Example(
        label="Rain on a tin roof", icon=":material/graphic_eq:", text="Play the sound of rain on a tin roof"
    ),
    Example(label="A paper boat on a river", icon=":material/movie:", text="Film a paper boat on a river"),
)
"""Requests for models of the wide world."""


def examples() -> list[dict[str, Any]] | None:
    """Draw the empty state.

    Returns:
        The parts of the example that was chosen.
    """
    toy = services().model == TOYBOX
    world = (
        f"The model at work, **{TOYBOX}**, knows a small world: six shapes in eight colors that sound, "
        "move and are near or far. Begin with one of these, or attach something of your own."
        if toy
        else f"**{literal(Path(services().model).name)}** answers in text, pictures, sounds and videos. "
        "Begin with one of these, or attach something of your own."
    )
    empty_state("What shall we make?", world)
    with st.container(key="examples", horizontal=True, gap="small", horizontal_alignment="center"):
        for number, example in enumerate(TOYBOX_EXAMPLES if toy else PLAIN_EXAMPLES):
            if st.button(example.label, icon=example.icon, key=f"example_{number}", width=240, wrap=True):
                return _parts(example)
    return None


def _parts(example: Example) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for modality, scene in example.inputs:
        medium = render(scene, modality, rng=np.random.default_rng(7))
        stored = workspace().add(session(), medium)
        parts.append({"type": modality.value, "media_id": stored.id, "name": ""})
    return [*parts, {"type": "text", "text": example.text}]
