"""A stage that trains in milliseconds, and processes to train it in."""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.stages.metrics import read_metrics
from anygen.stages.trainer import Trainer, TrainerConfig


class LineStage:
    """Fits a line through a frozen layer with dropout: every kind of randomness a real stage has."""

    name = "line"

    def __init__(self, *, poison: int | None = None, dataset_size: int | None = 10) -> None:
        torch.manual_seed(0)
        self.dataset_size = dataset_size
        self.head, self.frozen = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 1)), nn.Linear(1, 4)
        self.seen: list[list[int]] = []
        self.poison = poison

    def modules(self) -> dict[str, nn.Module]:
        return {"head": self.head, "frozen": self.frozen}

    def trainable_parameters(self) -> list[dict[str, Any]]:
        return [{"params": [self.head[1].weight]}, {"params": [self.head[1].bias], "lr_scale": 0.5}]

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        self.seen.append(indices.tolist())
        return torch.from_numpy(indices).float()[:, None] / 10

    def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
        noisy = batch + 0.01 * torch.randn_like(batch)
        loss = (self.head(self.frozen(noisy)) - 3 * batch).square().mean()
        if self.poison is not None and len(self.seen) > self.poison:
            loss = loss * math.nan
        return {"loss": loss}, {}

    def evaluate(self) -> dict[str, float]:
        return {"weight": float(self.head[1].weight.sum())}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weight.json").write_text(json.dumps(self.head[1].weight.tolist()))


CONFIG = TrainerConfig(
    steps=12,
    batch_size=4,
    learning_rate=0.05,
    warmup_steps=2,
    ema_decay=0.9,
    log_every=1,
    save_every=5,
    tensorboard=False,
)


def run(stage: LineStage, folder: Path, **kwargs: Any) -> dict[str, float]:
    return Trainer(stage, CONFIG, folder, progress=False).run(**kwargs)


def losses(folder: Path) -> dict[int, str]:
    """Every logged loss to its last bit."""
    return {r["step"]: float(r["loss"]).hex() for r in read_metrics(folder) if "loss" in r}


def in_processes(count: int, work: Callable[[int], None], **environment: str) -> None:
    """Run `work(rank)` in forks that form one gloo group; fails when one of them does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **environment}
                AcceleratorState._reset_state(reset_partial_state=True)
                PartialState._reset_state()
                work(rank)
                status = 0
            except BaseException:
                traceback.print_exc(file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    assert statuses == [0] * count, statuses
