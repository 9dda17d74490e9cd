"""`anygen embed`: unit-norm vectors of files and texts in one space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from anygen.errors import BadArgument
from anygen.modality import Modality

from .attachments import load_attachment
from .common import Command, add_model_arguments, clean_stdout, load_embedder, prepare_folder

if TYPE_CHECKING:
    import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="media file, or MODALITY=FILE where the suffix does not tell"
    )
    parser.add_argument(
        "--text", action="append", default=[], metavar="T", help="text to embed; may be repeated"
    )
    parser.add_argument(
        "--out", type=Path, metavar="F.safetensors", help="write the vectors, one tensor a modality"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Embed and write, or show all cosines.

    Args:
        arguments: as declared above.

    Raises:
        BadArgument: when there is nothing to embed, or the output is no .safetensors file.
    """
    if not arguments.files and not arguments.text:
        raise BadArgument("Found nothing to embed, expected at least one FILE or --text.")
    if arguments.out is not None:
        if arguments.out.suffix != ".safetensors":
            raise BadArgument(f"--out is {arguments.out}, expected a name that ends in .safetensors.")
        prepare_folder(arguments.out.parent)
    with clean_stdout() as stdout:
        items, labels = _read(arguments)
        vectors = _embed(items, arguments)
        if arguments.out is None:
            _print_cosines(vectors, labels, stdout)
        else:
            _write(vectors, labels, arguments.out)
            stdout.write(f"{arguments.out}\n")


def _read(arguments: argparse.Namespace) -> tuple[dict[Modality, list[Any]], dict[Modality, list[str]]]:
    items: dict[Modality, list[Any]] = {}
    labels: dict[Modality, list[str]] = {}
    for name in arguments.files:
        modality, medium = load_attachment(name)
        items.setdefault(modality, []).append(medium)
        labels.setdefault(modality, []).append(name)
    if arguments.text:
        items[Modality.TEXT] = labels[Modality.TEXT] = arguments.text
    return items, labels


def _embed(items: dict[Modality, list[Any]], arguments: argparse.Namespace) -> dict[Modality, np.ndarray]:
    embedder = load_embedder(arguments)
    vectors = embedder.embed(**{modality.value: values for modality, values in items.items()})
    return {Modality(name): value for name, value in vectors.items()}


def _write(vectors: dict[Modality, np.ndarray], labels: dict[Modality, list[str]], out: Path) -> None:
    import json

    from safetensors.numpy import save

    from anygen.checkpoints.manifest import write_atomic

    names = {modality.value: json.dumps(values) for modality, values in labels.items()}
    write_atomic(out, save({modality.value: value for modality, value in vectors.items()}, metadata=names))


def _print_cosines(
    vectors: dict[Modality, np.ndarray], labels: dict[Modality, list[str]], stdout: TextIO
) -> None:
    import numpy as np

    rows = np.concatenate([vectors[modality] for modality in labels])
    names = [f"{modality.value}: {name}" for modality, values in labels.items() for name in values]
    width = min(48, max(len(name) for name in names))
    for name, cosines in zip(names, rows @ rows.T, strict=True):
        stdout.write(f"{name[:width]:{width}}  {' '.join(f'{value:6.3f}' for value in cosines)}\n")


EMBED = Command(
    name="embed", help="embed files and texts into one space", add_arguments=add_arguments, run=run
)
