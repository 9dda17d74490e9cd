"""What several pages show alike: media with a player and actions, errors, and the way into the chat."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from anygen.app.store import MediaRecord
from anygen.errors import AnyGenError
from anygen.modality import Modality

from .previews import sensor_picture
from .services import session, store, workspace

NAMES: dict[str, str] = {
    "text": "text",
    "image": "image",
    "audio": "sound",
    "video": "video",
    "depth": "depth map",
    "thermal": "thermal map",
    "imu": "motion trace",
}
"""How the pages call a modality."""

ICONS: dict[str, str] = {
    "text": ":material/notes:",
    "image": ":material/image:",
    "audio": ":material/graphic_eq:",
    "video": ":material/movie:",
    "depth": ":material/landscape:",
    "thermal": ":material/device_thermostat:",
    "imu": ":material/vibration:",
}
"""A sign for every modality."""

SUFFIXES: dict[str, str] = {"image": ".png", "audio": ".wav", "video": ".mp4"}
"""File types of what a browser can play; everything else is `.npy`."""

STAGED, DRAFT, CHAT_PAGE = "staged", "draft", "chat"
"""Names in the session's state: inputs of the next message, its text, and the path of the chat page."""


def stage_input(media_id: str) -> None:
    """Make a medium of this session an input of the next message.

    Args:
        media_id: which; a second time changes nothing.
    """
    staged = st.session_state.setdefault(STAGED, [])
    if media_id not in staged:
        staged.append(media_id)


def use_in_chat(*media_ids: str, text: str = "") -> None:
    """Stage media (and words) for the next message and go to the chat page; call it outside of callbacks.

    Args:
        *media_ids: inputs of the next message.
        text: put into the message box.
    """
    for media_id in media_ids:
        stage_input(media_id)
    if text:
        st.session_state[DRAFT] = text
    pages = st.session_state.get("pages", {})
    if CHAT_PAGE in pages:
        st.switch_page(pages[CHAT_PAGE])


@st.cache_data(max_entries=256, show_spinner=False)
def _picture(modality: str, path: str) -> bytes:
    return sensor_picture(Modality(modality), Path(path))


def show_media(
    modality: str, path: str | Path, *, alt: str = "", width: int | str = "stretch", autoplay: bool = False
) -> None:
    """Show one medium with the player that fits it.

    Args:
        modality: what it is.
        path: its file.
        alt: what it shows, for who cannot see or hear it; by default the name of the modality.
        width: as for `st.image`.
        autoplay: start a video at once, muted.
    """
    alt = alt or NAMES[modality].capitalize()
    if not Path(path).is_file():
        st.caption(f":material/hide_image: This {NAMES[modality]} was deleted.")
    elif modality == "image":
        st.image(str(path), width=width, alt=alt)  # type: ignore[arg-type]
    elif modality == "audio":
        st.audio(str(path), format="audio/wav", alt=alt)
    elif modality == "video":
        st.video(str(path), format="video/mp4", loop=True, autoplay=autoplay, muted=autoplay, alt=alt)
    else:
        st.image(_picture(modality, str(path)), width=width, alt=alt)  # type: ignore[arg-type]


def tile(modality: str, key: str) -> DeltaGenerator:
    """A square place for one medium, so that cards side by side are alike.

    Args:
        modality: what will stand in it; pictures and clips fill it.
        key: unique on the page.

    Returns:
        A container to enter.
    """
    return st.container(key=f"tile_{modality}_{key}", gap="xsmall")


def media_card(
    record: MediaRecord,
    *,
    key: str,
    alt: str = "",
    actions: bool = True,
    autoplay: bool = False,
) -> None:
    """Show a medium in a card: player, what made it, "use this" and a download.

    Args:
        record: from the store.
        key: unique on the page.
        alt: what it shows.
        actions: whether to offer "use this" and the download.
        autoplay: start a video at once, muted.
    """
    with st.container(border=True, key=f"card_{record.modality}_{key}", gap="xsmall"):
        show_media(record.modality, record.path, alt=alt, autoplay=autoplay)
        if not Path(record.path).is_file():
            return
        st.caption(f"{ICONS[record.modality]} {describe_settings(record.modality, record.settings)}")
        if actions:
            with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"bar_{key}"):
                use_button(record.id, key=key)
                download_medium(record, key=key)


def use_button(media_id: str, *, key: str) -> None:
    """A button that makes a medium an input of the next message.

    Args:
        media_id: which.
        key: unique on the page.
    """
    staged = media_id in st.session_state.get(STAGED, [])
    st.button(
        "In use" if staged else "Use this",
        icon=":material/check:" if staged else ":material/add_circle:",
        key=f"use_{key}",
        type="tertiary",
        disabled=staged,
        help="Make it an input of your next message",
        on_click=_stage_and_say,
        args=(media_id,),
    )


def _stage_and_say(media_id: str) -> None:
    name = NAMES[media_id.split("-")[0]]
    if not records_of([media_id]):
        st.toast(f"This {name} was deleted.", icon=":material/hide_image:")
        return
    stage_input(media_id)
    st.toast(f"The {name} is attached to your next message.")


def download_medium(record: MediaRecord, *, key: str) -> None:
    """A download button for one medium.

    Args:
        record: from the store.
        key: unique on the page.
    """
    suffix = SUFFIXES.get(record.modality, ".npy")
    st.download_button(
        "Download",
        data=lambda: Path(record.path).read_bytes(),
        file_name=f"anygen-{record.id[:14]}{suffix}",
        mime=record.mime,
        key=f"download_{key}",
        type="tertiary",
        icon=":material/download:",
        help=f"Save this {NAMES[record.modality]} ({suffix[1:].upper()})",
        on_click="ignore",
    )


def describe_settings(modality: str, settings: Mapping[str, Any]) -> str:
    """What made a medium, in a line.

    Args:
        modality: what it is.
        settings: of its record; empty for an upload.

    Returns:
        Such as "image, seed 12, 25 steps"; Markdown.
    """
    words = [NAMES[modality]]
    if settings.get("seed") is not None:
        words.append(f"seed {settings['seed']}")
    options = settings.get("options") or {}
    if options.get("num_inference_steps"):
        words.append(f"{options['num_inference_steps']} steps")
    if options.get("guidance_scale") is not None:
        words.append(f"guidance {options['guidance_scale']:g}")
    return " · ".join(words)


def show_error(error: AnyGenError | str, *, details: str = "", code: str = "") -> None:
    """Say what went wrong in a sentence, with the rest in a fold.

    Args:
        error: what was raised, or the sentence.
        details: for the fold.
        code: the error's stable code, for the fold.
    """
    sentence = sentence_of(error)
    st.error(sentence, icon=":material/error:")
    code = code or getattr(error, "code", "")
    if details or code:
        with st.expander("Details"):
            if code:
                st.caption(f"Code: {code}")
            if details:
                st.code(details, language=None, wrap_lines=True)


def sentence_of(error: AnyGenError | str) -> str:
    """An error's message as a sentence that Markdown leaves alone.

    Args:
        error: what was raised, or its message.

    Returns:
        With a capital and a full stop.
    """
    text = " ".join(str(error).split())
    text = text[:1].upper() + text[1:]
    if text and text[-1] not in ".!?":
        text += "."
    return "".join(f"\\{c}" if c in "\\`*_[]$<>#~:" else c for c in text)


def records_of(media_ids: list[str]) -> list[MediaRecord]:
    """Look up records; media that are not recorded yet (uploads that were not sent) come from the workspace.

    Args:
        media_ids: which.

    Returns:
        Those that exist, in order.
    """
    found = []
    for media_id in media_ids:
        try:
            found.append(store().media_record(session(), media_id))
        except AnyGenError:
            try:
                stored = workspace().find(session(), media_id)
            except AnyGenError:
                continue
            found.append(
                MediaRecord(
                    id=stored.id,
                    modality=stored.modality,
                    mime=stored.mime,
                    path=str(stored.path),
                    origin="given",
                )
            )
    return found


def empty_state(title: str, text: str) -> None:
    """What a page shows when it has nothing yet.

    Args:
        title: a short heading.
        text: what to do; Markdown.
    """
    with st.container(key="empty_state", horizontal_alignment="center"):
        st.html(f'<h2 class="ag-empty-title">{html.escape(title)}</h2>')
        st.markdown(text, text_alignment="center")
