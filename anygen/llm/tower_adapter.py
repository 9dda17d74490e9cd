"""The low-rank adapter (LoRA, Hu et al., arXiv 2106.09685) for transformers that are not language models.

Encoder towers keep queries, keys and values in one packed parameter rather than in linear layers, which peft
adapts too. Here beside the language model's adapter because peft is imported in this room alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from .lora import ADAPTER_NAME, has_lora

_BASE = ".base_layer"


def add_tower_lora(
    tower: nn.Module,
    *,
    rank: int,
    alpha: int,
    linear_layers: Sequence[str] = (),
    parameters: Sequence[str] = (),
) -> None:
    """Put a fresh adapter into a module; it changes nothing until it is trained.

    Args:
        tower: Changed in place; what peft freezes on the way trains again as before.
        rank: Inner width.
        alpha: The update is scaled by alpha / rank.
        linear_layers: Name endings of the linear layers that get one.
        parameters: Name endings of the two-dimensional parameters that get one.
    """
    trained = {p: p.requires_grad for p in tower.parameters()}
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none",
        target_modules=list(linear_layers), target_parameters=list(parameters),
    )  # fmt: skip
    inject_adapter_in_model(config, tower, adapter_name=ADAPTER_NAME)
    for parameter, trains in trained.items():
        parameter.requires_grad_(trains)


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with its adapters added into the base weights, under the names without adapters.

    Args:
        module: With or without adapters; left as it is.

    Returns:
        State dict for a module that was built without adapters.
    """
    state = {
        name.replace(_BASE, ""): value for name, value in module.state_dict().items() if ".lora_" not in name
    }
    if not has_lora(module):
        return state
    for name, layer in module.named_modules():
        if isinstance(layer, BaseTunerLayer):
            weight = f"{name.replace(_BASE, '')}.{_adapted(layer)}"
            state[weight] = state[weight] + layer.get_delta_weight(ADAPTER_NAME)
    return state


def _adapted(layer: Any) -> str:
    """Name of the parameter that a layer of peft adapts."""
    return str(getattr(layer, "parameter_name", "weight"))
