"""What a stage is: the modules it holds, what of them trains, what a batch is, and what the loss is.

A stage knows nothing of optimizers, checkpoints or processes; the trainer knows nothing of losses.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.errors import BadArgument


class Stage(Protocol):
    """One training run's subject.

    Two more attributes are optional: `sources`, the `Source`s of a mixture that the trainer draws by weight,
    and `samples`, where the trainer puts a `SampleFolder` while the stage evaluates (None otherwise).
    """

    name: str
    dataset_size: int | None
    """Samples in the data set, or None for a procedural one that never repeats."""

    def modules(self) -> dict[str, nn.Module]:
        """Everything the stage computes with, by name. Frozen parts included."""
        ...

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """Optimizer groups (`params`, optionally `lr_scale`); exactly these parameters will train."""
        ...

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """The samples at `indices`; a pure function of them, so that a resumed run sees the same data."""
        ...

    def training_forward(self, batch: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Losses (the key `loss` is minimised) and figures to log."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Scores of the present weights."""
        ...

    def save(self, folder: Path) -> None:
        """Write the trained parts in the layout of a model folder."""
        ...


def set_trainable(modules: dict[str, nn.Module], groups: Iterable[dict[str, Any]]) -> dict[str, nn.Parameter]:
    """Freeze everything but the groups' parameters; the one place where that is decided.

    Modules without a trainable parameter go to evaluation mode, so dropout never acts on a frozen part.

    Returns:
        Trainable parameters by qualified name, `module.path.to.weight`.

    Raises:
        BadArgument: a group holds a parameter that belongs to none of the modules, or nothing trains.
    """
    wanted = {id(p) for group in groups for p in group["params"]}
    named: dict[str, nn.Parameter] = {}
    for module_name, module in modules.items():
        module.train(any(id(p) in wanted for p in module.parameters()))
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(id(parameter) in wanted)
            if id(parameter) in wanted:
                named[f"{module_name}.{name}"] = parameter
    if not named or len({id(p) for p in named.values()}) != len(wanted):
        raise BadArgument(
            f"Found {len(wanted)} parameters to train, {len(named)} of them in the stage's modules; "
            "expected at least one and all of them. List every module in `modules()`."
        )
    return named


def part_of(name: str) -> str:
    """The row of the trainable table that a qualified parameter name belongs to."""
    kind = " (LoRA)" if ".lora_" in name else " (new rows)" if name.endswith(".rows") else ""
    pieces = name.split(".")[:-1]
    return ".".join(pieces[: 3 if "output_projections" in pieces[:2] else 2]) + kind


def trainable_table(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, int]]:
    """Parameters and trainable parameters by part; tied ones count once."""
    table: dict[str, dict[str, int]] = {}
    for name, parameter in nn.ModuleDict(dict(modules)).named_parameters():
        row = table.setdefault(part_of(name), {"parameters": 0, "trainable": 0})
        row["parameters"] += parameter.numel()
        row["trainable"] += parameter.numel() if parameter.requires_grad else 0
    return table


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with every tensor on a device: tensors, mappings, lists, tuples and dataclasses of them."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if device.type == "cpu":
        return batch
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, list):
        return [to_device(value, device) for value in batch]
    if type(batch) is tuple:
        return tuple(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        moved = copy.copy(batch)
        for field in dataclasses.fields(batch):
            object.__setattr__(moved, field.name, to_device(getattr(batch, field.name), device))
        return moved
    return batch
