"""`anygen data`: read a data set before anything is trained on it, and make instruction data of one."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anygen.config import unknown_name
from anygen.errors import BadArgument

from .common import Command, Progress, clean_stdout, number, print_json, printable, quiet_libraries

if TYPE_CHECKING:
    from anygen.stages.data.check import Report
    from anygen.stages.data.making import MakeReport

FORMATS = ("auto", "manifest", "nextgpt", "llava", "webdataset", "huggingface", "folder")
"""Formats with a reader."""

KINDS = ("plain", "conversation", "detail", "reasoning", "t2m", "mosit")
"""Kinds of samples that can be made."""


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
    _add_make(actions)


def _add_make(actions: Any) -> None:
    make = actions.add_parser("make", help="make instruction data of captioned media", allow_abbrev=False)
    make.add_argument(
        "path", metavar="SOURCE", help="captioned media: a data set, or a folder of `anygen toybox export`"
    )
    make.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines to write")
    make.add_argument(
        "--kind", type=_kinds, default=KINDS, metavar="K,K", help=f"{', '.join(KINDS)} (default: all)"
    )
    make.add_argument(
        "--llm", type=Path, metavar="DIR",
        help="instruct model that writes the samples (default: the toybox's grammar, without a model)",
    )  # fmt: skip
    make.add_argument(
        "--prompts", type=Path, metavar="DIR", help="prompts for --llm (default: the package's)"
    )
    make.add_argument(
        "--temperature", type=number(float, 0), default=0.7, metavar="X", help="of --llm; 0 draws nothing"
    )
    make.add_argument(
        "--max-new-tokens", type=number(int, 1), default=256, metavar="N", help="of --llm (default 256)"
    )
    make.add_argument("--device", default="cpu", metavar="D", help="of --llm (default cpu)")
    make.add_argument(
        "--count",
        type=number(int, 1),
        metavar="N",
        help="samples of each kind to try (default: one an entry)",
    )
    make.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="fixes all that is drawn")
    make.add_argument(
        "--rejects", type=Path, metavar="FILE", help="write what was rejected, and why, as JSON lines"
    )
    make.add_argument("--media", metavar="DIR", help="folder of the media (default: the source's)")
    make.add_argument("--json", action="store_true", help="print one JSON object")
    make.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _kinds(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(unknown_name(name, KINDS, "a kind of sample"))
    return names


def _column(text: str) -> tuple[str, str]:
    found, sign, wanted = text.partition("=")
    if not (found and sign and wanted):
        raise argparse.ArgumentTypeError(f"found {text[:40]!r}, expected NAME=FIELD as in title=text")
    return found, wanted


def run(arguments: argparse.Namespace) -> None:
    """Check a data set, or make one.

    Args:
        arguments: as declared above.

    Raises:
        BadArgument: when an entry is bad, after all of them are printed; when nothing could be made.
    """
    quiet_libraries()
    (_make if arguments.action == "make" else _check)(arguments)


def _make(arguments: argparse.Namespace) -> None:
    from anygen.stages.data.making import MakeOptions, make
    from anygen.stages.data.readers import SourceConfig

    options = MakeOptions(kinds=arguments.kind, count=arguments.count)
    progress = Progress(quiet=arguments.quiet)
    with clean_stdout() as stdout:
        report = make(
            SourceConfig(path=arguments.path, media=arguments.media),
            _generator(arguments),
            arguments.out,
            options,
            lambda done, total: progress.show(f"{done} of {total} samples"),
        )
        progress.clear()
        if arguments.rejects is not None:
            lines = (json.dumps(reject, ensure_ascii=False) + "\n" for reject in report.rejects)
            arguments.rejects.write_text("".join(lines), encoding="utf-8")
        if arguments.json:
            print_json(report.to_json(), stdout)
        else:
            _print_made(report, arguments.out, stdout)
    if not report.written:
        raise BadArgument("found no sample good enough to be written, expected some; see --rejects")


def _generator(arguments: argparse.Namespace) -> Any:
    if arguments.llm is None:
        from anygen.stages.data.making.grammar import Grammar

        return Grammar(arguments.seed)
    from anygen.stages.data.making.chat import InstructModel

    return InstructModel(
        arguments.llm, seed=arguments.seed, prompts=arguments.prompts, temperature=arguments.temperature,
        max_new_tokens=arguments.max_new_tokens, device=arguments.device,
    )  # fmt: skip


def _print_made(report: MakeReport, out: Path, stdout: TextIO) -> None:
    for problem in report.problems:
        stdout.write(printable(str(problem)).replace("\n", " ") + "\n")
    rows = {
        "subjects": f"{report.subjects}, {len(report.problems)} entries unusable",
        "written": _counts(report.written),
        "rejected": _counts(report.rejected),
        "file": str(out),
    }
    for name, value in rows.items():
        stdout.write(f"{name:10}{value}\n")


def _check(arguments: argparse.Namespace) -> None:
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


DATA = Command(
    name="data", help="check data sets, and make instruction data", add_arguments=add_arguments, run=run
)
