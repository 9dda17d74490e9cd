"""What several commands share: arguments, quiet libraries, progress on stderr, files that appear whole."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anygen.config import unknown_name
from anygen.errors import BadArgument
from anygen.modality import GENERATED, MEDIA_INPUTS, Modality

from .licences import add_licence_argument, show_licences

if TYPE_CHECKING:
    from anygen.pipelines.any_to_any import AnyGenPipeline
    from anygen.pipelines.embedding import EmbeddingPipeline


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line."""

    name: str
    """What the user types."""
    help: str
    """One line that says what it does."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Declares its arguments."""
    run: Callable[[argparse.Namespace], None]
    """Does it; raises AnyGenError for whatever the user can mend."""


DEFAULT_MODEL = "toybox-tiny"
DTYPES = ("float32", "bfloat16", "float16")
SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}
"""File type of every modality that is written."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command with a model takes.

    Args:
        parser: parser of the command.
    """
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME", help="bundled name, folder or hub id"
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("--dtype", choices=DTYPES, metavar="T", help="float32, bfloat16 or float16")
    add_licence_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no notes on stderr")


class _AppendMedia(argparse.Action):
    """Collect media files of all modalities in the order in which they were given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        flag: str | None = None,
    ) -> None:
        namespace.media = [*namespace.media, (Modality(self.dest), values)]


def add_media_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--image F` and its five siblings; `arguments.media` has (modality, file) in the order given.

    Args:
        parser: parser of the command.
    """
    parser.set_defaults(media=[])
    for modality in MEDIA_INPUTS:
        parser.add_argument(
            f"--{modality.value}",
            dest=modality.value,
            action=_AppendMedia,
            metavar="F",
            default=argparse.SUPPRESS,
            help=f"{modality.value} file to show the model; may be given several times",
        )


def number(kind: type[int] | type[float], low: float, high: float = math.inf) -> Callable[[str], Any]:
    """Make an argparse type for a finite number of a range.

    Args:
        kind: int or float.
        low: smallest value allowed.
        high: largest value allowed.

    Returns:
        A function from the text to the number.
    """
    name = "a whole number" if kind is int else "a number"
    bounds = f"of {low:g} or more" if high == math.inf else f"from {low:g} to {high:g}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = kind(low) - 1
        if not (math.isfinite(value) and low <= value <= high):
            raise argparse.ArgumentTypeError(f"found {text[:40]!r}, expected {name} {bounds}")
        return value

    return parse


def output_modalities(text: str) -> list[Modality]:
    """Parse `--output`; an argparse type.

    Args:
        text: names joined by commas, such as "text,image".

    Returns:
        The modalities, each once.
    """
    valid = [Modality.TEXT.value, *(m.value for m in GENERATED)]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in valid:
            raise argparse.ArgumentTypeError(unknown_name(name, valid, "an output"))
    return [Modality(name) for name in names]


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector while libraries are imported: it walks their objects again and again.

    A fifth of the start-up time goes with it. What was made meanwhile is never walked later either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_pipeline(arguments: argparse.Namespace) -> AnyGenPipeline:
    """Load the model that the arguments name.

    Args:
        arguments: with `model`, `device`, `dtype`, `quiet`.

    Returns:
        A pipeline.
    """
    from anygen.checkpoints.resolve import resolve

    quiet_libraries()
    resolve(arguments.model)  # before torch is imported: a mistyped name is answered at once
    show_licences(arguments)
    note(arguments, f"loading {arguments.model}")
    with without_collection():
        from anygen.pipelines.any_to_any import AnyGenPipeline

        budget = getattr(arguments, "memory_budget", None)
        if budget is not None:
            from anygen.pipelines.planning import plan

            chosen = plan(arguments.model, budget, arguments.device or "cpu", dtype=arguments.dtype)
            for line in chosen.lines():
                note(arguments, line)
        return AnyGenPipeline.from_pretrained(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            memory_budget=budget,
            accept_license=arguments.accept_license,
        )


def load_embedder(arguments: argparse.Namespace) -> EmbeddingPipeline:
    """Load the encoder of the model that the arguments name.

    Args:
        arguments: with `model`, `device`, `dtype`, `quiet`.

    Returns:
        An embedding pipeline.
    """
    from anygen.checkpoints.resolve import CONFIG

    quiet_libraries()
    if (Path(arguments.model).expanduser() / CONFIG).is_file() or not Path(arguments.model).is_dir():
        show_licences(arguments, parts=["encoder"])  # a bare encoder's folder says nothing of licences
    note(arguments, f"loading {arguments.model}")
    options: dict[str, Any] = {
        "device": arguments.device or "cpu",
        "accept_license": arguments.accept_license,
    }
    with without_collection():
        from anygen.pipelines.embedding import EmbeddingPipeline

        if arguments.dtype is not None:
            import torch

            options["dtype"] = getattr(torch, arguments.dtype)
        return EmbeddingPipeline.from_pretrained(arguments.model, **options)


def quiet_libraries() -> None:
    """Keep the progress bars and advice of the libraries underneath off the terminal."""
    import warnings

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.simplefilter("ignore")


def set_up_logging(*, quiet: bool) -> None:
    """Show warnings of the program on stderr as lines like all others.

    Args:
        quiet: show errors alone.
    """
    import logging

    level = logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, format="anygen: %(message)s", stream=sys.stderr)


def note(arguments: argparse.Namespace, text: str) -> None:
    """Say something on stderr unless --quiet.

    Args:
        arguments: with `quiet`.
        text: one line.
    """
    if not arguments.quiet:
        print(f"anygen: {text}", file=sys.stderr)


class Progress:
    """One line on stderr that is rewritten in place on a terminal, and silent elsewhere and with --quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._stream = sys.stderr
        self._on = not quiet and self._stream.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        """Replace the line.

        Args:
            text: what to show.
        """
        if self._on:
            self._stream.write("\r" + text.ljust(self._width))
            self._stream.flush()
            self._width = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._on and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


@contextlib.contextmanager
def clean_stdout() -> Iterator[TextIO]:
    """Send what libraries print to stderr, so that stdout has only what the command writes to it.

    Yields:
        The real stdout.
    """
    real = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield real


def printable(text: str) -> str:
    """Take out what would steer a terminal; a model may write any character.

    Args:
        text: what a model wrote.

    Returns:
        The text with control characters other than line feed and tab replaced.
    """
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def print_json(value: Any, stream: TextIO) -> None:
    """Print one JSON object.

    Args:
        value: what to print.
        stream: where to.
    """
    stream.write(json.dumps(value, ensure_ascii=True) + "\n")
    stream.flush()


def prepare_folder(folder: Path) -> Path:
    """Make an output folder before any work is done for it.

    Args:
        folder: where results will go.

    Returns:
        The folder.

    Raises:
        BadArgument: when it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise BadArgument(f"Cannot write to {folder}: {reason}; name another folder with --out.") from None


def write_whole(files: Iterable[tuple[Path, Callable[[Path], None]]]) -> list[Path]:
    """Write several files so that all of them appear complete or none does; never overwrites a file.

    Args:
        files: per file the path it should get and a function that writes it to the path it is handed.

    Returns:
        The paths used: as asked, or with -2, -3, ... before the suffix where a file was in the way.
    """
    drafts: list[tuple[Path, Path]] = []
    done: list[Path] = []
    try:
        for target, write in files:
            draft = target.with_name(f".{os.getpid()}-{target.name}")
            drafts.append((draft, target))
            write(draft)
            draft.chmod(0o644)
        for draft, target in drafts:
            done.append(_publish(draft, target))
        return done
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    finally:
        for draft, _ in drafts:
            draft.unlink(missing_ok=True)


def _publish(draft: Path, target: Path) -> Path:
    for count in range(1, 100_000):
        path = target if count == 1 else target.with_stem(f"{target.stem}-{count}")
        try:
            os.link(draft, path)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            if path.exists():
                continue
            draft.rename(path)
        return path
    raise BadArgument(f"Found 100000 files named like {target.name}; name another folder with --out.")
