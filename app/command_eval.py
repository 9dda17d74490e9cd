"""`anygen eval`: grade a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .common import (
    Command,
    Progress,
    add_model_arguments,
    clean_stdout,
    load_embedder,
    load_pipeline,
    number,
    prepare_folder,
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
        help="toybox: answers in every direction; emergent: modalities never paired, told by cosine",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write all figures to this file")
    parser.add_argument(
        "--count", type=number(int, 1), default=200, metavar="N", help="samples a direction (default: 200)"
    )
    parser.add_argument("--directions", metavar="D,D", help="toybox: only these, joined by commas")
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
        report, table = SUITES[arguments.suite](arguments)
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


SUITES: dict[str, Callable[[argparse.Namespace], tuple[dict[str, Any], str]]] = {
    "toybox": _toybox,
    "emergent": _emergent,
}
"""Every suite: from the arguments to its report and its table."""

EVAL = Command(name="eval", help="grade a model", add_arguments=add_arguments, run=run)
