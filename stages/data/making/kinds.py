"""The kinds of samples, and how each is written: LLaVA's `conversations`, NExT-GPT's T2M and MosIT."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from anygen.modality import GENERATED, Modality

from ..records import MediaIn, MediaOut, Part, Turn
from ..sources import FileSource

Kind = Literal["plain", "conversation", "detail", "reasoning", "t2m", "mosit"]
"""`plain`: a caption after one of many requests. LLaVA (arXiv 2304.08485, section 3): a `conversation` of
questions and answers, a `detail`ed description, complex `reasoning`. NExT-GPT (arXiv 2309.05519, section 5):
`t2m`, words in and a medium out; `mosit`, several turns with media on both sides."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All of them."""

_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


def write(kind: Kind, turns: Sequence[Turn], folder: Path) -> dict[str, Any]:
    """A conversation as its kind's published form has it.

    Args:
        kind: Which form.
        turns: What is said and shown.
        folder: Where the file will lie; media are named from there.

    Returns:
        The fields of an entry; `anygen.stages.data.readers` reads them back into the same turns.
    """
    return _FORMS[kind](turns, folder)


def _conversations(turns: Sequence[Turn], folder: Path) -> dict[str, Any]:
    """`{"image": file, "conversations": [{"from": "human", "value": ...}, ...]}`."""
    fields: dict[str, Any] = {}
    for modality in GENERATED:
        files = [_name(p.source, folder) for t in turns for p in t.parts if _comes_in(p, modality)]
        if files:
            fields[str(modality)] = files[0] if len(files) == 1 else files
    said = [{"from": _SPEAKERS[t.role], "value": _value(t.parts, _placeholder)} for t in turns]
    return fields | {"conversations": said}


def _t2m(turns: Sequence[Turn], folder: Path) -> dict[str, Any]:
    """`{"image_captions": [...], "output_image": [...], "conversations": [...]}`."""
    fields: dict[str, Any] = {}
    for modality in GENERATED:
        shown = [p for t in turns for p in t.parts if isinstance(p, MediaOut) and p.modality is modality]
        if shown:
            fields[f"{modality}_captions"] = [p.caption for p in shown]
        files = [_name(p.source, folder) for p in shown if p.source is not None]
        if files and len(files) == len(shown):
            fields[f"output_{modality}"] = files
    return fields | _conversations(turns, folder)


def _mosit(turns: Sequence[Turn], folder: Path) -> dict[str, Any]:
    """`{"image_list": [{"image_name", "caption"}], "conversation": [...]}`, media as tags in the words."""
    fields: dict[str, Any] = {}
    for modality in GENERATED:
        listed = [
            {f"{modality}_name": _name(p.source, folder), "caption": p.caption}
            for t in turns for p in t.parts
            if isinstance(p, MediaOut) and p.modality is modality and p.source is not None
        ]  # fmt: skip
        if listed:
            fields[f"{modality}_list"] = listed

    def tag(part: Part) -> str:
        assert not isinstance(part, str)
        name, low = str(part.modality).capitalize(), str(part.modality)
        file = f"<{name}>{_name(part.source, folder)}</{name}>" if part.source is not None else ""
        return file if isinstance(part, MediaIn) else f"{file}<{low}>{part.caption}</{low}>"

    said = [{"from": _SPEAKERS[t.role], "value": _value(t.parts, tag)} for t in turns]
    return fields | {"conversation": said}


_FORMS: dict[Kind, Callable[[Sequence[Turn], Path], dict[str, Any]]] = {
    "plain": _conversations, "conversation": _conversations, "detail": _conversations,
    "reasoning": _conversations, "t2m": _t2m, "mosit": _mosit,
}  # fmt: skip


def _comes_in(part: Part, modality: Modality) -> TypeGuard[MediaIn]:
    return isinstance(part, MediaIn) and part.modality is modality


def _placeholder(part: Part) -> str:
    assert not isinstance(part, str)
    return f"<{part.modality}>" + ("\n" if isinstance(part, MediaIn) else "")


def _value(parts: Sequence[Part], tag: Callable[[Part], str]) -> str:
    return "".join(part if isinstance(part, str) else tag(part) for part in parts).strip()


def _name(source: Any, folder: Path) -> str:
    """A file as it is called from a folder."""
    assert isinstance(source, FileSource)
    return Path(os.path.relpath(source.path, folder)).as_posix()
