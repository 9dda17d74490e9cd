"""Makes the bundled model from nothing: every run of the recipe in order, then one model folder.

Each run resumes where it stopped, and a finished one is skipped, so the command can be interrupted at any
time.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from anygen.checkpoints.folder import save_model
from anygen.config import from_json
from anygen.modality import Modality
from anygen.presets import PRESETS

from . import run
from .checkpointing import step_folders
from .system import SystemConfig, build_system

logger = logging.getLogger(__name__)

RECIPE: tuple[tuple[str, str], ...] = (
    ("picture-autoencoder", "autoencoder"),
    ("spectrogram-autoencoder", "autoencoder"),
    ("clip-text-encoder", "text-encoder"),
    ("clap-text-encoder", "text-encoder"),
    ("vocoder", "vocoder"),
    ("image-diffusion", "diffusion"),
    ("video-frames", "diffusion"),
    ("video-diffusion", "diffusion"),
    ("video-refine", "diffusion"),
    ("video-shapes", "diffusion"),
    ("video-last", "diffusion"),
    ("audio-diffusion", "diffusion"),
    ("audio-refine", "diffusion"),
    ("language-model", "language-model"),
    ("binding", "binding"),
    ("binding-refine", "binding"),
    ("encoder-alignment", "encoder-alignment"),
    ("decoder-alignment", "decoder-alignment"),
    ("instruction-tuning", "instruction-tuning"),
    ("instruction-refine", "instruction-tuning"),
    ("instruction-polish", "instruction-tuning"),
    ("instruction-last", "instruction-tuning"),
    ("output-refine", "instruction-tuning"),
    ("input-refine", "instruction-tuning"),
    ("words-refine", "instruction-tuning"),
    ("words-last", "instruction-tuning"),
    ("last-refine", "instruction-tuning"),
    ("names-tuning", "instruction-tuning"),
    ("names-hidden", "instruction-tuning"),
    ("names-films", "instruction-tuning"),
    ("names-blurred", "instruction-tuning"),
    ("names-moved", "instruction-tuning"),
    ("names-outputs", "instruction-tuning"),
)
"""(run, stage) in the order that later runs need them; each has a file in `recipes/NAME/`."""

WHAT: dict[str, str] = {
    "picture-autoencoder": "autoencoder of the image and the video decoder",
    "spectrogram-autoencoder": "autoencoder of the audio decoder",
    "clip-text-encoder": "text encoder of the image and the video decoder",
    "clap-text-encoder": "text encoder of the audio decoder",
    "vocoder": "HiFi-GAN of the audio decoder",
    "image-diffusion": "UNet of the image decoder",
    "video-frames": "UNet of the video decoder, frame by frame",
    "video-diffusion": "the same, whole films",
    "video-refine": "the same, at all noise levels",
    "video-shapes": "its spatial layers, frame by frame, shapes and colors apart",
    "video-last": "the same, whole films",
    "audio-diffusion": "UNet of the audio decoder",
    "audio-refine": "the same, told time and pitch",
    "language-model": "Llama",
    "binding": "ImageBind encoder",
    "binding-refine": "the same, to the end",
    "encoder-alignment": "input projection",
    "decoder-alignment": "output projections and signal rows",
    "instruction-tuning": "LoRA and all projections",
    "instruction-refine": "the same, on more films",
    "instruction-polish": "the same, at a lower rate",
    "instruction-last": "the same, with idle words in requests",
    "output-refine": "output projections, anew",
    "input-refine": "input projection, on films",
    "words-refine": "LoRA, on more wordings",
    "words-last": "the same, on more still",
    "last-refine": "LoRA and input projection, to the end",
    "names-tuning": "LoRA and all projections, with names before media",
    "names-hidden": "the same, answers' words hidden",
    "names-films": "the same, on films",
    "names-blurred": "the same, on blurred vectors",
    "names-moved": "the same, on moved vectors, to the end",
    "names-outputs": "output projections, anew",
}

DECODER_RUNS: dict[Modality, str] = {
    Modality.IMAGE: "image-diffusion",
    Modality.AUDIO: "audio-refine",
    Modality.VIDEO: "video-last",
}
"""The run whose result is the decoder of a modality."""

SYSTEM_RUNS: tuple[str, ...] = ("names-outputs",)
"""Runs of which the mean is the system (see `averaging`)."""


def recipe_path(model: str, name: str) -> Path:
    """The run file of one step."""
    return Path(str(files("anygen.stages") / "recipes" / model / f"{name}.yaml"))


def train(model: str, names: list[str] | None = None) -> None:
    """Run the steps that are not finished, in order.

    Args:
        model: A recipe's name.
        names: Only these steps; None for all.
    """
    for name, stage in RECIPE:
        path = recipe_path(model, name)
        folder = Path(run.read_config(path).run_folder)
        if (names is not None and name not in names) or (folder / "summary.json").exists():
            continue
        logger.info("%s: %s", name, WHAT[name])
        run.main(stage, path, resume=bool(step_folders(folder / "checkpoints")))


def assemble(model: str, folder: Path) -> None:
    """Put the results of all steps into one model folder, with a card that says how each came about."""
    runs = [run.read_config(recipe_path(model, name)) for name in SYSTEM_RUNS]
    first, *others = (str(Path(found.run_folder) / "result") for found in runs)
    config = from_json(SystemConfig, runs[0].stage["system"], where=f"{SYSTEM_RUNS[0]}.yaml")
    system = build_system(replace(config, start=first, averaged_with=tuple(others), fresh_outputs=False))
    decoders = {
        modality: Path(run.read_config(recipe_path(model, name)).run_folder) / "result"
        for modality, name in DECODER_RUNS.items()
    }
    save_model(
        folder,
        config=PRESETS[model](),
        model=system.model,
        tokenizer=system.tokenizer,
        encoder=Path(config.encoder),
        decoders=decoders,
        card=model_card(model),
    )


def model_card(model: str) -> str:
    """README of the model folder: steps, seeds, hours and scores, all read from the runs."""
    config = PRESETS[model]()
    lines = [
        f"# {model}",
        "",
        f"{config.description}. Licence of every part: Apache-2.0; data: the toybox, drawn by seed.",
        "It knows that world alone and says so when asked for another.",
        "",
        "Made by `make bundle`: these runs, each a file in `stages/recipes/`.",
        "",
        "| run | what it trains | steps | CPU hours | seed |",
        "|---|---|---|---|---|",
    ]
    scores: list[str] = []
    for name, _ in RECIPE:
        summary = _summary(model, name)
        hours = f"{summary['hours']:.2f}"
        lines.append(f"| {name} | {WHAT[name]} | {summary['steps']} | {hours} | {summary['seed']} |")
        shown = ", ".join(f"{k} {v:.3f}" for k, v in list(summary["scores"].items())[:24])
        scores.append(f"- {name}: {shown}" if shown else f"- {name}: graded by the samples of the whole")
    return "\n".join([*lines, "", "## Scores of the parts", "", *scores, ""])


def _summary(model: str, name: str) -> dict[str, Any]:
    folder = Path(run.read_config(recipe_path(model, name)).run_folder)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def main() -> None:
    """`python -m anygen.stages.bundle`."""
    parser = argparse.ArgumentParser(prog="make bundle", description="Train and write a bundled model.")
    parser.add_argument("--model", default="toybox-tiny", help="recipe to follow")
    parser.add_argument("--only", nargs="*", help="run only these steps, and assemble nothing")
    parser.add_argument("--out", default="anygen/bundled", help="folder that holds the model folders")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(options.model, options.only)
    if options.only is None:
        assemble(options.model, Path(options.out) / options.model)


if __name__ == "__main__":
    main()
