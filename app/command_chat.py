"""`anygen chat`: a conversation in the terminal, with files attached and files made."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygen.errors import AnyGenError, BadArgument
from anygen.modality import Modality

from .attachments import load_attachment
from .common import (
    SUFFIXES,
    Command,
    add_model_arguments,
    load_pipeline,
    number,
    prepare_folder,
    printable,
    write_whole,
)

if TYPE_CHECKING:
    from anygen.messages import Message
    from anygen.pipelines.any_to_any import AnyGenPipeline

COMMANDS = "/attach FILE adds a file to the next message, /new starts over, /quit leaves"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), metavar="N", help="seed of the first turn")
    parser.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR", help="where files go (default: here)"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read lines until the end of input.

    Args:
        arguments: as declared above.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives `input` a history and editing)
    prepare_folder(arguments.out)
    chat = Chat(load_pipeline(arguments), out=arguments.out, seed=arguments.seed)
    interactive = sys.stdin.isatty() and not arguments.quiet
    if interactive:
        print(COMMANDS, file=sys.stderr)
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return
        try:
            if not chat.take(line):
                return
        except AnyGenError as error:
            if not interactive:
                raise
            print(f"anygen: {error}", file=sys.stderr)


class Chat:
    """The state of one conversation.

    Args:
        pipe: what answers.
        out: where the files of answers go.
        seed: seed of the first turn; every turn adds one. None draws one a turn.
    """

    def __init__(self, pipe: AnyGenPipeline, *, out: Path, seed: int | None) -> None:
        self.pipe, self.out, self.seed = pipe, out, seed
        self.history: list[Message] = []
        self.attached: list[tuple[Modality, Any]] = []

    def take(self, line: str) -> bool:
        """Handle one line of input.

        Args:
            line: a message or a command.

        Returns:
            Whether the conversation goes on.

        Raises:
            BadArgument: for a command that does not exist.
        """
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return False
        if command == "/new":
            self.history, self.attached = [], []
        elif command == "/attach":
            self.attached.append(load_attachment(rest.strip()))
        elif command.startswith("/"):
            raise BadArgument(f"Found {command}, expected a message or a command: {COMMANDS}.")
        elif line or self.attached:
            self._answer(line)
        return True

    def _answer(self, line: str) -> None:
        from anygen.messages import MediaPart, Message, TextPart
        from anygen.pipelines import events

        media = [MediaPart(modality, medium) for modality, medium in self.attached]
        question = Message("user", (*media, *([TextPart(line)] if line else [])))
        said: int | None = None
        for event in self.pipe.stream([*self.history, question], seed=self.seed):
            if isinstance(event, events.TextDelta):
                gap = (
                    " " if said is not None and event.index != said else ""
                )  # media stand between two texts of an answer
                said = event.index
                print(gap + printable(event.text), end="", flush=True)
            elif isinstance(event, events.MediaFinished):
                print(f"\n[{event.modality.value}: {self._save(event.modality, event.part.media)}]")
            elif isinstance(event, events.Done):
                print(flush=True)
                self.history += [question, event.reply.message]
        self.attached = []
        self.seed = None if self.seed is None else self.seed + 1

    def _save(self, modality: Modality, medium: Any) -> Path:
        from anygen.media import save_media

        name = f"{len(self.history) // 2 + 1}-{modality.value}{SUFFIXES[modality]}"
        (path,) = write_whole([(self.out / name, lambda draft: save_media(medium, draft))])
        return path


CHAT = Command(name="chat", help="talk with a model in the terminal", add_arguments=add_arguments, run=run)
