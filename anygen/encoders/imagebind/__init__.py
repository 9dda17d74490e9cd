"""ImageBind: six modalities in one space, from the specification, with the official checkpoint's keys."""

from __future__ import annotations

from .config import TOWER, ImageBindConfig, imagebind_huge
from .folder import load_config, load_encoder, load_processor, save_encoder
from .model import ImageBindModel
from .preprocess import ImageBindProcessor
from .text import TextTokenizer

__all__ = [
    "TOWER",
    "ImageBindConfig",
    "ImageBindModel",
    "ImageBindProcessor",
    "TextTokenizer",
    "imagebind_huge",
    "load_config",
    "load_encoder",
    "load_processor",
    "save_encoder",
]
