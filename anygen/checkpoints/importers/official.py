"""Official folders with `.bin` weights (Vicuna, Zeroscope, AudioLDM) into the same with safetensors."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from anygen.config import read_json
from anygen.errors import BadArgument, CheckpointCorrupt, LimitExceeded, MissingPart

from .layout import ANY_FLOAT, Entry, check_layout, layout_of
from .published import require_published
from .request import DESCRIPTIONS, ImportReport, ImportRequest, report
from .safe import Source, open_source
from .writing import importing, write_tensors

INDEX = "pytorch_model.bin.index.json"
"""Says which shard has which tensor."""
_NAMES = (
    (r"diffusion_pytorch_model(.*)\.bin", r"diffusion_pytorch_model\1.safetensors"),
    (r"pytorch_model(.*)\.bin", r"model\1.safetensors"),
)
_COUNTERS = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")
"""Tables that older libraries stored and newer ones compute."""


def import_folder(request: ImportRequest) -> ImportReport:
    """Turn the `.bin` weights of an official folder, and of its folders, into safetensors.

    Args:
        request: what to import, and where to.

    Returns:
        What was done. Tensors keep their names and types; code and other pickles stay behind.

    Raises:
        MissingPart: when the folder has no weights, or a shard is missing.
        CheckpointCorrupt: when a file is damaged, is not plain tensors, or its index says something else.
        WeightsMismatch: for a language model whose tensors are not those of its configuration.
        BadArgument: when a hash is given for several files.
    """
    root = request.source
    if not root.is_dir():
        raise BadArgument(f"found a file {root.name}, expected an official folder; give the folder")
    files = sorted(path for path in root.rglob("*.bin") if _is_wanted(root, path))
    if not files:
        raise MissingPart(
            f"the folder {root.name} has no pytorch_model.bin or the like; is it safetensors already?"
        )
    if request.sha256 is not None and len(files) > 1:
        raise BadArgument(f"found one hash for {len(files)} files, expected it for one; leave it out")
    opened = {path: open_source(path, sha256=request.sha256) for path in files}
    for source in opened.values():
        _check_size(source)
        if request.published:
            require_published(source)
    for folder in sorted({path.parent for path in files}):
        _check_folder(folder, [opened[path] for path in files if path.parent == folder])
    left = []
    with importing(request.destination, "folder", *opened.values()) as draft:
        for path in sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(root, p)):
            target = draft / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path in opened:
                write_tensors(target.with_name(str(_target(path.name))), opened[path].tensors)
            elif path.name.endswith(".bin.index.json"):
                _write_index(path, target)
            elif path.suffix in (*DESCRIPTIONS, ".safetensors"):
                shutil.copyfile(path, target)
            else:
                left.append(path.name)
    tensors = {f"{p.name}:{n}": t for p, source in opened.items() for n, t in source.tensors.items()}
    notes = (f"left behind: {', '.join(left[:20])}",) if left else ()
    return report("folder", next(iter(opened.values())), tensors, notes)


def _target(name: str) -> str | None:
    for pattern, new in _NAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, new, name)
    return None


def _is_wanted(root: Path, path: Path) -> bool:
    """Weights by name that do not lie there in safetensors already."""
    target = _target(path.name)
    return target is not None and not _hidden(root, path) and not (path.parent / target).exists()


def _hidden(root: Path, path: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _check_size(source: Source) -> None:
    """Tied weights may be stored once and named twice; many names for one storage would fill the disk."""
    total = sum(t.numel() * t.element_size() for t in source.tensors.values())
    size = source.path.stat().st_size
    if total > 2 * size:
        raise LimitExceeded(f"{source.path.name} unpacks to {total} bytes from {size}; fetch it again")


def _check_folder(folder: Path, sources: list[Source]) -> None:
    """Compare shards with their index, and a language model with its configuration."""
    if (folder / INDEX).is_file():
        table = read_json(folder / INDEX).get("weight_map", {})
        found = {name: source.path.name for source in sources for name in source.tensors}
        wrong = sorted(n for n in table.keys() | found.keys() if table.get(n) != found.get(n))
        if wrong:
            raise CheckpointCorrupt(
                f"{INDEX} and the shards differ in {len(wrong)} tensors (first: {wrong[0]}); fetch the "
                "folder again"
            )
    config: dict[str, Any] = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if str((config.get("architectures") or [""])[0]).endswith("ForCausalLM"):
        _check_language_model(folder, sources)


def _check_language_model(folder: Path, sources: list[Source]) -> None:
    from transformers import AutoConfig

    from anygen.llm import build_backbone

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise BadArgument(
            f"{folder.name}/config.json describes no language model that transformers knows; fetch it again"
        ) from None
    with torch.device("meta"):
        module = build_backbone(config)
        layout = layout_of(module, "", ANY_FLOAT)
    found = {name: t for source in sources for name, t in source.tensors.items() if not _COUNTERS.match(name)}
    if module.config.tie_word_embeddings and "lm_head.weight" not in found:
        layout.pop("lm_head.weight", None)
    layout = {name: Entry(entry.shape, ANY_FLOAT) for name, entry in layout.items()}
    check_layout(found, layout, folder.name)


def _write_index(path: Path, target: Path) -> None:
    index = read_json(path)
    index["weight_map"] = {name: _target(file) or file for name, file in index.get("weight_map", {}).items()}
    name = "model" + path.name.removeprefix("pytorch_model").replace(".bin.", ".safetensors.")
    if path.name.startswith("diffusion_"):
        name = path.name.replace(".bin.", ".safetensors.")
    target.with_name(name).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
