"""The recipe of `small`: its runs fit the preset and one another, and the parts that ship are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anygen.checkpoints import manifest
from anygen.checkpoints.resolve import bundled_folder
from anygen.config import from_json
from anygen.errors import BadArgument
from anygen.language_models import SMOLLM2
from anygen.presets import small
from anygen.stages.bundle import recipe_path
from anygen.stages.bundle_small import RUNS, toybox_table
from anygen.stages.run import read_config
from anygen.stages.system import SystemConfig


def test_every_run_builds_the_preset_and_begins_where_the_one_before_ended() -> None:
    config, adapter = small(), SMOLLM2["SmolLM2-135M-Instruct"]["adapter"]
    before: str | None = None
    for name, _, _ in RUNS:
        settings = read_config(recipe_path("small", name))
        system = from_json(SystemConfig, settings.stage["system"], where=name)
        assert system.template == config.chat_template
        assert system.num_slot_tokens == config.input_projection.num_tokens
        assert system.signal_tokens == config.signal_tokens
        for part in config.output_projections.values():
            sizes = (system.projection.inner_dim, system.projection.layers, system.projection.ffn_dim)
            assert sizes == (part.inner_dim, part.num_encoder_layers, part.ffn_dim)
            assert system.projection.layers == part.num_decoder_layers
            assert system.projection.heads == part.num_heads
        assert system.start == before
        before = f"{settings.run_folder}/result"
        if before == "runs/small/instruction-tuning/result":
            found = (settings.stage["rank"], settings.stage["alpha"], tuple(settings.stage["target_modules"]))
            assert found == (adapter["rank"], adapter["alpha"], adapter["target_modules"])


def test_the_parts_that_ship_are_whole_and_finite() -> None:
    folder = bundled_folder() / "small"
    manifest.verify(folder)
    for path in folder.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            assert tensor.dtype == torch.float16 and bool(torch.isfinite(tensor).all()), (path.name, name)
    card = (folder / "README.md").read_text()
    assert all(f"| {name} | " in card for name, _, _ in RUNS)


def test_a_report_becomes_a_table() -> None:
    bar = {
        "direction": "text-to-image", "group": "held_out", "modality": "image", "what": "pair",
        "share": 0.75, "low": 0.3, "high": 0.95, "count": 4,
    }  # fmt: skip
    report = {"count": 4, "seed": 0, "bars": [bar, {**bar, "what": "present", "share": 1.0}]}
    tiny = {"count": 4, "seed": 0, "bars": [{**bar, "share": 0.8}, {**bar, "what": "present", "share": 0.7}]}
    near = {**report, "bars": [{**report["bars"][0], "share": 0.71}, report["bars"][1]]}
    assert "; 1 of 2 figures are at 90% of it." in toybox_table(near, tiny)
    with pytest.raises(BadArgument, match="other requirements"):
        toybox_table(report, {**tiny, "bars": tiny["bars"][:1]})
    lines = toybox_table(report, tiny).splitlines()
    assert lines[0] == "## Toybox, `anygen eval toybox --count 4 --seed 0`"
    assert lines[2] == "In brackets what `toybox-tiny` has; 2 of 2 figures are at 90% of it."
    row = "| text-to-image | held out | image | pair 75 [30, 95] of 4 (80); present 100 [30, 95] of 4 (70) |"
    assert lines[-1] == row and len(lines) == 7


@pytest.mark.parametrize("name", [name for name, _, _ in RUNS])
def test_recipes_lie_beside_the_others(name: str) -> None:
    assert Path(recipe_path("small", name)).is_file()
