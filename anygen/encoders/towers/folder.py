"""Towers on disk: one folder of transformers each, of which only the halves that are needed are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from anygen.errors import WeightsMismatch
from anygen.modality import Modality
from anygen.parts import EncoderConfig

from ..weights import check_weights, read_tensors
from .model import HALVES, TowersModel
from .preprocess import TowersProcessor
from .values import read_values

Find = Callable[[str], Path]
"""From a tower's name to its folder."""


def load_encoder(
    config: EncoderConfig,
    find: Find,
    modalities: Iterable[Modality] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> TowersModel:
    """Load the halves that some modalities need, reading no other weights.

    Args:
        config: the towers.
        find: from a tower's name to its folder.
        modalities: None loads everything.
        dtype: type of the loaded floating-point weights, whatever they are stored as.

    Returns:
        The model in evaluation mode.

    Raises:
        MissingPart: a tower or its files are missing.
        WeightsMismatch: weights are not those of the configuration.
        CheckpointCorrupt: a file cannot be read.
    """
    halves = {name: _load_half(config, find, name, dtype) for name in config.half_names(modalities)}
    processor = TowersProcessor(config, find)
    reading = [name.removesuffix("_text") for name in halves if name.endswith("_text")]
    return TowersModel(config, halves, {name: processor.text_length(name) for name in reading}).eval()


def load_processor(config: EncoderConfig, find: Find) -> TowersProcessor:
    """Make the processor; tokenizers and feature extractors are read when they are first needed.

    Args:
        config: the towers.
        find: from a tower's name to its folder.
    """
    return TowersProcessor(config, find)


def _load_half(config: EncoderConfig, find: Find, name: str, dtype: torch.dtype) -> nn.Module:
    tower = name.removesuffix("_text")
    folder, part = find(tower), config.towers[tower]
    values = read_values(folder, part.family)
    if values.get("projection_dim") != part.width:
        raise WeightsMismatch(
            f"Tower {tower} has width {values.get('projection_dim')}, the model's config.json says "
            f"{part.width}; correct it."
        )
    half_class = HALVES[part.family][name != tower]
    with torch.device("meta"):
        half = half_class(values)
    tensors = read_tensors(folder, lambda key: key.startswith(half_class.prefixes), dtype)
    expected = half.state_dict()
    old = [key for key in tensors if key.endswith("position_ids") and key not in expected]
    tensors = {key: value for key, value in tensors.items() if key not in old}  # older libraries stored them
    check_weights(tensors, expected, folder.name)
    half.load_state_dict(tensors, strict=True, assign=True)
    _count_positions(half)
    return half


def _count_positions(half: nn.Module) -> None:
    """Fill the tables of counting numbers that no file holds."""
    for module in half.modules():
        for key, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert key == "position_ids", key
                module.register_buffer(key, torch.arange(buffer.shape[-1]).expand(1, -1), persistent=False)
