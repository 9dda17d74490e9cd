"""Makes instruction data out of captions and boxes: by Toybox's grammar, or by a local instruct model."""

from __future__ import annotations

from .kinds import KINDS, Kind
from .work import MakeOptions, MakeReport, make

__all__ = ["KINDS", "Kind", "MakeOptions", "MakeReport", "make"]
