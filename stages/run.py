"""From a YAML file to a finished run: `anygen train STAGE --config FILE`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from anygen.config import from_json, unknown_name
from anygen.errors import BadArgument
from anygen.presets import PRESETS

from .also_train import AlsoTrain
from .base import Stage
from .trainer import Trainer, TrainerConfig

STAGES: dict[str, tuple[str, str, str]] = {
    "binding": ("anygen.stages.binding", "BindingConfig", "BindingStage"),
    "encoder-alignment": (
        "anygen.stages.encoder_alignment",
        "EncoderAlignmentConfig",
        "EncoderAlignmentStage",
    ),
    "decoder-alignment": (
        "anygen.stages.decoder_alignment",
        "DecoderAlignmentConfig",
        "DecoderAlignmentStage",
    ),
    "instruction-tuning": ("anygen.stages.instruction_tuning", "InstructionConfig", "InstructionStage"),
    "autoencoder": ("anygen.stages.pretraining.autoencoder", "AutoencoderConfig", "AutoencoderStage"),
    "text-encoder": ("anygen.stages.pretraining.text_encoder", "TextEncoderConfig", "TextEncoderStage"),
    "diffusion": ("anygen.stages.pretraining.diffusion", "DiffusionConfig", "DiffusionStage"),
    "vocoder": ("anygen.stages.pretraining.vocoder", "VocoderConfig", "VocoderStage"),
    "language-model": (
        "anygen.stages.pretraining.language_model",
        "LanguageModelConfig",
        "LanguageModelStage",
    ),
}
"""Stage name to (module, configuration, class); modules are imported when asked for."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, as its YAML file has it."""

    run_folder: str
    """Where checkpoints, metrics and the result go."""
    trainer: TrainerConfig
    """How to optimise."""
    stage: dict[str, Any]
    """The stage's own configuration."""
    threads: int = 1
    """CPU threads; two processes of two threads each on two cores are far slower than two of one."""
    preset: str | None = None
    """Named model that the run is sized for; a dry run counts its parts without building any."""
    length: int = 512
    """Tokens of a sample that a dry run of a preset counts with."""
    train_also: tuple[str, ...] = ()
    """Shell patterns of further parameters that train, beyond the stage's own."""
    train_also_start: str | None = None
    """`result/` of the run before whose further parameters these start from."""

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise BadArgument(unknown_name(self.preset, PRESETS, "a preset"))


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Parse a run file.

    Args:
        path: YAML file.
        overrides: `key.of.a.field=value` with the value in YAML, laid over the file in their order.

    Raises:
        BadArgument: not YAML, or an unknown, missing or ill-typed key.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadArgument(
            f"{path}: found no readable YAML; expected a run configuration. Check the file."
        ) from error
    for override in overrides:
        _lay_over(data, override)
    return from_json(RunConfig, data, where=path.name)


def _lay_over(data: Any, override: str) -> None:
    key, sign, text = override.partition("=")
    path = key.strip().split(".")
    if not sign or not all(path):
        raise BadArgument(f"Found the setting {override!r}; expected key.of.a.field=value.")
    try:
        value = _number(yaml.safe_load(text))
    except yaml.YAMLError:
        raise BadArgument(f"Found {text!r} for {key}; expected a value as YAML writes it.") from None
    for name in path[:-1]:
        if not isinstance(data, dict):
            break
        if data.get(name) is None:
            data[name] = {}
        data = data[name]
    if not isinstance(data, dict):
        raise BadArgument(f"Found the setting {key}; expected the key of a field. Check what lies above it.")
    data[path[-1]] = value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as a text; on a command line it is a number."""
    try:
        return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value) else value
    except ValueError:
        return value


def build_stage(name: str, config: dict[str, Any], *, where: str = "stage") -> Stage:
    """Make a stage from its name and its parsed configuration.

    Raises:
        BadArgument: unknown stage, or a bad configuration key.
    """
    parsed = stage_config(name, config, where=where)
    module_name, _, class_name = STAGES[name]
    stage: Stage = getattr(importlib.import_module(module_name), class_name)(parsed)
    return stage


def stage_config(name: str, config: dict[str, Any], *, where: str = "stage") -> Any:
    """Parse a stage's configuration without making the stage.

    Raises:
        BadArgument: unknown stage, or a bad configuration key.
    """
    if name not in STAGES:
        raise BadArgument(unknown_name(name, STAGES, "a stage"))
    module_name, config_name, _ = STAGES[name]
    return from_json(getattr(importlib.import_module(module_name), config_name), config, where=where)


def build(name: str, config: RunConfig, *, where: str) -> Stage:
    """The stage of a run, with everything that the run file trains.

    Raises:
        BadArgument: unknown stage, a bad configuration key, or a pattern that fits nothing.
    """
    torch.set_num_threads(config.threads)
    stage = build_stage(name, config.stage, where=f"{where}: stage")
    if not config.train_also:
        return stage
    start = Path(config.train_also_start) if config.train_also_start else None
    return AlsoTrain(stage, config.train_also, start=start)


def main(
    stage: str,
    config_path: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> dict[str, float]:
    """Run a stage and return its scores.

    Args:
        stage: One of `STAGES`.
        config_path: The run's YAML file.
        resume: Go on from the newest checkpoint that verifies.
        progress: Show a bar on standard error.
        overrides: Settings laid over the file, `trainer.steps=10`.
        force: Resume although the stage's configuration or frozen weights are others than saved.
    """
    path = Path(config_path)
    config = read_config(path, overrides)
    built = build(stage, config, where=path.name)
    trainer = Trainer(built, config.trainer, Path(config.run_folder), progress=progress)
    return trainer.run(resume=resume, force=force)
