"""Compare the binding recipes of `stages/recipes/binding` on the toybox at equal compute.

    python benchmarks/binding.py --json binding.json --heat-map binding.png

One start (vision and text, from captions of images and videos), then every recipe for as many steps as give
it the floating-point operations of `image-anchored` with its own number of steps. Stopped, it goes on where
it was; about 3 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.utils.flop_counter import FlopCounterMode

from anygen.config import from_json
from anygen.encoders.imagebind import load_encoder, load_processor
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.binding import BindingConfig, BindingStage
from anygen.stages.binding_table import compare, difference, embed_trial, make_trial
from anygen.stages.run import RunConfig, read_config
from anygen.stages.trainer import Trainer
from anygen.toybox.scene import sample_scene

RECIPES = Path(__file__).resolve().parent.parent / "stages" / "recipes" / "binding"
START = "start"
REFERENCE = "image-anchored"
NAMES = (REFERENCE, "language-anchored", "language-lora", "locked-image")
TEXT, IMAGE, VIDEO = Modality.TEXT, Modality.IMAGE, Modality.VIDEO
CLAIMS = {
    "X-to-text": tuple((Modality(m), TEXT) for m in ("audio", "depth", "thermal", "imu")),
    "audio-image": ((Modality.AUDIO, IMAGE),),
    "IMU-image": ((Modality.IMU, IMAGE),),
    "audio-video": ((Modality.AUDIO, VIDEO),),
    "IMU-video": ((Modality.IMU, VIDEO),),
    "depth-image": ((Modality.DEPTH, IMAGE),),
    "thermal-image": ((Modality.THERMAL, IMAGE),),
}
"""Pairs over which recipes are compared."""


def recipe(name: str, folder: Path) -> tuple[RunConfig, BindingConfig]:
    """A recipe's configuration, its folders under `folder`."""
    run = read_config(RECIPES / f"{name}.yaml")
    stage = from_json(BindingConfig, run.stage, where=name)
    if stage.start is not None:
        stage = replace(stage, start=str(folder / START / "result" / "encoder"))
    return replace(run, run_folder=str(folder / name)), stage


def flops(stage: BindingStage, batch_size: int) -> int:
    """Floating-point operations of one step's forward and backward pass."""
    set_trainable(stage.modules(), stage.trainable_parameters())
    with FlopCounterMode(display=False) as counter:
        losses, _ = stage.training_forward(stage.batch(np.arange(batch_size)))
        losses["loss"].backward()
    for module in stage.modules().values():
        module.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


def train(
    name: str, folder: Path, budget: int | None, steps_of_reference: int | None = None
) -> tuple[int | None, dict[str, Any]]:
    """Train a recipe unless its result is there. Returns the operations it took and what it cost."""
    run, config = recipe(name, folder)
    about = folder / name / "cost.json"
    if about.exists():
        cost = json.loads(about.read_text())
        return cost["flops"], cost
    stage = BindingStage(config)
    each = flops(stage, run.trainer.batch_size)
    steps = (steps_of_reference or run.trainer.steps) if budget is None else round(budget / each)
    started = time.process_time()
    trainer = Trainer(stage, replace(run.trainer, steps=steps), folder / name, progress=False)
    parameters = sum(p.numel() for p in trainer.trainable.values())
    if not trainer.run(resume=True):
        raise SystemExit(f"stopped at step {trainer.step} of {name}; run this again to go on")
    cost = {
        "steps": steps,
        "flops_per_step": each,
        "flops": steps * each,
        "trainable": parameters,
        "cpu_seconds_of_last_process": round(time.process_time() - started, 1),
    }
    about.write_text(json.dumps(cost))
    return cost["flops"], cost


def trained_pairs(name: str, folder: Path) -> list[tuple[Modality, Modality]]:
    """Pairs that a recipe saw, those of its start included where both towers are kept from it."""
    _, config = recipe(name, folder)
    _, start = recipe(START, folder)
    kept = [(a, o) for a, o in start.pairs if not {"text", "vision"} & set(config.fresh)]
    return [*((a, o) for a, o in config.pairs), *kept]


def score(folder: Path, count: int) -> dict[str, Any]:
    """Embed the same scenes with every recipe's encoder and compare."""
    rng = np.random.default_rng(2**20)
    scenes = [sample_scene(rng) for _ in range(count)]
    encoders = {name: folder / name / "result" / "encoder" for name in NAMES}
    trial = make_trial(scenes, load_processor(encoders[REFERENCE]))
    embedded = {
        name: embed_trial(load_encoder(path), load_processor(path), trial) for name, path in encoders.items()
    }
    report = compare(scenes, embedded, {name: trained_pairs(name, folder) for name in NAMES})
    report["against"] = {
        name: {
            claim: difference(scenes, embedded[name], embedded[REFERENCE], pairs)
            for claim, pairs in CLAIMS.items()
        }
        for name in NAMES[1:]
    }
    return report


def both(row: dict[str, Any], cut: str, key: str = "share") -> float:
    """Mean of both directions of a pair."""
    return float(np.mean([d[cut][key] for d in row["directions"].values()]))


def table(report: dict[str, Any]) -> str:
    """The report for a terminal; * marks trained pairs."""
    names = list(report["costs"])
    lines = [f"{report['count']} scenes; R@1 / R@5 / R@10 in %, both directions; * trained, others emergent"]
    head = "".join(f"{n:>24}" for n in names)
    lines.append(f"{'pair':<16}{head}{'chance':>20}")
    for pair, rows in report["pairs"].items():
        cells = []
        for name in names:
            star = "*" if rows[name]["trained"] else " "
            cells.append(star + " / ".join(f"{100 * both(rows[name], f'R@{k}'):.1f}" for k in (1, 5, 10)))
        row = rows[names[0]]
        luck = " / ".join(f"{100 * both(row, f'R@{k}', 'chance'):.0f}" for k in (1, 5, 10))
        lines.append(f"{pair:<16}" + "".join(f"{c:>24}" for c in cells) + f"{luck:>20}")
    lines.append(f"\n{'zero-shot':<16}{head}")
    for modality, rows in report["zero_shot"].items():
        cells = []
        for name in names:
            mean = rows[name]["mean"]
            cells.append(f"{100 * mean['share']:.1f} [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}]")
        lines.append(f"{modality:<16}" + "".join(f"{c:>24}" for c in cells))
    lines.append(f"\nR@1 less that of {REFERENCE}, points, 95% interval")
    for name, claims in report["against"].items():
        for claim, d in claims.items():
            figures = f"{100 * d['difference']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
            lines.append(f"{name:<20}{claim:<16}{figures:>24}")
    lines.append("")
    for name, cost in report["costs"].items():
        lines.append(
            f"{name:<20}{cost['steps']:>6} steps {cost['flops'] / 1e12:>7.2f} TFLOP "
            f"{cost['trainable']:>9,} trainable {cost['cpu_seconds_of_last_process']:>7.0f} CPU s"
        )
    return "\n".join(lines)


def heat_map(report: dict[str, Any], path: Path) -> None:
    """R@1 of every pair (query row, gallery column), a panel a recipe; trained pairs are framed."""
    modalities, cell, left, top = [str(m) for m in Modality], 54, 74, 78
    names = list(report["costs"])
    width, height = left + cell * len(modalities) + 16, top + cell * len(modalities) + 16
    picture = Image.new("RGB", (width * 2, height * ((len(names) + 1) // 2)), "white")
    draw = ImageDraw.Draw(picture)
    small, large = ImageFont.load_default(13), ImageFont.load_default(18)
    for number, name in enumerate(names):
        x0, y0 = (number % 2) * width, (number // 2) * height
        draw.text((x0 + left, y0 + 10), f"{name}: R@1, %", "black", large)
        for i, a in enumerate(modalities):
            middle = top + cell * i + cell // 2
            draw.text((x0 + left - 8, y0 + middle), a, "black", small, anchor="rm")
            draw.text((x0 + left + cell * i + cell // 2, y0 + top - 10), a, "black", small, anchor="ms")
            for j, b in enumerate(modalities):
                box = (x0 + left + cell * j, y0 + top + cell * i)
                _cell(draw, report, name, (a, b), box, cell, small)
    picture.save(path)


def _cell(
    draw: ImageDraw.ImageDraw,
    report: dict[str, Any],
    name: str,
    pair: tuple[str, str],
    box: tuple[int, int],
    cell: int,
    font: Any,
) -> None:
    a, b = pair
    (x, y), end = box, (box[0] + cell - 2, box[1] + cell - 2)
    rows = report["pairs"].get(f"{a}-{b}") or report["pairs"].get(f"{b}-{a}")
    if rows is None:
        draw.rectangle(((x, y), end), "#eeeeee")
        return
    share = rows[name]["directions"][f"{a}-to-{b}"]["R@1"]["share"]
    dark, light = np.array([8, 48, 107]), np.array([247, 251, 255])
    color = tuple(int(v) for v in light + share * (dark - light))
    trained = rows[name]["trained"]
    draw.rectangle(((x, y), end), color, outline="#e6550d" if trained else None, width=3 if trained else 0)
    ink = "white" if share > 0.5 else "black"
    draw.text((x + cell // 2, y + cell // 2), f"{100 * share:.0f}", ink, font, anchor="mm")


def main() -> None:
    """Train what is not trained yet, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/binding-recipes"), help="of the runs")
    parser.add_argument("--steps", type=int, help=f"of {REFERENCE} instead of its own")
    parser.add_argument("--count", type=int, default=384, help="scenes of the evaluation")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--heat-map", type=Path, help="write a PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(START, arguments.folder, None)
    budget, costs = None, {}
    for name in NAMES:
        spent, costs[name] = train(name, arguments.folder, budget, arguments.steps)
        budget = budget or spent
    report = score(arguments.folder, arguments.count)
    report["costs"] = costs
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.heat_map:
        heat_map(report, arguments.heat_map)
    sys.stdout.write(table(report) + "\n")


if __name__ == "__main__":
    main()
