"""The inputs of the mixer: kept per browser session, added from files, words, the gallery and the toybox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from anygen.app.engine.workspace import Workspace
from anygen.errors import AnyGenError
from anygen.modality import MEDIA_INPUTS, Modality

from .chat_uploads import EXTENSIONS, take_uploads
from .components import NAMES, describe_settings, records_of, sentence_of, show_media, tile
from .services import session, store, workspace
from .texts import literal

MOST = 12
"""Inputs of a mix."""

HEAVIEST = 2.0
"""Weights go from minus this to this."""

MOST_WORDS = 500
"""Characters of a text."""

_ITEMS, _NEXT, _PROBLEMS = "mixer_items", "mixer_next", "mixer_problems"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input of the mix."""

    key: int
    """Unique in this browser session."""
    part: Mapping[str, Any]
    """As in a `BlendRequest`."""
    label: str
    """What charts call it."""

    @property
    def modality(self) -> str:
        """What it is."""
        return str(self.part["type"])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An example mix: toybox renderings and words with weights."""

    title: str
    """What the button says."""
    renderings: tuple[tuple[Modality, dict[str, str], float], ...] = ()
    """Modality, attributes of the scene, weight."""
    words: tuple[tuple[str, float], ...] = ()
    """Text, weight."""
    output: str = "image"
    """What to make."""


_PLAIN = {"size": "large", "background": "black", "motion": "still"}
RECIPES: tuple[Recipe, ...] = (
    Recipe(
        title="The sound of a star + \u201cblue\u201d",
        renderings=((Modality.AUDIO, {**_PLAIN, "shape": "star", "color": "red"}, 1.0),),
        words=(("blue", 1.0),),
    ),
    Recipe(
        title="A red ring \u2212 \u201cred\u201d + \u201cgreen\u201d",
        renderings=((Modality.IMAGE, {**_PLAIN, "shape": "ring", "color": "red"}, 1.0),),
        words=(("red", -1.0), ("green", 1.0)),
    ),
    Recipe(
        title="The depth of a cross + the heat of yellow",
        renderings=(
            (Modality.DEPTH, {**_PLAIN, "shape": "cross", "color": "white"}, 1.0),
            (Modality.THERMAL, {**_PLAIN, "shape": "cross", "color": "yellow"}, 1.0),
        ),
    ),
)
"""Examples of the empty page."""


def items() -> list[Item]:
    """The inputs, in order; those whose file is gone drop out.

    Returns:
        A list to read.
    """
    kept: list[Item] = st.session_state.setdefault(_ITEMS, [])
    there = {record.id for record in records_of([i.part["media_id"] for i in kept if "media_id" in i.part])}
    kept[:] = [item for item in kept if item.part.get("media_id", "") in there or "text" in item.part]
    return list(kept)


def add(part: Mapping[str, Any], label: str, weight: float = 1.0) -> None:
    """Add an input.

    Args:
        part: as in a `BlendRequest`.
        label: what charts call it.
        weight: where its slider stands.
    """
    kept: list[Item] = st.session_state.setdefault(_ITEMS, [])
    if len(kept) >= MOST:
        _tell(f"A mix has at most {MOST} inputs; remove one first")
        return
    key = int(st.session_state.get(_NEXT, 0))
    st.session_state[_NEXT] = key + 1
    st.session_state[f"mix_weight_{key}"] = weight
    kept.append(Item(key=key, part=dict(part), label=f"{len(kept) + 1} {label}"))
    _number(kept)


def _tell(sentence: str) -> None:
    """Show a problem when the page is drawn next."""
    st.session_state.setdefault(_PROBLEMS, []).append(("", sentence))


def _number(kept: list[Item]) -> None:
    """Let labels count from 1 in order."""
    kept[:] = [
        Item(key=item.key, part=item.part, label=re.sub(r"^\d+", str(place), item.label))
        for place, item in enumerate(kept, start=1)
    ]


def remove(key: int) -> None:
    """Remove an input; for callbacks.

    Args:
        key: which.
    """
    kept: list[Item] = st.session_state.setdefault(_ITEMS, [])
    kept[:] = [item for item in kept if item.key != key]
    _number(kept)


def clear() -> None:
    """Remove all inputs; for callbacks."""
    st.session_state[_ITEMS] = []


def weight_of(item: Item) -> float:
    """Where the slider of an input stands.

    Args:
        item: the input.
    """
    return float(st.session_state.get(f"mix_weight_{item.key}", 1.0))


def adders() -> None:
    """The row of controls that add inputs."""
    files, words, gallery = st.columns((2, 2, 1), vertical_alignment="bottom")
    with files, st.popover("Add files", icon=":material/attach_file:", width="stretch"):
        _file_adder()
    with words:
        st.text_input(
            "Add words",
            key="mixer_words",
            max_chars=MOST_WORDS,
            placeholder="Add words: blue, a star ...",
            on_change=_add_words,
            label_visibility="collapsed",
        )
    with gallery, st.popover("Gallery", icon=":material/photo_library:", width="stretch"):
        _gallery_adder()
    for name, sentence in st.session_state.pop(_PROBLEMS, []):
        of = f"**{literal(name)}**: " if name else ""
        st.error(of + sentence_of(sentence), icon=":material/error:")


def _file_adder() -> None:
    """Upload files, told apart by the program or by the visitor."""
    kinds = [None, *(m.value for m in MEDIA_INPUTS)]
    kind = st.selectbox(
        "Read as",
        kinds,
        format_func=lambda m: "what they look like" if m is None else NAMES[m],
        key="mixer_kind",
        help="Depth maps and thermal maps look like pictures: say what yours are.",
    )
    count = st.session_state.get("mixer_uploads", 0)
    files = st.file_uploader(
        "Pictures, sounds, clips, .npy and .csv", type=EXTENSIONS, accept_multiple_files=True,
        key=f"mixer_files_{count}",
    )  # fmt: skip
    if not files:
        return
    uploads, problems = take_uploads(workspace(), session(), files, modality=kind)
    for upload in uploads:
        add({"type": upload.modality, "media_id": upload.media_id}, NAMES[upload.modality])
    told = st.session_state.setdefault(_PROBLEMS, [])
    told += [(problem.name, problem.sentence) for problem in problems]
    st.session_state["mixer_uploads"] = count + 1
    st.rerun()


def _add_words() -> None:
    """Add what was typed."""
    text = " ".join(str(st.session_state.get("mixer_words") or "").split())
    st.session_state["mixer_words"] = ""
    if text:
        short = text if len(text) <= 18 else f"{text[:16]}..."
        add({"type": "text", "text": text}, f"\u201c{short}\u201d")


def _gallery_adder() -> None:
    """Choose among what is in the gallery."""
    records = store().media(session(), limit=24)
    if not records:
        st.caption("Nothing there yet.")
    for record in records:
        left, right = st.columns((1, 2), vertical_alignment="center")
        with left:
            show_media(record.modality, record.path)
        right.button(
            describe_settings(record.modality, {"seed": record.settings.get("seed")}),
            icon=":material/add:",
            key=f"mixer_gallery_{record.id}",
            on_click=add,
            args=({"type": record.modality, "media_id": record.id}, NAMES[record.modality]),
        )


def add_rendering(modality: Modality, attributes: dict[str, str], weight: float) -> None:
    """Draw a toybox scene, keep it in the workspace and add it.

    Args:
        modality: into what; not text.
        attributes: of the scene, all five.
        weight: where its slider stands.

    Raises:
        AnyGenError: it cannot be kept.
    """
    import numpy as np

    from anygen.toybox import Scene, render

    place: Workspace = workspace()
    stored = place.add(session(), render(Scene(**attributes), modality, rng=np.random.default_rng(0)))
    store().add_media(session(), stored.id, origin="given")
    add({"type": stored.modality, "media_id": stored.id}, NAMES[stored.modality], weight)


def cook(recipe: Recipe) -> None:
    """Take an example's inputs in place of those that are there; for callbacks.

    Args:
        recipe: which.
    """
    clear()
    try:
        for modality, attributes, weight in recipe.renderings:
            add_rendering(modality, attributes, weight)
    except AnyGenError as error:
        _tell(str(error))
    for text, weight in recipe.words:
        add({"type": "text", "text": text}, f"\u201c{text}\u201d", weight)
    st.session_state["mixer_output"] = recipe.output


def card(item: Item) -> None:
    """One input: what it is, its slider, and a way out.

    Args:
        item: which.
    """
    with st.container(border=True, key=f"mix_card_{item.key}", gap="xsmall"):
        with tile(item.modality, str(item.key)):
            if "text" in item.part:
                st.markdown(f"\u201c{literal(str(item.part['text']))}\u201d")
            else:
                for record in records_of([str(item.part["media_id"])]):
                    show_media(record.modality, record.path)
        st.slider(
            literal(item.label),
            -HEAVIEST,
            HEAVIEST,
            step=0.1,
            key=f"mix_weight_{item.key}",
            format="%+.1f",
            help="How much of it goes in; below 0 it is taken away.",
            persist_state="session",
        )
        st.button(
            "Remove", icon=":material/close:", type="tertiary", key=f"mix_out_{item.key}", on_click=remove,
            args=(item.key,),
        )  # fmt: skip
