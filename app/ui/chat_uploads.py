"""From what a visitor attaches to media of the session: every file is in, or there is a sentence why not."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from anygen.app.media_tags import MediaTags, read_tags
from anygen.errors import AnyGenError, BadMedia, LimitExceeded

if TYPE_CHECKING:
    from anygen.app.engine.workspace import Workspace

_log = logging.getLogger(__name__)

EXTENSIONS = (
    *("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"),
    *("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"),
    *("mp4", "mov", "mkv", "webm", "avi"),
    *("npy", "csv"),
)
"""Endings that the browser's file dialog offers."""

MOST_FILES = 16
"""Most files of one message."""


class File(Protocol):
    """What Streamlit hands over for an uploaded file."""

    name: str
    """The visitor's name for it."""

    def getvalue(self) -> bytes:
        """Its content."""
        ...


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that is in."""

    media_id: str
    """Its id in the workspace."""
    modality: str
    """What it was read as."""
    name: str
    """The visitor's name for it, shortened; for display alone."""
    tags: MediaTags | None = None
    """How it was made, when this program made it."""

    def part(self) -> dict[str, Any]:
        """As a part of a message."""
        return {"type": self.modality, "media_id": self.media_id, "name": self.name}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A file that is not in."""

    name: str
    """The visitor's name for it, shortened."""
    sentence: str
    """Why, and what to do."""


def take_uploads(
    workspace: Workspace, session: str, files: Iterable[File], *, modality: str | None = None
) -> tuple[list[Upload], list[Problem]]:
    """Check files and keep clean copies.

    Args:
        workspace: where to.
        session: whose.
        files: what came from the browser.
        modality: what they are to be read as; None tells it from suffix and content.

    Returns:
        What is in, and what is not; never raises for what a file holds.
    """
    files = list(files)
    uploads: list[Upload] = []
    problems: list[Problem] = []
    for file in files[:MOST_FILES]:
        try:
            uploads.append(take_upload(workspace, session, file.getvalue(), file.name, modality=modality))
        except AnyGenError as error:
            problems.append(Problem(name=shown_name(file.name), sentence=str(error)))
    for file in files[MOST_FILES:]:
        problems.append(
            Problem(name=shown_name(file.name), sentence=f"More than {MOST_FILES} files; send it later")
        )
    return uploads, problems


def take_upload(
    workspace: Workspace, session: str, data: bytes, name: str, *, modality: str | None = None
) -> Upload:
    """Check one file and keep a clean copy.

    Args:
        workspace: where to.
        session: whose.
        data: its content.
        name: the visitor's name for it; its suffix says what it may be.
        modality: what it is to be read as; None tells it from suffix and content.

    Returns:
        What is in.

    Raises:
        AnyGenError: it cannot be read, is too large, or cannot be told apart.
    """
    try:
        stored = workspace.attach(session, data, name, modality=modality)
    except AnyGenError:
        raise
    except MemoryError:
        raise LimitExceeded("The file needs more memory than there is; make it smaller") from None
    except Exception:
        _log.exception("an upload broke its reader")
        raise BadMedia("The file cannot be read; save it again in a common format") from None
    try:
        tags = read_tags(data)
    except AnyGenError:
        tags = None
    return Upload(media_id=stored.id, modality=stored.modality, name=shown_name(name), tags=tags)


def shown_name(name: str) -> str:
    """A file's name as a page may show it.

    Args:
        name: what the browser sent; may try to be a path or to steer the page.

    Returns:
        At most 40 printable characters, without folders.
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    clean = "".join(c for c in last if c.isprintable())
    return clean if len(clean) <= 40 else f"{clean[:28]}...{clean[-9:]}"
