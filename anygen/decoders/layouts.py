"""The decoder families, one row each: what the folder of a diffusers pipeline holds and how to read it.

A row names parts, not code: everything that samples is shared. `docs/decoders.md` shows how to add one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..errors import BadArgument, MissingPart
from ..modality import Modality
from .base import ConditioningSpec
from .conditioning import MakeConditioner, image_vectors, timed_tokens
from .defaults import DecoderDefaults
from .loading import read_json, tokenizer_length

Classes = Mapping[str, tuple[str, str]]
"""Library and class of every part by its name; the scheduler's class comes from `SCHEDULERS`."""
Described = tuple[ConditioningSpec, DecoderDefaults]
"""What an official folder says of itself."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One decoder family."""

    pipeline: str
    """The diffusers pipeline whose folder layout it is."""
    modality: Modality
    """What comes out."""
    classes: Classes
    """Its parts; a folder cannot make anything else be loaded."""
    describe: Callable[[Path], Described]
    """Conditioning and defaults of an official folder, from its configs and its pipeline's defaults."""
    denoiser: str = "unet"
    """Name of the part that denoises."""
    latents: str = "picture"
    """What a latent sample is: "picture", "frames" (of pictures), "clip" (over time too), "mel" or "wave"."""
    text: str = "clip"
    """How it reads text, a name of `text.ENCODERS`; another name where it does not."""
    zero_unconditional: bool = False
    """Whether the unconditional embedding is zero and not that of the empty text."""
    needs_context: bool = False
    """Whether the empty text's tokens go beside the conditioning."""
    conditioner: MakeConditioner | None = None
    """What else is made of the conditioning once a run; None where the spec says it all."""
    patch: int = 1
    """Latent positions along each side that the denoiser takes at once."""
    aliases: tuple[str, ...] = ()
    """Pipelines over the same parts, read the same way."""
    index: Mapping[str, Any] = field(default_factory=dict)
    """What diffusers' own loading wants in `model_index.json` beside the parts."""
    variants: Mapping[str, Any] = field(default_factory=dict)
    """Entries of `model_index.json` that make it another family when they differ from this."""


def _sd_sizes(folder: Path) -> tuple[dict[str, Any], int]:
    """The UNet's config, and pixels a latent position."""
    config = read_json(folder / "unet" / "config.json")
    return config, 2 ** (len(read_json(folder / "vae" / "config.json")["block_out_channels"]) - 1)


def _stable_diffusion(folder: Path) -> Described:
    unet, factor = _sd_sizes(folder)
    text = read_json(folder / "text_encoder" / "config.json")
    spec = ConditioningSpec(tokens=text["max_position_embeddings"], width=unet["cross_attention_dim"])
    side = unet["sample_size"] * factor
    if unet.get("time_cond_proj_dim"):  # distilled with guidance: LCM's defaults
        defaults = DecoderDefaults(num_inference_steps=4, guidance_scale=8.5, height=side, width=side)
        return spec, defaults
    return spec, DecoderDefaults(height=side, width=side)


def _sdxl(folder: Path) -> Described:
    unet, factor = _sd_sizes(folder)
    spec = ConditioningSpec(
        tokens=read_json(folder / "text_encoder" / "config.json")["max_position_embeddings"] + 1,
        width=unet["cross_attention_dim"],
        pooled=read_json(folder / "text_encoder_2" / "config.json")["projection_dim"],
        size_ids=factor,
    )
    side = unet["sample_size"] * factor
    return spec, DecoderDefaults(guidance_scale=5.0, height=side, width=side)


def _unclip(folder: Path) -> Described:
    unet, factor = _sd_sizes(folder)
    width = read_json(folder / "image_normalizer" / "config.json")["embedding_dim"]
    side = unet["sample_size"] * factor
    spec = ConditioningSpec(
        tokens=1, width=width, normalised=True, norm=_usual_norm(folder), entry="class_labels"
    )
    return spec, DecoderDefaults(num_inference_steps=20, guidance_scale=10.0, height=side, width=side)


def _usual_norm(folder: Path) -> float:
    """Root mean square norm of the image embeddings that the normalizer was fitted to."""
    files = sorted((folder / "image_normalizer").glob("*.safetensors"))
    if not files:
        raise MissingPart(
            "image_normalizer: found no safetensors weights, expected *.safetensors; pickles are not read, "
            "convert them with `anygen import`"
        )
    with safe_open(files[0], framework="pt") as weights:
        mean, std = (weights.get_tensor(name).float() for name in ("mean", "std"))
    return math.sqrt(float((mean.square() + std.square()).sum()))


def _audioldm(folder: Path) -> Described:
    unet, factor = _sd_sizes(folder)
    width = unet["projection_class_embeddings_input_dim"]
    spec = ConditioningSpec(tokens=1, width=width, normalised=True, entry="class_labels")
    seconds = unet["sample_size"] * factor * 0.01  # a hop of 160 at 16 kHz
    return spec, DecoderDefaults(guidance_scale=2.5, audio_length_in_s=seconds)


def _stable_audio(folder: Path) -> Described:
    vae, size = read_json(folder / "vae" / "config.json"), read_json(folder / "transformer" / "config.json")
    spec = ConditioningSpec(
        tokens=tokenizer_length(folder / "tokenizer"),
        width=read_json(folder / "projection_model" / "config.json")["conditioning_dim"],
    )
    seconds = size["sample_size"] * math.prod(vae["downsampling_ratios"]) / vae["sampling_rate"]
    return spec, DecoderDefaults(num_inference_steps=100, guidance_scale=7.0, audio_length_in_s=seconds)


def _zeroscope(folder: Path) -> Described:
    spec, _ = _stable_diffusion(folder)
    return spec, DecoderDefaults(guidance_scale=9.0, height=320, width=576, num_frames=24, fps=8.0)


def _wan(folder: Path) -> Described:
    width = read_json(folder / "transformer" / "config.json")["text_dim"]
    defaults = DecoderDefaults(guidance_scale=5.0, height=480, width=832, num_frames=81, fps=16.0)
    return ConditioningSpec(tokens=512, width=width), defaults


_CLIP = {"text_encoder": ("transformers", "CLIPTextModel"), "tokenizer": ("transformers", "AutoTokenizer")}
_T5_TOKENS = {"tokenizer": ("transformers", "AutoTokenizer")}
_KL = {"vae": ("diffusers", "AutoencoderKL"), "scheduler": ("diffusers", "")}
_UNET_2D = {"unet": ("diffusers", "UNet2DConditionModel")}
_NO_SAFETY = {
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
}

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        pipeline="StableDiffusionPipeline",
        modality=Modality.IMAGE,
        classes={**_UNET_2D, **_KL, **_CLIP},
        describe=_stable_diffusion,
        aliases=("LatentConsistencyModelPipeline", "StableDiffusionImg2ImgPipeline"),
        index=_NO_SAFETY,
    ),
    Layout(
        pipeline="AudioLDMPipeline",
        modality=Modality.AUDIO,
        classes={
            **_UNET_2D,
            **_KL,
            "text_encoder": ("transformers", "ClapTextModelWithProjection"),
            "tokenizer": ("transformers", "AutoTokenizer"),
            "vocoder": ("transformers", "SpeechT5HifiGan"),
        },
        describe=_audioldm,
        latents="mel",
        text="clap",
    ),
    Layout(
        pipeline="TextToVideoSDPipeline",
        modality=Modality.VIDEO,
        classes={"unet": ("diffusers", "UNet3DConditionModel"), **_KL, **_CLIP},
        describe=_zeroscope,
        latents="frames",
        aliases=("VideoToVideoSDPipeline",),
    ),
    Layout(
        pipeline="StableDiffusionXLPipeline",
        modality=Modality.IMAGE,
        classes={
            **_UNET_2D,
            **_KL,
            **_CLIP,
            "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
            "tokenizer_2": ("transformers", "AutoTokenizer"),
        },
        describe=_sdxl,
        text="clip-pair",
        zero_unconditional=True,
        index={
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "force_zeros_for_empty_prompt": True,
        },
    ),
    Layout(
        pipeline="StableUnCLIPImg2ImgPipeline",
        modality=Modality.IMAGE,
        classes={
            **_UNET_2D,
            **_KL,
            **_CLIP,
            "image_normalizer": ("diffusers.pipelines.stable_diffusion", "StableUnCLIPImageNormalizer"),
            "image_noising_scheduler": ("diffusers", ""),
        },
        describe=_unclip,
        text="none",
        zero_unconditional=True,
        needs_context=True,
        conditioner=image_vectors,
        aliases=("StableUnCLIPPipeline",),
        index={"feature_extractor": [None, None], "image_encoder": [None, None]},
    ),
    Layout(
        pipeline="StableAudioPipeline",
        modality=Modality.AUDIO,
        classes={
            "transformer": ("diffusers", "StableAudioDiTModel"),
            "vae": ("diffusers", "AutoencoderOobleck"),
            "scheduler": ("diffusers", ""),
            "projection_model": ("diffusers.pipelines.stable_audio", "StableAudioProjectionModel"),
            "text_encoder": ("transformers", "T5EncoderModel"),
            **_T5_TOKENS,
        },
        describe=_stable_audio,
        denoiser="transformer",
        latents="wave",
        text="t5-projected",
        zero_unconditional=True,
        conditioner=timed_tokens,
    ),
    Layout(
        pipeline="WanPipeline",
        modality=Modality.VIDEO,
        classes={
            "transformer": ("diffusers", "WanTransformer3DModel"),
            "vae": ("diffusers", "AutoencoderKLWan"),
            "scheduler": ("diffusers", ""),
            "text_encoder": ("transformers", "UMT5EncoderModel"),
            **_T5_TOKENS,
        },
        describe=_wan,
        denoiser="transformer",
        latents="clip",
        text="t5",
        patch=2,
        index={"transformer_2": [None, None], "boundary_ratio": None, "expand_timesteps": False},
        variants={"transformer_2": [None, None], "boundary_ratio": None, "expand_timesteps": False},
    ),
)
"""Every family; the first of a modality is the one of a folder that does not say."""

PIPELINES = {layout.modality: layout.pipeline for layout in reversed(LAYOUTS)}
"""The first family of each modality: its diffusers pipeline."""
CLASSES = {layout.modality: layout.classes for layout in reversed(LAYOUTS)}
"""The first family of each modality: library and class of its parts."""


def layout_of(modality: Modality, pipeline: str | None = None) -> Layout:
    """The family of a pipeline.

    Args:
        modality: What it must decode to.
        pipeline: Name of a diffusers pipeline; None is the modality's first.

    Returns:
        Its row of `LAYOUTS`.

    Raises:
        BadArgument: No family of this modality has that name.
    """
    known = [layout for layout in LAYOUTS if layout.modality == modality]
    for layout in known:
        if pipeline is None or pipeline == layout.pipeline or pipeline in layout.aliases:
            return layout
    raise BadArgument(
        f"{modality} decoder: found a {pipeline} folder, expected {' or '.join(x.pipeline for x in known)}; "
        "pass another folder"
    )


def check_variant(layout: Layout, index: Mapping[str, Any]) -> None:
    """BadArgument where a folder is a relative of this family that must be sampled in another way."""
    for name, value in layout.variants.items():
        if index.get(name, value) != value:
            raise BadArgument(
                f"{layout.modality} decoder: found {name} = {index[name]!r} in model_index.json, expected "
                f"{value!r}; this kind of {layout.pipeline} is not supported"
            )


def geometry(layout: Layout, vae: Mapping[str, Any]) -> tuple[int, int]:
    """How many data positions a latent position stands for.

    Args:
        layout: The family.
        vae: The autoencoder's config.

    Returns:
        Along each side of a picture (or of a log-mel), and along time; 1 for a waveform's sides.
    """
    if layout.latents == "clip":
        return vae.get("scale_factor_spatial") or 8, vae.get("scale_factor_temporal") or 4
    if layout.latents == "wave":
        return 1, math.prod(vae["downsampling_ratios"])
    return 2 ** (len(vae["block_out_channels"]) - 1), 1


def optional(name: str) -> bool:
    """Whether generation runs without a part, once the constant embeddings are stored."""
    return name.startswith(("text_encoder", "tokenizer"))
