"""Builders of randomly initialised decoder parts at any size, for pretraining and for tests.

The official parts are read from their folders; these builders exist so that the same diffusers and
transformers classes can be made small.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNet3DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import (
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

HEAD_WIDTH = 32
"""Width of an attention head, the same in the image and the video UNet, so that one can start from the
other."""


def build_autoencoder(
    *,
    channels: int,
    block_out_channels: Sequence[int],
    latent_channels: int,
    data_mean: float = 0.0,
    data_std: float = 1.0,
) -> AutoencoderKL:
    """A variational autoencoder (Rombach et al. 2022) that shrinks each side 2 ** (levels - 1) times.

    Args:
        channels: Channels of the data: 3 for pictures in [-1, 1], 1 for log-mel spectrograms.
        block_out_channels: Width of each level, finest first.
        latent_channels: Channels of the latents.
        data_mean: Mean of the data; the first and last layer start out matched to it, which spares the
            optimizer a long
            walk when the data are not centred (log-mels lie around -7).
        data_std: Standard deviation of the data.
    """
    levels = len(block_out_channels)
    model = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        first, last = model.encoder.conv_in, model.decoder.conv_out
        first.weight /= data_std
        first.bias -= first.weight.sum((1, 2, 3)) * data_mean
        last.weight *= data_std
        last.bias += data_mean
    return model


def load_autoencoder(folder: str | Path) -> AutoencoderKL:
    """Read a trained autoencoder, in evaluation mode."""
    return AutoencoderKL.from_pretrained(folder).eval()


def load_unet(folder: str | Path) -> UNet2DConditionModel | UNet3DConditionModel:
    """Read a trained UNet of images, sounds or films, as its configuration says."""
    classes = {kind.__name__: kind for kind in (UNet2DConditionModel, UNet3DConditionModel)}
    return classes[UNet2DConditionModel.load_config(folder)["_class_name"]].from_pretrained(folder)


def build_scheduler() -> DDIMScheduler:
    """Zero terminal SNR, v-prediction and trailing timesteps (Lin et al. 2023)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def build_image_unet(
    *,
    latent_channels: int,
    block_out_channels: Sequence[int],
    cross_attention_dim: int,
    sample_size: int,
    coordinates: int = 0,
) -> UNet2DConditionModel:
    """Stable Diffusion's UNet with cross-attention at all levels but the finest."""
    down, up = _block_names(len(block_out_channels), "2D")
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels + coordinates,
        out_channels=latent_channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=1,
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=_head_counts(block_out_channels),
        norm_num_groups=32,
    )


def build_video_unet(
    *,
    latent_channels: int,
    block_out_channels: Sequence[int],
    cross_attention_dim: int,
    sample_size: int,
    coordinates: int = 0,
) -> UNet3DConditionModel:
    """Zeroscope's UNet: the image UNet with temporal convolutions and temporal attention.

    Two things differ from a fresh UNet of diffusers, and neither is in its configuration or weights: no
    dropout in the temporal convolutions, and attention written out, which is a quarter faster on a CPU for
    sequences of a few frames.
    """
    down, up = _block_names(len(block_out_channels), "3D")
    unet = UNet3DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels + coordinates,
        out_channels=latent_channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=1,
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=HEAD_WIDTH,
        norm_num_groups=32,
    )
    unet.set_attn_processor(AttnProcessor())
    for module in unet.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return unet


def build_audio_unet(
    *,
    latent_channels: int,
    block_out_channels: Sequence[int],
    class_embed_dim: int,
    sample_size: int,
    coordinates: int = 0,
) -> UNet2DConditionModel:
    """AudioLDM's UNet: one CLAP vector, projected and concatenated to the timestep embedding."""
    down, up = _block_names(len(block_out_channels), "2D")
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels + coordinates,
        out_channels=latent_channels,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=1,
        cross_attention_dim=tuple(
            block_out_channels
        ),  # no text tokens: the second attention of a block sees the latents too
        attention_head_dim=4,
        norm_num_groups=16,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=class_embed_dim,
        class_embeddings_concat=True,
    )


def _head_counts(block_out_channels: Sequence[int]) -> tuple[int, ...]:
    """Heads per level: diffusers' `attention_head_dim` is their number in 2-D, their width in 3-D."""
    return tuple(max(1, channels // HEAD_WIDTH) for channels in block_out_channels)


def _block_names(levels: int, suffix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    down = (f"DownBlock{suffix}", *[f"CrossAttnDownBlock{suffix}"] * (levels - 1))
    up = (*[f"CrossAttnUpBlock{suffix}"] * (levels - 1), f"UpBlock{suffix}")
    return down, up


def build_clip_text_encoder(
    *, vocab_size: int, width: int, layers: int, length: int, **token_ids: Any
) -> CLIPTextModel:
    """The text encoder of Stable Diffusion and Zeroscope."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 16),
            max_position_embeddings=length,
            hidden_act="gelu",
            **token_ids,
        )
    )


def build_clap_text_encoder(
    *, vocab_size: int, width: int, layers: int, length: int, projection_dim: int, **token_ids: Any
) -> ClapTextModelWithProjection:
    """The text tower of AudioLDM's CLAP."""
    return ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=projection_dim,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 16),
            max_position_embeddings=length + 2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **token_ids,
        )
    )


def build_vocoder(
    *, upsample_initial_channel: int, takes_phase: bool = False, refine_steps: int = 0
) -> SpeechT5HifiGan:
    """HiFi-GAN (Kong et al. 2020) from 64 log-mel bins, hop 160, to 16 kHz.

    Args:
        upsample_initial_channel: Channels before the first upsampling.
        takes_phase: Its inputs go through `with_phase`; kept in its configuration.
        refine_steps: Rounds of `refine_waveform` after it; kept in its configuration.
    """
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=upsample_initial_channel,
            upsample_rates=[5, 4, 4, 2],
            upsample_kernel_sizes=[11, 8, 8, 4],
            resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]],
            normalize_before=False,
            takes_phase=takes_phase,
            refine_steps=refine_steps,
        )
    )
    # transformers starts with weights of spread 0.01, which fade to silence over the layers and hardly train.
    for module in vocoder.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            module.reset_parameters()
    return vocoder
