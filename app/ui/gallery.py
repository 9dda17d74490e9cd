"""The gallery: everything made or attached in this workspace, to compare, download, use again or delete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from anygen.app.media_tags import MediaTags
from anygen.app.store import MediaRecord
from anygen.errors import AnyGenError

from .chat_settings import from_tags, keep
from .components import (
    ICONS,
    NAMES,
    describe_settings,
    empty_state,
    sentence_of,
    show_media,
    tile,
    use_in_chat,
)
from .page_pictures import wave_of_file
from .page_records import age, differences, file_name, rows_of, settings_table, tags_of, zip_of
from .services import session, store
from .texts import literal

PER_PAGE = 12
"""Media on one page."""

MOST_COMPARED = 6
"""Media side by side."""

_PICKED = "gallery_picked"
_ORIGINS = {"made": "Made", "given": "Attached", "all": "Both"}


def page() -> None:
    """Draw the page."""
    st.title("Gallery")
    everything = store().media(session())
    if not everything:
        _nothing_yet()
        return
    shown = _filter(everything)
    picked = _picked(everything)
    _toolbar(shown, picked)
    if not shown:
        empty_state("Nothing of this kind", "Choose another kind of medium above.")
        return
    pages = -(-len(shown) // PER_PAGE)
    number = st.session_state.get("gallery_page", 1)
    number = min(number if isinstance(number, int) else 1, pages)
    with st.grid(4, min_column_width=230):
        for record in shown[(number - 1) * PER_PAGE : number * PER_PAGE]:
            _card(record)
    if pages > 1:
        st.pagination(pages, key="gallery_page")


def _nothing_yet() -> None:
    """The page of a new workspace."""
    empty_state(
        "Nothing here yet",
        "Every picture, sound and clip that the model makes for you is kept here, with the settings that "
        "made it. Ask for one in the chat, or draw a scene in the toybox.",
    )
    st.space("small")
    with st.container(horizontal=True, horizontal_alignment="center"):
        if st.button("Ask for a picture", icon=":material/forum:", type="primary", key="gallery_ask"):
            use_in_chat(text="Show me a large yellow star on a navy background.")
        pages = st.session_state.get("pages", {})
        if "toybox" in pages and st.button("Open the toybox", icon=":material/toys:", key="gallery_toybox"):
            st.switch_page(pages["toybox"])


def _filter(everything: Sequence[MediaRecord]) -> list[MediaRecord]:
    """The controls above; returns what they leave."""
    origins = Counter(record.origin for record in everything)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="gallery_filter"):
        if len(origins) > 1:
            origin = st.segmented_control(
                "From",
                list(_ORIGINS),
                format_func=_ORIGINS.__getitem__,
                default="made",
                key="gallery_origin",
                required=True,
                help="Made by the model, or attached by you",
                persist_state="session",
            )
        else:
            origin = "all"
        records = [r for r in everything if origin in (r.origin, "all")]
        counts = Counter(record.modality for record in records)
        kinds = [modality for modality in NAMES if counts[modality]]
        kind = st.pills(
            "Kind",
            kinds,
            format_func=lambda m: f"{ICONS[m]} {NAMES[m].capitalize()} {counts[m]}",
            key="gallery_kind",
            help="Choose none to see all",
            wrap=True,
            persist_state="session",
        )
        order = st.segmented_control(
            "Order",
            ["Newest", "Oldest"],
            default="Newest",
            required=True,
            key="gallery_order",
            persist_state="session",
        )
    found = [record for record in records if kind in (None, record.modality)]
    return found[::-1] if order == "Oldest" else found


def _picked(everything: Sequence[MediaRecord]) -> list[MediaRecord]:
    """What is selected, in the order of selection; what was deleted meanwhile drops out."""
    known = {record.id: record for record in everything}
    ids = [media_id for media_id in st.session_state.get(_PICKED, []) if media_id in known]
    st.session_state[_PICKED] = ids
    return [known[media_id] for media_id in ids]


def _pick(media_id: str) -> None:
    """Select or unselect a medium, as its box now says."""
    others = [other for other in st.session_state.get(_PICKED, []) if other != media_id]
    st.session_state[_PICKED] = [*others, media_id] if st.session_state[f"pick_{media_id}"] else others


def _clear() -> None:
    """Unselect everything, in the boxes too: a box that is only forgotten stays ticked in the browser."""
    for media_id in st.session_state.get(_PICKED, []):
        st.session_state[f"pick_{media_id}"] = False
    st.session_state[_PICKED] = []


def _toolbar(shown: Sequence[MediaRecord], picked: list[MediaRecord]) -> None:
    """What can be done with many at once."""
    some = picked or list(shown)
    with st.container(horizontal=True, vertical_alignment="center", key="gallery_toolbar"):
        st.download_button(
            f"Download {len(picked)}" if picked else f"Download all {len(shown)}",
            data=lambda: zip_of(some),
            file_name="anygen-gallery.zip",
            mime="application/zip",
            icon=":material/download:",
            on_click="ignore",
            disabled=not some,
            key="gallery_zip",
            help="One zip file with the media and a list of what made them",
        )
        enough = 2 <= len(picked) <= MOST_COMPARED
        if st.button(
            "Compare",
            icon=":material/compare:",
            disabled=not enough,
            key="gallery_compare",
            help=None if enough else f"Select 2 to {MOST_COMPARED} to see them side by side",
        ):
            _compare(picked)
        if picked:
            if st.button("Delete", icon=":material/delete:", key="gallery_delete"):
                _confirm_deletion(picked)
            st.button("Select none", type="tertiary", on_click=_clear, key="gallery_clear")
            st.caption(f"{len(picked)} selected")


def _card(record: MediaRecord) -> None:
    """One medium with its controls."""
    box = f"pick_{record.id}"
    st.session_state.setdefault(box, record.id in st.session_state.get(_PICKED, []))
    with st.container(border=True, key=f"gallery_card_{record.id}", gap="xsmall"):
        with tile(record.modality, record.id):
            _show(record)
        line = describe_settings(record.modality, {"seed": record.settings.get("seed")})
        st.caption(f"{ICONS[record.modality]} {line} · {age(record.created)}")
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.checkbox("Select", key=box, on_change=_pick, args=(record.id,))
            if st.button(
                "Use", icon=":material/forum:", key=f"chat_{record.id}", type="tertiary", help="Use in chat"
            ):
                use_in_chat(record.id)
            if st.button(
                "Open",
                icon=":material/open_in_full:",
                key=f"open_{record.id}",
                type="tertiary",
                help="Large, with all settings",
            ):
                _open(record)


def _show(record: MediaRecord) -> None:
    """The medium; a sound with its wave."""
    if record.modality == "audio" and Path(record.path).is_file():
        st.image(_wave(record.path), width="stretch", alt="Loudness over time")
    show_media(record.modality, record.path)


@st.cache_data(max_entries=256, show_spinner=False)
def _wave(path: str) -> bytes:
    """The wave of a sound file; one that cannot be read has a flat one."""
    import numpy as np

    from .page_pictures import wave_picture

    try:
        return wave_of_file(path)
    except AnyGenError:
        return wave_picture(np.zeros(1))


@st.dialog("Up close", width="large")
def _open(record: MediaRecord) -> None:
    """One medium, large, with all that made it."""
    left, right = st.columns((3, 2))
    with left:
        _show(record)
    with right:
        rows = rows_of(record)
        if rows:
            settings_table(rows)
        else:
            st.caption(f"You attached this {NAMES[record.modality]}; the model did not make it.")
    with st.container(horizontal=True):
        if st.button("Use in chat", icon=":material/forum:", type="primary", key=f"dialog_chat_{record.id}"):
            use_in_chat(record.id)
        tags = tags_of(record)
        if tags is not None and st.button(
            "Use these settings",
            icon=":material/tune:",
            key=f"dialog_settings_{record.id}",
            help="Put seed and settings into the chat",
            on_click=_restore,
            args=(tags,),
        ):
            use_in_chat(text=tags.prompt or "")
        st.download_button(
            "Download",
            data=lambda: Path(record.path).read_bytes(),
            file_name=file_name(record),
            mime=record.mime,
            icon=":material/download:",
            on_click="ignore",
            key=f"dialog_download_{record.id}",
        )
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown("Delete it for good?")
            arguments = ([record],)
            if st.button(
                "Delete", type="primary", key=f"dialog_delete_{record.id}", on_click=_delete, args=arguments
            ):
                st.rerun()


def _restore(tags: MediaTags) -> None:
    """Put what made a medium into the settings of the chat."""
    keep(from_tags(tags), redraw=True)


@st.dialog("Side by side", width="large")
def _compare(records: Sequence[MediaRecord]) -> None:
    """Several media and in what they differ."""
    with st.grid(min(len(records), 3), min_column_width=200):
        for number, record in enumerate(records, start=1):
            with st.container(key=f"compare_{record.id}", gap="xsmall"):
                _show(record)
                st.caption(f"{number} · {describe_settings(record.modality, record.settings)}")
    different = differences(records)
    if different:
        table = {"Differs": list(different)}
        for number in range(len(records)):
            table[str(number + 1)] = [literal(values[number]) for values in different.values()]
        st.table(table, hide_index=True)
    else:
        st.caption("They were made with the same settings.")


@st.dialog("Delete for good?")
def _confirm_deletion(records: Sequence[MediaRecord]) -> None:
    """Ask before many are gone."""
    many = f"{len(records)} media" if len(records) > 1 else f"This {NAMES[records[0].modality]}"
    st.markdown(f"{many} will be gone from the gallery and from your chats. This cannot be undone.")
    with st.container(horizontal=True):
        if st.button(
            "Delete",
            type="primary",
            icon=":material/delete:",
            key="confirm_delete",
            on_click=_delete,
            args=(records,),
        ):
            st.rerun()
        if st.button("Keep", key="confirm_keep"):
            st.rerun()


def _delete(records: Sequence[MediaRecord]) -> None:
    """Remove media."""
    for record in records:
        try:
            store().delete_media(session(), record.id)
        except AnyGenError as error:
            st.toast(sentence_of(error), icon=":material/error:")
            return
    st.toast(f"Deleted {len(records)}.", icon=":material/delete:")
