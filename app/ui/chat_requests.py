"""What goes into a request and is kept of it: the branch as messages, and the options. No streamlit here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anygen.app.engine.types import Failed, GenerateRequest, Part

if TYPE_CHECKING:
    from anygen.app.store import Turn


def request_settings(request: GenerateRequest) -> dict[str, Any]:
    """What of a request is worth keeping beside its answer.

    Args:
        request: what was asked.

    Returns:
        Outputs, seed and options; not the conversation.
    """
    return {
        "outputs": list(request.outputs) if request.outputs is not None else None,
        "seed": request.seed,
        "text_options": request.text_options,
        "image_options": request.image_options,
        "audio_options": request.audio_options,
        "video_options": request.video_options,
        "variations": request.variations,
    }


def is_too_long(failed: Failed) -> bool:
    """Whether a request failed because its conversation is too long for the model.

    Args:
        failed: what the engine said.

    Returns:
        True when leaving out old turns would help.
    """
    return failed.code == "limit_exceeded" and "conversation" in failed.sentence and not failed.parts


def too_long(failed: Failed) -> Failed:
    """Say that a single message is too long, in words of the page; the model's own stand in the fold.

    Args:
        failed: what the engine said.

    Returns:
        The same failure.
    """
    sentence = "Your message, with what is attached, is longer than this model can read; shorten it"
    return replace(failed, sentence=sentence, details=failed.sentence)


def without_oldest(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the oldest question and its answer.

    Args:
        conversation: of more than one message, ending with the user's.

    Returns:
        What is left; it begins with the user.
    """
    rest = conversation[1:]
    while len(rest) > 1 and rest[0]["role"] != "user":
        rest = rest[1:]
    return rest


def answerable(turns: list[Turn], *, gone: Collection[str] = ()) -> list[dict[str, Any]]:
    """Write turns as the conversation of a request.

    Args:
        turns: a branch that ends with a question. Questions whose answer came to nothing are left out.
        gone: ids of media that were deleted: earlier turns go without them, so that the chat can go on.

    Returns:
        Messages of text and media ids.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        missing = gone if turn is not turns[-1] else ()
        kept = [part for part in turn.parts if part.get("media_id") not in missing]
        content = [_plain(part) for part in kept if part["type"] != "text" or part["text"].strip()]
        asked = bool(messages) and messages[-1]["role"] == "user"
        if content and (turn.role == "user" or asked):
            messages.append({"role": turn.role, "content": content})
        elif turn.role == "assistant" and asked:
            messages.pop()
    return messages


def _plain(part: Part) -> Part:
    return {name: part[name] for name in ("type", "text", "media_id") if name in part}
