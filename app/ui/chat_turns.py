"""Turns of a chat as they are drawn: questions, finished answers, and the buttons under both."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import streamlit as st

from anygen.app.store import MediaRecord, Turn

from . import chat_actions as actions
from .chat_live import live_answer
from .components import (
    NAMES,
    SUFFIXES,
    media_card,
    records_of,
    show_error,
    show_media,
)
from .services import runs, session, store
from .texts import literal, model_markdown

AVATARS = {"user": ":material/person:", "assistant": ":material/auto_awesome:"}


def show_turns(chat: str, turns: list[Turn]) -> None:
    """Draw a branch.

    Args:
        chat: which chat.
        turns: from its first.
    """
    for turn in turns:
        with st.chat_message(turn.role, avatar=AVATARS[turn.role]):
            if turn.role == "user":
                _question(chat, turn)
            else:
                _answer(chat, turn)


def _question(chat: str, turn: Turn) -> None:
    with st.container(key=f"question_{turn.id}", gap="xsmall"):
        _inputs(turn)
        text = "".join(part["text"] for part in turn.parts if part["type"] == "text")
        if st.session_state.get(actions.EDITING) == turn.id:
            _editor(chat, turn, text)
            return
        if text:
            st.markdown(literal(text))
        with st.container(horizontal=True, key=f"tools_{turn.id}", gap="xsmall", vertical_alignment="center"):
            st.button(
                "Edit",
                icon=":material/edit:",
                type="tertiary",
                key=f"edit_{turn.id}",
                help="Change this message; the present branch is kept",
                on_click=_begin_edit,
                args=(turn.id,),
            )
            _branches(turn)


def _begin_edit(turn: str) -> None:
    st.session_state[actions.EDITING] = turn


def _editor(chat: str, turn: Turn, text: str) -> None:
    with st.form(f"editor_{turn.id}", border=False):
        changed = st.text_area(
            "Message", value=text, key=f"edit_text_{turn.id}", label_visibility="collapsed", height=90
        )
        with st.container(horizontal=True, gap="small"):
            if st.form_submit_button("Ask this", type="primary", icon=":material/send:"):
                actions.edit(chat, turn, changed)
                st.rerun()
            if st.form_submit_button("Leave it as it is", type="tertiary"):
                st.session_state.pop(actions.EDITING, None)
                st.rerun()


def _inputs(turn: Turn) -> None:
    media = [part for part in turn.parts if part["type"] != "text"]
    if not media:
        return
    with st.container(horizontal=True, key=f"inputs_{turn.id}", gap="small"):
        for number, (part, record) in enumerate(_recorded(media)):
            with st.container(
                key=f"input_{record.modality}_{turn.id}_{number}", gap=None, width=_width(record)
            ):
                name = str(part.get("name") or "")
                show_media(record.modality, record.path, alt=name or f"Attached {NAMES[record.modality]}")
                st.caption(literal(name) if name else NAMES[record.modality].capitalize())


def _width(record: MediaRecord) -> int:
    return {"audio": 280, "video": 220, "imu": 240}.get(record.modality, 132)


def _recorded(media: list[dict[str, Any]]) -> list[tuple[dict[str, Any], MediaRecord]]:
    """Parts with their records; parts whose medium is gone get a record without a file."""
    result = []
    for part in media:
        found = records_of([part["media_id"]])
        gone = MediaRecord(id=part["media_id"], modality=part["type"], mime="", path="")
        result.append((part, found[0] if found else gone))
    return result


def _answer(chat: str, turn: Turn) -> None:
    if turn.state == "running" and runs().get(turn.id) is not None:
        live_answer(turn.id)
        return
    with st.container(key=f"answer_{turn.id}", gap="small"):
        if turn.settings.get("left_out") and turn.state != "failed":
            st.caption(
                f":material/history: The chat is longer than the model can take in: its first "
                f"{turn.settings['left_out']} messages were left out."
            )
        _parts(turn)
        _ending(turn)
        _variations(turn)
        _tools(chat, turn)


def _parts(turn: Turn) -> None:
    said = ""
    for number, part in enumerate(turn.parts):
        if part["type"] == "text":
            said = part["text"]
            st.markdown(model_markdown(said))
            continue
        ((_, record),) = _recorded([part])
        alt = f"{NAMES[record.modality].capitalize()} made by the model: {said.strip() or 'no words'}"
        with st.container(
            key=f"medium_{record.modality}_{turn.id}_{number}", width=_card_width(record.modality)
        ):
            media_card(record, key=f"{turn.id}_{number}", alt=alt)


def _card_width(modality: str) -> int:
    return 460 if modality == "audio" else 360


def _ending(turn: Turn) -> None:
    error = turn.settings.get("error")
    if turn.state == "failed" and error:
        if error.get("code") == "busy":
            st.warning(error["sentence"], icon=":material/hourglass_top:")
        else:
            show_error(error["sentence"], details=error.get("details", ""), code=error.get("code", ""))
    elif turn.state == "stopped":
        st.caption(":material/stop_circle: Stopped. What was ready is kept.")
    elif turn.state == "running":
        st.caption(":material/power_off: The server ended while this answer was made. Ask again.")
    elif not turn.parts:
        st.caption("The model had nothing to say. Ask in other words, or choose what to make below.")


def _variations(turn: Turn) -> None:
    """Small pictures of all answers to the same request."""
    group = turn.settings.get("group") or []
    if len(group) < 2:
        return
    st.caption("Variations")
    with st.container(horizontal=True, key=f"variations_{turn.id}", gap="small"):
        for number, sibling in enumerate(group, start=1):
            with st.container(key=f"variation_{turn.id}_{number}", width=132, gap="xxsmall"):
                for record in records_of([sibling["media_id"]] if sibling["media_id"] else []):
                    show_media(record.modality, record.path, alt=f"Variation {number}")
                shown = sibling["turn"] == turn.id
                st.button(
                    f"{'Shown' if shown else 'Show'} {number}",
                    key=f"show_{turn.id}_{number}",
                    type="tertiary",
                    disabled=shown,
                    on_click=_switch,
                    args=(sibling["turn"],),
                )


def _tools(chat: str, turn: Turn) -> None:
    seed = turn.settings.get("seed")
    with st.container(horizontal=True, key=f"tools_{turn.id}", gap="xsmall", vertical_alignment="center"):
        _branches(turn)
        _again(chat, turn, seed)
        if seed is not None and _depends_on_seed(turn):
            _seed(turn, seed)
        _download_all(turn)
        if turn.settings.get("seconds"):
            st.caption(f"{turn.settings['seconds']:.1f} s")


def _again(chat: str, turn: Turn, seed: int | None) -> None:
    """Buttons that answer once more, on a branch beside this answer."""
    repeatable = seed is not None and _depends_on_seed(turn)
    st.button(
        "Again, new seed" if repeatable else "Ask again",
        icon=":material/casino:" if repeatable else ":material/replay:",
        type="tertiary",
        key=f"new_{turn.id}",
        help="Answer again with another seed; this answer is kept"
        if repeatable
        else "Answer again; this answer is kept. *Vary the words* in the settings makes answers differ",
        on_click=actions.ask_again,
        args=(chat, turn),
        kwargs={"seed": None},
    )
    if repeatable:
        st.button(
            "Again, same seed",
            icon=":material/replay:",
            type="tertiary",
            key=f"same_{turn.id}",
            help=f"Answer again with seed {seed}: the same settings give the same pixels",
            on_click=actions.ask_again,
            args=(chat, turn),
            kwargs={"seed": seed},
        )


def _depends_on_seed(turn: Turn) -> bool:
    """Whether another seed gives another answer: with media, or with words that are drawn by chance."""
    asked = turn.settings.get("request", {}).get("text_options", {})
    return any(part["type"] != "text" for part in turn.parts) or bool(turn.parts and asked.get("do_sample"))


def _seed(turn: Turn, seed: int) -> None:
    """The seed of an answer, to lock it for what follows and to unlock it."""
    locked = actions.is_locked(seed)
    st.button(
        f"Seed {seed}",
        icon=":material/lock:" if locked else ":material/lock_open:",
        type="tertiary",
        help="Let the next answers draw new seeds" if locked else "Lock this seed for the next answers",
        key=f"lock_{turn.id}",
        on_click=actions.lock_seed,
        args=(seed, not locked),
    )


def _download_all(turn: Turn) -> None:
    media = [part for part in turn.parts if part["type"] != "text"]
    if len(media) < 2:
        return
    records = [record for _, record in _recorded(media)]
    st.download_button(
        "All files",
        data=lambda: zip_media(records),
        file_name=f"anygen-answer-{turn.id[:8]}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        type="tertiary",
        key=f"zip_{turn.id}",
        help="Download everything in this answer as one zip file",
        on_click="ignore",
    )


def zip_media(records: list[MediaRecord]) -> bytes:
    """Pack media into a zip file.

    Args:
        records: what; files that are gone are left out.

    Returns:
        The zip file, with names such as 1-image.png.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, record in enumerate(records, start=1):
            if Path(record.path).is_file():
                suffix = SUFFIXES.get(record.modality, ".npy")
                archive.write(record.path, f"{number}-{record.modality}{suffix}")
    return buffer.getvalue()


def _branches(turn: Turn) -> None:
    ids = store().branches(session(), turn.id)
    if len(ids) < 2:
        return
    place = ids.index(turn.id)
    with st.container(
        horizontal=True, key=f"branch_{turn.id}", gap=None, vertical_alignment="center", width="content"
    ):
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            type="tertiary",
            key=f"before_{turn.id}",
            disabled=place == 0,
            help="Previous branch",
            on_click=_switch,
            args=(ids[max(0, place - 1)],),
        )
        st.caption(f"{place + 1}/{len(ids)}")
        st.button(
            "Next",
            icon=":material/chevron_right:",
            type="tertiary",
            key=f"after_{turn.id}",
            disabled=place == len(ids) - 1,
            help="Next branch",
            on_click=_switch,
            args=(ids[min(len(ids) - 1, place + 1)],),
        )


def _switch(turn: str) -> None:
    store().switch(session(), turn)
