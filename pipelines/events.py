"""What `AnyGenPipeline.stream` yields while it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anygen.messages import MediaPart
from anygen.modality import Modality

from .reply import Reply


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """More text of the answer."""

    text: str
    """What to append; the deltas of one index join to the text of that part."""
    index: int
    """Position of the part in the answer."""


@dataclass(frozen=True, kw_only=True)
class MediaStarted:
    """A decoder begins on one image, sound or video."""

    modality: Modality
    """What will come."""
    index: int
    """Position of the part in the answer."""


@dataclass(frozen=True, kw_only=True)
class MediaProgress:
    """One denoising step is done."""

    modality: Modality
    """What is being made."""
    index: int
    """Position of the part in the answer."""
    step: int
    """Steps done, from 1."""
    total: int
    """Steps there will be."""
    preview: Callable[[], np.ndarray]
    """Look at the present state: uint8 (h, w, 3), for video (t, h, w, 3); call it before the next event."""


@dataclass(frozen=True, kw_only=True)
class MediaFinished:
    """One image, sound or video is ready."""

    modality: Modality
    """What it is."""
    index: int
    """Position of the part in the answer."""
    part: MediaPart
    """The finished part."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The answer is complete; nothing follows."""

    reply: Reply
    """The whole answer, as a call would have returned it."""


Event = TextDelta | MediaStarted | MediaProgress | MediaFinished | Done
"""Any of the above."""
