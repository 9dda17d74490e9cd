"""What a model is made of: read from the headers of its files, or counted on modules without memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anygen.config import AnyGenConfig, EncoderConfig, Part, TowerConfig
from anygen.encoders.halves import half_of
from anygen.errors import CheckpointCorrupt
from anygen.language_models import LANGUAGE_MODELS
from anygen.modality import Modality
from anygen.presets import LORA, PRESETS
from anygen.tokens import DELIMITERS

from .resolve import bundled_names, bundled_part, read_config, resolve

TRAINED = ("input_projection", "adapter", "signal_rows", "output_projections/")
"""Parts that the alignment stages train; all others are frozen there."""

_LARGEST_HEADER = 100_000_000
_ADAPTER_FILES = {
    "adapter_model.safetensors": "adapter",
    "signal_rows.safetensors": "signal_rows",
    "vocabulary.safetensors": "vocabulary",
}
"""What the files of an adapter folder are reported as."""


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One part of a model."""

    name: str
    """Folder of the part; `signal_rows` and `vocabulary` lie in the adapter's."""
    parameters: int
    """Numbers in its weights."""
    trainable: int
    """Of these, the ones that the alignment stages train."""
    licence: str
    """Licence of the weights."""
    source: str
    """Where they come from."""
    components: Mapping[str, int] = field(default_factory=dict)
    """Parameters of the networks inside, where the part has several."""
    vocabulary: int = 0
    """Of the parameters, those of a language model's embedding and head."""


def inspect_model(name_or_path: str) -> list[PartReport]:
    """Report every part of a model: from the headers of its files, or from modules built without memory.

    Args:
        name_or_path: bundled name, preset, folder or hub id.

    Returns:
        The parts in the order of the data.

    Raises:
        MissingPart: when there is no such model.
        CheckpointCorrupt: when a file of it cannot be read.
    """
    if name_or_path in PRESETS and name_or_path not in bundled_names() and not Path(name_or_path).is_dir():
        config, folder = PRESETS[name_or_path](), None
    else:
        folder = resolve(name_or_path)
        config = read_config(folder)
    reports: list[PartReport] = []
    for name, part in config.parts().items():
        place = bundled_part(config.name, name) if folder is None else folder / name
        for label, counts in _counts(name, part, place, config).items():
            total = sum(counts.values())
            reports.append(
                PartReport(
                    name=label,
                    parameters=total,
                    trainable=total if label.startswith(TRAINED) else 0,
                    licence=part.licence,
                    source=part.source,
                    components=counts if len(counts) > 1 and label != "llm" else {},
                    vocabulary=counts.get("vocabulary", 0) if label == "llm" else 0,
                )
            )
    return reports


def count_parameters(folder: Path) -> int:
    """Count the numbers in all safetensors files below a folder.

    Args:
        folder: where to look.

    Returns:
        Number of parameters and buffers stored.

    Raises:
        CheckpointCorrupt: when a file has no readable header.
    """
    return sum(sum(_count_file(path).values()) for path in sorted(folder.rglob("*.safetensors")))


def _count_file(path: Path) -> dict[str, int]:
    """Read the header alone: 8 bytes of length, then JSON (the safetensors format)."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LARGEST_HEADER, path.stat().st_size):
                raise ValueError
            header = json.loads(file.read(length))
        return {key: math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointCorrupt(
            f"{path.parent.name}/{path.name} has no readable safetensors header; fetch or build it again."
        ) from None


def _counts(name: str, part: Part, place: Path | None, config: AnyGenConfig) -> dict[str, dict[str, int]]:
    """Per line of the report, the parameters of its components."""
    if place is not None and place.is_dir():
        return _stored(name, place, config)
    built = _built(name, part, config)
    return built or {name: {"": part.num_parameters}}


def _halves(tower: str, folder: Path, encoder: EncoderConfig) -> dict[str, int]:
    """Of a tower's folder, the weights of the halves that the encoder uses."""
    used = {half: 0 for half in encoder.half_names() if half in (tower, f"{tower}_text")}
    for path in sorted(folder.glob("*.safetensors")):
        for key, count in _count_file(path).items():
            half = half_of(tower, key)
            if half in used:
                used[half] += count
    return used


def _stored(name: str, folder: Path, config: AnyGenConfig) -> dict[str, dict[str, int]]:
    if name == "adapter":
        files = {label: folder / file for file, label in _ADAPTER_FILES.items()}
        present = {label: path for label, path in files.items() if path.is_file()}
        return {label: {"": sum(_count_file(path).values())} for label, path in present.items()}
    if name == "llm":
        tensors: dict[str, int] = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= _count_file(path)
        vocabulary = sum(n for key, n in tensors.items() if "embed_tokens." in key or "lm_head." in key)
        return {name: {"layers": sum(tensors.values()) - vocabulary, "vocabulary": vocabulary}}
    if name.startswith("encoder/"):
        return {name: _halves(name.partition("/")[2], folder, config.encoder)}
    networks = {path.name: count_parameters(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    counts = {network: count for network, count in networks.items() if count}
    return {name: counts if name.startswith("decoders/") else {"": count_parameters(folder)}}


def _built(name: str, part: Part, config: AnyGenConfig) -> dict[str, dict[str, int]]:
    """Count on modules of the part's configuration, on the meta device; empty when it is not known."""
    import torch

    from .folder import build_input_projection, build_output_projection

    with torch.device("meta"):
        if name == "encoder" and part.source.startswith("ImageBind-Huge"):
            from anygen.encoders.imagebind import ImageBindModel, imagebind_huge

            return {name: {"": _size(ImageBindModel(imagebind_huge()))}}
        if name == "input_projection":
            return {name: {"": _size(build_input_projection(config))}}
        if name.startswith("output_projections/"):
            modality = Modality(name.partition("/")[2])
            return {name: {"": _size(build_output_projection(config, modality))}}
    if isinstance(part, TowerConfig):
        from anygen.encoders.towers.official import OFFICIAL as TOWERS
        from anygen.encoders.towers.official import official_halves

        if part.reference is not None and part.reference.repo_id in TOWERS:
            halves = official_halves(name.partition("/")[2], part)
            return {name: {half: _size(module) for half, module in halves.items()}}
    if name in ("llm", "adapter") and config.llm.source in LANGUAGE_MODELS:
        return _language_model(name, config)
    if name.startswith("decoders/") and part.reference is not None:
        from anygen.decoders.official import OFFICIAL, official_networks

        if part.reference.repo_id in OFFICIAL:
            networks = official_networks(Modality(name.partition("/")[2]), part.reference.repo_id)
            return {name: {network: _size(module) for network, module in networks.items()}}
    return {}


def _language_model(name: str, config: AnyGenConfig) -> dict[str, dict[str, int]]:
    import torch
    from transformers import AutoConfig

    from anygen.llm import add_lora, build_backbone, extend_vocabulary, lora_parameters, row_parameters

    with torch.device("meta"):
        layers = dict(LANGUAGE_MODELS[config.llm.source]["layers"])
        llm = build_backbone(AutoConfig.for_model(layers.pop("model_type", "llama"), **layers))
        if name == "llm":
            embedding, head = llm.get_input_embeddings().weight, llm.get_output_embeddings().weight
            vocabulary = embedding.numel() + (0 if head is embedding else head.numel())
            return {name: {"layers": _size(llm) - vocabulary, "vocabulary": vocabulary}}
        num_rows = len(DELIMITERS) + sum(config.signal_tokens.values())
        first = llm.get_input_embeddings().weight.shape[0]
        extend_vocabulary(llm, range(first, first + num_rows))
        add_lora(llm, **LANGUAGE_MODELS[config.llm.source].get("adapter", LORA))
        lora, rows = lora_parameters(llm).values(), row_parameters(llm).values()
    return {name: {"": sum(p.numel() for p in lora)}, "signal_rows": {"": sum(p.numel() for p in rows)}}


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
