"""Train more than a stage does by itself: further parameters by pattern, a run file's `train_also`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anygen.config import unknown_name
from anygen.errors import BadArgument, WeightsMismatch

from .base import Stage

ALSO_TRAINED = "also_trained.safetensors"
"""File in `result/` with the parameters that a stage does not save by itself."""


class AlsoTrain:
    """A stage with further trainable parameters, written to and read from a file of their own."""

    def __init__(self, stage: Stage, patterns: Sequence[str], *, start: Path | None = None) -> None:
        """Wrap a stage.

        Args:
            stage: the stage.
            patterns: shell patterns of qualified parameter names, such as `*.embed_tokens.base.weight`.
            start: `result/` of the run before, whose further parameters these start from.

        Raises:
            BadArgument: a pattern fits no parameter.
            WeightsMismatch: `start` has others than these.
        """
        self._stage, self.name, self.dataset_size = stage, stage.name, stage.dataset_size
        self.config = getattr(stage, "config", None)
        self.sources: tuple[Any, ...] = tuple(getattr(stage, "sources", ()))
        named = {f"{k}.{n}": p for k, m in stage.modules().items() for n, p in m.named_parameters()}
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in named):
                raise BadArgument(unknown_name(pattern, named, "a pattern of this stage's parameters"))
        self._more = {n: p for n, p in named.items() if any(fnmatchcase(n, x) for x in patterns)}
        if start is not None:
            self._load(start / ALSO_TRAINED)

    def _load(self, path: Path) -> None:
        found = load_file(path) if path.is_file() else {}
        if {n: t.shape for n, t in found.items()} != {n: p.shape for n, p in self._more.items()}:
            raise WeightsMismatch(
                f"Found {len(found)} tensors in {path.name}, expected the {len(self._more)} of `train_also`; "
                "name the result of a run with the same `train_also`."
            )
        with torch.no_grad():
            for name, tensor in found.items():
                self._more[name].copy_(tensor)

    @property
    def samples(self) -> Any:
        """Where the stage shows samples."""
        return getattr(self._stage, "samples", None)

    @samples.setter
    def samples(self, folder: Any) -> None:
        if hasattr(self._stage, "samples"):
            self._stage.samples = folder

    def modules(self) -> dict[str, nn.Module]:
        """The stage's."""
        return self._stage.modules()

    def trainable_parameters(self) -> list[dict[str, Any]]:
        """The stage's, and one group of the further ones."""
        groups = self._stage.trainable_parameters()
        known = {id(p) for group in groups for p in group["params"]}
        return [*groups, {"params": [p for p in self._more.values() if id(p) not in known]}]

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """The stage's."""
        return self._stage.batch(indices)

    def training_forward(self, batch: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The stage's."""
        return self._stage.training_forward(batch)

    def evaluate(self) -> dict[str, float]:
        """The stage's."""
        return self._stage.evaluate()

    def save(self, folder: Path) -> None:
        """The stage's result, and a file of the further parameters."""
        self._stage.save(folder)
        save_file({n: p.detach().contiguous() for n, p in self._more.items()}, folder / ALSO_TRAINED)
