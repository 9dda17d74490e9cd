"""The toybox page: pick a scene, see and hear its seven renderings, and ask the model with any of them."""

from __future__ import annotations

import html
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from anygen.errors import AnyGenError
from anygen.modality import MEDIA_INPUTS, Modality

from .components import ICONS, NAMES, show_error, use_in_chat
from .page_pictures import COLD_AND_HOT, NEAR_AND_FAR, color_map, motion_chart, scale_bar, wave_picture
from .services import session, store, workspace

FARTHEST = 4.0
"""Metres of the background, the end of the depth scale."""

QUESTIONS: dict[Modality, str] = {
    Modality.TEXT: "",
    Modality.IMAGE: "What is in this picture?",
    Modality.AUDIO: "What do you hear?",
    Modality.VIDEO: "What happens in this clip?",
    Modality.DEPTH: "What does this depth map show?",
    Modality.THERMAL: "What does this thermal map show?",
    Modality.IMU: "How does it move?",
}
"""What is put into the message box beside a rendering; the text asks for a picture of itself."""

_SIGNS = {
    "circle": "\u25cf", "square": "\u25a0", "triangle": "\u25b2", "star": "\u2605", "ring": "\u25ef",
    "cross": "\u271a", "still": "\u2022", "left": "\u2190", "right": "\u2192", "up": "\u2191",
    "down": "\u2193",
}  # fmt: skip
_PAINTS = {
    "red": "#dc2828", "orange": "#f08c1e", "yellow": "#e0c92f", "green": "#32aa46", "cyan": "#3cc8dc",
    "blue": "#3250dc", "purple": "#963cbe", "white": "#bdbdbd", "black": "#4c4c50", "gray": "#787878",
    "navy": "#2e3a8c", "brown": "#8a5a2e",
}  # fmt: skip
_CHIP = "display:inline-block;border-radius:1rem;padding:0 .6rem;margin:0 .3rem .3rem 0;font-size:.82rem;"
_GREEN, _RED = "background:rgba(46,139,111,.16)", "background:rgba(200,69,44,.18)"
_SEED_KEY = "toy_seed"
_LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """A scene in one modality, ready to be shown."""

    media: Any
    """A text or a media object."""
    shown: Any
    """What the page shows: a text, the bytes of a PNG or MP4, or the media object."""
    reading: dict[str, str | None]
    """What the oracle reads, for all that this modality reveals of the scene."""


def page() -> None:
    """Draw the page."""
    st.title("Toybox")
    st.caption(
        "A small world whose scenes exist as text, picture, clip, sound, depth, heat and motion alike. "
        "Pick one, and ask the model with any of its sides. Below each stands what a small program, the "
        "oracle, measures in it: the same program grades what the model makes."
    )
    attributes, seed = _pick_scene()
    _say_what_it_is(attributes)
    drawn = renderings(attributes, seed)
    with st.grid(3, min_column_width=270):
        for modality in (
            Modality.IMAGE,
            Modality.VIDEO,
            Modality.AUDIO,
            Modality.DEPTH,
            Modality.THERMAL,
            Modality.IMU,
            Modality.TEXT,
        ):
            _card(modality, drawn[modality.value], attributes)


def _pick_scene() -> tuple[dict[str, str], int]:
    """The pickers; returns the attributes and the seed."""
    from anygen.toybox import ATTRIBUTES

    start = {
        "shape": "star",
        "color": "yellow",
        "size": "large",
        "background": "navy",
        "motion": "right",
    }
    for name, value in start.items():
        st.session_state.setdefault(f"toy_{name}", value)
    st.session_state.setdefault(_SEED_KEY, 0)
    chosen: dict[str, str] = {}
    with st.container(border=True, key="toybox_pickers"):
        for names in (("shape",), ("color",), ("size", "background", "motion")):
            with st.container(horizontal=True, gap="medium"):
                for name in names:
                    picked = st.pills(
                        name.capitalize(),
                        ATTRIBUTES[name],
                        key=f"toy_{name}",
                        format_func=_label,
                        required=True,
                        wrap=True,
                        persist_state="session",
                    )
                    chosen[name] = picked or start[name]
        with st.container(horizontal=True, vertical_alignment="bottom"):
            seed = st.number_input(
                "Seed",
                min_value=0,
                max_value=_LARGEST_SEED,
                key=_SEED_KEY,
                width=160,
                help="Position, noise and wording; the same seed draws the same scene again.",
                persist_state="session",
            )
            st.button("Another scene", icon=":material/casino:", on_click=_draw, key="toy_draw")
    return chosen, int(seed)


def _label(value: str) -> str:
    """A value with its sign or its color, where it has one; Markdown."""
    if value in _PAINTS:
        return f':color[\u25cf]{{foreground="{_PAINTS[value]}"}} {value}'
    sign = _SIGNS.get(value)
    return f"{sign} {value}" if sign else value


def _draw() -> None:
    """Put a scene drawn at random into the pickers."""
    import numpy as np

    from anygen.toybox import sample_scene

    rng = np.random.default_rng()
    for name, value in sample_scene(rng, held_out=bool(rng.random() < 0.15)).attributes().items():
        st.session_state[f"toy_{name}"] = value
    st.session_state[_SEED_KEY] = int(rng.integers(1000))


def _say_what_it_is(attributes: dict[str, str]) -> None:
    """The scene in words, and whether training ever showed it."""
    from anygen.toybox import caption, is_held_out

    words = caption(attributes)
    st.subheader(words[:1].upper() + words[1:])
    if is_held_out(attributes):
        st.badge(
            "never shown in training",
            icon=":material/visibility_off:",
            color="orange",
            help="This pair of shape and color was held out: what the model makes of it, it composes.",
        )


@st.cache_resource(max_entries=32, show_spinner="Drawing the scene ...")
def renderings(attributes: dict[str, str], seed: int) -> dict[str, Rendering]:
    """Render a scene into all seven modalities and let the oracles read them.

    Args:
        attributes: all five.
        seed: of position, noise and wording.

    Returns:
        By the name of the modality.
    """
    import numpy as np

    from anygen.toybox import Scene, read, render

    scene = Scene(**attributes)
    result = {}
    for number, modality in enumerate(Modality):
        media = render(scene, modality, rng=np.random.default_rng((seed, number)))
        found = read(modality, media)
        reading = {name: found.get(name) for name in scene.revealed(modality)}
        result[modality.value] = Rendering(media=media, shown=_shown(modality, media), reading=reading)
    return result


def _shown(modality: Modality, media: Any) -> Any:
    """What a browser can show of a rendering."""
    if modality is Modality.DEPTH:
        return color_map(media.meters, low=0.0, high=FARTHEST, ramp=NEAR_AND_FAR)
    if modality is Modality.THERMAL:
        return color_map(media.values, low=0.0, high=1.0, ramp=COLD_AND_HOT)
    if modality is not Modality.VIDEO:
        return media
    from anygen.media import save_media

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        save_media(media, path)
        return path.read_bytes()


def _card(modality: Modality, rendering: Rendering, attributes: dict[str, str]) -> None:
    """One rendering: what it looks or sounds like, the oracle's reading, the button."""
    name = NAMES[modality.value]
    with st.container(border=True, key=f"toy_card_{modality.value}", gap="small", height="stretch"):
        st.markdown(f"**{ICONS[modality.value]} {name.capitalize()}**")
        _show(modality, rendering, attributes)
        st.html(reading_chips(rendering.reading, attributes))
        if st.button(
            "Ask with this",
            key=f"ask_{modality.value}",
            icon=":material/forum:",
            help=f"Take this {name} into the chat",
            width="stretch",
        ):
            _ask(modality, rendering)


def _show(modality: Modality, rendering: Rendering, attributes: dict[str, str]) -> None:
    """The rendering itself."""
    alt = "{size} {color} {shape}, {motion}, on {background}".format(**attributes)
    if modality is Modality.TEXT:
        st.markdown(f"> {rendering.shown}")
    elif modality is Modality.VIDEO:
        st.video(
            rendering.shown, format="video/mp4", loop=True, muted=True, autoplay=True, alt=f"Clip: {alt}"
        )
    elif modality is Modality.AUDIO:
        audio = rendering.media
        st.image(wave_picture(audio.samples), width="stretch", alt=f"Loudness over time: {alt}")
        st.audio(audio.samples[0], sample_rate=audio.sample_rate, alt=f"Sound: {alt}")
    elif modality is Modality.IMU:
        chart = motion_chart(rendering.media.samples, rendering.media.sample_rate)
        st.altair_chart(chart, alt=f"Acceleration and rotation over 5 seconds: {alt}")
    else:
        st.image(rendering.shown, width="stretch", alt=f"{NAMES[modality.value].capitalize()}: {alt}")
        if modality is Modality.DEPTH:
            st.html(scale_bar(low="0 m", high=f"{FARTHEST:g} m", ramp=NEAR_AND_FAR))
        elif modality is Modality.THERMAL:
            st.html(scale_bar(low="cold 0", high="1 hot", ramp=COLD_AND_HOT))


def reading_chips(reading: dict[str, str | None], attributes: dict[str, str]) -> str:
    """The oracle's reading as a row of chips.

    Args:
        reading: attribute to what was read, None where nothing was.
        attributes: what the scene is.

    Returns:
        HTML for `st.html`.
    """
    chips = []
    for name, value in reading.items():
        right = value == attributes[name]
        words = f"{name}: {value or 'not read'}" + ("" if right else f", is {attributes[name]}")
        style, mark = (_CHIP + _GREEN, "&#10003;") if right else (_CHIP + _RED, "&#10007;")
        chips.append(f'<span style="{style}">{mark} {html.escape(words)}</span>')
    label = '<span style="font-size:.82rem;opacity:.7;margin-right:.4rem">Oracle reads</span>'
    return f"<div>{label}{''.join(chips)}</div>"


def _ask(modality: Modality, rendering: Rendering) -> None:
    """Keep the rendering in the workspace and go to the chat with it."""
    if modality not in MEDIA_INPUTS:
        use_in_chat(text=f"Show me {rendering.media[:1].lower()}{rendering.media[1:]}")
        return
    try:
        stored = workspace().add(session(), rendering.media)
        store().add_media(session(), stored.id, origin="given")
    except AnyGenError as error:
        show_error(error)
        return
    use_in_chat(stored.id, text=QUESTIONS[modality])
