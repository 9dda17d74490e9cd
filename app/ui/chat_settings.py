"""What shapes the next answer: kept per browser, shown in a popover, turned into a request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import streamlit as st

from anygen.app.engine.types import MOST_VARIATIONS, GenerateRequest
from anygen.app.media_tags import MediaTags
from anygen.modality import GENERATED

from .components import ICONS, NAMES
from .services import engine, session, store

LARGEST_SHOWN_SEED = 2**53 - 1
"""Largest seed that a browser's number field holds exactly."""

DEFAULTS: dict[str, Any] = {
    "outputs": [],
    "variations": 1,
    "seed": 0,
    "locked": False,
    "do_sample": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "remember_prompt": False,
    "image": {},
    "audio": {},
    "video": {},
}
"""Settings of a new browser; an empty table leaves everything to the model."""

PRESETS: dict[str, dict[str, Any]] = {
    "Standard": {"image": {}, "audio": {}, "video": {}, "do_sample": False},
    "Draft": {
        "image": {"num_inference_steps": 8},
        "audio": {"num_inference_steps": 8},
        "video": {"num_inference_steps": 6},
        "do_sample": False,
    },
    "Fine": {
        "image": {"num_inference_steps": 50},
        "audio": {"num_inference_steps": 50},
        "video": {"num_inference_steps": 50},
        "do_sample": False,
    },
    "Varied": {"image": {}, "audio": {}, "video": {}, "do_sample": True, "temperature": 1.0, "top_p": 0.9},
}
"""Settings by name; what a preset does not name stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One option of a decoder in the popover."""

    name: str
    """As in the request."""
    label: str
    """As on the page."""
    low: float
    """Smallest value."""
    high: float
    """Largest value that the page offers."""
    step: float
    """Distance of values; a float for an option that is one."""
    help: str
    """What it does."""


_STEPS = Field(
    name="num_inference_steps",
    label="Steps",
    low=1,
    high=200,
    step=1,
    help="More steps take longer and come out cleaner",
)
_GUIDANCE = Field(
    name="guidance_scale",
    label="Guidance",
    low=0.0,
    high=30.0,
    step=0.5,
    help="How closely to follow the words; 1 turns it off",
)
_WIDTH = Field(name="width", label="Width", low=8, high=2048, step=8, help="Pixels, a multiple of 8")
_HEIGHT = Field(name="height", label="Height", low=8, high=2048, step=8, help="Pixels, a multiple of 8")
FIELDS: dict[str, tuple[Field, ...]] = {
    "image": (_STEPS, _GUIDANCE, _WIDTH, _HEIGHT),
    "audio": (
        _STEPS,
        _GUIDANCE,
        Field(
            name="audio_length_in_s",
            label="Length in seconds",
            low=0.1,
            high=60.0,
            step=0.5,
            help="How long the sound is",
        ),
    ),
    "video": (
        _STEPS,
        _GUIDANCE,
        _WIDTH,
        _HEIGHT,
        Field(
            name="num_frames",
            label="Frames",
            low=1,
            high=128,
            step=1,
            help="How many pictures the clip has",
        ),
    ),
}
"""Options of every decoder."""


def settings() -> dict[str, Any]:
    """The settings of this browser, for reading and changing; `keep` makes a change lasting.

    Returns:
        As `DEFAULTS`.
    """
    if "settings" not in st.session_state:
        kept = store().get_setting(session(), "chat", {})
        known = {name: kept[name] for name in DEFAULTS if name in kept} if isinstance(kept, dict) else {}
        st.session_state["settings"] = {**deepcopy(DEFAULTS), **known}
    current: dict[str, Any] = st.session_state["settings"]
    return current


def keep(changes: Mapping[str, Any], *, redraw: bool = False) -> None:
    """Change settings and keep them for the next visit.

    Args:
        changes: new values.
        redraw: whether widgets show old values and must be drawn anew.
    """
    settings().update(deepcopy(dict(changes)))
    store().set_setting(session(), "chat", settings())
    if redraw:
        st.session_state["settings_version"] = st.session_state.get("settings_version", 0) + 1


def make_request(conversation: list[dict[str, Any]], *, seed: int | None = None) -> GenerateRequest:
    """Turn the settings into a request.

    Args:
        conversation: messages, the user's last.
        seed: takes the place of the seed that the settings say, and asks for one answer.

    Returns:
        What to submit.
    """
    now = settings()
    text = {name: now[name] for name in ("temperature", "top_p")} if now["do_sample"] else {}
    if seed is None:
        drawn = now["seed"] if now["locked"] else secrets.randbits(31)
        variations = now["variations"]
    else:
        drawn, variations = seed, 1
    return GenerateRequest(
        session=session(),
        conversation=conversation,
        outputs=tuple(now["outputs"]) or None,
        seed=drawn,
        text_options={"do_sample": now["do_sample"], **text},
        image_options=dict(now["image"]),
        audio_options=dict(now["audio"]),
        video_options=dict(now["video"]),
        variations=variations,
        remember_prompt=now["remember_prompt"],
    )


def from_tags(tags: MediaTags) -> dict[str, Any]:
    """The settings that made a file.

    Args:
        tags: read from the file.

    Returns:
        Changes for `keep`.
    """
    shown = {field.name for field in FIELDS[tags.modality.value]}
    changes: dict[str, Any] = {
        "seed": tags.seed,
        "locked": True,
        "variations": 1,
        "outputs": [m.value for m in tags.outputs],
        tags.modality.value: {n: v for n, v in tags.options.items() if n in shown and v is not None},
    }
    for name in ("do_sample", "temperature", "top_p"):
        if name in tags.text_options:
            changes[name] = tags.text_options[name]
    return changes


def outputs_bar() -> None:
    """The pills that say what the answer must have."""
    made = engine().status().facts.get("outputs") or [m.value for m in GENERATED]
    options = ["text", *(m for m in made if m != "text")]
    chosen = st.pills(
        "Answer with",
        options,
        selection_mode="multi",
        default=[m for m in settings()["outputs"] if m in options],
        format_func=lambda m: f"{ICONS[m]} {NAMES[m].capitalize()}",
        key=f"outputs_{version()}",
        help="What the answer must have. Choose nothing and the model decides.",
        label_visibility="collapsed",
    )
    if list(chosen) != settings()["outputs"]:
        keep({"outputs": list(chosen)})


def version() -> int:
    """Number that is part of the widgets' keys: a new one makes them show the settings anew."""
    return int(st.session_state.get("settings_version", 0))


def settings_popover() -> None:
    """A button that opens all settings."""
    with st.popover("Settings", icon=":material/tune:", key="settings_popover"):
        preset = f"preset_{version()}"
        st.session_state[preset] = present_preset()
        st.segmented_control(
            "Preset",
            list(PRESETS),
            key=preset,
            on_change=_use_preset,
            help="Sets steps and sampling at once",
        )
        _general()
        st.divider()
        tabs = st.tabs([f"{ICONS[m]} {NAMES[m].capitalize()}" for m in FIELDS])
        for tab, modality in zip(tabs, FIELDS, strict=True):
            with tab:
                _decoder(modality)
        st.button("Reset all", icon=":material/restart_alt:", type="tertiary", on_click=_reset)


def present_preset() -> str | None:
    """The preset that the settings agree with.

    Returns:
        Its name; None when they are the visitor's own.
    """
    now = settings()
    return next((p for p, values in PRESETS.items() if all(now[n] == v for n, v in values.items())), None)


def _use_preset() -> None:
    name = st.session_state.get(f"preset_{version()}")
    if name in PRESETS:
        keep(PRESETS[name], redraw=True)


def _reset() -> None:
    keep(DEFAULTS, redraw=True)


def _general() -> None:
    now, mark = settings(), version()
    left, right = st.columns(2, vertical_alignment="bottom")
    locked = right.toggle(
        "Lock seed",
        value=now["locked"],
        key=f"locked_{mark}",
        help="The same seed and settings give the same answer. Unlocked, every answer draws a new one.",
    )
    shown = min(now["seed"], LARGEST_SHOWN_SEED)
    seed = left.number_input(
        "Seed",
        min_value=0,
        max_value=LARGEST_SHOWN_SEED,
        value=shown,
        step=1,
        key=f"seed_{mark}",
        disabled=not locked,
    )
    variations = st.slider(
        "Variations",
        1,
        MOST_VARIATIONS,
        value=now["variations"],
        key=f"variations_{mark}",
        help="How many answers to make to the next message; each has its own seed",
    )
    if variations > 1:
        st.caption(f"Your next message gets {variations} answers, to choose from.")
    changes: dict[str, Any] = {"locked": locked, "variations": int(variations)}
    if int(seed) != shown:
        changes["seed"] = int(seed)
    changes.update(_sampling(now, mark))
    changes["remember_prompt"] = st.toggle(
        "Write my words into the files",
        value=now["remember_prompt"],
        key=f"remember_{mark}",
        help="Files always say which model, seed and settings made them. Your words go in only with this on.",
    )
    _keep_changed(changes)


def _sampling(now: Mapping[str, Any], mark: int) -> dict[str, Any]:
    sample = st.toggle(
        "Vary the words",
        value=now["do_sample"],
        key=f"sample_{mark}",
        help="Draw the words of the answer by chance; otherwise the likeliest are taken",
    )
    left, right = st.columns(2)
    warm, share = _within(now["temperature"], 0.1, 2.0), _within(now["top_p"], 0.05, 1.0)
    temperature = left.slider(
        "Temperature", 0.1, 2.0, value=warm, step=0.1, key=f"t_{mark}", disabled=not sample
    )
    top_p = right.slider("Top-p", 0.05, 1.0, value=share, step=0.05, key=f"p_{mark}", disabled=not sample)
    return {"do_sample": sample, "temperature": temperature, "top_p": top_p}


def _decoder(modality: str) -> None:
    defaults = engine().status().facts.get("options", {}).get(modality) or {}
    now, values = settings()[modality], {}
    columns = st.columns(2)
    for number, field in enumerate(FIELDS[modality]):
        whole = isinstance(field.step, int)
        kind = int if whole else float
        default = defaults.get(field.name)
        value = columns[number % 2].number_input(
            field.label,
            min_value=kind(field.low),
            max_value=kind(field.high),
            value=None
            if now.get(field.name) is None
            else kind(_within(now[field.name], field.low, field.high)),
            step=kind(field.step),
            placeholder=f"{default:g}" if isinstance(default, int | float) else "as the model has it",
            help=f"{field.help}. Empty: the model's default.",
            key=f"{modality}_{field.name}_{version()}",
        )
        if value is not None:
            values[field.name] = value
    _keep_changed({modality: values})


def _within(value: float, low: float, high: float) -> float:
    """The nearest value that a widget can show: settings may come from a file."""
    return min(max(value, low), high)


def _keep_changed(changes: Mapping[str, Any]) -> None:
    changed = {name: value for name, value in changes.items() if settings()[name] != value}
    if changed:
        keep(changed)
