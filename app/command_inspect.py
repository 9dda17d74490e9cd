"""`anygen inspect`: what a model is made of, read from its files without loading it."""

from __future__ import annotations

import argparse
from typing import Any, TextIO

from .common import Command, clean_stdout, print_json

BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Bytes per parameter of the types that memory is shown for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("model", metavar="MODEL", help="bundled name, preset, folder or hub id")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else")


def run(arguments: argparse.Namespace) -> None:
    """Print what the model is made of.

    Args:
        arguments: as declared above.
    """
    from anygen.checkpoints.inspection import inspect_model

    with clean_stdout() as stdout:
        parts = inspect_model(arguments.model)
        summary: dict[str, Any] = {
            "model": arguments.model,
            "parts": [
                {"name": p.name, "parameters": p.parameters, "trainable": p.trainable, "licence": p.licence,
                 "source": p.source}
                for p in parts
            ],
            "parameters": sum(p.parameters for p in parts),
            "trainable": sum(p.trainable for p in parts),
        }  # fmt: skip
        if arguments.json:
            print_json(summary, stdout)
        else:
            _print_table(summary, stdout)


def _print_table(summary: dict[str, Any], stdout: TextIO) -> None:
    header = ("part", "parameters", "trained", *BYTES, "licence", "source")
    rows = [_row(part) for part in summary["parts"]]
    total = {"name": "total", "licence": "", "source": "", **summary}
    table = [header, *rows, _row(total)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.rjust(width) if 1 <= column < 3 + len(BYTES) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        stdout.write("  ".join(cells).rstrip() + "\n")
    licences = sorted({part["licence"] for part in summary["parts"]})
    stdout.write(f"\nAll of these licences hold together: {'; '.join(licences)}.\n")


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    count, trained = part["parameters"], part["trainable"]
    share = f"{100 * trained / count:.2f}%" if count else "-"
    memory = [f"{count * size / 2**20:,.1f} MB" for size in BYTES.values()]
    return (part["name"], f"{count:,}", share, *memory, part["licence"], part["source"])


INSPECT = Command(
    name="inspect",
    help="show a model's parts, sizes, memory and licences",
    add_arguments=add_arguments,
    run=run,
)
