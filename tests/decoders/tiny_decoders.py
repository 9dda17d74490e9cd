"""Tiny random decoders of the first family of each modality, made of the real classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
    UNet3DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from anygen.decoders import ConditioningSpec, DecoderDefaults
from anygen.modality import Modality

LENGTH, WIDTH = 6, 8
SPECS = {
    Modality.IMAGE: ConditioningSpec(tokens=LENGTH, width=WIDTH),
    Modality.AUDIO: ConditioningSpec(tokens=1, width=WIDTH, normalised=True, entry="class_labels"),
    Modality.VIDEO: ConditioningSpec(tokens=LENGTH, width=WIDTH),
}
DEFAULTS = {
    Modality.IMAGE: DecoderDefaults(num_inference_steps=3, guidance_scale=2.0, height=16, width=16),
    Modality.AUDIO: DecoderDefaults(num_inference_steps=3, guidance_scale=2.0, audio_length_in_s=0.1),
    Modality.VIDEO: DecoderDefaults(
        num_inference_steps=3, guidance_scale=2.0, height=16, width=16, num_frames=3, fps=8.0
    ),
}
BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddim": lambda: DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "pndm": lambda: PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1),
    "dpm++": lambda: DPMSolverMultistepScheduler(**BETAS),
    "euler": lambda: EulerDiscreteScheduler(**BETAS),
    "zero-snr ddim": lambda: DDIMScheduler(
        **BETAS,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    ),
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "red", "blue", "star", "circle"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=LENGTH,
    )


def make_unet(modality: Modality) -> Any:
    common: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
    }
    if modality is Modality.VIDEO:
        return UNet3DConditionModel(
            **common,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
        )
    audio: dict[str, Any] = {
        "cross_attention_dim": (32, 64),
        "class_embed_type": "simple_projection",
        "projection_class_embeddings_input_dim": WIDTH,
        "class_embeddings_concat": True,
    }
    return UNet2DConditionModel(
        **common,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        **(audio if modality is Modality.AUDIO else {"cross_attention_dim": WIDTH}),
    )


def make_modules(modality: Modality) -> dict[str, Any]:
    torch.manual_seed(0)
    channels = 1 if modality is Modality.AUDIO else 3
    vae = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
    )
    vae.register_to_config(scaling_factor=0.7)
    text = {
        "vocab_size": 9,
        "hidden_size": WIDTH,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    modules: dict[str, Any] = {
        "unet": make_unet(modality),
        "vae": vae,
        "scheduler": SCHEDULERS["ddim"](),
        "tokenizer": make_tokenizer(),
    }
    if modality is Modality.AUDIO:
        modules["text_encoder"] = ClapTextModelWithProjection(
            ClapTextConfig(**text, max_position_embeddings=LENGTH + 2, projection_dim=WIDTH, pad_token_id=1)
        )
        modules["vocoder"] = SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                model_in_dim=16,
                sampling_rate=16000,
                upsample_initial_channel=16,
                upsample_rates=[10, 16],
                upsample_kernel_sizes=[20, 32],
                resblock_kernel_sizes=[3],
                resblock_dilation_sizes=[[1]],
                normalize_before=False,
            )
        )
        for parameter in modules[
            "vocoder"
        ].parameters():  # its own initialisation gives silence, which proves nothing
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
    else:
        modules["text_encoder"] = CLIPTextModel(
            CLIPTextConfig(
                **text, max_position_embeddings=LENGTH, bos_token_id=0, pad_token_id=1, eos_token_id=2
            )
        )
    for module in modules.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return modules
