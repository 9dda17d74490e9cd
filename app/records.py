"""What the store keeps: chats, turns and media, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from anygen.errors import BadArgument

from .engine.types import Part

ROLES = ("user", "assistant")
STATES = ("done", "running", "stopped", "failed")
ORIGINS = ("made", "given")
MOST_TITLE = 200
"""Characters of a title."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One chat."""

    id: str
    """Random."""
    title: str
    """What the list shows."""
    head: str | None
    """Last turn of the branch that is shown; None when it is empty."""
    created: float
    """Seconds since 1970."""
    changed: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a chat; turns form a tree, a branch is a path from its root."""

    id: str
    """Random."""
    parent: str | None
    """Turn before it; None for a first one."""
    role: str
    """user or assistant."""
    parts: list[Part]
    """What was said and shown."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What shaped it: outputs, seed, options."""
    state: str = "done"
    """done, running (then `settings["ticket"]` may tell which), stopped or failed."""
    created: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class MediaRecord:
    """One medium, for the gallery."""

    id: str
    """As in the workspace."""
    modality: str
    """image, audio, video, depth, thermal or imu."""
    mime: str
    """For the browser."""
    path: str
    """File."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What made it; empty for uploads."""
    origin: str = "made"
    """made (by the model) or given (uploaded, drawn)."""
    created: float = 0.0
    """Seconds since 1970."""


def check_word(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check one of a few words.

    Args:
        name: what it is.
        value: what was given.
        allowed: what it may be.

    Raises:
        BadArgument: it is none of them.
    """
    if value not in allowed:
        raise BadArgument(f"found the {name} {str(value)[:20]!r}, expected one of {', '.join(allowed)}")
