"""Decoding of strangers' files in a process of its own: bounded memory and time, and it may crash."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from anygen import errors
from anygen.errors import AnyGenError, BadMedia, LimitExceeded
from anygen.modality import MEDIA_INPUTS

from .child import Child

_ERRORS: dict[str, type[AnyGenError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, AnyGenError)
}


class Reader:
    """Has uploads read, one at a time, by a process that starts when it is first needed.

    Args:
        seconds: longest that one file may take.
    """

    def __init__(self, seconds: float = 90.0) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: Child | None = None

    def read(
        self, upload: Path, suffix: str, modality: str | None, folder: Path, *, unchanged: bool = False
    ) -> str:
        """Check a file and write a clean copy of it.

        Args:
            upload: the file.
            suffix: of the user's name for it.
            modality: what it is to be read as; None to tell it.
            folder: where the copy goes.
            unchanged: copy the bytes, of a file in the workspace's own format, instead of encoding anew.

        Returns:
            Id of the copy.

        Raises:
            AnyGenError: as `anygen.media.load_media`; BadMedia also when the reader died over it.
        """
        if modality is not None and modality not in MEDIA_INPUTS:
            raise BadMedia(f"found {str(modality)[:40]!r}, expected one of {', '.join(MEDIA_INPUTS)}")
        order = {
            "path": str(upload),
            "suffix": suffix[:10],
            "modality": modality,
            "folder": str(folder),
            "unchanged": unchanged,
        }
        answer = self._ask(order)
        if "id" in answer:
            return str(answer["id"])
        raise _ERRORS.get(answer["code"], BadMedia)(answer["sentence"])

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            child = self._child or Child("anygen.app.engine.read_uploads")
            self._child = None
            late = threading.Event()

            def give_up() -> None:
                late.set()
                child.kill()

            timer = threading.Timer(self._seconds, give_up)
            timer.start()
            try:
                child.send(order)
                answer = child.read()
            finally:
                timer.cancel()
            if answer is not None:
                self._child = child
                return answer
        for half in Path(order["folder"]).glob(".*.tmp"):
            with contextlib.suppress(OSError):
                half.unlink()
        if late.is_set():
            raise LimitExceeded("the file takes too long to read; make it smaller or shorter")
        raise BadMedia("the file cannot be read, it is damaged or of another kind; save it again")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._child is not None:
                self._child.close()
            self._child = None
