"""Published towers' configurations, and their halves without weights: to count.

The values are those of the `config.json` files in the official repositories. Numbers of parameters are never
written down: they are counted on modules built from these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import ClapConfig

from anygen.errors import MissingPart
from anygen.parts import EncoderConfig, TowerConfig

from .clip import OWN
from .model import HALVES


def _clip_large(**own: Any) -> dict[str, Any]:
    """CLIP ViT-L/14 of OpenCLIP, which all of LanguageBind's first towers start from."""
    return {
        "projection_dim": 768,
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "hidden_act": "gelu",
            "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
        },
        "text_config": {
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "hidden_act": "gelu",
            "num_attention_heads": 12, "vocab_size": 49408, "max_position_embeddings": 77,
        },
        OWN: own,
    }  # fmt: skip


OFFICIAL: dict[str, dict[str, Any]] = {
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": _clip_large(),
    "LanguageBind/LanguageBind_Image": _clip_large(),
    "LanguageBind/LanguageBind_Depth": _clip_large(),
    "LanguageBind/LanguageBind_Thermal": _clip_large(),
    "LanguageBind/LanguageBind_Video_FT": _clip_large(add_time_attn=True, num_frames=8),
    "LanguageBind/LanguageBind_Audio_FT": _clip_large(num_mel_bins=126, target_length=1036),
    "laion/clap-htsat-unfused": ClapConfig().to_dict(),
}
"""Per repository what its `config.json` says."""


def official_halves(name: str, tower: TowerConfig) -> dict[str, nn.Module]:
    """Make the halves of a published tower that an encoder uses, on the meta device.

    Args:
        name: of the tower.
        tower: with a reference to a key of `OFFICIAL`.

    Returns:
        The modules by the names of `EncoderConfig.half_names`.

    Raises:
        MissingPart: for a repository whose configuration is not known here.
    """
    repo_id = tower.reference.repo_id if tower.reference is not None else ""
    if repo_id not in OFFICIAL:
        raise MissingPart(f"found no configuration of {repo_id}, expected one of {', '.join(OFFICIAL)}")
    halves = EncoderConfig.of_towers({name: tower}).half_names()
    with torch.device("meta"):
        return {half: HALVES[tower.family][half != name](OFFICIAL[repo_id]) for half in halves}
