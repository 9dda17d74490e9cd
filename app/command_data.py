"""`anygen data`: read a data set before anything is trained on it."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any, TextIO

from anygen.errors import BadArgument

from .common import Command, Progress, clean_stdout, print_json, printable, quiet_libraries

if TYPE_CHECKING:
    from anygen.stages.data.check import Report

FORMATS = ("auto", "manifest", "nextgpt", "llava", "webdataset", "huggingface", "folder")
"""Formats with a reader."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    check = actions.add_parser("check", help="name every bad entry of a data set", allow_abbrev=False)
    check.add_argument("path", metavar="MANIFEST", help="manifest, JSON, tar, parquet file or folder")
    check.add_argument(
        "--format", choices=FORMATS, default="auto", metavar="F", help=f"{', '.join(FORMATS)} (default: auto)"
    )
    check.add_argument("--media", metavar="DIR", help="folder of the media (default: the manifest's)")
    check.add_argument(
        "--column",
        type=_column,
        action="append",
        default=[],
        metavar="NAME=FIELD",
        help="read the column NAME as FIELD; may be given several times",
    )
    check.add_argument(
        "--ignore", action="append", default=[], metavar="NAME", help="leave the field NAME out"
    )
    check.add_argument("--split", metavar="S", help="split of a Hugging Face data set")
    check.add_argument("--no-decode", action="store_true", help="look for media, but do not decode them")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _column(text: str) -> tuple[str, str]:
    found, sign, wanted = text.partition("=")
    if not (found and sign and wanted):
        raise argparse.ArgumentTypeError(f"found {text[:40]!r}, expected NAME=FIELD as in title=text")
    return found, wanted


def run(arguments: argparse.Namespace) -> None:
    """Check a data set.

    Args:
        arguments: as declared above.

    Raises:
        BadArgument: when an entry is bad, after all of them are printed.
    """
    quiet_libraries()
    from anygen.stages.data.check import check
    from anygen.stages.data.readers import SourceConfig

    config = SourceConfig(
        path=arguments.path,
        format=arguments.format,
        media=arguments.media,
        columns=dict(arguments.column),
        ignore=tuple(arguments.ignore),
        split=arguments.split,
    )
    progress = Progress(quiet=arguments.quiet)
    with clean_stdout() as stdout:
        report = check(
            config,
            decode=not arguments.no_decode,
            on_entry=lambda count: progress.show(f"{count} entries read"),
        )
        progress.clear()
        if arguments.json:
            print_json(report.to_json(), stdout)
        else:
            _print(report, stdout)
    if not report.entries:
        raise BadArgument(f"found no entries in {report.path}, expected some; check the file")
    if report.bad:
        raise BadArgument(
            f"found {report.bad} bad of {report.entries} entries in {report.path}, expected none; "
            "mend them or take them out"
        )


def _print(report: Report, stdout: TextIO) -> None:
    for problem in report.problems:
        stdout.write(printable(str(problem)).replace("\n", " ") + "\n")
    rows: dict[str, Any] = {
        "format": report.format,
        "entries": f"{report.entries}, {report.bad} bad, {report.captions} plain captions",
        "media in": _counts(report.inputs),
        "media out": _counts(report.outputs),
        "files": f"{report.files}, {report.decoded} decoded",
    }
    if report.problems:
        rows["problems"] = _counts(Counter(problem.kind for problem in report.problems))
    for name, value in rows.items():
        stdout.write(f"{name:10}{value}\n")


def _counts(counts: Counter[Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


DATA = Command(name="data", help="check data sets", add_arguments=add_arguments, run=run)
