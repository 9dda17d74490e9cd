"""LanguageBind's checkpoints: adapters merged by hand, so that plain CLIP classes load them.

The published files name the weights of an adapted layer as peft of June 2023 did (`q_proj.weight` beside
`q_proj.lora_A...`). Today's peft looks elsewhere, finds nothing and leaves the attention random without a
word. Here W + alpha / rank * B A is computed and every name is accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from anygen.config import read_json
from anygen.errors import BadArgument, MissingPart

from .layout import ANY_FLOAT, Entry, Layout, check_layout, check_one_type, layout_of
from .request import TOKENIZER_FILES, ImportReport, ImportRequest, copy_files, report
from .writing import Planned, importing, write_json, write_tensors

FILES = ("pytorch_model.bin", "model.safetensors")
"""Names of the weights in a published folder."""
_ENCODER, _WRAPPED = "vision_model.encoder.", "vision_model.encoder.base_model.model."
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_POSITIONS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Tables of counting numbers that older libraries stored."""
_OWN_FIELDS = (
    "lora_r", "lora_alpha", "lora_dropout", "add_time_attn", "num_frames", "num_mel_bins", "target_length",
    "audio_mean", "audio_std", "audio_sample_rate", "force_patch_dropout", "video_decode_backend",
)  # fmt: skip
"""Fields of the vision configuration that CLIP does not have."""


def clip_layout(values: Mapping[str, Any]) -> Layout:
    """Every tensor of the plain model that a checkpoint becomes.

    Args:
        values: contents of the checkpoint's config.json.

    Returns:
        Names, shapes and types: CLIP's, with the position table of rectangular inputs and the temporal
        attention where the configuration has them.
    """
    vision = values["vision_config"]
    with torch.device("meta"):
        layout = layout_of(CLIPModel(_clip_config(values)), "", ANY_FLOAT)
    patch, width = vision["patch_size"], vision["hidden_size"]
    if vision.get("num_mel_bins") and vision.get("target_length"):
        rows = (vision["num_mel_bins"] // patch) * (vision["target_length"] // patch) + 1
        layout["vision_model.embeddings.position_embedding.weight"] = Entry((rows, width), ANY_FLOAT)
    if vision.get("add_time_attn"):
        for layer in range(vision["num_hidden_layers"]):
            place = f"{_ENCODER}layers.{layer}."
            for name in _ATTENTION:
                layout[f"{place}temporal_attn.{name}.weight"] = Entry((width, width), ANY_FLOAT)
                layout[f"{place}temporal_attn.{name}.bias"] = Entry((width,), ANY_FLOAT)
            layout[f"{place}temporal_embedding"] = Entry((1, vision["num_frames"], width), ANY_FLOAT)
            for end in ("weight", "bias"):
                layout[f"{place}temporal_layer_norm1.{end}"] = Entry((width,), ANY_FLOAT)
    return layout


def languagebind_layout(values: Mapping[str, Any]) -> Layout:
    """Every tensor of a published checkpoint.

    Args:
        values: contents of its config.json; the adapter has rank `vision_config.lora_r`, 0 for none.

    Returns:
        Names, shapes and types. The adapter sits on the temporal attention in video models, on the attention
        in all others.
    """
    plain, vision = clip_layout(values), values["vision_config"]
    rank, width = vision.get("lora_r", 0), vision["hidden_size"]
    if not rank:
        return plain
    layout = {_wrapped(name): entry for name, entry in plain.items()}
    attention = "temporal_attn" if vision.get("add_time_attn") else "self_attn"
    for layer in range(vision["num_hidden_layers"]):
        for name in _ATTENTION:
            place = f"{_WRAPPED}layers.{layer}.{attention}.{name}"
            layout[f"{place}.lora_A.default.weight"] = Entry((rank, width), ANY_FLOAT)
            layout[f"{place}.lora_B.default.weight"] = Entry((width, rank), ANY_FLOAT)
    return layout


def import_languagebind(request: ImportRequest) -> ImportReport:
    """Import a LanguageBind folder (config.json and weights).

    Args:
        request: what to import, and where to.

    Returns:
        What was done. The folder loads with `transformers.CLIPModel` for images, depth and thermal; audio has
        a longer position table, video the temporal layers beside CLIP's.

    Raises:
        MissingPart: when a file is missing.
        CheckpointCorrupt: when one is damaged or no plain tensors.
        WeightsMismatch: unless its tensors are exactly those of its configuration.
        BadArgument: when config.json does not describe such a model.
    """
    if not (request.folder / "config.json").is_file():
        raise MissingPart(
            f"{request.folder.name} has no config.json, expected it beside the weights; fetch it"
        )
    values = read_json(request.folder / "config.json")
    source = request.open(*FILES)
    try:
        plain, expected = clip_layout(values), languagebind_layout(values)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise BadArgument(
            "config.json describes no CLIP model, expected text_config, vision_config and "
            "projection_dim; fetch it"
        ) from None
    tensors = check_layout(source.tensors, expected, source.path.name, ignored=_POSITIONS)
    check_one_type(tensors, source.path.name)
    vision = values["vision_config"]
    scale = vision.get("lora_alpha", 0) / vision["lora_r"] if vision.get("lora_r") else 0.0
    with importing(request.destination, "languagebind", source) as draft:
        merged = {name: _merged(name, tensors, scale) for name in plain}
        write_tensors(draft / "model.safetensors", merged)
        write_json(draft / "config.json", _written_config(values))
        copy_files(request.tokenizer or request.folder, draft, TOKENIZER_FILES)
    return report("languagebind", source, tensors, (f"adapter of rank {vision.get('lora_r', 0)} merged",))


def _merged(name: str, tensors: Mapping[str, Tensor], scale: float) -> Tensor | Planned:
    """The plain weight, or W + alpha / rank * B A (Hu et al., arXiv 2106.09685, equation 3) in float32."""
    base = tensors[name] if name in tensors else tensors[_wrapped(name)]
    place = _wrapped(name).removesuffix(".weight")
    low = tensors.get(f"{place}.lora_A.default.weight")
    if low is None:
        return base
    high = tensors[f"{place}.lora_B.default.weight"]
    return Planned(shape=tuple(base.shape), dtype=base.dtype, make=partial(merge, base, low, high, scale))


def merge(base: Tensor, low: Tensor, high: Tensor, scale: float) -> Tensor:
    """Add an adapter to a weight.

    Args:
        base: (out, in).
        low: (rank, in), lora_A.
        high: (out, rank), lora_B.
        scale: alpha / rank.

    Returns:
        (out, in) of the base's type.
    """
    return (base.float() + scale * (high.float() @ low.float())).to(base.dtype)


def _wrapped(name: str) -> str:
    return _WRAPPED + name.removeprefix(_ENCODER) if name.startswith(_ENCODER) else name


def _clip_config(values: Mapping[str, Any]) -> CLIPConfig:
    vision = {k: v for k, v in values["vision_config"].items() if k not in _OWN_FIELDS}
    text = dict(values["text_config"])
    for part in (vision, text):
        part.pop("model_type", None)
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=values["projection_dim"])


def _written_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """CLIP's configuration, and beside it what only LanguageBind has; the adapter is gone."""
    vision = values["vision_config"]
    kept = {name: vision[name] for name in _OWN_FIELDS if name in vision and not name.startswith("lora_")}
    return {**_clip_config(values).to_dict(), "architectures": ["CLIPModel"], "languagebind": kept}
