"""`anygen eval`: grade a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anygen.config import unknown_name
from anygen.modality import Modality

from .common import (
    Command,
    Progress,
    add_model_arguments,
    clean_stdout,
    load_embedder,
    load_pipeline,
    number,
    prepare_folder,
    quiet_libraries,
    without_collection,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument(
        "suite",
        choices=tuple(SUITES),
        metavar="SUITE",
        help="; ".join(f"{name}: {help}" for name, (help, _) in SUITES.items()),
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write all figures to this file")
    parser.add_argument(
        "--count", type=number(int, 1), default=200, metavar="N", help="samples a direction (default: 200)"
    )
    parser.add_argument("--directions", metavar="D,D", help="toybox: only these, joined by commas")
    parser.add_argument(
        "--modalities",
        type=_modalities,
        default=(),
        metavar="M,M",
        help="only these media (not toybox, emergent)",
    )
    parser.add_argument(
        "--data",
        metavar="F",
        help="a data set of yours, as `anygen data check` reads it (not toybox, emergent)",
    )
    parser.add_argument(
        "--shots",
        type=_shots,
        default=(1, 2, 4, 8),
        metavar="K,K",
        help="few-shot: items a class to learn from",
    )
    parser.add_argument(
        "--extractors", default="encoder", metavar="E,E", help="distance: encoder, thumbnails, spectra"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="seed of the samples")
    parser.add_argument(
        "--batch-size", type=number(int, 1), default=8, metavar="N", help="requests at a time (default: 8)"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Grade the model, print the table, write the figures.

    Args:
        arguments: as declared above.
    """
    if arguments.json is not None:
        prepare_folder(arguments.json.parent)
    with clean_stdout() as stdout:
        report, table = SUITES[arguments.suite][1](arguments)
        if arguments.json is not None:
            from anygen.checkpoints.manifest import write_atomic

            write_atomic(arguments.json, (json.dumps(report, indent=2) + "\n").encode())
        stdout.write(table + "\n")


def _toybox(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    pipe = load_pipeline(arguments)
    from anygen.stages.evaluation.toybox_suite import format_report, run_toybox_suite

    progress = Progress(quiet=arguments.quiet)
    directions = [d.strip() for d in arguments.directions.split(",")] if arguments.directions else None
    try:
        report = run_toybox_suite(
            pipe,
            directions=directions,
            count=arguments.count,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            progress=progress.show,
        )
    finally:
        progress.clear()
    return report, format_report(report)


def _emergent(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    embedder = load_embedder(arguments)
    from anygen.stages.evaluation.emergent import format_emergent, run_emergent

    report = run_emergent(embedder, count=arguments.count, seed=arguments.seed)
    return report, format_emergent(report)


def _modalities(text: str) -> tuple[Modality, ...]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in list(Modality):
            raise argparse.ArgumentTypeError(unknown_name(name, [m.value for m in Modality], "a modality"))
    return tuple(Modality(name) for name in dict.fromkeys(names))


def _shots(text: str) -> tuple[int, ...]:
    return tuple(number(int, 1)(part) for part in text.split(","))


def _rows(name: str) -> Callable[[argparse.Namespace], tuple[dict[str, Any], str]]:
    """A suite whose report is a list of rows."""

    def run_it(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
        quiet_libraries()
        with without_collection():
            from anygen.stages.evaluation.options import Subject, SuiteOptions
            from anygen.stages.evaluation.report import format_rows
            from anygen.stages.evaluation.suites import run_suite

        progress = Progress(quiet=arguments.quiet)
        options = SuiteOptions(
            count=arguments.count,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            modalities=arguments.modalities,
            data=arguments.data,
            shots=arguments.shots,
            extractors=tuple(part.strip() for part in arguments.extractors.split(",")),
            progress=progress.show,
        )
        model = Subject(
            name=Path(arguments.model).name,
            load_pipe=lambda: load_pipeline(arguments),
            load_embedder=lambda: load_embedder(arguments),
        )
        try:
            report = run_suite(name, model, options)
        finally:
            progress.clear()
        return report, format_rows(report)

    return run_it


SUITES: dict[str, tuple[str, Callable[[argparse.Namespace], tuple[dict[str, Any], str]]]] = {
    "toybox": ("answers in every direction, read by oracles", _toybox),
    "emergent": ("modalities never paired, told by cosine", _emergent),
    "captioning": ("words about media, against references", _rows("captioning")),
    "retrieval": ("the encoder between every pair of modalities", _rows("retrieval")),
    "zero-shot": ("the encoder tells classes by prompts", _rows("zero-shot")),
    "few-shot": ("linear probes of the encoder on a few items", _rows("few-shot")),
    "distance": ("made media against real ones, as sets", _rows("distance")),
    "similarity": ("made images and frames against the words", _rows("similarity")),
    "coherence": ("media of one answer against each other", _rows("coherence")),
}
"""Every suite: what it grades, and a function from the arguments to its report and its table."""

EVAL = Command(name="eval", help="grade a model", add_arguments=add_arguments, run=run)
