"""What is known of a medium, in words and tables; and many of them in one zip file."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from anygen.app.media_tags import MediaTags
from anygen.app.store import MediaRecord
from anygen.config import from_json
from anygen.errors import BadArgument

from .components import NAMES, SUFFIXES
from .texts import literal

_WORDS: dict[str, str] = {
    "model": "Model",
    "seed": "Seed",
    "variation": "Variation",
    "outputs": "Asked for",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance",
    "height": "Height, pixels",
    "width": "Width, pixels",
    "num_frames": "Frames",
    "audio_length_in_s": "Length, seconds",
    "do_sample": "Words drawn by chance",
    "temperature": "Temperature",
    "top_p": "Top-p",
    "max_new_tokens": "Most words of text",
    "inputs": "Made from",
    "prompt": "Prompt",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def tags_of(record: MediaRecord) -> MediaTags | None:
    """How a medium was made.

    Args:
        record: from the store.

    Returns:
        None for an upload, and for a record of another release.
    """
    if not record.settings:
        return None
    try:
        return from_json(MediaTags, record.settings)
    except BadArgument:
        return None


def rows_of(record: MediaRecord) -> dict[str, str]:
    """What made a medium, for a table.

    Args:
        record: from the store.

    Returns:
        Name to value, both in words; empty for an upload.
    """
    tags = tags_of(record)
    if tags is None:
        return {}
    values: dict[str, Any] = {"model": tags.model, "seed": tags.seed, "variation": tags.variation or None}
    values |= {"outputs": ", ".join(NAMES[m] for m in tags.outputs) or None}
    values |= tags.options | tags.text_options
    if not tags.text_options.get("do_sample"):
        values = {n: v for n, v in values.items() if n not in ("temperature", "top_p")}
    values |= {"inputs": _inputs(tags) or None, "prompt": tags.prompt}
    return {_WORDS[n]: _shown(v) for n, v in values.items() if n in _WORDS and v is not None}


def _inputs(tags: MediaTags) -> str:
    """What a medium was made from; weights only of a blend."""
    words = []
    for item in tags.inputs:
        name = f"\u201c{item.text}\u201d" if item.text else NAMES[item.modality]
        words.append(f"{item.weight:+g} {name}" if tags.blended else name)
    return ", ".join(words)


def _shown(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def differences(records: Sequence[MediaRecord]) -> dict[str, list[str]]:
    """Settings in which media differ.

    Args:
        records: from the store.

    Returns:
        Name to one value a record, a dash where there is none.
    """
    tables = [rows_of(record) for record in records]
    names = list(dict.fromkeys(name for table in tables for name in table))
    columns = {name: [table.get(name, "\u2013") for table in tables] for name in names}
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def settings_table(rows: Mapping[str, str]) -> None:
    """Draw names and values; what they hold is text, whatever it looks like.

    Args:
        rows: name to value.
    """
    st.table(
        {"Setting": list(rows), "Value": [literal(value) for value in rows.values()]},
        hide_index=True,
        hide_header=True,
    )


def age(created: float, now: float | None = None) -> str:
    """How long ago something was.

    Args:
        created: seconds since 1970.
        now: the same of the present; the clock by default.

    Returns:
        Such as "5 min ago".
    """
    seconds = max(0.0, (time.time() if now is None else now) - created)
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def file_name(record: MediaRecord, number: int | None = None) -> str:
    """What a medium is called when it is saved.

    Args:
        record: from the store.
        number: position, so that files of a zip are in order and never alike.

    Returns:
        Letters, digits, dots and hyphens alone.
    """
    kind = NAMES[record.modality].replace(" ", "-")
    seed = record.settings.get("seed")
    words = ["anygen" if number is None else f"{number:03d}", kind]
    words += [f"seed{seed}"] if isinstance(seed, int) else []
    words += [record.id.split("-")[-1][:6]] if number is None else []
    return "-".join(words) + SUFFIXES.get(record.modality, ".npy")


def zip_of(records: Sequence[MediaRecord]) -> bytes:
    """Several media and what made them in one file.

    Args:
        records: from the store; those whose file is gone are left out.

    Returns:
        A zip with one file a medium and `settings.json`.
    """
    buffer = io.BytesIO()
    listed: list[dict[str, Any]] = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, record in enumerate(records, start=1):
            path = Path(record.path)
            if not path.is_file():
                continue
            name = file_name(record, number)
            archive.write(path, name)
            listed.append({"file": name, "modality": record.modality, "settings": record.settings})
        archive.writestr("settings.json", json.dumps(listed, indent=2, ensure_ascii=True))
    return buffer.getvalue()
