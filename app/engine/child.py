"""Processes that talk in lines of JSON over their standard streams, and end with their parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO


class Child:
    """The parent's end of a child process that runs a module of this package.

    Args:
        module: what `python -m` runs; it calls `channel` first.
        environment: variables besides the parent's own.
        log: file that what the child and its libraries print is added to; nothing keeps it when None.
    """

    def __init__(
        self, module: str, *, environment: Mapping[str, str] | None = None, log: Path | None = None
    ) -> None:
        with open(log or os.devnull, "ab") as errors:
            # -P: a file of the current folder must not stand in for a library
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
            )
        self._write = threading.Lock()
        self.pid = self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; nothing happens when the child is gone.

        Args:
            message: what JSON can hold.
        """
        line = json.dumps(message).encode() + b"\n"
        stdin = self._process.stdin
        with self._write, contextlib.suppress(OSError, ValueError):
            if stdin is not None:
                stdin.write(line)
                stdin.flush()

    def read(self) -> dict[str, Any] | None:
        """Wait for the next message. Returns None when the child has ended; it is reaped then."""
        stdout = self._process.stdout
        line = b""
        with contextlib.suppress(OSError, ValueError):
            line = stdout.readline() if stdout is not None else b""
        if not line.endswith(b"\n"):  # the end, or a line that a kill cut off
            self.kill()
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def kill(self) -> int:
        """End the child at once. Returns its exit code, negative for a signal."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.kill()
        return self._process.wait()

    def close(self, patience: float = 2.0) -> None:
        """Let the child end, and end it when it does not.

        Args:
            patience: seconds.
        """
        with self._write, contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self.kill()


def channel() -> tuple[Iterator[dict[str, Any]], Callable[[Mapping[str, Any]], None]]:
    """Take the standard streams for messages; called first in a child.

    What libraries print goes to standard error from here on. An interrupt from the terminal is for the
    parent to handle.

    Returns:
        An iterator over messages that ends with the parent, and a function that sends one from any thread.
    """
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    source: BinaryIO = os.fdopen(os.dup(0), "rb")
    target: BinaryIO = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with lock, contextlib.suppress(OSError):  # a parent that is gone needs no answer
            target.write(line)
            target.flush()

    def receive() -> Iterator[dict[str, Any]]:
        with contextlib.suppress(OSError):
            for line in source:
                yield json.loads(line)

    return receive(), send
