"""`anygen make`: puts a model together around a language model that is installed apart."""

from __future__ import annotations

import argparse
from pathlib import Path

from anygen.assembly import ASSEMBLIES

from .common import Command, clean_stdout, note, quiet_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("name", metavar="NAME", choices=ASSEMBLIES, help=f"one of {', '.join(ASSEMBLIES)}")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="model folder to make")
    parser.add_argument(
        "--llm", metavar="PATH", type=Path,
        help="the language model: a folder that `anygen import gguf` made, or a .gguf file; without it, that "
        "of the installed package",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no notes on stderr")


def run(arguments: argparse.Namespace) -> None:
    """Put the model together.

    Args:
        arguments: as declared above.
    """
    quiet_libraries()
    with clean_stdout() as stdout:
        from anygen.checkpoints.assemble import make_model

        config = make_model(arguments.name, arguments.folder, llm=arguments.llm)
        note(arguments, f"{config.name}: {config.description}")
        stdout.write(f"{arguments.folder}\n")


MAKE = Command(
    name="make",
    help="put a model together around a language model that is installed apart",
    add_arguments=add_arguments,
    run=run,
)
