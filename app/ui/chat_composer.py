"""The place to write: what is attached, what the answer must have, settings, and the message box."""

from __future__ import annotations

from typing import Any

import streamlit as st

from . import chat_actions as actions
from .chat_examples import TOYBOX, WORLD
from .chat_settings import from_tags, keep, outputs_bar, settings_popover
from .chat_uploads import EXTENSIONS, Upload, take_uploads
from .components import DRAFT, ICONS, NAMES, STAGED, records_of, sentence_of, show_media, stage_input
from .services import services, session, workspace
from .texts import literal

KINDS = ("auto", "image", "audio", "video", "depth", "thermal", "imu")
"""What a visitor can say that a file is."""

MOST_CHARACTERS = 8_000
INPUT = "message"


def composer(*, answering: bool) -> list[dict[str, Any]] | None:
    """Draw the place to write.

    Args:
        answering: whether an answer is being made.

    Returns:
        The parts of a message that was sent.
    """
    with st.bottom, st.container(key="composer", gap="xsmall"):
        _notices()
        _offer()
        _tray()
        with st.container(horizontal=True, key="composer_bar", gap="xsmall", vertical_alignment="center"):
            with st.container(key="outputs_label", width="content"):
                st.caption("Answer with")
            outputs_bar()
            if st.button(
                "Attach as ...",
                icon=":material/attach_file:",
                key="attach",
                help="Depth maps, thermal maps, motion traces: files whose kind you say",
            ):
                _attach_files()
            if st.button("Camera", icon=":material/photo_camera:", key="camera", help="Take a picture"):
                _attach_picture()
            settings_popover()
        draft = st.session_state.pop(DRAFT, None)
        if draft:
            st.session_state[INPUT] = draft
        sent = st.chat_input(
            "A new message stops this answer" if answering else "Say what you want, or drop files",
            key=INPUT,
            accept_file="multiple",  # of any type: what is no good gets a sentence, not just a red mark
            accept_audio=True,
            max_chars=MOST_CHARACTERS,
        )
        if services().model == TOYBOX:
            with st.container(key="world"):
                st.caption(WORLD)
    return _message(sent) if sent else None


def _message(sent: Any) -> list[dict[str, Any]] | None:
    """Turn what was sent into parts; None, and a notice, when a file in it is no good."""
    files = [*sent.files, *([sent.audio] if sent.audio is not None else [])]
    uploads, problems = take_uploads(workspace(), session(), files)
    for problem in problems:
        actions.notice(problem.sentence, name=problem.name)
    text = sent.text.strip()
    if problems:
        for upload in uploads:
            stage_upload(upload)
        if text:
            st.session_state[DRAFT] = text
        return None
    for upload in uploads:
        _remember_tags(upload)
    parts = [*actions.take_staged(), *(upload.part() for upload in uploads)]
    if text:
        parts.append({"type": "text", "text": text})
    return parts or None


def stage_upload(upload: Upload) -> None:
    """Make a file an input of the next message.

    Args:
        upload: that is in.
    """
    stage_input(upload.media_id)
    st.session_state.setdefault("staged_names", {})[upload.media_id] = upload.name
    _remember_tags(upload)


def _remember_tags(upload: Upload) -> None:
    if upload.tags is not None:
        st.session_state["offer"] = (upload.name, from_tags(upload.tags), upload.tags.prompt)


def _notices() -> None:
    told = [
        (f"**{literal(name)}**: " if name else "") + sentence_of(sentence)
        for name, sentence in st.session_state.pop(actions.NOTICES, [])
    ]
    if told:
        st.error(
            told[0] if len(told) == 1 else "\n".join(f"- {one}" for one in told), icon=":material/error:"
        )


def _offer() -> None:
    """After a file of ours came in: give its settings back."""
    offer = st.session_state.get("offer")
    if offer is None:
        return
    name, changes, prompt = offer
    with st.container(horizontal=True, key="offer", gap="small", vertical_alignment="center"):
        st.caption(f":material/history: {literal(name)} was made here, seed {changes['seed']}.")
        if st.button("Restore its settings", key="restore", icon=":material/settings_backup_restore:"):
            keep(changes, redraw=True)
            if prompt:
                st.session_state[DRAFT] = prompt
            st.session_state.pop("offer")
            st.toast("Its seed and settings are set for your next message.")
            st.rerun()
        if st.button("Dismiss", key="dismiss", type="tertiary"):
            st.session_state.pop("offer")
            st.rerun()


def _tray() -> None:
    """Previews of what goes with the next message."""
    staged = st.session_state.get(STAGED, [])
    records = records_of(staged)
    st.session_state[STAGED] = [record.id for record in records]
    if not records:
        return
    names = st.session_state.get("staged_names", {})
    with st.container(horizontal=True, key="tray", gap="small"):
        for record in records:
            width = 240 if record.modality == "audio" else 96
            with st.container(key=f"staged_{record.id}", width=width, gap=None):
                name = names.get(record.id) or NAMES[record.modality].capitalize()
                show_media(record.modality, record.path, alt=f"Attached: {name}")
                st.button(
                    "Remove",
                    icon=":material/close:",
                    key=f"remove_{record.id}",
                    type="tertiary",
                    help=f"Do not send {name}",
                    on_click=_remove,
                    args=(record.id,),
                )


def _remove(media_id: str) -> None:
    st.session_state[STAGED] = [other for other in st.session_state.get(STAGED, []) if other != media_id]


@st.dialog("Attach files")
def _attach_files() -> None:
    kind = st.pills(
        "What they are",
        KINDS,
        default="auto",
        required=True,
        key="attach_kind",
        format_func=lambda k: "Find out" if k == "auto" else f"{ICONS[k]} {NAMES[k].capitalize()}",
    )
    if kind in ("depth", "thermal", "imu"):
        st.caption(_FORMATS[kind])
    files = st.file_uploader(
        "Files", type=list(EXTENSIONS), accept_multiple_files=True, key=f"attach_files_{kind}"
    )
    if st.button("Attach", type="primary", disabled=not files, key="attach_now"):
        with st.spinner("Reading"):
            uploads, problems = take_uploads(
                workspace(), session(), files, modality=None if kind == "auto" else kind
            )
        for upload in uploads:
            stage_upload(upload)
        for problem in problems:
            st.error(
                f"**{literal(problem.name)}**: {sentence_of(problem.sentence)}",
                icon=":material/error:",
            )
        if not problems:
            st.rerun()


_FORMATS = {
    "depth": "A .npy array in metres, or a 16-bit gray PNG in millimetres.",
    "thermal": "A gray picture, or a .npy array from 0 (cold) to 1 (hot).",
    "imu": "A .npy or .csv table, 6 x n: accelerometer in m/s2, gyroscope in rad/s, 400 Hz.",
}


@st.dialog("Take a picture")
def _attach_picture() -> None:
    picture = st.camera_input("Camera", label_visibility="collapsed", key="camera_picture")
    if picture is not None and st.button("Attach this picture", type="primary", key="camera_now"):
        uploads, problems = take_uploads(workspace(), session(), [picture], modality="image")
        for upload in uploads:
            stage_upload(upload)
        for problem in problems:
            st.error(sentence_of(problem.sentence), icon=":material/error:")
        if not problems:
            st.rerun()
