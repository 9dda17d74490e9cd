"""What a run would train, hold in memory and take, said before it starts: `anygen train --dry-run`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anygen.checkpoints.inspection import PartReport, inspect_model
from anygen.language_models import LANGUAGE_MODELS
from anygen.presets import PRESETS

from .base import Stage, set_trainable, trainable_table
from .metrics import read_metrics, samples_per_second
from .run import RunConfig, build, stage_config
from .trainer_config import TrainerConfig

Table = Mapping[str, Mapping[str, int]]

TRAINED = {
    "encoder-alignment": ("input_projection",),
    "decoder-alignment": ("output_projections/", "signal_rows"),
    "instruction-tuning": ("input_projection", "output_projections/", "signal_rows", "adapter"),
}
"""Parts of a preset that a stage trains, by the beginnings of their names."""

VOCABULARY = "llm (embedding and head)"
"""Row of the published runs: they trained the whole vocabulary."""


def dry_run(name: str, config: RunConfig, *, where: str) -> list[str]:
    """Lines that say what a run is about to do; nothing is written into its folder.

    Args:
        name: the stage.
        config: the run. With a preset its parts are counted on modules without memory; otherwise the stage is
            built, and one batch measured.
        where: name of the run file, for messages.

    Raises:
        BadArgument: the configuration does not fit the stage.
    """
    trainer = config.trainer
    total = trainer.steps * trainer.batch_size
    lines = [
        f"{name}: {trainer.steps:,} steps of {trainer.batch_size} samples, {total:,} in all; "
        f"a checkpoint every {trainer.save_every} steps in {config.run_folder}",
        "",
    ]
    if config.preset is not None and name in TRAINED:
        stage_config(name, config.stage, where=f"{where}: stage")
        table = preset_table(name, config)
        activations = _llama_activations(config)
        guess = f"guessed for {config.length} tokens a sample"
    else:
        stage = build(name, config, where=where)
        parameters = set_trainable(stage.modules(), stage.trainable_parameters())
        table = trainable_table(stage.modules())
        activations = _measured_activations(stage, trainer)
        guess = f"measured on one micro-batch, {len(parameters)} trainable tensors"
    lines += _table_lines(table)
    lines += ["", *_memory_lines(_held(name, config, table), trainer, activations, guess)]
    lines += ["", _speed_line(config)]
    if config.preset is not None and name == "decoder-alignment":
        lines += ["", *_ratio_lines(config)]
    return lines


def preset_table(name: str, config: RunConfig) -> dict[str, dict[str, int]]:
    """Parameters and trainable parameters of a preset's parts in one stage."""
    assert config.preset is not None
    table: dict[str, dict[str, int]] = {}
    for report in inspect_model(config.preset):
        trained = report.parameters if report.name.startswith(TRAINED[name]) else 0
        table[report.name] = {"parameters": report.parameters, "trainable": trained}
        if report.vocabulary and _trains_vocabulary(config, report):
            table[report.name]["parameters"] -= report.vocabulary
            table[VOCABULARY] = {"parameters": report.vocabulary, "trainable": report.vocabulary}
    return table


def _trains_vocabulary(config: RunConfig, report: PartReport) -> bool:
    return report.name == "llm" and any("embed_tokens" in p or "lm_head" in p for p in config.train_also)


def _held(name: str, config: RunConfig, table: Table) -> Table:
    """The parts that the stage has in memory: a preset's decoders give their text encoders alone."""
    if config.preset is None or name not in TRAINED:
        return table
    held = {part: row for part, row in table.items() if not part.startswith("decoders/")}
    if name == "decoder-alignment":
        held.pop("encoder", None)
    if name != "encoder-alignment":
        for report in inspect_model(config.preset):
            texts = report.components.get("text_encoder", 0)
            if texts:
                held[f"{report.name}/text_encoder"] = {"parameters": texts, "trainable": 0}
    return held


def _table_lines(table: Table) -> list[str]:
    total = {key: sum(row[key] for row in table.values()) for key in ("parameters", "trainable")}
    width = max(len(part) for part in (*table, "total"))
    lines = [f"{'part':{width}}  {'parameters':>15}  {'trainable':>13}  {'share':>8}"]
    for part, row in [*table.items(), ("total", total)]:
        share = f"{100 * row['trainable'] / row['parameters']:.2f} %" if row["parameters"] else "-"
        shown = share if row["trainable"] else "frozen"
        lines.append(f"{part:{width}}  {row['parameters']:>15,}  {row['trainable']:>13,}  {shown:>8}")
    return lines


def _memory_lines(table: Table, trainer: TrainerConfig, activations: float, guess: str) -> list[str]:
    frozen = sum(row["parameters"] - row["trainable"] for row in table.values())
    trainable = sum(row["trainable"] for row in table.values())
    size = 4 if trainer.mixed_precision == "no" else 2
    parts = {
        f"frozen weights at {size} bytes": frozen * size,
        "trainable weights at 4 bytes": trainable * 4,
        "gradients": trainable * 4,
        "AdamW's two moments": trainable * 8,
        "moving average": trainable * 4 if trainer.ema_decay else 0,
        f"activations ({guess})": activations,
    }
    lines = ["memory, estimated for one process:"]
    lines += [f"  {_megabytes(value)}  {label}" for label, value in parts.items() if value]
    return [*lines, f"  {_megabytes(sum(parts.values()))}  in all"]


def _megabytes(value: float) -> str:
    return f"{value / 2**20:>12,.1f} MB"


def _llama_activations(config: RunConfig) -> float:
    """Bytes that a frozen language model keeps for the backward pass of one micro-batch.

    Korthikanti et al. 2022 (arXiv 2205.05198, equation 2) count s b h (34 + 5 a s / h) bytes a layer at two
    bytes a value; the quadratic term is not kept by fused attention, and is left out.
    """
    assert config.preset is not None
    preset = PRESETS[config.preset]()
    layers = LANGUAGE_MODELS.get(preset.llm.source, {}).get("layers", {})
    depth = int(layers.get("num_hidden_layers", 4))
    samples = config.trainer.batch_size / max(1, config.trainer.micro_batches)
    factor = 34 if config.trainer.mixed_precision != "no" else 68
    return samples * config.length * preset.llm.hidden_dim * depth * factor


def _measured_activations(stage: Stage, trainer: TrainerConfig) -> float:
    """Bytes that the backward pass of one micro-batch needs, by the tensors that autograd keeps."""
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for m in stage.modules().values() for p in m.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(trainer.seed)
    count = max(1, trainer.batch_size // max(1, trainer.micro_batches))
    size = stage.dataset_size or count
    batch = stage.batch(np.arange(count, dtype=np.int64) % size)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses: dict[str, Any] = stage.training_forward(batch)[0]
    assert "loss" in losses
    return float(sum(kept.values()))


def _speed_line(config: RunConfig) -> str:
    rate = samples_per_second(read_metrics(Path(config.run_folder)), config.trainer.batch_size)
    if rate is None:
        return f"samples/s: not known yet, {config.run_folder} has no metrics"
    hours = config.trainer.steps * config.trainer.batch_size / rate / 3600
    return f"samples/s: {rate:,.1f} in {config.run_folder} so far; the whole run takes {hours:.1f} h at that"


def _ratio_lines(config: RunConfig) -> list[str]:
    from .flops import decoder_alignment_flops

    assert config.preset is not None
    flops = decoder_alignment_flops(PRESETS[config.preset](), config.length)
    giga = {k: getattr(flops, k) / 1e9 for k in ("llm_forward", "llm_backward", "projection")}
    return [
        f"cached signal states, by operations a sample of {config.length} tokens:",
        f"  language model {giga['llm_forward']:,.0f} GFLOP forward, {giga['llm_backward']:,.0f} backward",
        f"  output projection {giga['projection']:,.1f} GFLOP in all",
        f"  predicted samples/s, cache over none: {flops.ratio:,.0f} times with the signal rows frozen,",
        f"  {flops.ratio_training_rows:,.0f} times where without a cache the rows train too",
    ]
