"""From a YAML file to a finished run: `anygen train STAGE --config FILE`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from anygen.config import from_json, unknown_name
from anygen.errors import BadArgument

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


def read_config(path: Path) -> RunConfig:
    """Parse a run file.

    Raises:
        BadArgument: not YAML, or an unknown, missing or ill-typed key.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadArgument(
            f"{path}: found no readable YAML; expected a run configuration. Check the file."
        ) from error
    return from_json(RunConfig, data, where=path.name)


def build_stage(name: str, config: dict[str, Any], *, where: str = "stage") -> Stage:
    """Make a stage from its name and its parsed configuration.

    Raises:
        BadArgument: unknown stage, or a bad configuration key.
    """
    if name not in STAGES:
        raise BadArgument(unknown_name(name, STAGES, "a stage"))
    module_name, config_name, class_name = STAGES[name]
    module = importlib.import_module(module_name)
    stage: Stage = getattr(module, class_name)(from_json(getattr(module, config_name), config, where=where))
    return stage


def main(
    stage: str, config_path: str | Path, *, resume: bool = False, progress: bool = True
) -> dict[str, float]:
    """Run a stage and return its scores.

    Args:
        stage: One of `STAGES`.
        config_path: The run's YAML file.
        resume: Go on from the newest checkpoint that verifies.
        progress: Show a bar on standard error.
    """
    path = Path(config_path)
    config = read_config(path)
    torch.set_num_threads(config.threads)
    built = build_stage(stage, config.stage, where=f"{path.name}: stage")
    return Trainer(built, config.trainer, Path(config.run_folder), progress=progress).run(resume=resume)
