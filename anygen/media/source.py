"""Opening what a user names: regular files and bytes only, and library errors turned into ours."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from anygen.errors import AnyGenError, BadMedia, LimitExceeded

from .limits import MediaLimits

_URL = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*://|data:)")
_LABEL_LENGTH = 80


def is_file_source(source: object) -> bool:
    """Whether `source` is something `open_source` reads: a path or the bytes of a file."""
    return isinstance(source, str | os.PathLike | bytes)


def label_of(source: object, kind: str) -> str:
    """How a message names `source`: a file by its own name, anything else by what it is."""
    if not isinstance(source, str | os.PathLike):
        return kind
    name = os.path.basename(os.fspath(source)) or os.fspath(source)
    return repr(name[:_LABEL_LENGTH])


@contextmanager
def open_source(source: object, kind: str, limits: MediaLimits) -> Iterator[BinaryIO]:
    """Open a path or the bytes of a file for reading; nothing else is ever opened, URLs least of all.

    Args:
        source: A path, or the content of a file as `bytes`.
        kind: What is expected, for messages ("image", "audio", ...).
        limits: `max_file_bytes` applies.

    Yields:
        A seekable binary file.

    Raises:
        BadMedia: not there, not a regular file, not readable, empty, or a URL.
        LimitExceeded: more bytes than allowed.
    """
    label = label_of(source, kind)
    with io.BytesIO(source) if isinstance(source, bytes) else _open_regular(source, label, kind) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size == 0:
            raise BadMedia(f"{label}: found 0 bytes, expected {kind} data; export or download it again")
        if size > limits.max_file_bytes:
            found = f"{label}: found {size / 2**20:.0f} MiB"
            raise LimitExceeded(
                f"{found}, the limit is {limits.max_file_bytes / 2**20:.0f} MiB; make it smaller"
            )
        yield file


def _open_regular(source: object, label: str, kind: str) -> BinaryIO:
    """Open the regular file at a path. Raises BadMedia for anything else there."""
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if not isinstance(path, str):
        raise BadMedia(f"{kind}: found {type(source).__name__}, expected the path of a file")
    if _URL.match(path):
        raise BadMedia(f"{kind}: found a URL, expected a local file; download it and give its path")
    try:
        # O_NONBLOCK: opening a FIFO must fail, not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise BadMedia(f"{label}: found no such file, expected {kind}; check the path") from None
    except (OSError, ValueError):
        raise BadMedia(
            f"{label}: the file cannot be opened, expected readable {kind}; check the path"
        ) from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        found = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise BadMedia(f"{label}: found {found}, expected a regular {kind} file; give the file itself")
    return os.fdopen(handle, "rb")


@contextmanager
def decoding(label: str, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a stranger's bytes into BadMedia.

    The decoder's own text is dropped: it may hold addresses and paths, and it changes between releases.
    """
    try:
        yield
    except AnyGenError:
        raise
    except MemoryError:
        raise LimitExceeded(f"{label}: decoding ran out of memory; make the {kind} smaller") from None
    except Exception as error:
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        found = "data that ends too early" if cut else "damaged data"
        raise BadMedia(
            f"{label}: found {found}, expected a complete {kind}; export or download it again"
        ) from None


def describe_bytes(file: BinaryIO) -> str:
    """What a file that no decoder recognises looks like, for a message."""
    file.seek(0)
    head = file.read(512).lstrip()
    if head[:1] in (b"<", b"{", b"#") or (
        head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    ):
        return "text or markup"
    return "bytes of no known format"
