"""`anygen eval`: grade a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .common import (
    Command,
    Progress,
    add_model_arguments,
    clean_stdout,
    load_pipeline,
    number,
    prepare_folder,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("suite", choices=("toybox",), metavar="SUITE", help="toybox")
    parser.add_argument("--json", type=Path, metavar="F", help="write all figures to this file")
    parser.add_argument(
        "--count", type=number(int, 1), default=200, metavar="N", help="samples a direction (default: 200)"
    )
    parser.add_argument("--directions", metavar="D,D", help="only these, joined by commas (default: all)")
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
        pipe = load_pipeline(arguments)
        from anygen.checkpoints.manifest import write_atomic
        from anygen.stages.evaluation.toybox_suite import run_toybox_suite

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
        text = json.dumps(report, indent=2, ensure_ascii=True) + "\n"
        if arguments.json is not None:
            write_atomic(arguments.json, text.encode())
        stdout.write(text)


EVAL = Command(name="eval", help="grade a model", add_arguments=add_arguments, run=run)
