"""The official decoders' configurations, and their modules without weights: to count, and as key tables.

The values are those of the `config.json` files in the official repositories (Stable Diffusion v1.5,
AudioLDM-L-full, Zeroscope v2 576w; more in `permissive.py`). Numbers of parameters are never written down:
they are counted on modules built from these.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import MissingPart
from ..modality import Modality
from .layouts import layout_of
from .permissive import PIPELINES, permissive

_SD_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}

_SD15: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "vae": _SD_VAE,
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    },
}

_ZEROSCOPE: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": [*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"],
        "up_block_types": ["UpBlock3D", *["CrossAttnUpBlock3D"] * 3],
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "attention_head_dim": 64,
    },
    "vae": _SD_VAE,
    "text_encoder": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "hidden_act": "gelu",
        "projection_dim": 512,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    },
}


def audioldm(channels: int = 256) -> dict[str, dict[str, Any]]:
    """Configurations of AudioLDM (Liu et al. 2023, arXiv 2301.12503) at a width.

    Args:
        channels: width of the UNet's finest level: 128 in the small models, 192 in -m-full, 256 in -l-full.

    Returns:
        Per part what its `config.json` says.
    """
    widths = [channels * factor for factor in (1, 2, 3, 5)]
    return {
        "unet": {
            "sample_size": 128,
            "in_channels": 8,
            "out_channels": 8,
            "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3],
            "up_block_types": [*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"],
            "block_out_channels": widths,
            "layers_per_block": 2,
            "cross_attention_dim": widths,
            "attention_head_dim": [width // 32 for width in widths],
            "class_embed_type": "simple_projection",
            "projection_class_embeddings_input_dim": 512,
            "class_embeddings_concat": True,
        },
        "vae": {
            "in_channels": 1,
            "out_channels": 1,
            "down_block_types": ["DownEncoderBlock2D"] * 3,
            "up_block_types": ["UpDecoderBlock2D"] * 3,
            "block_out_channels": [128, 256, 512],
            "layers_per_block": 2,
            "latent_channels": 8,
            "sample_size": 512,
            "scaling_factor": 0.9227914214134216,
        },
        "text_encoder": {
            "vocab_size": 50265,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 514,
            "projection_dim": 512,
        },
        "vocoder": {
            "model_in_dim": 64,
            "sampling_rate": 16000,
            "upsample_initial_channel": 1024,
            "upsample_rates": [5, 4, 2, 2, 2],
            "upsample_kernel_sizes": [16, 16, 8, 4, 4],
            "resblock_kernel_sizes": [3, 7, 11],
            "resblock_dilation_sizes": [[1, 3, 5]] * 3,
            "normalize_before": False,
        },
    }


OFFICIAL: dict[str, dict[str, dict[str, Any]]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _SD15,
    "cvssp/audioldm-l-full": audioldm(256),
    "cerspense/zeroscope_v2_576w": _ZEROSCOPE,
    **permissive(_SD_VAE, _ZEROSCOPE["text_encoder"]),
}
"""Per repository, per part, what its `config.json` says."""

SCHEDULERS: dict[Modality, dict[str, Any]] = {
    Modality.AUDIO: {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
    }
}
"""Noise schedule of decoders that are imported from a file that does not hold it."""


def build_networks(
    modality: Modality,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    device: str = "meta",
    pipeline: str | None = None,
) -> dict[str, nn.Module]:
    """Make a decoder's networks from their configurations.

    Args:
        modality: what it decodes to.
        configs: per part (unet, vae, text_encoder, vocoder) the contents of its `config.json`.
        device: "meta" gives shapes without memory.
        pipeline: the family; None is the first of the modality.

    Returns:
        The networks by part, with random weights, in evaluation mode.
    """
    networks = {}
    for name, values in configs.items():
        library, class_name = layout_of(modality, pipeline).classes[name]
        module_class = getattr(importlib.import_module(library), class_name)
        with torch.device(device):
            if library.startswith("diffusers"):
                network = module_class.from_config(dict(values))
            else:
                network = module_class(module_class.config_class(**values))
        networks[name] = network.eval()
    return networks


def official_networks(modality: Modality, repo_id: str) -> dict[str, nn.Module]:
    """Make the networks of an official decoder on the meta device.

    Args:
        modality: what it decodes to.
        repo_id: a key of `OFFICIAL`.

    Returns:
        The networks by part.

    Raises:
        MissingPart: for a repository whose configuration is not known here.
    """
    if repo_id not in OFFICIAL:
        raise MissingPart(f"found no configuration of {repo_id}, expected one of {', '.join(OFFICIAL)}")
    return build_networks(modality, OFFICIAL[repo_id], pipeline=PIPELINES.get(repo_id))
