"""What a stage is: the modules it holds, what of them trains, what a batch is, and what the loss is.

A stage knows nothing of optimizers, checkpoints or processes; the trainer knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.errors import BadArgument


class Stage(Protocol):
    """One training run's subject."""

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
