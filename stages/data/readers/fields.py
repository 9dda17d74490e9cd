"""From named fields to a record: what a line of a manifest, a row of a table or a tar's sample has.

Short form: media fields and `text`, perhaps `prompt` and `output_*`. Long form: `messages`, the chat
dictionaries of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from anygen.modality import GENERATED, MEDIA_INPUTS, Modality

from ..records import MediaIn, MediaOut, Part, Place, Record, Role, Turn, caption_record
from .base import (
    Bad,
    Resolve,
    SourceConfig,
    as_list,
    check_caption,
    check_fields,
    check_text,
    finish,
    join_texts,
    kind_of,
    media_modality,
    renamed,
)

OUTPUTS: dict[str, Modality] = {f"output_{m}": m for m in GENERATED}
"""Fields of media that the answer shows."""

FIELDS = (
    "id",
    *(str(m) for m in MEDIA_INPUTS),
    *OUTPUTS,
    "text",
    "caption",
    "prompt",
    "messages",
    "imu_rate",
)
"""Every field that a sample may have; `caption` is another name of `text`."""

_PART_KEYS = ("type", "text", "path", "caption", "imu_rate", *(str(m) for m in MEDIA_INPUTS))


def record_from_fields(
    found: Mapping[str, Any], place: Place, config: SourceConfig, resolve: Resolve
) -> Record:
    """Parse one sample.

    Args:
        found: Its fields as they stand in the data set.
        place: Where it stands.
        config: The data set; renames and leaves out fields.
        resolve: From a field's value to the medium.

    Returns:
        The record.

    Raises:
        Bad: Something about it is wrong.
    """
    values = renamed(found, config)
    check_fields(values, FIELDS, config)
    values = {name: value for name, value in values.items() if name in FIELDS}
    identity = str(values.pop("id", ""))
    rate = values.pop("imu_rate", None)
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0):
        raise Bad("structure", f"imu_rate: found {rate!r}, expected samples a second")
    if "messages" in values:
        if len(values) > 1:
            other = next(name for name in values if name != "messages")
            raise Bad("structure", f"found {other} beside messages, expected it inside them; move it there")
        return finish(place, _messages(values["messages"], resolve), identity)
    return _short(values, place, identity, rate, resolve)


def _short(
    values: Mapping[str, Any], place: Place, identity: str, rate: float | None, resolve: Resolve
) -> Record:
    if "text" in values and "caption" in values:
        raise Bad("structure", "found text and caption, which mean the same; leave one out")
    caption = check_caption(values.get("text", values.get("caption")), "text")
    prompt = check_text(values.get("prompt", ""), "prompt")
    media = tuple(
        MediaIn(m, resolve(m, item), rate if m is Modality.IMU else None)
        for m in MEDIA_INPUTS
        for item in as_list(values.get(str(m), []))
    )
    outputs = tuple(
        MediaOut(m, caption, resolve(m, item))
        for name, m in OUTPUTS.items()
        for item in as_list(values.get(name, []))
    )
    if not outputs:
        if not media and not prompt:
            raise Bad("structure", "found neither media nor a prompt, expected a file or a question")
        return caption_record(place, media, caption, prompt=prompt, identity=identity)
    asked = Turn("user", join_texts([*media, prompt]))
    return finish(place, [asked, Turn("assistant", (caption, *outputs))], identity)


def _messages(value: Any, resolve: Resolve) -> list[Turn]:
    """Turns of the chat dictionaries `[{"role": ..., "content": text or parts}]`; raises Bad."""
    if not isinstance(value, list):
        raise Bad("structure", f"messages: found {kind_of(value)}, expected a list of messages")
    return [_message(item, f"message {number}", resolve) for number, item in enumerate(value, 1)]


def _message(item: Any, where: str, resolve: Resolve) -> Turn:
    if not isinstance(item, Mapping) or set(item) != {"role", "content"}:
        found = ", ".join(map(str, item)) if isinstance(item, Mapping) else kind_of(item)
        raise Bad("structure", f"{where}: found {found or 'nothing'}, expected an object of role and content")
    role, content = item["role"], item["content"]
    if role not in get_args(Role):
        raise Bad("structure", f"{where}: found role {role!r}, expected one of {', '.join(get_args(Role))}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Bad("structure", f"{where}: content is {kind_of(content)}, expected a text or a list of parts")
    parts: list[Part] = []
    for number, part in enumerate(content, 1):
        parts.append(_part(part, role, parts, f"{where}, part {number}", resolve))
    return Turn(role, join_texts(parts))


def _part(part: Any, role: Role, before: list[Part], where: str, resolve: Resolve) -> Part:
    if not isinstance(part, Mapping):
        raise Bad("structure", f"{where}: found {kind_of(part)}, expected an object with a type")
    given = {name: value for name, value in part.items() if value is not None}
    unknown = [name for name in given if name not in _PART_KEYS]
    if unknown:
        expected = ", ".join(_PART_KEYS)
        raise Bad("unknown-field", f"{where}: found {unknown[0]!r}, expected only {expected}")
    kind = given.get("type")
    if kind == "text":
        return check_text(given.get("text"), where)
    modality = media_modality(kind, where)
    sources = [given[name] for name in (str(modality), "path") if name in given]
    if len(sources) > 1:
        raise Bad("structure", f"{where}: found {modality} and path, expected one of them")
    source = resolve(modality, sources[0]) if sources else None
    if role == "user":
        if source is None:
            raise Bad("missing-file", f"{where}: found no file, expected the key {modality} or path")
        return MediaIn(modality, source, given.get("imu_rate"))
    if role != "assistant" or modality not in GENERATED:
        allowed = ", ".join(GENERATED)
        raise Bad(
            "structure",
            f"{where}: found {modality} in the {role}'s turn, expected {allowed} of the assistant",
        )
    said = "".join(p for p in before if isinstance(p, str))
    return MediaOut(modality, check_caption(given.get("caption", said), f"{where}: caption"), source)
