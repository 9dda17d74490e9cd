"""`anygen report`: one HTML page about runs, to look at without any server."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import Command, clean_stdout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder; several are overlaid")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="HTML file to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the page and print its path.

    Args:
        arguments: as declared above.
    """
    from anygen.stages.report import write_report

    with clean_stdout() as stdout:
        write_report(arguments.runs, arguments.out)
        stdout.write(f"{arguments.out}\n")


REPORT = Command(name="report", help="write one HTML page about runs", add_arguments=add_arguments, run=run)
