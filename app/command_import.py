"""`anygen import`: checkpoints of other projects into safetensors folders, strictly or not at all."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import Command, clean_stdout, note, quiet_libraries

KINDS = (
    "imagebind",
    "nextgpt",
    "nextgpt-refactor",
    "languagebind",
    "pandagpt",
    "llava",
    "audioldm",
    "gguf",
    "folder",
)
"""What can be imported; the importers' own table, without loading it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=f"one of {', '.join(KINDS)}")
    parser.add_argument("source", metavar="SRC", type=Path, help="checkpoint file, or the folder it lies in")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to make")
    parser.add_argument("--sha256", metavar="HEX", help="refuse a file with another hash")
    parser.add_argument(
        "--published", action="store_true", help="refuse a file that is not one of the published ones"
    )
    parser.add_argument("--tokenizer", metavar="F", type=Path, help="folder or file of the tokenizer")
    parser.add_argument(
        "--encoder", metavar="DIR", type=Path, help="imported encoder to put into the model folder (nextgpt)"
    )
    parser.add_argument(
        "--llm", metavar="DIR", type=Path, help="language model to put into the model folder (nextgpt)"
    )
    parser.add_argument("--quiet", action="store_true", help="no notes on stderr")


def run(arguments: argparse.Namespace) -> None:
    """Import the checkpoint.

    Args:
        arguments: as declared above.
    """
    quiet_libraries()
    with clean_stdout() as stdout:
        from anygen.checkpoints.importers import ImportRequest, import_checkpoint

        done = import_checkpoint(
            arguments.kind,
            ImportRequest(
                source=arguments.source,
                destination=arguments.destination,
                sha256=arguments.sha256,
                published=arguments.published,
                tokenizer=arguments.tokenizer,
                encoder=arguments.encoder,
                llm=arguments.llm,
            ),
        )
        known = f"the published {done.published}" if done.published else "not the hash of a published file"
        note(arguments, f"{done.kind}: {done.tensors:,} tensors, {done.parameters:,} numbers")
        note(arguments, f"SHA-256 {done.sha256} ({known})")
        for text in done.notes:
            note(arguments, text)
        stdout.write(f"{arguments.destination}\n")


IMPORT = Command(
    name="import",
    help="turn other projects' checkpoints into safetensors folders",
    add_arguments=add_arguments,
    run=run,
)
