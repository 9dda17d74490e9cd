"""Another encoder for a model: a new folder with fresh input projection, ready for encoder alignment."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from anygen.config import EncoderConfig, InputProjectionConfig, Part, dumps
from anygen.errors import BadArgument

from .folder import build_input_projection, replacing
from .resolve import CONFIG, read_config
from .weights import halve_weights, save_weights


def swap_encoder(
    folder: Path,
    destination: Path,
    *,
    encoder: EncoderConfig | None = None,
    towers: Mapping[str, Path] | None = None,
    input_projection: InputProjectionConfig | None = None,
    seed: int = 0,
) -> None:
    """Write a model folder that differs in its encoder, in how media are projected, or in both.

    The input projection starts from random weights, since the old one has never seen the new vectors: train
    it with `encoder-alignment`, whose `model` is the new folder.

    Args:
        folder: a model folder.
        destination: where to; must not exist, be empty, or be another model folder.
        encoder: the new encoder, whose towers lie in `towers` or are references; None keeps the old one.
        towers: by tower the folder to copy, as `anygen import languagebind` or transformers wrote it.
        input_projection: the new projection; None keeps the old kind and size.
        seed: of the new projection's weights.

    Raises:
        BadArgument: a tower is neither given nor a reference, or something else lies at the destination.
    """
    config = read_config(folder)
    given = dict(towers or {})
    if encoder is not None:
        _check_towers(encoder, given)
        config = dataclasses.replace(config, encoder=encoder)
    part = dataclasses.replace(
        input_projection or config.input_projection, source="random: train it with encoder-alignment"
    )
    config = dataclasses.replace(config, input_projection=part)
    replaced = {"input_projection"} | ({"encoder"} if encoder is not None else set())
    with replacing(destination) as draft:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name not in replaced:
                shutil.copytree(path, draft / path.name)
            elif path.name == "README.md":
                shutil.copyfile(path, draft / path.name)
        for name, source in given.items():
            shutil.copytree(source, draft / "encoder" / name)
        (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            save_weights(build_input_projection(config), draft / "input_projection")
        halve_weights(draft)


def _check_towers(encoder: EncoderConfig, given: Mapping[str, Path]) -> None:
    parts: Mapping[str, Part] = encoder.towers
    if encoder.kind != "towers":
        raise BadArgument("found an ImageBind, expected towers; a folder with another ImageBind is imported")
    unknown = sorted(given.keys() - parts.keys())
    lost = sorted(name for name, part in parts.items() if name not in given and part.reference is None)
    if unknown or lost:
        what = f"a folder for {unknown[0]}, no tower" if unknown else f"no folder for the tower {lost[0]}"
        raise BadArgument(f"found {what}, expected folders for {', '.join(parts)}; name them so")
