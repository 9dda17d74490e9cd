"""What a request must be before it may wait: cheap checks, so that the engine reads nothing odd."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from anygen.errors import BadArgument, BadText
from anygen.messages import MAX_MEDIA_PARTS, MAX_TEXT_CHARACTERS
from anygen.modality import GENERATED, MEDIA_INPUTS

from .types import (
    MOST_ITEMS,
    MOST_VARIATIONS,
    BlendRequest,
    EmbedRequest,
    GenerateRequest,
    Part,
    Request,
)
from .workspace import check_session

MOST_WEIGHT = 4.0


def check_request(request: Request) -> None:
    """Check the form of a request; what values mean is for the model to say.

    Args:
        request: any.

    Raises:
        BadArgument: something is missing or of another type.
        BadText: too much text.
    """
    if isinstance(request, GenerateRequest | EmbedRequest | BlendRequest):
        check_session(request.session)
    if isinstance(request, GenerateRequest):
        _check_conversation(request)
        _check_count("variations", request.variations, MOST_VARIATIONS)
    elif isinstance(request, EmbedRequest | BlendRequest):
        _check_count("items", len(request.items), MOST_ITEMS)
        for part in request.items:
            _check_part(part)
        _check_text(sum(len(part.get("text", "")) for part in request.items))
    else:
        raise BadArgument(f"found {type(request).__name__}, expected a request of anygen.app.engine.types")
    if isinstance(request, BlendRequest):
        _check_weights(request)


def _check_count(name: str, found: Any, most: int) -> None:
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= most:
        raise BadArgument(f"found {found!r} {name}, expected 1 to {most}")


def _check_weights(request: BlendRequest) -> None:
    if request.output not in {m.value for m in GENERATED}:
        raise BadArgument(f"found output {request.output[:20]!r}, expected one of {', '.join(GENERATED)}")
    if len(request.weights) != len(request.items):
        found = f"found {len(request.weights)} weights for {len(request.items)} items"
        raise BadArgument(f"{found}, expected one for each")
    for weight in request.weights:
        if not isinstance(weight, int | float) or not math.isfinite(weight) or abs(weight) > MOST_WEIGHT:
            raise BadArgument(f"found the weight {weight!r}, expected -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}")
    if not any(request.weights):
        raise BadArgument("all weights are 0, expected at least one other; move a slider")


def _check_conversation(request: GenerateRequest) -> None:
    if not request.conversation:
        raise BadText("the conversation is empty, expected a question; write something")
    characters = 0
    for message in request.conversation:
        if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
            raise BadArgument("found a message without role and content, expected both")
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, list):
            for part in content:
                _check_part(part)
                characters += len(part.get("text", ""))
        else:
            raise BadArgument("found a message without content, expected a text or a list of parts")
    _check_text(characters)
    media = sum(1 for _ in named_media(request))
    if media > MAX_MEDIA_PARTS:
        raise BadArgument(f"found {media} media, expected at most {MAX_MEDIA_PARTS}; begin a new chat")


def _check_text(characters: int) -> None:
    if characters > MAX_TEXT_CHARACTERS:
        limit = f"the limit is {MAX_TEXT_CHARACTERS}; shorten it or begin a new chat"
        raise BadText(f"the text has {characters} characters, {limit}")


def _check_part(part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise BadArgument("found a text part without a text, expected one")
    elif kind not in {m.value for m in MEDIA_INPUTS}:
        raise BadArgument(f"found a part of type {str(kind)[:20]!r}, expected text or a modality")
    elif not isinstance(part.get("media_id"), str):
        raise BadArgument(f"found a part of type {kind} without media_id, expected the id of a medium")


def named_media(request: Request) -> Iterator[str]:
    """Ids of the media that a checked request names, in order.

    Args:
        request: any.

    Yields:
        The ids.
    """
    if isinstance(request, GenerateRequest):
        contents = [m["content"] for m in request.conversation if not isinstance(m["content"], str)]
    else:
        contents = [request.items]
    parts: list[Part] = [part for content in contents for part in content]
    for part in parts:
        if part["type"] != "text":
            yield part["media_id"]
