"""Configurations of decoders whose weights may be used commercially, as in their official repositories.

Stable Audio Open's licence asks for an agreement above a yearly revenue; the others ask for none.
"""

from __future__ import annotations

from typing import Any

_STABLE_DIFFUSION_2: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}

_WAN: dict[str, dict[str, Any]] = {
    "transformer": {
        "patch_size": [1, 2, 2],
        "num_attention_heads": 12,
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "ffn_dim": 8960,
        "num_layers": 30,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    },
    "vae": {"base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2},
    "text_encoder": {
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
}


_STABLE_AUDIO: dict[str, dict[str, Any]] = {
    "transformer": {
        "sample_size": 1024,
        "in_channels": 64,
        "out_channels": 64,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "num_key_value_attention_heads": 12,
        "cross_attention_dim": 768,
        "cross_attention_input_dim": 768,
        "global_states_input_dim": 1536,
        "time_proj_dim": 256,
    },
    "vae": {
        "encoder_hidden_size": 128,
        "downsampling_ratios": [2, 4, 4, 8, 8],
        "channel_multiples": [1, 2, 4, 8, 16],
        "decoder_channels": 128,
        "decoder_input_channels": 64,
        "audio_channels": 2,
        "sampling_rate": 44100,
    },
    "projection_model": {
        "text_encoder_dim": 768,
        "conditioning_dim": 768,
        "min_value": 0.0,
        "max_value": 512.0,
    },
    "text_encoder": {
        "vocab_size": 32128,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 3072,
        "num_layers": 12,
        "num_heads": 12,
    },
}


def permissive(vae: dict[str, Any], text_encoder: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Per repository, per part, what its `config.json` says.

    Args:
        vae: Stable Diffusion's autoencoder.
        text_encoder: of Stable Diffusion 2.
    """
    common_canvas = {"unet": _STABLE_DIFFUSION_2, "vae": vae, "text_encoder": text_encoder}
    return {
        "common-canvas/CommonCanvas-S-C": common_canvas,
        "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": _WAN,
        "stabilityai/stable-audio-open-1.0": _STABLE_AUDIO,
    }


PIPELINES = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": "WanPipeline",
    "stabilityai/stable-audio-open-1.0": "StableAudioPipeline",
}
"""Family of a repository that is not the first of its modality."""
