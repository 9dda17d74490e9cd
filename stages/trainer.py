"""The one training loop: accelerate for devices and processes, stateless randomness, checkpoints, metrics."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn
from tqdm import tqdm

from anygen.config import to_json
from anygen.errors import BadArgument, NonFinite

from . import checkpointing, trainer_state
from .base import Stage, set_trainable, to_device, trainable_table
from .metrics import MetricsLog, means, memory_mb
from .run_folder import hold, replace_folder, write_text
from .samples import SampleFolder
from .sampling import IndexSampler
from .trainer_config import TrainerConfig, stage_differences, trainer_differences

__all__ = ["Trainer", "TrainerConfig"]

logger = logging.getLogger(__name__)


class _StageModule(nn.Module):
    """The stage as one module, so that DDP and FSDP see its forward."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(stage.modules())
        self._forward = stage.training_forward

    def forward(self, batch: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
        return self._forward(batch)


class Trainer:
    """Runs a stage in a folder: `checkpoints/`, `metrics.jsonl`, `config.json`, `samples/` and `result/`."""

    def __init__(
        self, stage: Stage, config: TrainerConfig, run_folder: Path, *, progress: bool = True
    ) -> None:
        self.stage, self.config, self.run_folder = stage, config, run_folder
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            cpu=not torch.cuda.is_available(),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        trainer_state.allow_fsdp_on_cpu(self.accelerator)
        groups = stage.trainable_parameters()
        self.trainable = set_trainable(stage.modules(), groups)
        self.frozen_sha256 = trainer_state.frozen_sha256(stage.modules(), self.trainable)
        self.scales = [group.get("lr_scale", 1.0) for group in groups]
        self.optimizer = torch.optim.AdamW(
            [{"params": list(group["params"])} for group in groups],
            lr=config.learning_rate,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
        )
        self.module, self.optimizer = self.accelerator.prepare(_StageModule(stage), self.optimizer)
        if self.accelerator.is_fsdp2:  # sharding makes new parameter objects
            parts = self.accelerator.unwrap_model(self.module).parts
            self.trainable = {n: p for n, p in parts.named_parameters() if p.requires_grad}
        self.sampler = IndexSampler(
            batch_size=config.batch_size,
            seed=config.seed,
            dataset_size=stage.dataset_size,
            sources=tuple(getattr(stage, "sources", ())),
        )
        self.pieces = config.micro_batches or self.accelerator.num_processes
        self.ema = {n: p.detach().clone() for n, p in self.trainable.items()} if config.ema_decay else {}
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        self._saved_step, self._logged = 0, (0, 0.0)
        self._metrics: MetricsLog | None = None
        self._progress = progress and self.accelerator.is_main_process
        self._stop = False

    def run(self, *, resume: bool = False, until: int | None = None, force: bool = False) -> dict[str, float]:
        """Train to the end (or to step `until`), evaluate, save, and return the scores.

        Args:
            resume: go on from the newest checkpoint that verifies.
            until: stop after this step, as SIGTERM would.
            force: resume although the stage's configuration or its frozen weights are others than saved.

        Raises:
            BadArgument: the run folder is in use, holds checkpoints and `resume` is false, or holds those of
                another configuration or other frozen weights.
            CheckpointCorrupt: `resume` is true and no checkpoint verifies.
            NonFinite: too many steps in a row had a non-finite gradient.
            SaveFailed: the disk refused a checkpoint; the one before is untouched.
        """
        with hold(self.run_folder) if self.accelerator.is_main_process else contextlib.nullcontext():
            self._start(resume, force)
            last = min(self.config.last_step, until or self.config.last_step)
            with self._stopping_at_a_step(), self._bar() as bar:
                while self.step < last and not self._stop_asked():
                    figures = self._train_step()
                    bar.update()
                    self._after_step(figures, bar)
            if self._saved_step != self.step:
                self.save_checkpoint()
            scores = self._finish() if self.step == self.config.last_step else {}
            if self._metrics is not None:
                self._metrics.close()
            return scores

    def _start(self, resume: bool, force: bool) -> None:
        folder = self.run_folder / "checkpoints"
        if checkpointing.step_folders(folder):
            if not resume:
                raise BadArgument(
                    f"Found checkpoints in {self.run_folder.name}; expected an empty run folder. "
                    "Resume, or name another."
                )
            checkpoint = checkpointing.load_newest(folder)
            assert checkpoint is not None
            self._restore(checkpoint, force)
            if self.step > self.config.last_step:
                raise BadArgument(
                    f"Found a checkpoint of step {self.step}; expected none after {self.config.last_step}, "
                    "where the run ends. Raise trainer.ends_at."
                )
        if self.pieces % self.accelerator.num_processes:
            raise BadArgument(
                f"Found {self.pieces} micro-batches for {self.accelerator.num_processes} processes; expected "
                "a multiple. Set trainer.micro_batches."
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            config = self.config
            about = {
                **asdict(config),
                "stage": self.stage.name,
                "parts": trainable_table(self.stage.modules()),
            }
            write_text(self.run_folder / "config.json", json.dumps(about, indent=1))
            self._metrics = MetricsLog(
                self.run_folder, step=self.step, last_step=config.last_step, tensorboard=config.tensorboard
            )
        self._logged = (self.step, self.seconds)

    def _bar(self) -> Any:
        return tqdm(
            total=self.config.last_step, initial=self.step, desc=self.stage.name, disable=not self._progress
        )

    @contextlib.contextmanager
    def _stopping_at_a_step(self) -> Iterator[None]:
        """SIGTERM ends the step that is running, then training, with a checkpoint."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGTERM, self._request_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _request_stop(self, *_: object) -> None:
        self._stop = True

    def _stop_asked(self) -> bool:
        """Whether any process was asked to stop; all agree, so that none waits for another."""
        if self.accelerator.num_processes > 1:
            asked = torch.tensor(float(self._stop), device=self.accelerator.device)
            self._stop = bool(self.accelerator.reduce(asked, "sum") > 0)
        return self._stop

    def _seed(self, piece: int) -> None:
        """All randomness of a step comes from (seed, step, piece): a resumed run needs no RNG state."""
        seed = (self.config.seed * 1_000_003 + self.step) * 1_009 + piece
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    def _train_step(self) -> dict[str, float]:
        started = time.perf_counter()
        accelerator, config = self.accelerator, self.config
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group["lr"] = config.learning_rate_at(self.step) * scale
        mine = range(accelerator.process_index, self.pieces, accelerator.num_processes)
        figures = []
        for piece in mine:
            self._seed(piece)
            batch = self.stage.batch(self.sampler.indices(self.step, rank=piece, world_size=self.pieces))
            more = piece != mine[-1]
            with accelerator.no_sync(self.module) if more else contextlib.nullcontext():
                losses, report = self.module(to_device(batch, accelerator.device))
                accelerator.backward(losses["loss"] / len(mine) if len(mine) > 1 else losses["loss"])
            figures.append({**{k: float(v.detach()) for k, v in losses.items()}, **report})
        norm = self._update()
        self.step += 1
        self._update_ema()
        self.seconds += time.perf_counter() - started
        if self._logs_now():
            figures = gather_object(figures)
        return {**means(figures), "grad_norm": norm}

    def _update(self) -> float:
        """Clip and step; a non-finite gradient never reaches the weights."""
        clipped = self.accelerator.clip_grad_norm_(list(self.trainable.values()), self.config.max_grad_norm)
        norm = float(trainer_state.whole(clipped.detach()))
        finite = math.isfinite(norm)
        if finite or self.accelerator.scaler is not None:  # fp16's scaler skips by itself, and learns from it
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.bad_steps = 0 if finite else self.bad_steps + 1
        if not finite:
            logger.warning("step %d: non-finite gradient, step skipped", self.step)
        if self.bad_steps >= self.config.max_bad_steps:
            raise NonFinite(
                f"Found {self.bad_steps} non-finite gradients in a row at step {self.step}; "
                "lower the learning rate and resume from the last checkpoint."
            )
        return norm

    def _update_ema(self) -> None:
        if self.ema:
            # The average warms up, so that early weights are forgotten.
            decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, parameter in self.trainable.items():
                    self.ema[name].lerp_(parameter, 1 - decay)

    def _logs_now(self) -> bool:
        return self.step % self.config.log_every == 0 or self.step == self.config.last_step

    def _after_step(self, figures: dict[str, float], bar: Any) -> None:
        config = self.config
        if self._logs_now():
            lr = config.learning_rate_at(self.step - 1)
            self._log({"lr": lr, "seconds": round(self.seconds, 2), **figures, **self._speed()})
            bar.set_postfix({k: f"{v:.4g}" for k, v in list(figures.items())[:3]})
        if config.evaluate_every and self.step % config.evaluate_every == 0 and self.step < config.last_step:
            self._log({f"eval/{k}": v for k, v in self.evaluate().items()})
        if self.step % config.save_every == 0:
            self.save_checkpoint()

    def _speed(self) -> dict[str, float]:
        """Samples per second since the last line, and memory."""
        (step, seconds), self._logged = self._logged, (self.step, self.seconds)
        rate = (self.step - step) * self.config.batch_size / max(self.seconds - seconds, 1e-9)
        return {"samples_per_second": round(rate, 3), "memory_mb": round(memory_mb(), 1)}

    def _log(self, figures: dict[str, float]) -> None:
        if self._metrics is not None:
            self._metrics.write(self.step, figures)

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
        self._seed(0)
        whole = trainer_state.gathered(self.module)
        with torch.no_grad(), self.averaged_weights(), whole, self._showing():
            scores = self.stage.evaluate()
        for module, mode in zip(modules, training, strict=True):
            module.train(mode)
        return scores

    @contextlib.contextmanager
    def _showing(self) -> Iterator[None]:
        """Give a stage that shows samples a place for them, `samples/step-N`."""
        if not hasattr(self.stage, "samples") or not self.accelerator.is_main_process:
            yield
            return
        with SampleFolder(self.run_folder / "samples" / f"step-{self.step:08d}") as self.stage.samples:
            yield
        self.stage.samples = None

    def save_checkpoint(self) -> None:
        """Write everything that the next step depends on.

        Raises:
            SaveFailed: the disk refused; the checkpoints before are untouched.
        """
        tensors: dict[str, Tensor] = {f"model.{n}": trainer_state.whole(p) for n, p in self.trainable.items()}
        tensors |= {f"ema.{n}": trainer_state.whole(p) for n, p in self.ema.items()}
        tensors |= trainer_state.optimizer_tensors(self.optimizer)
        if self.accelerator.is_main_process:
            checkpoint = checkpointing.Checkpoint(step=self.step, tensors=tensors, meta=self._meta())
            checkpointing.save(self.run_folder / "checkpoints", checkpoint, keep=self.config.keep)
        self.accelerator.wait_for_everyone()
        self._saved_step = self.step

    def _meta(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "config": asdict(self.config),
            "stage": self.stage.name,
            "seconds": self.seconds,
            "sampler": self.sampler.state(self.step),
            "micro_batches": self.pieces,
            "bad_steps": self.bad_steps,
            "stage_config": to_json(getattr(self.stage, "config", None)),
            "frozen_sha256": self.frozen_sha256,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def _restore(self, checkpoint: checkpointing.Checkpoint, force: bool) -> None:
        meta = checkpoint.meta
        self._check_same(meta, force)
        trainer_state.copy_named(self.trainable, checkpoint.tensors, "model.")
        trainer_state.copy_named(self.ema, checkpoint.tensors, "ema.")
        trainer_state.restore_optimizer(self.optimizer, checkpoint.tensors)
        self.step, self.seconds = checkpoint.step, float(meta["seconds"])
        self.bad_steps, self._saved_step = int(meta.get("bad_steps", 0)), checkpoint.step
        if self.config.micro_batches == 0:
            self.pieces = int(meta.get("micro_batches", self.pieces))
        if self.accelerator.scaler is not None and meta.get("scaler"):
            self.accelerator.scaler.load_state_dict(meta["scaler"])
        sampler = meta.get("sampler")
        if sampler is not None and sampler != self.sampler.state(self.step):
            raise BadArgument(
                f"Found data that stand at {self.sampler.state(self.step)}, and a checkpoint at {sampler}; "
                "expected the same data set. Restore it, or start in another run folder."
            )

    def _check_same(self, meta: dict[str, Any], force: bool) -> None:
        found = trainer_differences(meta["config"], self.config)
        if meta["stage"] != self.stage.name:
            found = [f"stage {meta['stage']}"]
        if not force and not found:
            present = to_json(getattr(self.stage, "config", None))
            found = stage_differences(meta.get("stage_config", present), present)
            if meta.get("frozen_sha256", self.frozen_sha256) != self.frozen_sha256:
                found.append("weights of frozen parts")
        if found:
            raise BadArgument(
                f"Found a checkpoint of another configuration: {', '.join(found)}; expected the same one. "
                "Restore the configuration, or start in another run folder."
            )

    def _finish(self) -> dict[str, float]:
        scores = self.evaluate()
        self._log({f"eval/{k}": v for k, v in scores.items()})
        with self.averaged_weights(), trainer_state.gathered(self.module):
            if self.accelerator.is_main_process:
                replace_folder(self.run_folder / "result", self.stage.save)
            trainer_state.check_frozen(self.stage.modules(), self.trainable, self.frozen_sha256)
        summary = {
            "steps": self.step,
            "hours": self.seconds / 3600,
            "seed": self.config.seed,
            "scores": scores,
        }
        if self.accelerator.is_main_process:
            write_text(self.run_folder / "summary.json", json.dumps(summary, indent=1))
        self.accelerator.wait_for_everyone()
        return scores
