"""The one training loop: accelerate for devices and processes, stateless randomness, checkpoints, metrics."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from anygen.errors import BadArgument, CheckpointCorrupt, NonFinite

from . import checkpointing
from .base import Stage, set_trainable
from .sampling import IndexSampler

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How to optimise; what to optimise is the stage's."""

    steps: int
    """Optimizer steps."""
    batch_size: int
    """Global batch, over all processes."""
    learning_rate: float
    """Peak learning rate."""
    warmup_steps: int = 50
    """Steps of linear warm-up from 0."""
    final_lr_ratio: float = 0.05
    """Learning rate at the last step over the peak; the decay is a cosine. 1 keeps it constant."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay."""
    beta2: float = 0.99
    """AdamW's second-moment decay; short runs want it below 0.999."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    ema_decay: float = 0.0
    """Decay of the moving average of the trained weights that is evaluated and saved; 0 turns it off."""
    seed: int = 0
    """Fixes data order, noise and dropout."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end alone."""
    save_every: int = 200
    """Steps between checkpoints."""
    mixed_precision: str = "no"
    """accelerate's setting: no, bf16 or fp16."""
    max_bad_steps: int = 10
    """Steps in a row with a non-finite gradient, each skipped, after which training stops."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0 or not 0 <= self.ema_decay < 1:
            raise BadArgument(
                f"Found steps={self.steps}, learning_rate={self.learning_rate}, ema_decay={self.ema_decay}; "
                "expected steps >= 1, learning_rate > 0 and 0 <= ema_decay < 1."
            )

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine to `final_lr_ratio` times the peak."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * (self.final_lr_ratio + (1 - self.final_lr_ratio) * cosine)


class _StageModule(nn.Module):
    """The stage as one module, so that DDP and FSDP see its forward."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(stage.modules())
        self._forward = stage.training_forward

    def forward(self, batch: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
        return self._forward(batch)


class Trainer:
    """Runs a stage in a folder of `checkpoints/`, `metrics.jsonl`, `config.json` and `result/`."""

    def __init__(
        self, stage: Stage, config: TrainerConfig, run_folder: Path, *, progress: bool = True
    ) -> None:
        self.stage, self.config, self.run_folder = stage, config, run_folder
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision, cpu=not torch.cuda.is_available()
        )
        groups = stage.trainable_parameters()
        self.trainable = set_trainable(stage.modules(), groups)
        self.scales = [group.get("lr_scale", 1.0) for group in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": list(group["params"])} for group in groups],
            lr=config.learning_rate,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
        )
        self.module, self.optimizer = self.accelerator.prepare(_StageModule(stage), self.optimizer)
        self.sampler = IndexSampler(
            batch_size=config.batch_size, seed=config.seed, dataset_size=stage.dataset_size
        )
        self.ema = {n: p.detach().clone() for n, p in self.trainable.items()} if config.ema_decay else {}
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        self._progress = progress and self.accelerator.is_main_process
        self._stop = False

    def run(self, *, resume: bool = False, until: int | None = None) -> dict[str, float]:
        """Train to the end (or to step `until`), evaluate, save, and return the scores.

        Raises:
            BadArgument: the run folder holds checkpoints and `resume` is false, or of another configuration.
            CheckpointCorrupt: `resume` is true and no checkpoint verifies.
            NonFinite: too many steps in a row had a non-finite gradient.
        """
        self._start(resume)
        last = min(self.config.steps, until or self.config.steps)
        bar = tqdm(
            total=self.config.steps, initial=self.step, desc=self.stage.name, disable=not self._progress
        )
        previous = signal.signal(signal.SIGTERM, self._request_stop)
        try:
            while self.step < last and not self._stop:
                figures = self._train_step()
                bar.update()
                self._after_step(figures, bar)
        finally:
            signal.signal(signal.SIGTERM, previous)
            bar.close()
        if self.step % self.config.save_every or self._stop:
            self.save_checkpoint()
        if self.step < self.config.steps:
            return {}
        return self._finish()

    def _start(self, resume: bool) -> None:
        folder = self.run_folder / "checkpoints"
        if checkpointing.step_folders(folder):
            if not resume:
                raise BadArgument(
                    f"Found checkpoints in {self.run_folder.name}; expected an empty run folder. "
                    "Resume, or name another."
                )
            checkpoint = checkpointing.load_newest(folder)
            assert checkpoint is not None
            self._restore(checkpoint)
        self.run_folder.mkdir(parents=True, exist_ok=True)
        (self.run_folder / "config.json").write_text(json.dumps(asdict(self.config), indent=1))
        metrics = self.run_folder / "metrics.jsonl"
        if metrics.exists():
            kept = [x for x in metrics.read_text().splitlines() if x and json.loads(x)["step"] <= self.step]
            metrics.write_text("".join(x + "\n" for x in kept))

    def _request_stop(self, *_: object) -> None:
        self._stop = True

    def _train_step(self) -> dict[str, float]:
        started = time.perf_counter()
        accelerator, config = self.accelerator, self.config
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"] = config.learning_rate_at(self.step) * scale
        # All randomness of a step comes from (seed, step, process): a resumed run needs no RNG state.
        torch.manual_seed((config.seed * 1_000_003 + self.step) * 1_009 + accelerator.process_index)
        indices = self.sampler.indices(
            self.step, rank=accelerator.process_index, world_size=accelerator.num_processes
        )
        losses, report = self.module(self.stage.batch(indices))
        accelerator.backward(losses["loss"])
        norm = float(accelerator.clip_grad_norm_(list(self.trainable.values()), config.max_grad_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self.bad_steps = 0
        else:
            self._skip_step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._update_ema()
        self.seconds += time.perf_counter() - started
        return {**{k: float(v) for k, v in losses.items()}, **report, "grad_norm": norm}

    def _skip_step(self) -> None:
        self.bad_steps += 1
        logger.warning("step %d: non-finite gradient, step skipped", self.step)
        if self.bad_steps >= self.config.max_bad_steps:
            raise NonFinite(
                f"Found {self.bad_steps} non-finite gradients in a row at step {self.step}; "
                "lower the learning rate and resume from the last checkpoint."
            )

    def _update_ema(self) -> None:
        if self.ema:
            # The average warms up, so that early weights are forgotten.
            decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, parameter in self.trainable.items():
                    self.ema[name].lerp_(parameter, 1 - decay)

    def _after_step(self, figures: dict[str, float], bar: Any) -> None:
        config = self.config
        if self.step % config.log_every == 0 or self.step == config.steps:
            lr = config.learning_rate_at(self.step - 1)
            self._log({"lr": lr, "seconds": round(self.seconds, 2), **figures})
            bar.set_postfix({k: f"{v:.4g}" for k, v in list(figures.items())[:3]})
        if config.evaluate_every and self.step % config.evaluate_every == 0 and self.step < config.steps:
            self._log({f"eval/{k}": v for k, v in self.evaluate().items()})
        if self.step % config.save_every == 0:
            self.save_checkpoint()

    def _log(self, figures: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            with (self.run_folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": self.step, **figures}) + "\n")

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Use the moving average in place of the trained weights inside the block."""
        if not self.ema:
            yield
            return
        kept = {name: parameter.detach().clone() for name, parameter in self.trainable.items()}
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(self.ema[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.trainable.items():
                    parameter.copy_(kept[name])

    def evaluate(self) -> dict[str, float]:
        """The stage's scores with averaged weights and every module in evaluation mode."""
        modules = self.stage.modules().values()
        training = [module.training for module in modules]
        for module in modules:
            module.eval()
        with torch.no_grad(), self.averaged_weights():
            scores = self.stage.evaluate()
        for module, mode in zip(modules, training, strict=True):
            module.train(mode)
        return scores

    def save_checkpoint(self) -> None:
        """Write everything that the next step depends on."""
        if not self.accelerator.is_main_process:
            return
        tensors: dict[str, Tensor] = {f"model.{n}": p for n, p in self.trainable.items()}
        tensors |= {f"ema.{n}": p for n, p in self.ema.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        meta = {"config": asdict(self.config), "stage": self.stage.name, "seconds": self.seconds}
        checkpoint = checkpointing.Checkpoint(step=self.step, tensors=tensors, meta=meta)
        checkpointing.save(self.run_folder / "checkpoints", checkpoint)

    def _restore(self, checkpoint: checkpointing.Checkpoint) -> None:
        if checkpoint.meta["stage"] != self.stage.name or checkpoint.meta["config"] != asdict(self.config):
            raise BadArgument(
                f"Found a checkpoint of stage {checkpoint.meta['stage']} with another configuration; "
                "expected the same one. Restore the configuration, or start in another run folder."
            )
        expected = {f"model.{n}" for n in self.trainable} | {f"ema.{n}" for n in self.ema}
        found = {k for k in checkpoint.tensors if not k.startswith("optimizer.")}
        if expected != found:
            raise CheckpointCorrupt(
                f"Found {len(found - expected)} unexpected and {len(expected - found)} missing tensors in "
                "the checkpoint; expected exactly this stage's trainable parameters."
            )
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(checkpoint.tensors[f"model.{name}"])
            for name in self.ema:
                self.ema[name].copy_(checkpoint.tensors[f"ema.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in checkpoint.tensors.items():
            if key.startswith("optimizer."):
                _, index, field = key.split(".", 2)
                state.setdefault(int(index), {})[field] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.seconds = checkpoint.step, float(checkpoint.meta["seconds"])

    def _finish(self) -> dict[str, float]:
        scores = self.evaluate()
        self._log({f"eval/{k}": v for k, v in scores.items()})
        if self.accelerator.is_main_process:
            with self.averaged_weights():
                self.stage.save(self.run_folder / "result")
            summary = {
                "steps": self.step,
                "hours": self.seconds / 3600,
                "seed": self.config.seed,
                "scores": scores,
            }
            (self.run_folder / "summary.json").write_text(json.dumps(summary, indent=1))
        return scores
