"""A whole model folder of random weights, made of the real classes at widths of 8 to 64."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from anygen.checkpoints.folder import build_input_projection, build_output_projection, save_model
from anygen.config import (
    AnyGenConfig,
    DecoderConfig,
    EncoderConfig,
    GenerationConfig,
    InputProjectionConfig,
    LanguageModelConfig,
    OutputProjectionConfig,
)
from anygen.decoders import DECODERS, ConditioningSpec, DecoderDefaults, DecoderParts
from anygen.decoders.build import (
    build_audio_unet,
    build_autoencoder,
    build_clap_text_encoder,
    build_clip_text_encoder,
    build_image_unet,
    build_scheduler,
    build_video_unet,
    build_vocoder,
)
from anygen.encoders.imagebind import ImageBindConfig, ImageBindModel, TextTokenizer, save_encoder
from anygen.encoders.imagebind.config import (
    AudioTowerConfig,
    DepthTowerConfig,
    ImuTowerConfig,
    TextTowerConfig,
    ThermalTowerConfig,
    VisionTowerConfig,
)
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.llm import add_lora, build_backbone, extend_vocabulary, lora_parameters
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.tokens import SignalTokens

EMBED_DIM, HIDDEN_DIM, COND_DIM, LENGTH = 16, 32, 8, 6

SPECS = {
    Modality.IMAGE: ConditioningSpec(tokens=LENGTH, width=COND_DIM),
    Modality.AUDIO: ConditioningSpec(tokens=1, width=COND_DIM, normalised=True, entry="class_labels"),
    Modality.VIDEO: ConditioningSpec(tokens=LENGTH, width=COND_DIM),
}
DEFAULTS = {
    Modality.IMAGE: DecoderDefaults(num_inference_steps=2, guidance_scale=2.0, height=16, width=16),
    Modality.AUDIO: DecoderDefaults(num_inference_steps=2, guidance_scale=2.0, audio_length_in_s=0.16),
    Modality.VIDEO: DecoderDefaults(
        num_inference_steps=2, guidance_scale=2.0, height=16, width=16, num_frames=3, fps=8.0
    ),
}


def tiny_config() -> AnyGenConfig:
    """The configuration of the folder that `build_tiny_folder` writes."""
    ours = {"licence": "Apache-2.0", "source": "random numbers"}
    layers = {
        "inner_dim": 16,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 2,
        "ffn_dim": 32,
    }
    return AnyGenConfig(
        name="tiny-random",
        encoder=EncoderConfig(embed_dim=EMBED_DIM, **ours),
        input_projection=InputProjectionConfig(num_tokens=2, **ours),
        llm=LanguageModelConfig(hidden_dim=HIDDEN_DIM, context_length=256, **ours),
        output_projections={
            m: OutputProjectionConfig(
                num_queries=s.tokens, cond_dim=s.width, normalize=s.normalised, **layers, **ours
            )
            for m, s in SPECS.items()
        },
        decoders={m: DecoderConfig(**ours) for m in SPECS},
        signal_tokens={Modality.IMAGE: 2, Modality.AUDIO: 2, Modality.VIDEO: 3},
        generation=GenerationConfig(max_new_tokens=24),
    )


def corpus() -> Iterator[str]:
    """Sentences enough to train a byte-level tokenizer of a few hundred tokens."""
    for shape in ("circle", "square", "star"):
        for color in ("red", "blue", "green"):
            yield f"a small {color} {shape} moving left on a black background"
            yield f"Show me a large {color} {shape} and play its sound."


def tiny_tokenizer() -> Tokenizer:
    """A byte-level tokenizer without special tokens."""
    return train_tokenizer(corpus(), vocab_size=320)


def tiny_encoder() -> tuple[ImageBindModel, TextTokenizer]:
    """ImageBind with all six towers, and its tokenizer."""
    base = {"width": 8, "num_blocks": 1, "num_heads": 2}
    tokenizer = tiny_tokenizer()
    text = TextTowerConfig(**base, context_length=24, **special_ids(tokenizer))
    config = ImageBindConfig(
        embed_dim=EMBED_DIM,
        vision=VisionTowerConfig(**base, image_size=32, patch_size=16, num_clips=1, num_crops=1),
        text=text,
        audio=AudioTowerConfig(**base, num_mel_bins=32, target_frames=40, num_clips=1),
        depth=DepthTowerConfig(**base, image_size=32),
        thermal=ThermalTowerConfig(**base, image_size=32),
        imu=ImuTowerConfig(**base, num_samples=200, sample_rate=40.0),
    )
    return ImageBindModel(config).eval(), TextTokenizer(tokenizer, text)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of the decoders' text encoders: start and end as CLIP and RoBERTa have them."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted({word for line in corpus() for word in line.split()})]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **special)


def tiny_decoder(modality: Modality) -> Any:
    """The decoder of a modality: its real UNet, autoencoder, scheduler, text encoder and tokenizer."""
    tokenizer = word_tokenizer()
    text = {"vocab_size": len(tokenizer), "width": COND_DIM, "layers": 1, "length": LENGTH}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    audio = modality is Modality.AUDIO
    modules: dict[str, Any] = {
        "vae": build_autoencoder(channels=1 if audio else 3, block_out_channels=(8, 8), latent_channels=4),
        "scheduler": build_scheduler(),
        "tokenizer": tokenizer,
    }
    unet = {"latent_channels": 4, "block_out_channels": (32, 64), "sample_size": 8}
    if audio:
        modules["unet"] = build_audio_unet(**unet, class_embed_dim=COND_DIM)
        modules["text_encoder"] = build_clap_text_encoder(**text, projection_dim=COND_DIM, **ids)
        modules["vocoder"] = build_vocoder(upsample_initial_channel=16)
        for parameter in modules[
            "vocoder"
        ].parameters():  # its own initialisation is silent, which proves nothing
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
    else:
        build = build_video_unet if modality is Modality.VIDEO else build_image_unet
        modules["unet"] = build(**unet, cross_attention_dim=COND_DIM)
        modules["text_encoder"] = build_clip_text_encoder(**text, **ids)
    for module in modules.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    parts = DecoderParts(modality, modules, spec=SPECS[modality], defaults=DEFAULTS[modality])
    return DECODERS[modality](parts)


def tiny_language_model(config: AnyGenConfig) -> tuple[Any, Any, SignalTokens]:
    """A Llama of width 32 with signal rows and a random adapter, its tokenizer, and the control ids."""
    backend = tiny_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    vocab_size = len(tokenizer)
    tokens = SignalTokens.add_to(tokenizer, config.signal_tokens)
    llm = build_backbone(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=HIDDEN_DIM,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=config.llm.context_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )
    extend_vocabulary(llm, tokens.new_ids)
    add_lora(llm, rank=2, alpha=4, dropout=0.0)
    for parameter in lora_parameters(llm).values():
        torch.nn.init.normal_(parameter, std=0.1)
    return llm.eval(), tokenizer, tokens


def build_tiny_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write a whole model folder of random weights: encoder, projections, language model, adapter, decoders.

    Args:
        folder: where to.
        seed: of the weights.

    Returns:
        The folder.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = tiny_config()
        llm, tokenizer, tokens = tiny_language_model(config)
        model = AnyGenModel(
            llm=llm,
            tokens=tokens,
            input_projection=build_input_projection(config),
            output_projections={m: build_output_projection(config, m) for m in config.output_projections},
        )
        encoder, encoder_tokenizer = tiny_encoder()
        with tempfile.TemporaryDirectory() as place:
            save_encoder(Path(place), encoder, encoder_tokenizer)
            save_model(
                folder,
                config=config,
                model=model,
                tokenizer=tokenizer,
                encoder=Path(place),
                decoders={m: tiny_decoder(m) for m in SPECS},
            )
    return folder
