"""Pictures of what is being made, as files that are replaced in place while it is made."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anygen.pipelines import events

from .types import MediaProgress
from .workspace import PREVIEWS, Workspace

SHORTEST_SIDE = 128
"""Pixels that a preview is scaled up to: latents are small."""
FRAME_MILLISECONDS = 250


@dataclass
class _State:
    """One medium in the making."""

    started: float
    shown: float = -math.inf
    path: str | None = None


class Previews:
    """Turns the progress of a request's media into events with time left and a picture.

    Args:
        workspace: where media lie.
        session: whose.
        ticket: of which request.
        seconds: shortest time between two pictures of one medium.
    """

    def __init__(self, workspace: Workspace, session: str, ticket: str, seconds: float) -> None:
        self._workspace, self._session, self._ticket, self._seconds = workspace, session, ticket, seconds
        self._states: dict[tuple[int, int], _State] = {}

    def started(self, variation: int, index: int) -> None:
        """A medium begins.

        Args:
            variation: of which answer.
            index: which part of it.
        """
        self._states[variation, index] = _State(started=time.monotonic())

    def progress(self, event: events.MediaProgress, variation: int) -> MediaProgress:
        """Look at a medium.

        Args:
            event: from the pipeline; its preview is still valid.
            variation: of which answer.

        Returns:
            The event for the pages.
        """
        now = time.monotonic()
        state = self._states.setdefault((variation, event.index), _State(started=now))
        if event.step < event.total and now - state.shown >= self._seconds:
            with contextlib.suppress(OSError):  # a full disk must not cost the answer
                state.path = str(self._draw(event.preview(), variation, event.index))
            state.shown = time.monotonic()
        spent = now - state.started
        return MediaProgress(
            modality=event.modality.value,
            index=event.index,
            step=event.step,
            total=event.total,
            seconds_left=round(spent / event.step * (event.total - event.step), 2) if event.step else None,
            preview=state.path,
            variation=variation,
        )

    def _draw(self, pixels: np.ndarray, variation: int, index: int) -> Path:
        path = self._workspace.folder(self._session, PREVIEWS) / f"{self._ticket}-{variation}-{index}.png"
        draft = path.with_suffix(".tmp")
        frames = [_enlarged(frame) for frame in (pixels if pixels.ndim == 4 else pixels[None])]
        more: dict[str, Any] = {}
        if len(frames) > 1:
            more = {"save_all": True, "append_images": frames[1:], "duration": FRAME_MILLISECONDS, "loop": 0}
        frames[0].save(draft, format="PNG", compress_level=1, **more)
        os.replace(draft, path)
        return path


def _enlarged(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    factor = SHORTEST_SIDE / min(image.size)
    if factor <= 1:
        return image
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)
