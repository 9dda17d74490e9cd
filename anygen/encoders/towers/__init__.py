"""Encoders put together from published towers: LanguageBind's, or a CLIP and a CLAP."""

from __future__ import annotations

from .folder import load_encoder, load_processor
from .model import TowersModel
from .preprocess import TowersProcessor

__all__ = ["TowersModel", "TowersProcessor", "load_encoder", "load_processor"]
