"""The model page: what it is made of, how large, under which licences, and how its process is doing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from anygen.app.command_inspect import BYTES
from anygen.app.engine.types import EngineStatus
from anygen.checkpoints.inspection import PartReport, inspect_model
from anygen.errors import AnyGenError

from .components import ICONS, NAMES, show_error
from .services import engine, services

REFRESH_SECONDS = 2.0
"""Time between two looks at the engine."""

_STATES = {
    "loading": ("orange", ":material/hourglass_top:"),
    "ready": ("green", ":material/check_circle:"),
    "restarting": ("orange", ":material/restart_alt:"),
    "failed": ("red", ":material/error:"),
    "closed": ("gray", ":material/power_settings_new:"),
}
_TRAINED, _FROZEN = "trained", "frozen"


def page() -> None:
    """Draw the page."""
    st.title("Model")
    status = engine().status()
    _heading(status)
    _process()
    try:
        parts = inspect_parts(services().model)
    except AnyGenError as error:
        show_error(error)
        return
    _numbers(parts, status)
    st.subheader("Parts")
    st.altair_chart(parts_chart(parts), alt="Parameters of every part, trained and frozen")
    st.dataframe(
        parts_table(parts), hide_index=True, width="stretch", height="content", column_config=_columns()
    )
    _memory(parts)
    _licences(parts)


@st.cache_data(max_entries=4, show_spinner=False)
def inspect_parts(model: str) -> list[PartReport]:
    """What the model is made of, as `anygen inspect` tells it: read from file headers.

    Args:
        model: bundled name, preset, folder or hub id.

    Returns:
        The parts in the order of the data.

    Raises:
        AnyGenError: there is no such model, or a file of it cannot be read.
    """
    return inspect_model(model)


def _heading(status: EngineStatus) -> None:
    """Name, and what goes in and comes out."""
    facts = status.facts
    st.subheader(str(facts.get("name") or Path(services().model).name))
    if facts.get("description"):
        st.caption(str(facts["description"]))
    for word, names in (("Takes", facts.get("inputs")), ("Makes", facts.get("outputs"))):
        if names:
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                st.markdown(f"**{word}**")
                for name in names:
                    st.badge(NAMES[name], icon=ICONS[name], color="gray")


@st.fragment(run_every=REFRESH_SECONDS)
def _process() -> None:
    """The engine, looked at again and again."""
    status = engine().status()
    color, icon = _STATES.get(status.state, ("gray", ":material/help:"))
    with st.container(border=True, key="model_process"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(status.state, icon=icon, color=color)  # type: ignore[arg-type]
            st.markdown(status.message)
        if status.state in ("loading", "restarting"):
            st.progress(min(1.0, max(0.0, status.progress)))
        with st.grid(4, min_column_width=140):
            st.metric(
                "Engine memory", megabytes(status.rss_bytes), help="Of the process that holds the model"
            )
            st.metric("App memory", megabytes(own_memory()), help="Of the process that draws these pages")
            st.metric("Waiting", status.queued, help="Requests in the queue")
            st.metric("Restarts", status.restarts, help="Times that the model's process had to start again")


def megabytes(count: int) -> str:
    """A size in words.

    Args:
        count: bytes; 0 for unknown.

    Returns:
        Such as "512 MB".
    """
    if count <= 0:
        return "-"
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def own_memory() -> int:
    """Memory of this process.

    Returns:
        Resident bytes; 0 where the system does not tell.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _numbers(parts: Sequence[PartReport], status: EngineStatus) -> None:
    """Sizes and where it computes."""
    total = sum(part.parameters for part in parts)
    trained = sum(part.trainable for part in parts)
    facts = status.facts
    device = str(facts.get("device_name") or facts.get("device") or "-")
    threads = f"{facts['threads']} threads" if facts.get("device") == "cpu" and facts.get("threads") else None
    with st.grid(4, min_column_width=140):
        st.metric("Parameters", amount(total), help=f"{total:,}")
        st.metric(
            "Trained share",
            f"{trained / total:.1%}" if total else "-",
            help=f"{trained:,} of them are what the alignment stages train; all others stay as they were.",
        )
        st.metric("Device", device, help=threads)
        st.metric("Number type", str(facts.get("dtype") or "-"))


def amount(count: int) -> str:
    """A number of parameters in words.

    Args:
        count: how many.

    Returns:
        Such as "29.6 M".
    """
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def parts_chart(parts: Sequence[PartReport]) -> Any:
    """Bars of the parts' parameters, trained and frozen apart.

    Args:
        parts: of the model.

    Returns:
        An `altair.Chart`.
    """
    import altair as alt

    rows = [
        {
            "part": part.name,
            "parameters": part.parameters,
            "words": amount(part.parameters),
            "kind": _TRAINED if part.trainable else _FROZEN,
        }
        for part in parts
    ]
    names = [part.name for part in parts]
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("part:N", sort=names, title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False)),
        x=alt.X("parameters:Q", title=None, axis=alt.Axis(format="~s", tickCount=5)),
    )
    colors = alt.Scale(domain=[_TRAINED, _FROZEN], range=["#c8452c", "#9a9587"])
    bars = base.mark_bar(cornerRadiusEnd=4).encode(
        color=alt.Color("kind:N", scale=colors, legend=alt.Legend(title=None, orient="top")),
        tooltip=["part:N", alt.Tooltip("parameters:Q", format=","), "kind:N"],
    )
    return bars.properties(height=26 * len(parts) + 50)


def parts_table(parts: Sequence[PartReport]) -> dict[str, list[Any]]:
    """The parts as columns.

    Args:
        parts: of the model.

    Returns:
        Column to one value a part.
    """
    return {
        "Part": [part.name for part in parts],
        "Parameters": [part.parameters for part in parts],
        "Trained": [part.trainable / part.parameters if part.parameters else 0.0 for part in parts],
        "Memory": [part.parameters * BYTES["float32"] / 2**20 for part in parts],
        "Licence": [part.licence for part in parts],
        "Source": [part.source.replace("`", "") for part in parts],
    }


def _columns() -> dict[str, Any]:
    """How the columns are shown."""
    return {
        "Parameters": st.column_config.NumberColumn(format="localized"),
        "Trained": st.column_config.NumberColumn(format="percent"),
        "Memory": st.column_config.NumberColumn("Memory, float32", format="%.1f MB"),
    }


def _memory(parts: Sequence[PartReport]) -> None:
    """What the weights need in each number type."""
    total = sum(part.parameters for part in parts)
    st.subheader("Memory of the weights")
    with st.grid(len(BYTES), min_column_width=120):
        for name, size in BYTES.items():
            st.metric(name, megabytes(total * size))


def _licences(parts: Sequence[PartReport]) -> None:
    """All licences, which hold together."""
    st.subheader("Licences")
    by_licence: dict[str, list[str]] = {}
    for part in parts:
        by_licence.setdefault(part.licence or "unknown", []).append(part.name)
    st.markdown("What the model makes is bound by all of these together.")
    for licence, names in sorted(by_licence.items()):
        st.markdown(f"- **{licence}**: {', '.join(names)}")
