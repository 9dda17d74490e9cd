"""The `conversations` JSON of LLaVA and of NExT-GPT (both its code bases), and NExT-GPT's captioned pairs.

Field names: NExT-GPT (arXiv 2309.05519) and LLaVA (arXiv 2304.08485) as their repositories publish the data.
Stored embeddings (`*_caption_embeddings`) are not read: targets come from the decoders' own text encoders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from anygen.modality import GENERATED, Modality

from ..records import MediaIn, MediaOut, Part, Place, Problem, Record, Role, Turn, caption_record
from ..sources import MediaSource
from .base import (
    Bad,
    Entry,
    FileFinder,
    Resolve,
    SourceConfig,
    as_list,
    check_caption,
    check_fields,
    check_text,
    existing,
    finish,
    join_texts,
    kind_of,
    reading,
    renamed,
)
from .manifest import json_rows, jsonl_rows

ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip
"""Names of the speakers."""

_NAMES: dict[Modality, tuple[str, ...]] = {
    m: (f"input_{m}", str(m), f"{m}_name") for m in GENERATED
}  # newer NExT-GPT, LLaVA, older NExT-GPT
_TURN_KEYS = ("from", "value", "caption", "input_modality", "output_modality")
_PER_MODALITY = ("input_{}", "{}", "{}_name", "output_{}", "{}_captions", "{}_caption_embeddings", "{}_list")
KNOWN = (
    "id", "audio_id", "caption", "mm_name", "output_modality", "source_data", "conversation", "conversations",
    *(name.format(m) for m in GENERATED for name in _PER_MODALITY),
)  # fmt: skip
"""Fields that the published files have."""

_TAG = re.compile(
    r"<(?P<file>Image|Video|Audio)>(?P<name>[^<>]*)</(?P=file)>"
    r"|<(?P<said>image|video|audio)>(?P<words>[^<>]*)</(?P=said)>"
    r"|<(?P<place>image|video|audio)>"
)


def read_conversations(config: SourceConfig) -> Iterator[Entry]:
    """Read the entries of a JSON list (or JSONL) in the order of the file."""
    path, find = existing(config), FileFinder(config)
    rows = jsonl_rows if path.suffix.lower() in (".jsonl", ".ndjson") else json_rows
    for place, found in rows(path, config.path):
        if isinstance(found, Problem):
            yield found
        elif not isinstance(found, dict):
            yield Problem(place, "structure", f"found {kind_of(found)}, expected an object with fields")
        else:
            yield reading(place, partial(_record, found, place, config, find))


def _record(found: Mapping[str, Any], place: Place, config: SourceConfig, resolve: Resolve) -> Record:
    values = renamed(found, config)
    check_fields(values, KNOWN, config)
    turns = values.get("conversations", values.get("conversation"))
    if turns is None:
        return _pair(values, place, resolve)
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise Bad("structure", f"conversations: found {kind_of(turns)}, expected a list of turns")
    return finish(place, _Conversation(values, turns, resolve).turns())


def _pair(values: Mapping[str, Any], place: Place, resolve: Resolve) -> Record:
    """`{"caption", "image_name"}` and its like."""
    media = tuple(
        MediaIn(m, resolve(m, item))
        for m, names in _NAMES.items()
        for name in names
        for item in as_list(values.get(name, []))
    )
    if not media:
        raise Bad("structure", "found neither conversations nor a medium; expected one of them")
    return caption_record(place, media, check_caption(values.get("caption")))


class _Conversation:
    """Puts the media of an entry where its turns have placeholders for them."""

    def __init__(self, values: Mapping[str, Any], turns: list[Mapping[str, Any]], resolve: Resolve) -> None:
        self._values, self._turns, self._resolve = values, turns, resolve
        self._listed = _listed(values)
        self._inputs = {m: self._given(m) for m in GENERATED}
        self._outputs = {m: self._wanted(m) for m in GENERATED}
        for number, turn in enumerate(turns, 1):
            self._check(turn, f"turn {number}")

    def _check(self, turn: Mapping[str, Any], where: str) -> None:
        unknown = [name for name in turn if name not in _TURN_KEYS]
        if unknown:
            raise Bad(
                "unknown-field", f"{where}: found {unknown[0]!r}, expected only {', '.join(_TURN_KEYS)}"
            )
        if turn.get("from") not in ROLES:
            raise Bad("structure", f"{where}: found from {turn.get('from')!r}, expected human or gpt")
        check_text(turn.get("value"), where)

    def _given(self, modality: Modality) -> list[MediaSource]:
        """Media that come in, in order."""
        asked = {turn["input_modality"] for turn in self._turns if "input_modality" in turn}
        if asked and str(modality) not in asked:
            return []  # the older files name a picture even where the talk is of words alone
        items = [i for name in _NAMES[modality] for i in as_list(self._values.get(name, []))]
        if not items and str(modality) in asked and "mm_name" in self._values:
            items = [self._values["mm_name"]]
        return [self._resolve(modality, item) for item in items]

    def _wanted(self, modality: Modality) -> list[MediaOut]:
        """Media that go out, in order."""
        files = as_list(self._values.get(f"output_{modality}", []))
        captions = as_list(self._values.get(f"{modality}_captions", []))
        if files and len(files) != len(captions):
            counts = f"found {len(files)} in output_{modality} and {len(captions)} in {modality}_captions"
            raise Bad("structure", f"{counts}, expected as many")
        sources: list[MediaSource | None] = [self._resolve(modality, item) for item in files]
        sources = sources or [None] * len(captions)
        return [
            MediaOut(modality, check_caption(c, f"{modality}_captions"), s)
            for c, s in zip(captions, sources, strict=True)
        ]

    def turns(self) -> list[Turn]:
        """All turns; raises Bad unless every medium has its place."""
        made = [self._turn(turn) for turn in self._turns]
        first = next((i for i, turn in enumerate(made) if turn.role == "user"), None)
        late = [MediaIn(m, source) for m, sources in self._inputs.items() for source in sources]
        if late:
            self._refuse_mixed(late, made, MediaIn)
            if first is not None:
                made[first] = Turn("user", (*late, *made[first].parts))
        shown = [out for outputs in self._outputs.values() for out in outputs]
        if shown and made and made[-1].role == "assistant":
            self._refuse_mixed(shown, made, MediaOut)
            made[-1] = Turn("assistant", (*made[-1].parts, *shown))
        return made

    @staticmethod
    def _refuse_mixed(left: list[Any], made: list[Turn], kind: type) -> None:
        """Media may all be without placeholders, but not some of them."""
        parts = [part for turn in made for part in turn.parts]
        placed = {p.modality for p in parts if not isinstance(p, str) and isinstance(p, kind)}
        for medium in left:
            if medium.modality in placed:
                name = medium.modality
                raise Bad("placeholders", f"found more {name} media than <{name}> in the turns; add the rest")

    def _turn(self, turn: Mapping[str, Any]) -> Turn:
        role, text = ROLES[turn["from"]], str(turn["value"])
        parts: list[Part] = []
        position = 0
        for tag in _TAG.finditer(text):
            parts.append(text[position : tag.start()])
            position = tag.end()
            self._place(parts, tag, role)
        parts.append(text[position:])
        own = turn.get("output_modality")
        if role == "assistant" and own not in (None, "", "text"):
            self._own_output(parts, turn)
        tidy = [re.sub(r"\s*\n\s*", "\n", p).strip("\n") if isinstance(p, str) else p for p in parts]
        return Turn(role, join_texts(tidy))

    def _own_output(self, parts: list[Part], turn: Mapping[str, Any]) -> None:
        """The older T2M form: a turn names its medium and its caption."""
        if turn["output_modality"] not in [str(m) for m in GENERATED]:
            allowed = ", ".join(GENERATED)
            raise Bad(
                "structure", f"found output_modality {turn['output_modality']!r}, expected one of {allowed}"
            )
        modality = Modality(turn["output_modality"])
        name = self._values.get("mm_name")
        source = self._resolve(modality, name) if name else None
        parts.append(MediaOut(modality, check_caption(turn.get("caption")), source))

    def _place(self, parts: list[Part], tag: re.Match[str], role: Role) -> None:
        """One tag: a placeholder, a file's name, or a caption beside one."""
        modality = Modality((tag["file"] or tag["said"] or tag["place"]).lower())
        if tag["place"]:
            waiting: list[Any] = (self._outputs if role == "assistant" else self._inputs)[modality]
            if not waiting:
                side = "captions or files to show" if role == "assistant" else "files"
                raise Bad("placeholders", f"found more <{modality}> than {side} in this entry; name them all")
            item = waiting.pop(0)
            parts.append(item if isinstance(item, MediaOut) else MediaIn(modality, item))
            return
        name, words = tag["name"], tag["words"]
        if role != "assistant":
            if words is not None and any(isinstance(p, MediaIn) for p in parts[-2:]):
                return  # the caption of the medium right before it
            name = name or self._listed[modality].get(str(words).strip(), "")
            if not name:
                raise Bad("missing-file", f"found a caption instead of a file for {modality}; name the file")
            parts.append(MediaIn(modality, self._resolve(modality, name.strip())))
            return
        self._shown(parts, modality, name, words)

    def _shown(self, parts: list[Part], modality: Modality, name: str | None, words: str | None) -> None:
        """An output by its file, by its caption, or by both side by side."""
        source = self._resolve(modality, name.strip()) if name is not None else None
        before = parts[-2] if len(parts) > 1 and not str(parts[-1]).strip() else None
        if isinstance(before, MediaOut) and before.modality is modality:
            if words is not None and before.source is not None:
                parts[-2] = MediaOut(modality, check_caption(words), before.source)
                return
            if source is not None and before.source is None:
                parts[-2] = MediaOut(modality, before.caption, source)
                return
        known = {file: caption for caption, file in self._listed[modality].items()}
        caption = words if words is not None else known.get(str(name).strip(), "")
        if words is None and not caption:
            caption = "".join(p for p in parts if isinstance(p, str))
        parts.append(MediaOut(modality, check_caption(caption), source))


def _listed(values: Mapping[str, Any]) -> dict[Modality, dict[str, str]]:
    """MosIT's `image_list` and its siblings: file by caption."""
    listed: dict[Modality, dict[str, str]] = {m: {} for m in GENERATED}
    for modality in GENERATED:
        for item in as_list(values.get(f"{modality}_list", [])):
            if isinstance(item, Mapping) and item.get(f"{modality}_name"):
                listed[modality][str(item.get("caption", "")).strip()] = str(item[f"{modality}_name"])
    return listed
