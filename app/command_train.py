"""`anygen train`: one training stage, resumable."""

from __future__ import annotations

import argparse
from pathlib import Path

from anygen.errors import BadArgument

from .common import Command, clean_stdout, quiet_libraries

STAGES = (
    "binding",
    "encoder-alignment",
    "decoder-alignment",
    "instruction-tuning",
    "autoencoder",
    "text-encoder",
    "diffusion",
    "vocoder",
    "language-model",
)
"""The four stages of the system itself, then those that make the frozen parts of a small model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES[:4]))
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML file of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of the run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="lay a setting over the file, such as trainer.steps=10; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would train, its memory and its steps, and leave"
    )
    parser.add_argument(
        "--force", action="store_true",
        help="resume although the stage's settings or frozen weights are not those of the checkpoint",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Train until the stage is done.

    Args:
        arguments: as declared above.

    Raises:
        BadArgument: when the configuration file does not exist.
    """
    if not arguments.config.is_file():
        raise BadArgument(f"Found no file {arguments.config}, expected the YAML configuration of the run.")
    quiet_libraries()
    from anygen.stages.run import main, read_config

    with clean_stdout() as stdout:
        if arguments.dry_run:
            from anygen.stages.dry_run import dry_run

            config = read_config(arguments.config, arguments.settings)
            lines = dry_run(arguments.stage, config, where=arguments.config.name)
            stdout.write("\n".join(lines) + "\n")
            return
        main(
            arguments.stage,
            arguments.config,
            resume=arguments.resume,
            overrides=arguments.settings,
            force=arguments.force,
        )


TRAIN = Command(name="train", help="run a training stage", add_arguments=add_arguments, run=run)
