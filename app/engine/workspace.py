"""Where media lie: one folder a session, files named by random ids alone.

`ROOT/SESSION/media/` holds what was made or used in a request and stays; `ROOT/SESSION/temporary/` holds
uploads that were not sent yet and previews, and goes when the session is forgotten or the server starts.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.errors import AnyGenError, BadArgument, BadMedia
from anygen.media import modality_of, save_media
from anygen.media.atomic import atomic_path
from anygen.modality import Modality

from .reading import Reader

MEDIA, TEMPORARY, PREVIEWS = "media", "temporary", "temporary/previews"
SUFFIX: dict[Modality, str] = {
    Modality.IMAGE: ".png",
    Modality.AUDIO: ".wav",
    Modality.VIDEO: ".mp4",
    Modality.DEPTH: ".npy",
    Modality.THERMAL: ".npy",
    Modality.IMU: ".npy",
}
"""File type of every modality in a workspace."""
MIME = {".png": "image/png", ".wav": "audio/wav", ".mp4": "video/mp4", ".npy": "application/octet-stream"}
"""As a browser wants it."""

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MEDIA_ID = re.compile(rf"({'|'.join(SUFFIX)})-[0-9a-f]{{20}}")


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

    Raises:
        BadArgument: it cannot be made.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self._reader = Reader()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadArgument(f"cannot make the workspace: {error.strerror}; name another folder") from None

    def attach(self, session: str, data: bytes, name: str, *, modality: str | None = None) -> Stored:
        """Check an upload and keep a clean copy of it (no EXIF, no user's file name) as temporary.

        The copy is PNG (at most 1536 pixels a side), WAV, MP4 or .npy; it is decoded in a process of its own
        with bounded memory and time. `EngineClient.submit` makes temporary media lasting when a request uses
        them; so does `keep`.

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
        suffix = os.path.splitext(name)[1].lower() if isinstance(name, str) else ""
        return self._read(session, TEMPORARY, data, suffix, modality, unchanged=False)

    def take_over(self, session: str, data: bytes, modality: str) -> Stored:
        """Check a stranger's file in the workspace's own format and keep it unchanged and as lasting.

        Args:
            session: whose.
            data: content of the file.
            modality: what it is.

        Returns:
            Where it is.

        Raises:
            AnyGenError: as `attach`.
        """
        return self._read(session, MEDIA, data, "", modality, unchanged=True)

    def _read(
        self, session: str, kind: str, data: bytes, suffix: str, modality: str | None, *, unchanged: bool
    ) -> Stored:
        folder = self.folder(session, kind)
        upload = self.folder(session, TEMPORARY) / f"{secrets.token_hex(10)}.upload"
        try:
            upload.write_bytes(data)
            media_id = self._reader.read(upload, suffix, modality, folder, unchanged=unchanged)
            return self._stored(media_id, folder)
        except OSError as error:
            raise BadArgument(f"cannot keep the upload: {error.strerror}; free some disk space") from None
        finally:
            upload.unlink(missing_ok=True)

    def add(self, session: str, media: Any, *, tags: dict[str, str] | None = None) -> Stored:
        """Keep a media object (PIL image, `Audio`, `Video`, `Depth`, ...) as lasting.

        Args:
            session: whose.
            media: the object.
            tags: what to write into the file.

        Returns:
            Where it is.

        Raises:
            BadArgument: no media object, or it cannot be written.
        """
        folder = self.folder(session, MEDIA)
        return self._stored(write_new(media, folder, tags), folder)

    def add_file(self, session: str, data: bytes, modality: str) -> Stored:
        """Keep the bytes of a file that the program itself wrote, unchanged and as lasting.

        Args:
            session: whose.
            data: content of a file of the modality's type.
            modality: what it is.

        Returns:
            Where it is.
        """
        folder = self.folder(session, MEDIA)
        return self._stored(write_bytes(data, modality, folder), folder)

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
        if isinstance(media_id, str) and _MEDIA_ID.fullmatch(media_id):
            for kind in (MEDIA, TEMPORARY):
                stored = self._stored(media_id, self._session(session) / kind)
                if stored.path.is_file():
                    return stored
        raise BadArgument("found the id of a medium that is not (or no longer) here; attach the file again")

    def keep(self, session: str, media_id: str) -> Stored:
        """Make a temporary medium lasting.

        Args:
            session: who asks.
            media_id: which; one that lasts already stays as it is.

        Returns:
            Where it is now.

        Raises:
            BadArgument: this session has no such medium.
        """
        stored = self.find(session, media_id)
        lasting = self._stored(media_id, self.folder(session, MEDIA))
        if stored.path != lasting.path:
            with contextlib.suppress(FileNotFoundError):  # another thread was faster
                os.replace(stored.path, lasting.path)
        return self.find(session, media_id)

    def delete(self, session: str, media_id: str) -> None:
        """Remove a medium; nothing happens when there is none.

        Args:
            session: who asks.
            media_id: which.
        """
        with contextlib.suppress(AnyGenError):
            self.find(session, media_id).path.unlink(missing_ok=True)

    def clear(self, session: str, *, media: bool = False) -> None:
        """Remove what is temporary of a session.

        Args:
            session: whose.
            media: remove the lasting media, too.
        """
        place = self._session(session)
        shutil.rmtree(place if media else place / TEMPORARY, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds lasting media
            place.rmdir()

    def clear_previews(self, session: str, ticket: str) -> None:
        """Remove the previews of a request.

        Args:
            session: whose.
            ticket: of which request.
        """
        for path in (self._session(session) / PREVIEWS).glob(f"{ticket}-*"):
            path.unlink(missing_ok=True)

    def clear_temporary(self) -> None:
        """Remove what is temporary of all sessions, as a server does when it starts."""
        for place in self.root.iterdir():
            if place.is_dir() and _SESSION.fullmatch(place.name):
                self.clear(place.name)

    def folder(self, session: str, kind: str) -> Path:
        """Give a folder of a session, made when it does not exist.

        Args:
            session: whose.
            kind: `MEDIA`, `TEMPORARY` or `PREVIEWS`.

        Returns:
            Its path.

        Raises:
            BadArgument: no session name, or the folder cannot be made.
        """
        folder = self._session(session) / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadArgument(f"cannot make the workspace: {error.strerror}; name another folder") from None
        return folder

    def close(self) -> None:
        """End the process that reads uploads; it starts again when it is needed."""
        self._reader.close()

    def _session(self, session: str) -> Path:
        check_session(session)
        return self.root / session

    def _stored(self, media_id: str, folder: Path) -> Stored:
        modality = Modality(media_id.partition("-")[0])
        suffix = SUFFIX[modality]
        path = folder / f"{media_id}{suffix}"
        return Stored(id=media_id, modality=modality.value, mime=MIME[suffix], path=path)


def check_session(session: str) -> None:
    """Check that a session name is safe as a part of a path.

    Args:
        session: the name.

    Raises:
        BadArgument: it is not.
    """
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise BadArgument("found a session name that is none, expected 1 to 64 letters and digits")


def new_id(modality: str) -> str:
    """Draw the id of a new medium.

    Args:
        modality: what it is.

    Returns:
        Modality and 20 random hexadecimal digits.

    Raises:
        BadArgument: text, or no modality.
    """
    if modality not in SUFFIX:
        raise BadArgument(f"found {str(modality)[:40]!r}, expected one of {', '.join(SUFFIX)}")
    return f"{Modality(modality).value}-{secrets.token_hex(10)}"


def write_new(media: Any, folder: Path, tags: dict[str, str] | None = None) -> str:
    """Write a media object under a new id; the file appears whole or not at all.

    Args:
        media: the object.
        folder: where to.
        tags: what to write into the file; dropped for arrays, which have no place for them.

    Returns:
        The id.

    Raises:
        BadArgument: no media object, or it cannot be written.
    """
    modality = modality_of(media)
    media_id = new_id(modality)
    suffix = SUFFIX[modality]
    save_media(media, folder / f"{media_id}{suffix}", metadata=None if suffix == ".npy" else tags)
    return media_id


_MAGIC = {".png": (0, b"\x89PNG"), ".wav": (0, b"RIFF"), ".mp4": (4, b"ftyp"), ".npy": (0, b"\x93NUMPY")}
"""Where each file type says what it is."""


def write_bytes(data: bytes, modality: str, folder: Path) -> str:
    """Write the bytes of a media file under a new id; the file appears whole or not at all.

    Args:
        data: content of a file of the modality's type.
        modality: what it is.
        folder: where to.

    Returns:
        The id.

    Raises:
        BadArgument: no modality, or it cannot be written.
        BadMedia: the file is of another type.
    """
    media_id = new_id(modality)
    suffix = SUFFIX[Modality(modality)]
    start, magic = _MAGIC[suffix]
    if data[start : start + len(magic)] != magic:
        raise BadMedia(f"{modality}: found another file type, expected {suffix}; save it as {suffix}")
    with atomic_path(folder / f"{media_id}{suffix}") as draft:
        draft.write_bytes(data)
    return media_id
