"""Writes the world to files: a data set that depends on nothing but its seed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from anygen.errors import BadArgument
from anygen.media import IMU_SAMPLE_RATE, save_media
from anygen.modality import Modality

from .render import render
from .scene import Scene, sample_scene

SUFFIX: dict[Modality, str] = {
    Modality.IMAGE: ".png",
    Modality.AUDIO: ".wav",
    Modality.VIDEO: ".mp4",
    Modality.DEPTH: ".npy",
    Modality.THERMAL: ".npy",
    Modality.IMU: ".npy",
}
"""Ending of the files of each modality; texts stand in the index."""

INDEX = "scenes.jsonl"
"""One line of JSON per scene."""

CARD = "dataset.json"
"""What was exported, how, and in which units."""


def export(
    folder: str | os.PathLike[str],
    *,
    count: int,
    seed: int,
    modalities: Iterable[Modality] | None = None,
    held_out: bool = False,
) -> None:
    """Write scenes to an empty or new folder.

    `scenes.jsonl` gets one line per scene: `id`, `attributes`, `held_out`, `text` and `files` (modality to
    path within the folder). Scene number i and each of its files depend on `seed`, i and the modality alone,
    so a longer export starts with a shorter one, and leaving modalities out changes no other file.

    Args:
        folder: Where to.
        count: Number of scenes.
        seed: Fixes all that is drawn.
        modalities: What to render; all seven when None.
        held_out: Scenes of the held-out (shape, color) pairs instead of the seen ones.

    Raises:
        BadArgument: a count below 1, a seed below 0, no modality, or a folder that holds something already.
    """
    wanted = _wanted(modalities)
    if count < 1:
        raise BadArgument(f"found count={count}, expected at least 1 scene")
    if seed < 0:
        raise BadArgument(f"found seed={seed}, expected 0 or more")
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadArgument(f"found {root.name!r} in use, expected a new or empty folder; choose another")
    for modality in wanted:
        if modality in SUFFIX:
            (root / modality.value).mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        scene = sample_scene(np.random.default_rng((seed, int(held_out), index)), held_out=held_out)
        record: dict[str, Any] = {"id": index, "attributes": scene.attributes(), "held_out": held_out}
        record |= _write_scene(root, scene, index, (seed, int(held_out)), wanted)
        lines.append(json.dumps(record))
    card = _card(count, seed, wanted, held_out)
    (root / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8", newline="\n")
    (root / INDEX).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _wanted(modalities: Iterable[Modality] | None) -> tuple[Modality, ...]:
    """The modalities asked for, in canonical order, each once."""
    asked = set(Modality if modalities is None else modalities)
    unknown = asked - set(Modality)
    if unknown or not asked:
        found = ", ".join(sorted(map(str, unknown))) or "no modality"
        raise BadArgument(f"found {found}, expected some of {', '.join(Modality)}")
    return tuple(modality for modality in Modality if modality in asked)


def _write_scene(
    root: Path, scene: Scene, index: int, seed: tuple[int, int], wanted: tuple[Modality, ...]
) -> dict[str, Any]:
    """Render and save one scene.

    Returns:
        The `text` and `files` of its line in the index.
    """
    record: dict[str, Any] = {}
    files: dict[str, str] = {}
    for order, modality in enumerate(Modality):
        if modality not in wanted:
            continue
        media = render(scene, modality, rng=np.random.default_rng((*seed, index, order + 1)))
        if modality is Modality.TEXT:
            record["text"] = media
            continue
        files[modality.value] = f"{modality.value}/{index:06d}{SUFFIX[modality]}"
        save_media(media, root / files[modality.value])
    return record | {"files": files}


def _card(count: int, seed: int, wanted: tuple[Modality, ...], held_out: bool) -> dict[str, Any]:
    """What a reader of the files must know."""
    units = {
        Modality.DEPTH: "metres, float32 (height, width)",
        Modality.THERMAL: "0 to 1, float32 (height, width)",
        Modality.IMU: f"m/s^2 (rows 0-2) and rad/s (rows 3-5), float32 (6, n), {IMU_SAMPLE_RATE:g} Hz",
    }
    return {
        "name": "toybox",
        "version": 1,
        "scenes": count,
        "seed": seed,
        "held_out": held_out,
        "modalities": [modality.value for modality in wanted],
        "arrays": {modality.value: text for modality, text in units.items() if modality in wanted},
        "index": INDEX,
    }
