"""Where media lie: one folder a session, files named by random ids alone.

`ROOT/SESSION/media/` holds what was made or used in a request and stays; `ROOT/SESSION/temporary/` holds
uploads that were not sent yet and previews, and goes when the session is forgotten or the server starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One medium in a workspace."""

    id: str
    """Modality and 20 random hexadecimal digits, such as image-0f3a...."""
    modality: str
    """Any but text."""
    mime: str
    """As a browser wants it; application/octet-stream for depth, thermal and IMU."""
    path: Path
    """Its file; the suffix is that of the modality."""


class Workspace:
    """The media of all sessions; safe from any thread and process.

    Args:
        root: folder, made when it does not exist.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def attach(self, session: str, data: bytes, name: str, *, modality: str | None = None) -> Stored:
        """Check an upload and keep a clean copy of it (no EXIF, no user's file name) as temporary.

        The copy is PNG, WAV, MP4 or .npy; it is decoded in a process of its own with bounded memory and time.
        `submit` makes temporary media lasting when a request uses them.

        Args:
            session: whose.
            data: content of the file.
            name: the user's name for it: only its suffix is looked at.
            modality: what it is to be read as; None tells it from suffix and content.

        Returns:
            Where it is.

        Raises:
            BadMedia: it cannot be read; LimitExceeded: it is too large; BadArgument: its modality cannot be
            told.
        """
        raise NotImplementedError

    def add(self, session: str, media: Any, *, tags: dict[str, str] | None = None) -> Stored:
        """Keep a media object (PIL image, `Audio`, `Video`, `Depth`, ...) as lasting.

        Args:
            session: whose.
            media: the object.
            tags: what to write into the file.

        Returns:
            Where it is.
        """
        raise NotImplementedError

    def find(self, session: str, media_id: str) -> Stored:
        """Look up a medium.

        Args:
            session: who asks.
            media_id: which.

        Returns:
            Where it is.

        Raises:
            BadArgument: this session has no such medium.
        """
        raise NotImplementedError

    def delete(self, session: str, media_id: str) -> None:
        """Remove a medium; nothing happens when there is none.

        Args:
            session: who asks.
            media_id: which.
        """
        raise NotImplementedError
