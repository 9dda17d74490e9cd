"""`anygen toybox`: look at the procedural world, or write it to files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from anygen.config import unknown_name
from anygen.errors import BadArgument
from anygen.modality import Modality

from .common import Command, clean_stdout, number, prepare_folder, print_json, write_whole

_SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: parser of this command.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    render = actions.add_parser("render", help="render one scene into files", allow_abbrev=False)
    render.add_argument(
        "scene",
        nargs="*",
        metavar="NAME=VALUE",
        help="attributes, as in shape=star color=red; others are drawn",
    )
    export = actions.add_parser("export", help="write a data set of scenes to files", allow_abbrev=False)
    export.add_argument(
        "--count", type=number(int, 1), default=100, metavar="N", help="scenes (default: 100)"
    )
    export.add_argument("--held-out", action="store_true", help="scenes of the held-out pairs instead")
    for action in (render, export):
        action.add_argument(
            "--modality",
            metavar="M,M",
            default=",".join(Modality),
            help="what to render (default: all seven)",
        )
        action.add_argument(
            "--seed", type=number(int, 0), default=0, metavar="N", help="fixes all that is drawn"
        )
        action.add_argument("--out", type=Path, required=True, metavar="DIR", help="where files go")
    oracles = actions.add_parser(
        "oracles", help="read attributes out of files; without any, test the oracles", allow_abbrev=False
    )
    oracles.add_argument(
        "files", nargs="*", metavar="FILE", help="media file, or MODALITY=FILE where the suffix does not tell"
    )
    oracles.add_argument(
        "--count", type=number(int, 1), default=200, metavar="N", help="scenes to test on (default: 200)"
    )
    oracles.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="seed of these scenes")


def run(arguments: argparse.Namespace) -> None:
    """Do what the action says.

    Args:
        arguments: as declared above.
    """
    actions: dict[str, Callable[[argparse.Namespace, TextIO], None]] = {
        "render": _render,
        "export": _export,
        "oracles": _oracles,
    }
    with clean_stdout() as stdout:
        actions[arguments.action](arguments, stdout)


def _render(arguments: argparse.Namespace, stdout: TextIO) -> None:
    import dataclasses
    from functools import partial

    import numpy as np

    from anygen.toybox import ATTRIBUTES, Scene, render, sample_scene

    given = dict(_attribute(text, ATTRIBUTES) for text in arguments.scene)
    modalities = _modalities(arguments.modality)
    scene: Scene = dataclasses.replace(sample_scene(np.random.default_rng(arguments.seed)), **given)
    prepare_folder(arguments.out)
    files: list[tuple[Path, Callable[[Path], None]]] = []
    for modality in modalities:
        # each modality has its own stream, so that asking for fewer changes no file
        rng = np.random.default_rng((arguments.seed, list(Modality).index(modality)))
        suffix = ".txt" if modality is Modality.TEXT else _SUFFIXES.get(modality, ".npy")
        write = partial(_write, render(scene, modality, rng=rng))
        files.append((arguments.out / f"{modality.value}{suffix}", write))
    for path in write_whole(files):
        stdout.write(f"{path}\n")


def _write(media: Any, path: Path) -> None:
    from anygen.media import save_media

    if isinstance(media, str):
        path.write_text(media + "\n", encoding="utf-8")
    else:
        save_media(media, path)


def _attribute(text: str, attributes: Any) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BadArgument(f"Found {text!r}, expected NAME=VALUE as in shape=star.")
    if name not in attributes:
        raise BadArgument(unknown_name(name, attributes, "an attribute"))
    if value not in attributes[name]:
        raise BadArgument(unknown_name(value, attributes[name], f"a {name}"))
    return name, value


def _modalities(text: str) -> list[Modality]:
    valid = [m.value for m in Modality]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in valid:
            raise BadArgument(unknown_name(name, valid, "a modality"))
    return [Modality(name) for name in names]


def _export(arguments: argparse.Namespace, stdout: TextIO) -> None:
    from anygen.toybox import export

    modalities = _modalities(arguments.modality)
    prepare_folder(arguments.out)
    export(
        arguments.out,
        count=arguments.count,
        seed=arguments.seed,
        modalities=modalities,
        held_out=arguments.held_out,
    )
    stdout.write(f"{arguments.out}\n")


def _oracles(arguments: argparse.Namespace, stdout: TextIO) -> None:
    from anygen.toybox import oracle_accuracy, read

    if not arguments.files:
        for modality, shares in oracle_accuracy(arguments.count, arguments.seed).items():
            figures = "  ".join(f"{name} {share:.1%}" for name, share in shares.items())
            stdout.write(f"{modality.value:8}{figures}\n")
        return
    from .attachments import load_attachment

    for name in arguments.files:
        modality, media = load_attachment(name)
        print_json({"file": name, "modality": modality.value, "attributes": read(modality, media)}, stdout)


TOYBOX = Command(
    name="toybox", help="render, export and read the procedural world", add_arguments=add_arguments, run=run
)
