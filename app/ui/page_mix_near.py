"""What lies near a blend: the inputs among themselves, the gallery, and the scenes of the toybox."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import streamlit as st

from .components import NAMES, show_media, tile
from .page_work import embed, vectors_of
from .services import engine, services, session, store

NEAREST = 4
"""How many are shown of each kind."""

MOST_GALLERY = 48
"""Newest media of the gallery that are compared."""

_lock = threading.Lock()
_scenes: dict[str, np.ndarray] = {}


def cosines(vectors: np.ndarray) -> np.ndarray:
    """How alike vectors are.

    Args:
        vectors: (n, dim), none of them 0.

    Returns:
        (n, n) in -1 to 1.
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def similarity_chart(labels: Sequence[str], vectors: np.ndarray, blend: np.ndarray) -> Any:
    """A heat map of the cosines among inputs and their blend.

    Args:
        labels: one an input.
        vectors: (n, dim) of the inputs.
        blend: (dim,) their weighted sum; left out when it vanishes.

    Returns:
        An `altair.Chart`.
    """
    import altair as alt

    names = list(labels)
    if float(np.linalg.norm(blend)) > 1e-3:
        names.append("the blend")
        vectors = np.vstack([vectors, blend[None]])
    table = cosines(vectors)
    rows = [
        {"one": names[i], "other": names[j], "cosine": round(float(table[i, j]), 3)}
        for i, j in product(range(len(names)), repeat=2)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("other:N", sort=names, title=None, axis=alt.Axis(labelAngle=-30, orient="top")),
        y=alt.Y("one:N", sort=names, title=None),
    )
    cells = base.mark_rect(cornerRadius=4).encode(
        color=alt.Color(
            "cosine:Q",
            scale=alt.Scale(domain=[-1, 0, 1], range=["#3569b8", "#e6e0d4", "#c8452c"], interpolate="rgb"),
            legend=None,
        ),
        tooltip=["one:N", "other:N", alt.Tooltip("cosine:Q", format="+.2f")],
    )
    words = base.mark_text(fontSize=12).encode(
        text=alt.Text("cosine:Q", format="+.2f"),
        color=alt.condition("abs(datum.cosine) > 0.55", alt.value("#ffffff"), alt.value("#23252e")),
    )
    return (cells + words).properties(height=46 * len(names) + 60, padding={"right": 24})


def nearest(blend: np.ndarray, vectors: np.ndarray, count: int = NEAREST) -> list[tuple[int, float]]:
    """The vectors that point most the same way.

    Args:
        blend: (dim,) of unit norm.
        vectors: (n, dim) of unit norm.
        count: at most so many.

    Returns:
        Position and cosine, the nearest first.
    """
    scores = vectors @ blend
    return [(int(i), float(scores[i])) for i in np.argsort(-scores, kind="stable")[:count]]


def near_gallery(blend: np.ndarray, without: set[str]) -> None:
    """Show what of the gallery is nearest.

    Args:
        blend: (dim,) of unit norm.
        without: ids to leave out.
    """
    st.subheader("Nearest in your gallery")
    can = engine().status().facts.get("embeds", [])
    records = [r for r in store().media(session(), limit=2 * MOST_GALLERY) if r.id not in without]
    records = [r for r in records if r.modality in can][:MOST_GALLERY]
    if not records:
        st.caption("Nothing else there yet: what the model makes will turn up here.")
        return
    with st.spinner("Comparing with the gallery ..."):
        vectors = vectors_of([{"type": r.modality, "media_id": r.id} for r in records])
    if vectors is None:
        return
    with st.grid(NEAREST, min_column_width=150):
        for index, score in nearest(blend, vectors):
            record = records[index]
            with st.container(key=f"near_{record.id}", gap="xsmall"):
                with tile(record.modality, f"near_{record.id}"):
                    show_media(record.modality, record.path)
                st.caption(f"**{score:+.2f}** {NAMES[record.modality]}")


def scenes() -> list[dict[str, str]]:
    """The scenes that blends are compared with: every shape, color and size.

    Returns:
        Attributes, two or three of the five.
    """
    from anygen.toybox import ATTRIBUTES

    names = ("shape", "color", "size")
    return [dict(zip(names, values, strict=True)) for values in product(*(ATTRIBUTES[n] for n in names))]


def near_toybox(blend: np.ndarray) -> None:
    """Show which scenes of the toybox have the nearest descriptions.

    Args:
        blend: (dim,) of unit norm.
    """
    from anygen.toybox import caption

    st.subheader("Nearest in the toybox")
    if "text" not in engine().status().facts.get("embeds", []):
        st.caption("The loaded model compares no words.")
        return
    vectors = _scene_vectors()
    if vectors is None:
        return
    with st.grid(NEAREST, min_column_width=150):
        for index, score in nearest(blend, vectors):
            attributes = scenes()[index]
            words = caption(attributes)
            with st.container(key=f"near_scene_{index}", gap="xsmall"):
                st.image(_drawing(**attributes), width="stretch", alt=words.capitalize())
                st.caption(f"**{score:+.2f}** {words}")


@st.cache_data(max_entries=96, show_spinner=False)
def _drawing(shape: str, color: str, size: str) -> Any:
    """A picture of a scene."""
    from anygen.modality import Modality
    from anygen.toybox import Scene, render

    scene = Scene(shape=shape, color=color, size=size, background="black", motion="still")
    return np.asarray(render(scene, Modality.IMAGE, rng=np.random.default_rng(0)))


def _scene_vectors() -> np.ndarray | None:
    """(n, dim) of the scenes' captions, computed once a server; None when it did not work."""
    from anygen.toybox import caption

    model = services().model
    with _lock:
        if model not in _scenes:
            texts = [caption(attributes) for attributes in scenes()]
            parts = [{"type": "text", "text": text} for text in texts]
            chunks = []
            with st.spinner("Comparing with the toybox ..."):
                for start in range(0, len(parts), 48):
                    found = embed(parts[start : start + 48])
                    if found is None:
                        return None
                    chunks.append(found)
            _scenes[model] = np.concatenate(chunks)
        return _scenes[model]
