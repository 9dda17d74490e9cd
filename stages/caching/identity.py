"""What a cache is computed from: settings, weights, preprocessing, data; any other value, another cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from anygen.checkpoints.manifest import sha256
from anygen.checkpoints.resolve import part_folder, read_config, resolve
from anygen.config import to_json
from anygen.errors import CheckpointCorrupt

from ..data.model import Parts
from ..data.sources import FileSource, MemberSource
from .index import FileMark

CACHED = ("encoder-alignment", "decoder-alignment")
"""Stages that have something to cache."""
LARGE = 64 * 2**20
"""Bytes from which the content of a data file is not hashed."""
_FREE = {
    "encoder-alignment": {"cache", "model", "system", "data", "begin"},
    "decoder-alignment": {
        "cache", "model", "system", "data", "distance_weight", "denoising", "denoising_weight",
    },
}  # fmt: skip
"""Settings of a stage that a cache does not depend on, or that are looked at on their own."""
_SYSTEM = ("template", "num_slot_tokens", "signal_tokens", "projection", "feature_set", "seed")
_DATA = ("sources", "held_out", "most_evaluated", "seed")
_PREPROCESSING = ("encoders", "media", "prompting.py", "tokens.py", "toybox")
"""What of the library decides how media and words become inputs."""


def identity(stage: str, config: Any) -> dict[str, Any]:
    """All that must be the same, by name.

    Args:
        stage: One of `CACHED`.
        config: Its configuration.

    Raises:
        MissingPart: The model is not there.
    """
    parts: Parts = config.parts()
    found: dict[str, Any] = {"preprocessing": _preprocessing()}
    for key, value in to_json(config).items():
        if key not in _FREE[stage]:
            found[key] = value
    for name, part, keys in (("system", parts.system, _SYSTEM), ("data", parts.data, _DATA)):
        found |= {f"{name}.{key}": to_json(getattr(part, key)) for key in keys if part is not None}
    folders = _weights(parts)
    wanted = {"encoder", "tokenizer", "settings"} if stage == "encoder-alignment" else folders.keys()
    if stage == "encoder-alignment" and parts.system is not None:
        wanted = {"encoder", "features", "tokenizer"}
    kept = {name for name in folders if name in wanted or name.partition("/")[0] in wanted}
    found |= {f"weights.{name}": _hashed(files) for name, files in folders.items() if name in kept}
    return found


def made_with(parts: Parts) -> dict[str, str]:
    """Versions of packages, and the model's name and revision."""
    names = ("anygen-multimodal", "torch", "transformers", "pillow", "av", "numpy")
    found = {name: version(name) for name in names}
    if parts.model is not None:
        folder = resolve(parts.model)
        found |= {"model": parts.model, "revision": folder.resolve().name, "name": read_config(folder).name}
    return found


def _weights(parts: Parts) -> dict[str, dict[str, Path]]:
    """Files of every part by their names in it."""
    if parts.model is not None:
        root = resolve(parts.model)
        config = read_config(root)
        found = {n: _files(part_folder(root, n, p)) for n, p in config.parts().items()}
        found["tokenizer"] = _files(root / "tokenizer")
        return found | {"settings": {"config.json": root / "config.json"}}
    assert parts.system is not None
    system = parts.system
    found = {"encoder": _files(Path(system.encoder)), "llm": _files(Path(system.llm))}
    found["tokenizer"] = {n: p for n, p in found["llm"].items() if "token" in n or n.startswith("vocab")}
    for modality, name in system.text_encoders.items():
        for part in ("text_encoder", "tokenizer"):
            found[f"{part}/{modality}"] = _files(Path(name) / part)
    if system.start is not None:
        found["start"] = _files(Path(system.start))
    if system.features is not None and parts.data is None:
        path = Path(system.features)
        suffixes = (".safetensors", ".held-out.safetensors")
        found["features"] = {s: path.with_suffix(s) for s in suffixes if path.with_suffix(s).is_file()}
    return found


def _files(folder: Path) -> dict[str, Path]:
    """All files of a part; a decoder's UNet decides nothing that is cached."""
    paths = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "README.md")
    names = {p.relative_to(folder).as_posix(): p for p in paths}
    return {n: p for n, p in names.items() if not n.startswith("unet/") and not n.startswith(".")}


def _hashed(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _preprocessing() -> str:
    root = Path(str(files("anygen")))
    found: dict[str, Path] = {}
    for name in _PREPROCESSING:
        path = root / name
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            found[file.relative_to(root).as_posix()] = file
    return _hashed(found)


def marks(items: Iterable[Any]) -> dict[str, FileMark]:
    """How the files behind records' items (`At`) look now: the media, and the data set's own files."""
    paths: set[str] = set()
    for item in items:
        place, medium = getattr(item, "place", None), getattr(item, "medium", None)
        if place is None or medium is None:
            continue
        paths.add(place.file)
        if isinstance(medium.source, FileSource):
            paths.add(medium.source.path)
        elif isinstance(medium.source, MemberSource):
            paths.add(medium.source.tar)
    return {path: _mark(Path(path)) for path in sorted(paths) if Path(path).is_file()}


def _mark(path: Path) -> FileMark:
    status = path.stat()
    digest = sha256(path) if status.st_size < LARGE else ""
    return FileMark(bytes=status.st_size, changed=status.st_mtime_ns, sha256=digest)


def check_marks(files: Mapping[str, FileMark]) -> None:
    """See that no file is another than when it was read. One that is gone is not needed any more.

    Raises:
        CheckpointCorrupt: Files have changed; the first three are named.
    """
    changed = [path for path, mark in files.items() if _is_other(Path(path), mark)]
    if changed:
        named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise CheckpointCorrupt(
            f"found files that changed after the cache was computed: {named}; expected the same content. "
            "Cache into a new folder"
        )


def _is_other(path: Path, mark: FileMark) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    if (status.st_size, status.st_mtime_ns) == (mark.bytes, mark.changed):
        return False
    return status.st_size != mark.bytes or not mark.sha256 or sha256(path) != mark.sha256
