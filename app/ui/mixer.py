"""The mixer: weigh what is attached, make something of the blend, and see what lies near it."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import streamlit as st

from anygen.app.engine.types import BlendRequest, Busy
from anygen.errors import AnyGenError
from anygen.modality import GENERATED

from . import page_mix_items as mix
from .components import (
    ICONS,
    NAMES,
    download_medium,
    empty_state,
    records_of,
    show_error,
    show_media,
    use_in_chat,
)
from .page_mix_near import near_gallery, near_toybox, similarity_chart
from .page_records import rows_of, settings_table
from .page_work import Work, show_ending, show_work, start_blend, vectors_of
from .services import engine, session
from .texts import literal

_WORK, _ENDED, _RESULT = "mixer_work", "mixer_ended", "mixer_result"
_LARGEST_SEED = 2**31 - 1


def page() -> None:
    """Draw the page."""
    st.title("Mixer")
    st.caption(
        "Pictures, sounds, words and sensor data meet in one space, where they can be added and taken away. "
        "Weigh them and let the model make something of the blend."
    )
    there = mix.items()
    mix.adders()
    if not there:
        _nothing_yet()
        return
    with st.grid(4, min_column_width=200):
        for item in there:
            mix.card(item)
    _settle()
    st.markdown(formula(there))
    _controls(there)
    _outcome()
    st.divider()
    _near(there)


def _nothing_yet() -> None:
    """The page without inputs."""
    empty_state("Mix two things", "Add files or words above, or begin with one of these.")
    st.space("small")
    with st.container(horizontal=True, horizontal_alignment="center", key="mixer_examples"):
        for number, recipe in enumerate(mix.RECIPES):
            st.button(recipe.title, key=f"mixer_recipe_{number}", on_click=mix.cook, args=(recipe,))


def formula(there: list[mix.Item]) -> str:
    """The blend in words.

    Args:
        there: its inputs.

    Returns:
        Such as "The blend: 1.1 sound - 0.5 red"; Markdown.
    """
    words = ""
    for item in there:
        weight = mix.weight_of(item)
        sign = "\u2212" if weight < 0 else "+" if words else ""
        size = "" if abs(weight) == 1 else f"{abs(weight):g} \u00d7 "
        words += f" {sign} {size}{literal(item.label.split(' ', 1)[1])}"
    return f"**The blend:** {' '.join(words.split())}"


def _controls(there: list[mix.Item]) -> None:
    """What to make of the blend, and the button."""
    facts = engine().status().facts
    made = [m.value for m in GENERATED if m.value in facts.get("outputs", GENERATED)]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="mixer_controls"):
        chosen = st.segmented_control(
            "Make",
            made,
            format_func=lambda m: f"{ICONS[m]} {NAMES[m].capitalize()}",
            default=None if "mixer_output" in st.session_state else made[0],
            required=True,
            key="mixer_output",
            persist_state="session",
        )
        output = chosen or made[0]
        seed = st.number_input(
            "Seed",
            min_value=0,
            max_value=_LARGEST_SEED,
            value=None,
            placeholder="a new one",
            key="mixer_seed",
            width=160,
            help="Empty draws a new one each time.",
            persist_state="session",
        )
        options = _options(output, facts)
        running = isinstance(st.session_state.get(_WORK), Work)
        if st.button(
            "Mix",
            icon=":material/blender:",
            type="primary",
            disabled=running,
            key="mixer_go",
            shortcut="Ctrl+Enter",
        ):
            _begin(there, output, seed, options)
        st.button(
            "Clear", icon=":material/clear_all:", type="tertiary", on_click=mix.clear, key="mixer_clear"
        )


def _options(output: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Steps and guidance; empty leaves them to the model."""
    defaults = facts.get("options", {}).get(output) or {}
    fields = (("num_inference_steps", "Steps", 1, 200, 1), ("guidance_scale", "Guidance", 0.0, 30.0, 0.5))
    given = {}
    with st.popover("Options", icon=":material/tune:"):
        for name, label, low, high, step in fields:
            default = defaults.get(name)
            value = st.number_input(
                label,
                min_value=low,
                max_value=high,
                value=None,
                step=step,
                key=f"mixer_{output}_{name}",
                placeholder=f"{default:g}" if isinstance(default, int | float) else "as the model has it",
                persist_state="session",
            )
            if value is not None:
                given[name] = value
    return given


def _begin(there: list[mix.Item], output: str, seed: int | None, options: dict[str, Any]) -> None:
    """Hand the blend to the engine."""
    for name in (_RESULT, _ENDED):
        st.session_state.pop(name, None)
    try:
        work = start_blend(
            BlendRequest(
                session=session(),
                items=[dict(item.part) for item in there],
                weights=[mix.weight_of(item) for item in there],
                output=output,
                seed=secrets.randbits(31) if seed is None else int(seed),
                options=options,
            )
        )
    except AnyGenError as error:
        show_error(error)
        return
    if isinstance(work, Busy):
        st.info(work.sentence, icon=":material/hourglass_top:")
        return
    st.session_state[_WORK] = work
    st.rerun()


def _settle() -> None:
    """Put a request that has ended behind."""
    work = st.session_state.get(_WORK)
    if isinstance(work, Work) and work.final is not None:
        del st.session_state[_WORK]
        st.session_state[_ENDED] = work
        if work.made:
            st.session_state[_RESULT] = work.made[-1]


def _outcome() -> None:
    """What is being made, or what was made last."""
    work = st.session_state.get(_WORK)
    if isinstance(work, Work):
        with st.container(border=True, key="mixer_work_card"):
            show_work(work)
        return
    ended = st.session_state.get(_ENDED)
    if isinstance(ended, Work):
        show_ending(ended)
    media_id = st.session_state.get(_RESULT)
    for record in records_of([media_id] if media_id else []):
        with st.container(border=True, key="mixer_result_card"):
            left, right = st.columns((1, 1))
            with left:
                show_media(
                    record.modality, record.path, alt="What the model made of the blend", autoplay=True
                )
            with right:
                rows = {
                    n: v
                    for n, v in rows_of(record).items()
                    if n in ("Seed", "Steps", "Guidance", "Made from")
                }
                settings_table(rows)
                with st.container(horizontal=True):
                    if st.button("Use in chat", icon=":material/forum:", key="mixer_use"):
                        use_in_chat(record.id)
                    st.button(
                        "Add to the mix",
                        icon=":material/add:",
                        key="mixer_again",
                        on_click=mix.add,
                        args=({"type": record.modality, "media_id": record.id}, NAMES[record.modality]),
                    )
                    download_medium(record, key="mixer_result")


def _near(there: list[mix.Item]) -> None:
    """How alike the inputs are, and what lies near the blend."""
    if engine().status().state in ("loading", "restarting"):
        _wait_for_model()
        return
    with st.spinner("Comparing ..."):
        vectors = vectors_of([dict(item.part) for item in there])
    if vectors is None:
        return
    weights = np.asarray([mix.weight_of(item) for item in there], np.float32)
    blend = weights @ vectors
    length = float(np.linalg.norm(blend))
    with st.container(key="mixer_similarity"):
        st.subheader("How alike they are")
        if len(there) > 1:
            labels = [item.label for item in there]
            st.altair_chart(similarity_chart(labels, vectors, blend), alt="Cosine similarity of the inputs")
        else:
            st.caption("Add a second input to compare them.")
    if length < 1e-3:
        st.info("The inputs cancel each other out; change a weight.", icon=":material/balance:")
        return
    used = {str(item.part.get("media_id")) for item in there}
    near_gallery(blend / length, used | {str(st.session_state.get(_RESULT))})
    near_toybox(blend / length)


@st.fragment(run_every=1.0)
def _wait_for_model() -> None:
    """Look again until the model is there."""
    status = engine().status()
    if status.state not in ("loading", "restarting"):
        st.rerun()
    st.progress(min(1.0, max(0.0, status.progress)), text=status.message)
