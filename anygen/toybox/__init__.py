"""The toybox world: scenes, their renderings into seven modalities, and the oracles that read them back."""

from __future__ import annotations

from .captions import caption
from .export import export
from .oracles import oracle_accuracy, read
from .render import render
from .scene import ATTRIBUTES, HELD_OUT, REVEALS, Scene, is_held_out, sample_scene

__all__ = [
    "ATTRIBUTES",
    "HELD_OUT",
    "REVEALS",
    "Scene",
    "caption",
    "export",
    "is_held_out",
    "oracle_accuracy",
    "read",
    "render",
    "sample_scene",
]
