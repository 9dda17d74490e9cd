"""`anygen inspect`: what a model is made of, read from its files without loading it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .common import Command, clean_stdout, print_json, quiet_libraries

if TYPE_CHECKING:
    from anygen.checkpoints.inspection import PartReport

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
        quiet_libraries()
        parts = inspect_model(arguments.model)
        summary = summarise(arguments.model, parts)
        if arguments.json:
            print_json(summary, stdout)
        else:
            _print_table(summary, parts, stdout)


def summarise(model: str, reports: Sequence[PartReport]) -> dict[str, Any]:
    """Make what `--json` prints.

    Args:
        model: as the user named it.
        reports: its parts.

    Returns:
        The parts and their sums.
    """
    return {
        "model": model,
        "parts": [
            {"name": p.name, "parameters": p.parameters, "trainable": p.trainable, "licence": p.licence,
             "source": p.source}
            for p in reports
        ],
        "parameters": sum(p.parameters for p in reports),
        "trainable": sum(p.trainable for p in reports),
    }  # fmt: skip


def _print_table(summary: dict[str, Any], reports: Sequence[PartReport], stdout: TextIO) -> None:
    header = ("part", "parameters", "trained", *BYTES, "licence", "source")
    rows = []
    for part, report in zip(summary["parts"], reports, strict=True):
        rows.append(_row(part))
        for name, count in report.components.items():
            rows.append(_row({"name": f"  {name}", "parameters": count, "licence": "", "source": ""}))
    total = {"name": "total", "licence": "", "source": "", **summary}
    table = [header, *rows, _row(total)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.rjust(width) if 1 <= column < 3 + len(BYTES) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        stdout.write("  ".join(cells).rstrip() + "\n")
    stdout.write(f"\nTrained: {summary['trainable']:,} of {summary['parameters']:,} parameters")
    stdout.write(f" ({_share(summary['trainable'], summary['parameters'])}), new rows alone.\n")
    vocabulary = sum(report.vocabulary for report in reports)
    if summary["model"].startswith("nextgpt") and vocabulary:
        count = summary["trainable"] + vocabulary
        stdout.write(f"NExT-GPT's own runs trained {count:,} ({_share(count, summary['parameters'])}): ")
        stdout.write("all rows of the embedding and the head too.\n")
    licences = sorted({part["licence"] for part in summary["parts"]})
    stdout.write(f"\nAll of these licences hold together: {'; '.join(licences)}.\n")


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    count = part["parameters"]
    share = _share(part["trainable"], count) if "trainable" in part else ""
    if "trainable" in part and part["name"] != "total":
        share = "trained" if part["trainable"] else "frozen"
    memory = [f"{count * size / 2**20:,.1f} MB" for size in BYTES.values()]
    return (part["name"], f"{count:,}", share, *memory, part["licence"], part["source"])


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%" if whole else "-"


INSPECT = Command(
    name="inspect",
    help="show a model's parts, sizes, memory and licences",
    add_arguments=add_arguments,
    run=run,
)
