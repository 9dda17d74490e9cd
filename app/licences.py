"""Licences on the command line: shown before the first use of a model that restricts its use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from anygen.errors import LicenceNotAccepted


def add_licence_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--accept-license`.

    Args:
        parser: parser of the command.
    """
    parser.add_argument(
        "--accept-license",
        action="store_true",
        help="accept the licences of parts that restrict their use; remembered, so asked once",
    )


def show_licences(arguments: argparse.Namespace, *, parts: Iterable[str] = ("",)) -> None:
    """Show the licences that restrict the model's use before it is first used, and have them accepted.

    Args:
        arguments: with `model` and `accept_license`.
        parts: beginnings of the names of the parts that will be used.

    Raises:
        LicenceNotAccepted: they were not accepted, and nobody is there to ask.
    """
    from anygen.checkpoints.licences import accept, pending, refusal, restricted
    from anygen.checkpoints.resolve import read_config, resolve

    config = read_config(resolve(arguments.model))
    terms = restricted(config, parts)
    missing = pending(terms) if terms else []
    if not missing:
        return
    someone = sys.stdin.isatty() and sys.stderr.isatty()
    if not (arguments.accept_license or someone):
        raise LicenceNotAccepted(refusal(config.name, missing))
    print(f"anygen: parts of {config.name} restrict what it may be used for:", file=sys.stderr)
    for one in missing:
        print(f"anygen:   {one}", file=sys.stderr)
    if not arguments.accept_license:
        print("anygen: accept these licences? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise LicenceNotAccepted(refusal(config.name, missing))
        arguments.accept_license = True
    if not accept(missing):
        print(
            "anygen: could not write down that they were accepted; the next run asks again", file=sys.stderr
        )
