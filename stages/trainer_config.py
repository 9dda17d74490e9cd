"""How a run optimises: typed, with a line on every field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anygen.errors import BadArgument


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How to optimise; what to optimise is the stage's."""

    steps: int
    """Optimizer steps."""
    ends_at: int = 0
    """Step at which the run is finished though its schedule would go on, such as before another that decays
    the rate; 0 takes all `steps`. A run that stopped there may be told so when it resumes."""
    batch_size: int
    """Global batch, over all processes."""
    learning_rate: float
    """Peak learning rate."""
    warmup_steps: int = 50
    """Steps of linear warm-up from 0."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Shape of the decay after the warm-up."""
    final_lr_ratio: float = 0.05
    """Learning rate at the last step over the peak. 1 keeps it constant."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay."""
    beta2: float = 0.99
    """AdamW's second-moment decay; short runs want it below 0.999."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    ema_decay: float = 0.0
    """Decay of the moving average of the trained weights that is evaluated and saved; 0 turns it off."""
    micro_batches: int = 0
    """Pieces of a global batch, shared out among the processes; more pieces than processes accumulate
    gradients. Order, noise and dropout depend on this number and not on the processes. 0 takes one piece a
    process, or the number that the checkpoint was trained with."""
    seed: int = 0
    """Fixes data order, noise and dropout."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end alone."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept, at least 2."""
    mixed_precision: str = "no"
    """accelerate's setting: no, bf16 or fp16."""
    max_bad_steps: int = 10
    """Steps in a row with a non-finite gradient, each skipped, after which training stops."""
    tensorboard: bool = True
    """Write TensorBoard's event files too, where tensorboard is installed."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0 or not 0 <= self.ema_decay < 1:
            raise BadArgument(
                f"Found steps={self.steps}, learning_rate={self.learning_rate}, ema_decay={self.ema_decay}; "
                "expected steps >= 1, learning_rate > 0 and 0 <= ema_decay < 1."
            )
        if not 0 <= self.ends_at <= self.steps:
            raise BadArgument(f"Found ends_at={self.ends_at}; expected 0 to steps={self.steps}.")
        counts = {n: getattr(self, n) for n in ("batch_size", "log_every", "save_every", "max_bad_steps")}
        small = [f"{name}={value}" for name, value in counts.items() if value < 1]
        if small or self.keep < 2 or self.micro_batches < 0:
            found = ", ".join([*small, f"keep={self.keep}", f"micro_batches={self.micro_batches}"])
            raise BadArgument(
                f"Found {found}; expected whole numbers from 1, keep from 2, micro_batches from 0."
            )

    @property
    def last_step(self) -> int:
        """The step after which the run is finished."""
        return self.ends_at or self.steps

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then the decay to `final_lr_ratio` times the peak."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        left = 1 - progress if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_lr_ratio + (1 - self.final_lr_ratio) * left)


FREE = frozenset(
    {
        "ends_at",
        "log_every",
        "evaluate_every",
        "save_every",
        "keep",
        "max_bad_steps",
        "tensorboard",
        "micro_batches",
    }
)
"""Fields that may differ when a run resumes: they change no weight, or are settled by the checkpoint."""


def trainer_differences(saved: Mapping[str, Any], config: TrainerConfig) -> list[str]:
    """What a checkpoint's configuration says otherwise, as `name (saved, now)`.

    Fields that a checkpoint of an older version does not have count as their defaults, and unknown ones are
    named.
    """
    present = asdict(config)
    defaults = asdict(TrainerConfig(steps=1, batch_size=1, learning_rate=1.0))
    found = {**defaults, **saved}
    names = [n for n in sorted({*found, *present}) if n not in FREE and found.get(n) != present.get(n)]
    return [f"{n} ({found.get(n)}, now {present.get(n)})" for n in names]


def stage_differences(saved: Any, present: Any, path: str = "stage") -> list[str]:
    """Where two configurations of a stage differ, fields that only one of them knows left out."""
    if isinstance(saved, Mapping) and isinstance(present, Mapping):
        shared = [key for key in saved if key in present]
        return [d for key in shared for d in stage_differences(saved[key], present[key], f"{path}.{key}")]
    return [] if saved == present else [f"{path} ({saved}, now {present})"]
