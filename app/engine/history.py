"""Conversations that are longer than the model can read: the oldest turns are left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from anygen.errors import LimitExceeded
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.events import Event


def open_stream(
    pipe: AnyGenPipeline, conversation: list[dict[str, Any]], **options: Any
) -> tuple[int, Iterator[Event]]:
    """Begin an answer to as much of a conversation as fits.

    Args:
        pipe: the model.
        conversation: messages.
        **options: of `AnyGenPipeline.stream`.

    Returns:
        How many messages were left out, and the events.

    Raises:
        AnyGenError: as `AnyGenPipeline.stream`; LimitExceeded when the last question alone is too long.
    """
    shown = conversation
    while True:
        stream = pipe.stream(shown, **options)
        try:
            first = next(stream)
        except LimitExceeded:
            shorter = without_oldest(shown)
            if len(shorter) == len(shown):
                raise
            shown = shorter
            continue
        return len(conversation) - len(shown), _resumed(first, stream)


def without_oldest(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the first question and its answer.

    Args:
        conversation: messages; a system message at its start stays.

    Returns:
        The rest, beginning with a question; the same when there is one question only.
    """
    own = [message for message in conversation[:1] if message["role"] == "system"]
    questions = [i for i, m in enumerate(conversation) if m["role"] == "user"]
    return [*own, *conversation[questions[1] :]] if len(questions) > 1 else conversation


def _resumed(first: Event, stream: Any) -> Iterator[Event]:
    with closing(stream):
        yield first
        yield from stream
