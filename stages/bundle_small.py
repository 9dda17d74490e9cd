"""Makes what ships of `small`: its runs in order, then the trained parts, halved, with a card.

    anygen import gguf SmolLM2-135M-Instruct.Q4_1.gguf runs/smollm2/llm
    python -m anygen.stages.bundle_small

Each run resumes where it stopped, and a finished one is skipped. `anygen make small` puts the parts together
with the language model.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from anygen.checkpoints import manifest
from anygen.checkpoints.folder import replacing
from anygen.checkpoints.weights import WEIGHTS, halve_weights
from anygen.errors import BadArgument
from anygen.llm import load_backbone
from anygen.presets import small

from . import run
from .bundle import recipe_path
from .caching.work import CacheOptions, job_of
from .checkpointing import step_folders
from .replay import write_answers
from .replay.answers import everyday_answers

logger = logging.getLogger(__name__)

RUNS: tuple[tuple[str, str, str], ...] = (
    ("instruction-tuning", "instruction-tuning", "LoRA, signal rows and all projections"),
    ("instruction-refine", "instruction-tuning", "the same, to the end"),
    ("output-refine", "decoder-alignment", "output projections, anew, on cached states"),
    ("instruction-media", "instruction-tuning", "all of it, on from the halves that shipped first"),
    ("instruction-last", "instruction-tuning", "the same, for rare words, changes and capitals"),
    ("output-last", "decoder-alignment", "output projections, anew, on cached states"),
    ("instruction-close", "instruction-tuning", "LoRA, signal rows and input projection, with more replay"),
    ("output-close", "decoder-alignment", "output projections, anew, on cached states"),
    ("instruction-even", "instruction-tuning", "the three once more, for which medium is meant"),
    ("instruction-all", "instruction-tuning", "the three a last time, for three media at once"),
)
"""(run, stage, what it trains) in order; each has a file in `recipes/small/`."""

CACHED_SAMPLES = {"output-refine": 1024, "output-last": 6144, "output-close": 8192}
"""Dialogues whose signal states a run trains on."""

NEAR = 0.9
"""Share of `toybox-tiny`'s figure that counts as near it."""

CHAT = Path("runs/small/scores.md")
"""What `benchmarks/small.py` measured, for the card."""

TOYBOX, BESIDE = Path("runs/small/toybox"), Path("runs/small/toybox-tiny")
"""Reports of `anygen eval toybox --json` on the assembled model, and on `toybox-tiny` under the same names,
asked the same, for the card."""


def train() -> None:
    """Write the replay and the cache if there are none, and run what is not finished."""
    for name, stage, what in RUNS:
        path = recipe_path("small", name)
        settings = run.read_config(path)
        folder = Path(settings.run_folder)
        if (folder / "summary.json").exists():
            continue
        logger.info("%s: %s", name, what)
        replay, llm = Path(settings.stage.get("replay", "")), settings.stage["system"]["llm"]
        if "replay" in settings.stage and not replay.exists():
            tokenizer = AutoTokenizer.from_pretrained(llm)
            logger.info("%d answers", write_answers(replay, everyday_answers(load_backbone(llm), tokenizer)))
        if "cache" in settings.stage:
            job_of(stage, settings, CacheOptions(samples=CACHED_SAMPLES[name])).run()
        run.main(stage, path, resume=bool(step_folders(folder / "checkpoints")))


def write_parts(folder: Path) -> None:
    """Write the trained parts of the last run, in float16."""
    result = Path(run.read_config(recipe_path("small", RUNS[-1][0])).run_folder) / "result"
    names = ["input_projection", *(f"output_projections/{m}" for m in small().output_projections)]
    with replacing(folder, mark=manifest.NAME) as draft:
        shutil.copytree(result / "adapter", draft / "adapter")
        for name in names:
            (draft / name).mkdir(parents=True)
            shutil.copy2(result / f"{name}.safetensors", draft / name / WEIGHTS)
        halve_weights(draft, torch.float16)
        (draft / "README.md").write_text(card(), encoding="utf-8")


def card() -> str:
    """The model card: runs, seeds, hours and scores, all read from the runs."""
    config = small()
    lines = [
        "# small",
        "",
        f"{config.description}. The language model is published by others ({config.llm.licence}) and does "
        "not ship; encoder and decoders are those of `toybox-tiny`. What lies here was trained around them "
        "on the toybox, drawn by seed, and on what the language model says by itself to everyday prompts. "
        "Licence: Apache-2.0.",
        "",
        "`anygen make small FOLDER` puts them together. Made by `python -m anygen.stages.bundle_small`:",
        "",
        "| run | what it trains | steps | batch | hours | seed |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    exact: dict[str, float] = {}
    for name, _, what in RUNS:
        settings = run.read_config(recipe_path("small", name))
        summary = _summary(Path(settings.run_folder))
        hours, seed = f"{summary['hours']:.2f}", settings.stage["system"].get("seed", 0)
        batch = settings.trainer.batch_size
        lines.append(f"| {name} | {what} | {summary['steps']} | {batch} | {hours} | {seed} |")
        if "evaluated" in settings.stage:
            exact = {k: v for k, v in summary["scores"].items() if "/" not in k}
            count = settings.stage["evaluated"]
    shown = ", ".join(f"{name} {share:.2f}" for name, share in exact.items())
    lines += ["", f"Answers right to the letter, of {count} of each direction, teacher-forced: {shown}.", ""]
    for path in sorted(TOYBOX.glob("*.json")):
        lines += [toybox_table(_json(path), _json(BESIDE / path.name)), ""]
    return "\n".join([*lines, CHAT.read_text(encoding="utf-8") if CHAT.exists() else ""])


def toybox_table(report: dict[str, Any], beside: dict[str, Any]) -> str:
    """Reports of the toybox suite as a section of the card.

    Args:
        report: What `anygen eval toybox --json` wrote.
        beside: The same of `toybox-tiny`, which was asked the same.

    Raises:
        BadArgument: They were not asked the same.
    """
    others = {_key(bar): 100 * bar["share"] for bar in beside["bars"]}
    if others.keys() != {_key(bar) for bar in report["bars"]}:
        raise BadArgument("found other requirements in one report than in the other, expected the same")
    rows: dict[tuple[str, ...], list[str]] = {}
    near = 0
    for bar in report["bars"]:
        share, low, high = (100 * bar[name] for name in ("share", "low", "high"))
        key, other = _key(bar), others[_key(bar)]
        near += share >= NEAR * other
        cell = f"{bar['what']} {share:.0f} [{low:.0f}, {high:.0f}] of {bar['count']} ({other:.0f})"
        rows.setdefault(key[:3], []).append(cell)
    lines = [
        f"## Toybox, `anygen eval toybox --count {report['count']} --seed {report['seed']}`", "",
        f"In brackets what `toybox-tiny` has; {near} of {len(others)} figures are at {NEAR:.0%} of it.", "",
        "| direction | pairs | graded | right, % [95% interval] of how many |", "|---|---|---|---|",
    ]  # fmt: skip
    return "\n".join(
        [*lines, *(f"| {' | '.join(key)} | {'; '.join(cells)} |" for key, cells in rows.items())]
    )


def _key(bar: dict[str, Any]) -> tuple[str, ...]:
    return bar["direction"], bar["group"].replace("_", " "), bar["modality"] or "all three", bar["what"]


def _summary(folder: Path) -> dict[str, Any]:
    return _json(folder / "summary.json")


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main() -> None:
    """`python -m anygen.stages.bundle_small`."""
    parser = argparse.ArgumentParser(prog="python -m anygen.stages.bundle_small", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("anygen/bundled/small"), help="folder to write")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train()
    write_parts(options.out)


if __name__ == "__main__":
    main()
