"""A cache as WebDataset tars, for whoever trains with other tools: JSON and `.npy` files, no pickle."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from anygen.errors import BadArgument
from anygen.prompting import Placed, Prompt

from .index import read_index, saving
from .samples import StoredMedium, StoredSignal
from .stored import Stored


def export_webdataset(cache: Path, folder: Path) -> list[Path]:
    """Write one tar for every shard.

    A sample `SPLIT-0000000` has `.json` (ids, labels, slots, signals with captions), and for the i-th medium
    `.i.vector.npy`, for the i-th signal `.i.state.npy`, `.i.target.npy` and perhaps `.i.latents.npy`.

    Args:
        cache: A finished cache.
        folder: Where to; must be new or empty.

    Returns:
        The tars.

    Raises:
        BadArgument: The folder has files in it.
        CheckpointCorrupt: The cache is damaged.
        SaveFailed: The disk refused.
    """
    stored = Stored(cache, read_index(cache))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadArgument(f"{folder} holds other files, expected a new or empty folder; name another place")
    written = []
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for shard in stored.index.shards:
            target = folder / f"{Path(shard.file).stem}.tar"
            draft = target.with_suffix(".tmp")
            prompts = stored.prompts(shard.split, range(shard.begin, shard.end))
            with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number, prompt in enumerate(prompts, shard.begin):
                    key = f"{shard.split.replace('/', '-')}-{number:07d}"
                    for name, data in _members(prompt):
                        entry = tarfile.TarInfo(f"{key}.{name}")
                        entry.size = len(data)
                        tar.addfile(entry, io.BytesIO(data))
            written.append(draft.rename(target))
    return written


def _members(prompt: Prompt) -> Iterator[tuple[str, bytes]]:
    described = {
        "input_ids": prompt.input_ids,
        "labels": prompt.labels,
        "slots": [_place(p) for p in prompt.slots],
        "signals": [_place(p) | _meaning(p.item) for p in prompt.signals],
    }
    yield "json", json.dumps(described).encode()
    for index, placed in enumerate(prompt.slots):
        if isinstance(placed.item, StoredMedium):
            yield f"{index}.vector.npy", _npy(placed.item.vector)
    for index, placed in enumerate(prompt.signals):
        signal: StoredSignal = placed.item
        yield f"{index}.state.npy", _npy(signal.state)
        yield f"{index}.target.npy", _npy(signal.target)
        if signal.latents is not None:
            yield f"{index}.latents.npy", _npy(signal.latents)


def _place(placed: Placed) -> dict[str, object]:
    return {"modality": str(placed.modality), "start": placed.start, "length": placed.length}


def _meaning(signal: StoredSignal) -> dict[str, object]:
    return {"caption": signal.caption, "attributes": dict(signal.attributes)}


def _npy(tensor: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, tensor.numpy(), allow_pickle=False)
    return buffer.getvalue()
