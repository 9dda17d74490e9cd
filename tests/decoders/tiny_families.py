"""Tiny random decoders of the families beyond the first of each modality, made of the real classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    AutoencoderOobleck,
    DDPMScheduler,
    EDMDPMSolverMultistepScheduler,
    StableAudioDiTModel,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanTransformer3DModel,
)
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from tiny_decoders import LENGTH, WIDTH, make_modules, make_tokenizer
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from anygen.decoders import ConditioningSpec, DecoderDefaults
from anygen.modality import Modality

UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
}
T5: dict[str, Any] = {
    "vocab_size": 9,
    "d_model": WIDTH,
    "d_kv": 4,
    "d_ff": 8,
    "num_layers": 1,
    "num_heads": 2,
    "pad_token_id": 1,
}


def sdxl() -> tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]:
    modules = make_modules(Modality.IMAGE)
    torch.manual_seed(1)
    modules["unet"] = UNet2DConditionModel(
        **UNET,
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 12,
    )
    second = CLIPTextConfig(
        vocab_size=9,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=12,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    modules |= {"text_encoder_2": CLIPTextModelWithProjection(second), "tokenizer_2": make_tokenizer()}
    spec = ConditioningSpec(tokens=LENGTH + 1, width=2 * WIDTH, pooled=12, size_ids=2)
    return modules, spec, DecoderDefaults(guidance_scale=5.0, height=16, width=16)


def unclip() -> tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]:
    modules = make_modules(Modality.IMAGE)
    torch.manual_seed(2)
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=WIDTH)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 1.5)
    modules |= {
        "unet": UNet2DConditionModel(
            **UNET,
            cross_attention_dim=WIDTH,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * WIDTH,
        ),
        "image_normalizer": normalizer,
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    }
    norm = math.sqrt(float((normalizer.mean.square() + normalizer.std.square()).sum()))
    spec = ConditioningSpec(tokens=1, width=WIDTH, normalised=True, norm=norm, entry="class_labels")
    defaults = DecoderDefaults(num_inference_steps=20, guidance_scale=10.0, height=16, width=16)
    return modules, spec, defaults


def stable_audio() -> tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]:
    torch.manual_seed(3)
    modules = {
        "transformer": StableAudioDiTModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            cross_attention_dim=WIDTH,
            cross_attention_input_dim=WIDTH,
            global_states_input_dim=2 * WIDTH,
            time_proj_dim=8,
        ),
        "vae": AutoencoderOobleck(
            encoder_hidden_size=8,
            downsampling_ratios=[2, 4],
            channel_multiples=[1, 2],
            decoder_channels=6,
            decoder_input_channels=4,
            audio_channels=2,
            sampling_rate=128,
        ),
        "scheduler": EDMDPMSolverMultistepScheduler(sigma_min=0.3, sigma_max=50.0),
        "projection_model": StableAudioProjectionModel(
            text_encoder_dim=WIDTH, conditioning_dim=WIDTH, min_value=0, max_value=4
        ),
        "text_encoder": T5EncoderModel(T5Config(**T5)),
        "tokenizer": make_tokenizer(),
    }
    spec = ConditioningSpec(tokens=LENGTH, width=WIDTH)
    seconds = 16 * 8 / 128
    defaults = DecoderDefaults(num_inference_steps=100, guidance_scale=7.0, audio_length_in_s=seconds)
    return modules, spec, defaults


def wan() -> tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]:
    torch.manual_seed(4)
    modules = {
        "transformer": WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=16,
            out_channels=16,
            text_dim=WIDTH,
            freq_dim=16,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        ),
        "vae": AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
        "text_encoder": UMT5EncoderModel(UMT5Config(**T5)),
        "tokenizer": make_tokenizer(),
    }
    spec = ConditioningSpec(tokens=512, width=WIDTH)
    defaults = DecoderDefaults(guidance_scale=5.0, height=480, width=832, num_frames=81, fps=16.0)
    return modules, spec, defaults


def latent_consistency() -> tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]:
    modules = make_modules(Modality.IMAGE)
    torch.manual_seed(5)
    modules["unet"] = UNet2DConditionModel(**UNET, cross_attention_dim=WIDTH, time_cond_proj_dim=16)
    spec = ConditioningSpec(tokens=LENGTH, width=WIDTH)
    return modules, spec, DecoderDefaults(num_inference_steps=4, guidance_scale=8.5, height=16, width=16)


FAMILIES: dict[str, Callable[[], tuple[dict[str, Any], ConditioningSpec, DecoderDefaults]]] = {
    "StableDiffusionXLPipeline": sdxl,
    "StableUnCLIPImg2ImgPipeline": unclip,
    "StableAudioPipeline": stable_audio,
    "WanPipeline": wan,
}
