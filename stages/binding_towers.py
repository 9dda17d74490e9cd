"""Towers of the binding stage: their sizes, what they begin as, and which of their parameters train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from anygen.config import unknown_name
from anygen.encoders.imagebind import TOWER, ImageBindConfig, ImageBindModel, load_encoder
from anygen.encoders.imagebind.model import LearnedScale
from anygen.errors import BadArgument
from anygen.llm import add_tower_lora, merged_state
from anygen.modality import Modality

from .binding_config import BindingConfig, TowerSizes, Tuning

ATTENTION = (("attn.out_proj",), ("attn.in_proj_weight",))
"""What gets low-rank updates, as in LanguageBind: queries, keys, values and the output of attention."""


def resize(config: ImageBindConfig, sizes: TowerSizes) -> ImageBindConfig:
    """A configuration with other sizes.

    Args:
        config: Where `sizes` names none.
        sizes: The sizes.
    """
    towers: dict[str, Any] = {}
    for name, tower in config.towers.items():
        changes: dict[str, Any] = {"width": sizes.width, "num_blocks": sizes.num_blocks}
        if hasattr(tower, "image_size"):
            changes["image_size"] = sizes.image_size
        given: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
        towers[name] = replace(tower, **given)
    return replace(config, embed_dim=sizes.embed_dim or config.embed_dim, **towers)


def build_model(
    config: BindingConfig, encoder: ImageBindConfig, modalities: Iterable[Modality]
) -> ImageBindModel:
    """The encoder as training begins.

    Args:
        config: Its `start`, `fresh`, `trunk_from`, `towers` and LoRA sizes.
        encoder: Sizes.
        modalities: What it must embed.

    Raises:
        BadArgument: a tower's name is unknown, or a trunk cannot be a copy of another.
    """
    wanted = frozenset(modalities)
    for name in (*config.fresh, *config.towers, *config.trunk_from, *config.trunk_from.values()):
        if name not in encoder.towers:
            raise BadArgument(unknown_name(name, encoder.towers, "a tower"))
    if config.start is None:
        model = ImageBindModel(encoder, wanted)
    elif not config.fresh:
        model = load_encoder(Path(config.start), wanted)
    else:
        model = ImageBindModel(encoder, wanted)
        loaded = [m for m in wanted if TOWER[m] not in config.fresh]
        model.load_state_dict(load_encoder(Path(config.start), loaded).state_dict(), strict=False)
    for name, source in config.trunk_from.items():
        _copy_trunk(model, name, source)
    for name in built(model, config.towers, "lora"):
        layers, parameters = ATTENTION
        add_tower_lora(
            model.modality_trunks[name],
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            linear_layers=layers,
            parameters=parameters,
        )
    return model


def built(model: ImageBindModel, towers: Mapping[str, Tuning], tuning: Tuning) -> list[str]:
    """Names of the towers there are that train in one way."""
    return [name for name in model.modality_trunks if towers.get(name, "full") == tuning]


def _copy_trunk(model: ImageBindModel, name: str, source: str) -> None:
    """Make the blocks of a tower equal to those of another; what only one of them has stays as it is."""
    own, other = (model.modality_trunks[n].state_dict() for n in (name, source))
    shared = {k: v for k, v in other.items() if k.startswith("blocks.") and k in own}
    blocks = {k.split(".")[1] for k in own if k.startswith("blocks.")}
    unlike = [k for k, v in shared.items() if own[k].shape != v.shape]
    if unlike or blocks - {k.split(".")[1] for k in shared}:
        raise BadArgument(
            f"Found towers {name} and {source} of different sizes; expected one size. Give `sizes` where the "
            "encoder is made."
        )
    model.modality_trunks[name].load_state_dict(shared, strict=False)


def trained_names(model: ImageBindModel, config: BindingConfig, learned_text_scale: bool) -> list[str]:
    """Names of the encoder's parameters that train.

    Args:
        model: What `build_model` made.
        config: Its `towers`.
        learned_text_scale: Whether a loss uses the text tower's own temperature.
    """
    return [
        name
        for name, _ in model.named_parameters()
        if _trains(name, config.towers.get(name.split(".")[1], "full"))
        and (learned_text_scale or not name.startswith("modality_postprocessors.text."))
    ]


def _trains(name: str, tuning: Tuning) -> bool:
    if tuning == "lora" and name.startswith("modality_trunks."):
        return ".lora_" in name or name.endswith((".bias_k", ".bias_v"))
    return tuning != "locked"


def hold_still(model: ImageBindModel, names: Iterable[str]) -> None:
    """Put locked towers into evaluation mode, so that no dropout acts in them."""
    for name in names:
        for parts in (model.modality_trunks, model.modality_heads, model.modality_preprocessors):
            parts[name].eval()


def without_adapters(model: ImageBindModel) -> ImageBindModel:
    """The same encoder with low-rank updates added into the weights; itself when there are none."""
    state = merged_state(model)
    if set(state) == set(model.state_dict()):
        return model
    plain = ImageBindModel(model.config, model.modalities)
    plain.load_state_dict(state, strict=True)
    return plain.train(model.training)


def scales(pairs: Iterable[tuple[Modality, Modality]]) -> nn.ModuleDict:
    """A learned factor of the cosines for every pair: 1/0.07 at first, 100 at most (CLIP, section 2.5)."""
    return nn.ModuleDict({f"{a}-{o}": LearnedScale(scale=1 / 0.07, learned=True) for a, o in pairs})
