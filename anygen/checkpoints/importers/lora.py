"""The low-rank adapter inside the deltas of NExT-GPT and PandaGPT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .layout import HALF, Entry, Layout
from .request import peft_config
from .writing import write_json, write_tensors

BASE = "llama_model.base_model.model."
"""Where peft puts the language model inside the delta's module."""
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Layers that have an adapter."""


@dataclass(frozen=True, kw_only=True)
class AdapterSizes:
    """Sizes of the language model and its adapter."""

    hidden_dim: int = 4096
    """Width of the language model."""
    num_layers: int = 32
    """Its layers."""
    rank: int = 32
    """Inner width of the adapter."""
    alpha: int = 32
    """The update is scaled by alpha / rank."""
    dropout: float = 0.1
    """Share of the adapter's input dropped in training."""


def adapter_layout(sizes: AdapterSizes) -> Layout:
    """Every tensor of the adapter, under the delta's names.

    Args:
        sizes: of the language model and the adapter.

    Returns:
        Names, shapes and types.
    """
    layout: Layout = {}
    for layer in range(sizes.num_layers):
        for target in TARGETS:
            place = f"{BASE}model.layers.{layer}.self_attn.{target}"
            layout[f"{place}.lora_A.default.weight"] = Entry((sizes.rank, sizes.hidden_dim), HALF)
            layout[f"{place}.lora_B.default.weight"] = Entry((sizes.hidden_dim, sizes.rank), HALF)
    return layout


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], sizes: AdapterSizes) -> None:
    """Write a delta's adapter as peft reads it.

    Args:
        folder: the adapter's; made when missing.
        tensors: of the delta; others than the adapter's are left alone.
        sizes: of the adapter.
    """
    adapter = {
        name.removeprefix("llama_model.").replace(".default.", "."): tensor
        for name, tensor in tensors.items()
        if ".lora_" in name
    }
    write_tensors(folder / "adapter_model.safetensors", adapter)
    write_json(folder / "adapter_config.json", peft_config(sizes.rank, sizes.alpha, sizes.dropout, TARGETS))
