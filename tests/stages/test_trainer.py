"""The trainer: exact resume, exact trainable sets, averaged weights, skipped steps."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anygen.errors import BadArgument, CheckpointCorrupt, NonFinite
from anygen.stages import checkpointing
from anygen.stages.base import set_trainable
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
    steps=12, batch_size=4, learning_rate=0.05, warmup_steps=2, ema_decay=0.9, log_every=1, save_every=5
)


def run(stage: LineStage, folder: Path, **kwargs: Any) -> dict[str, float]:
    return Trainer(stage, CONFIG, folder, progress=False).run(**kwargs)


def losses(folder: Path) -> dict[int, str]:
    rows = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: float(r["loss"]).hex() for r in rows if "loss" in r}


def test_resume_is_bitwise(tmp_path: Path) -> None:
    whole = run(LineStage(), tmp_path / "whole")
    assert run(LineStage(), tmp_path / "parts", until=7) == {}
    resumed = run(LineStage(), tmp_path / "parts", resume=True)
    assert resumed == whole
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == CONFIG.steps


def test_resume_after_a_crash_between_checkpoints_forgets_the_lost_steps(tmp_path: Path) -> None:
    run(LineStage(), tmp_path / "a", until=9)
    newest = checkpointing.step_folders(tmp_path / "a" / "checkpoints")[0]
    (newest / "state.safetensors").write_bytes(b"spoilt")
    whole = run(LineStage(), tmp_path / "whole")
    assert run(LineStage(), tmp_path / "a", resume=True) == whole
    assert losses(tmp_path / "a") == losses(tmp_path / "whole")


def test_a_finite_data_set_is_seen_in_epochs(tmp_path: Path) -> None:
    stage = LineStage(dataset_size=8)
    run(stage, tmp_path)
    assert sorted(sum(stage.seen[:2], [])) == sorted(sum(stage.seen[2:4], [])) == list(range(8))
    assert stage.seen[:2] != stage.seen[2:4]


def test_frozen_parts_stay_and_only_the_named_train(tmp_path: Path) -> None:
    stage = LineStage()
    before = stage.frozen.weight.detach().clone()
    trainer = Trainer(stage, CONFIG, tmp_path, progress=False)
    assert set(trainer.trainable) == {"head.1.weight", "head.1.bias"}
    assert not stage.frozen.training and stage.head.training
    trainer.run()
    assert torch.equal(stage.frozen.weight, before)


def test_a_used_run_folder_is_refused(tmp_path: Path) -> None:
    run(LineStage(), tmp_path)
    with pytest.raises(BadArgument, match="expected an empty run folder"):
        run(LineStage(), tmp_path)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    other = TrainerConfig(steps=13, batch_size=4, learning_rate=0.05)
    with pytest.raises(BadArgument, match="another configuration"):
        Trainer(LineStage(), other, tmp_path, progress=False).run(resume=True)


def test_all_checkpoints_spoilt_is_an_error(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    for folder in checkpointing.step_folders(tmp_path / "checkpoints"):
        (folder / "meta.json").write_text("{}")
    with pytest.raises(CheckpointCorrupt, match="none verifies"):
        run(LineStage(), tmp_path, resume=True)


def test_non_finite_gradients_stop_the_run_and_never_reach_the_weights(tmp_path: Path) -> None:
    stage = LineStage(poison=1)
    with pytest.raises(NonFinite, match="10 non-finite gradients in a row"):
        run(stage, tmp_path)
    assert torch.isfinite(stage.head[1].weight).all()


def test_a_foreign_parameter_is_refused() -> None:
    with pytest.raises(BadArgument, match="all of them"):
        set_trainable({"a": nn.Linear(1, 1)}, [{"params": [nn.Parameter(torch.zeros(1))]}])


@pytest.mark.parametrize("bad", [{"steps": 0}, {"learning_rate": 0.0}, {"ema_decay": 1.0}])
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadArgument, match="expected steps >= 1"):
        TrainerConfig(**({"steps": 1, "batch_size": 1, "learning_rate": 1.0} | bad))  # type: ignore[arg-type]


def test_checkpoints_keep_two_and_refuse_one(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpointing.save(tmp_path, checkpointing.Checkpoint(step, {"x": torch.ones(1)}, {}))
    assert [p.name for p in checkpointing.step_folders(tmp_path)] == ["step-00000003", "step-00000002"]
    with pytest.raises(BadArgument, match="expected at least 2"):
        checkpointing.save(tmp_path, checkpointing.Checkpoint(4, {}, {}), keep=1)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    checkpointing.save(tmp_path, checkpointing.Checkpoint(1, {"x": torch.arange(64.0)}, {"a": 1}))
    folder = tmp_path / "step-00000001"
    rng = np.random.default_rng(0)
    for name in ("state.safetensors", "meta.json"):
        good = (folder / name).read_bytes()
        for position in rng.integers(0, len(good), 25):
            spoilt = bytearray(good)
            spoilt[position] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(spoilt)
            with pytest.raises(CheckpointCorrupt):
                checkpointing.load(folder)
        (folder / name).write_bytes(good)
    assert checkpointing.load(folder).step == 1


@pytest.mark.slow
def test_kill_nine_then_resume_equals_the_uninterrupted_run(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_trainer import LineStage
        from anygen.stages.trainer import Trainer, TrainerConfig
        config = TrainerConfig(steps=400, batch_size=4, learning_rate=0.05, log_every=1, save_every=3)
        folder = Path(sys.argv[1])
        Trainer(LineStage(), config, folder, progress=False).run(resume=(folder / "checkpoints").exists())
        """
    )
    command = [sys.executable, "-c", program]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    rng = np.random.default_rng(1)
    for _ in range(5):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        while not (tmp_path / "killed" / "metrics.jsonl").exists():
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0.1, 4.0)))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
