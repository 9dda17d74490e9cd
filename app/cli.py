"""The `anygen` command: parses arguments, runs one command, and turns every error into one clear line.

Nothing heavy is imported before a command runs, so that help and usage errors are immediate.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from anygen.errors import AnyGenError, Cancelled, NonFinite, OutOfMemory

from .command_app import APP
from .command_cache import CACHE
from .command_chat import CHAT
from .command_data import DATA
from .command_embed import EMBED
from .command_eval import EVAL
from .command_generate import GENERATE
from .command_import import IMPORT
from .command_inspect import INSPECT
from .command_make import MAKE
from .command_report import REPORT
from .command_toybox import TOYBOX
from .command_train import TRAIN
from .common import Command, set_up_logging

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        GENERATE,
        CHAT,
        APP,
        EMBED,
        INSPECT,
        DATA,
        CACHE,
        TRAIN,
        REPORT,
        EVAL,
        TOYBOX,
        IMPORT,
        MAKE,
    )
}
"""Every command by its name, in the order of the help."""

DONE, FAILED, BAD_INPUT = 0, 1, 2
"""Exit statuses."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        """Print the error on one line and leave with status 2.

        Args:
            message: what argparse says is wrong.
        """
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands.

    Returns:
        A parser whose result has `command`, the name of the command to run.
    """
    parser = OneLineParser(
        prog="anygen",
        description="Any-to-any generation: text, images, audio, video, depth, thermal and IMU in; "
        "text, images, audio and video out.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        text = command.help[0].upper() + command.help[1:]
        command.add_arguments(
            commands.add_parser(name, help=command.help, description=f"{text}.", allow_abbrev=False)
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        Exit status: 0 done, 2 bad usage or bad input, 1 anything else.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # answers may have characters that a locale lacks
    try:
        parser = build_parser()
        arguments = parser.parse_args(argv)
        if arguments.version:
            from importlib.metadata import version

            print(f"anygen {version('anygen-multimodal')}")
            return DONE
        if arguments.command is None:
            parser.error(f"found no command, expected one of {', '.join(COMMANDS)}")
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except BrokenPipeError:
        # The reader of our output left (`anygen ... | head`): keep the interpreter from flushing into the
        # closed pipe again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return _fail("interrupted", FAILED)


def _run(arguments: argparse.Namespace) -> int:
    set_up_logging(quiet=getattr(arguments, "quiet", False))
    try:
        COMMANDS[arguments.command].run(arguments)
        return DONE
    except (Cancelled, OutOfMemory, NonFinite) as error:
        return _fail(str(error), FAILED)
    except AnyGenError as error:
        return _fail(str(error), BAD_INPUT)
    except MemoryError:
        return _fail("memory ran out; use a smaller model, fewer inputs or smaller outputs", FAILED)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("ANYGEN_TRACEBACK"):
            raise
        return _fail(
            f"unexpected {type(error).__name__}; set ANYGEN_TRACEBACK=1 and report what it shows", FAILED
        )


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"anygen: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
