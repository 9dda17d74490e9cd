"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anygen.errors import AnyGenError, BadArgument


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed to disk and renamed, else removed.

    Raises:
        BadArgument: the folder is missing or cannot be written to, or the disk is full.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise BadArgument(f"cannot write {target.name!r}: its folder does not exist; make the folder first")
    if target.is_dir():
        raise BadArgument(f"cannot write {target.name!r}: a folder has that name; choose another one")
    draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, target)
    except AnyGenError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "input or output error"
        raise BadArgument(f"cannot write {target.name!r}: {reason}; choose another folder") from None
    finally:
        draft.unlink(missing_ok=True)
