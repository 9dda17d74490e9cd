"""Named configurations: the bundled model and the full-size stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .config import (
    AnyGenConfig,
    DecoderConfig,
    EncoderConfig,
    GenerationConfig,
    InputProjectionConfig,
    LanguageModelConfig,
    OutputProjectionConfig,
    Part,
    Reference,
    TowerConfig,
)
from .language_models import APACHE, SMOLLM2, VICUNA
from .modality import Modality

_OURS: dict[str, Any] = {"licence": "Apache-2.0", "source": "trained on the toybox by `make bundle`"}


def toybox_tiny() -> AnyGenConfig:
    """The bundled model: every part small enough for two CPU cores, trained on the toybox.

    Returns:
        Its configuration.
    """
    layers: dict[str, Any] = {"num_encoder_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    shapes = {Modality.IMAGE: (24, 64), Modality.AUDIO: (1, 64), Modality.VIDEO: (24, 64)}
    return AnyGenConfig(
        name="toybox-tiny",
        description="Any-to-any generation in the toybox world, small enough for two CPU cores",
        chat_template="toybox",
        encoder=EncoderConfig(embed_dim=256, **_OURS),
        input_projection=InputProjectionConfig(num_tokens=4, **_OURS),
        llm=LanguageModelConfig(hidden_dim=192, context_length=512, **_OURS),
        adapter=Part(**_OURS),
        output_projections={
            m: OutputProjectionConfig(
                num_queries=shape[0],
                cond_dim=shape[1],
                inner_dim=128,
                ffn_dim=256,
                normalize=m is Modality.AUDIO,
                **layers,
                **_OURS,
            )
            for m, shape in shapes.items()
        },
        decoders={m: DecoderConfig(**_OURS) for m in shapes},
        signal_tokens={Modality.IMAGE: 4, Modality.AUDIO: 4, Modality.VIDEO: 8},
        lead_ins={
            Modality.IMAGE: "Here is an image of",
            Modality.AUDIO: "Here is the sound of",
            Modality.VIDEO: "Here is a video of",
        },
        generation=GenerationConfig(max_new_tokens=128),
    )


def small() -> AnyGenConfig:
    """The middle size: a published language model that chats, with the toybox's encoder and decoders.

    Returns:
        Its configuration; `checkpoints.assemble` puts the folder together.
    """
    tiny, name = toybox_tiny(), "SmolLM2-135M-Instruct"
    llm = SMOLLM2[name]
    ours: dict[str, Any] = {"licence": "Apache-2.0", "source": f"trained on the toybox around {name}"}
    sizes: dict[str, Any] = {
        "inner_dim": 112,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "ffn_dim": 224,
    }
    return replace(
        tiny,
        name="small",
        description=f"{name} chats in words; asked for it, it sees, draws, plays and films the toybox world",
        chat_template=llm["template"],
        input_projection=InputProjectionConfig(num_tokens=5, **ours),
        llm=LanguageModelConfig(
            hidden_dim=llm["layers"]["hidden_size"],
            context_length=llm["context_length"],
            licence=llm["licence"],
            source=name,
        ),
        adapter=Part(**ours),
        output_projections={m: replace(part, **sizes, **ours) for m, part in tiny.output_projections.items()},
        generation=GenerationConfig(max_new_tokens=256),
    )


LORA: dict[str, Any] = {"rank": 32, "alpha": 32, "dropout": 0.1}
"""The adapter of NExT-GPT (its table 7): rank 32 on the four projections of every attention. A language model
with an entry `adapter` has its own."""


def nextgpt(
    *, llm: str = "Vicuna-7B v1.5", input_projection: str = "linear", name: str = "nextgpt-7b"
) -> AnyGenConfig:
    """The full-size stack of NExT-GPT (arXiv 2309.05519): frozen public parts, trained projections.

    Args:
        llm: a name of `VICUNA`; version 0 is prompted in the template of the published weights.
        input_projection: "linear" (one token an item, as the published weights have it) or "grouping" (eight
            tokens an item out of the encoder's patch tokens, as the paper has it).
        name: name of the model.

    Returns:
        Its configuration; the frozen parts are references to the hub, the trained ones come from a run of the
        stages or an import. The composed system is for non-commercial use.
    """
    shapes = {Modality.IMAGE: (77, 768), Modality.AUDIO: (1, 512), Modality.VIDEO: (77, 1024)}
    trained: dict[str, Any] = {"licence": "Apache-2.0", "source": "trained by the stages of anygen"}
    vicuna = VICUNA[llm]
    return AnyGenConfig(
        name=name,
        description=f"NExT-GPT at full size: ImageBind-Huge, {llm}, Stable Diffusion, AudioLDM, Zeroscope",
        chat_template=vicuna["template"],
        encoder=EncoderConfig(
            embed_dim=1024,
            licence="CC-BY-NC-SA-4.0",
            source="ImageBind-Huge (its README says CC-BY-NC-4.0, its LICENSE file the stricter one)",
        ),
        input_projection=InputProjectionConfig(
            kind=input_projection, num_tokens=8 if input_projection == "grouping" else 1, **trained
        ),
        llm=LanguageModelConfig(
            hidden_dim=vicuna["layers"]["hidden_size"],
            context_length=vicuna["context_length"],
            licence=vicuna["licence"],
            source=llm,
            reference=Reference(repo_id=vicuna["hub"]) if vicuna["hub"] else None,
        ),
        adapter=Part(**trained),
        output_projections={
            m: OutputProjectionConfig(
                num_queries=shape[0], cond_dim=shape[1], normalize=m is Modality.AUDIO, **trained
            )
            for m, shape in shapes.items()
        },
        decoders=_decoders(),
        signal_tokens={Modality.IMAGE: 4, Modality.AUDIO: 8, Modality.VIDEO: 24},
    )


def _decoders() -> dict[Modality, DecoderConfig]:
    table = {
        Modality.IMAGE: (
            7.5, "CreativeML-OpenRAIL-M", "Stable Diffusion v1.5",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        Modality.AUDIO: (2.5, "CC-BY-NC-SA-4.0", "AudioLDM-L-full", "cvssp/audioldm-l-full"),
        Modality.VIDEO: (7.5, "CC-BY-NC-4.0", "Zeroscope v2 576w", "cerspense/zeroscope_v2_576w"),
    }  # fmt: skip
    return {
        modality: DecoderConfig(
            num_inference_steps=25,
            guidance_scale=guidance,
            licence=licence,
            source=source,
            reference=Reference(repo_id=repo_id),
        )
        for modality, (guidance, licence, source, repo_id) in table.items()
    }


LANGUAGEBIND: dict[str, TowerConfig] = {
    name: TowerConfig(
        family="clip",
        modalities=modalities,
        width=768,
        space="languagebind",
        licence="MIT",
        source=f"LanguageBind {name}",
        reference=Reference(repo_id=f"LanguageBind/LanguageBind_{repository}"),
    )
    for name, repository, modalities in (
        ("image", "Image", (Modality.IMAGE, Modality.TEXT)),
        ("video", "Video_FT", (Modality.VIDEO,)),
        ("audio", "Audio_FT", (Modality.AUDIO,)),
        ("depth", "Depth", (Modality.DEPTH,)),
        ("thermal", "Thermal", (Modality.THERMAL,)),
    )
}
"""The towers of LanguageBind (arXiv 2310.01852). Its repositories hold pickles: `anygen import languagebind`
turns each into a folder, which goes to `encoder/NAME` of a model folder."""

CLIP_CLAP: dict[str, TowerConfig] = {
    "clip": TowerConfig(
        family="clip",
        modalities=(Modality.IMAGE, Modality.VIDEO, Modality.TEXT),
        width=768,
        space="clip",
        licence="MIT",
        source="OpenCLIP ViT-L/14, DataComp-XL",
        reference=Reference(repo_id="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
    ),
    "clap": TowerConfig(
        family="clap",
        modalities=(Modality.AUDIO, Modality.TEXT),
        width=512,
        space="clap",
        licence="Apache-2.0",
        source="LAION CLAP, HTSAT unfused",
        reference=Reference(repo_id="laion/clap-htsat-unfused"),
    ),
}
"""A CLIP and a CLAP side by side: two spaces, so a picture and a sound cannot be compared."""

ENCODERS = {"languagebind": LANGUAGEBIND, "clip-clap": CLIP_CLAP}
"""Encoders that are put together, by name."""


def clean(*, encoder: str = "languagebind", audio: bool = False, name: str = "clean-7b") -> AnyGenConfig:
    """A full-size stack whose weights may be used commercially: the same system, other parts.

    No published text-to-audio weights in a layout that is read here are permissively licensed, so the stack
    makes images and videos. `audio=True` adds Stable Audio Open, whose licence asks for an agreement above a
    yearly revenue.

    Args:
        encoder: a name of `ENCODERS`.
        audio: also make sound.
        name: name of the model.

    Returns:
        Its configuration. The licences are those that the weights are published under; what the weights were
        trained on is another matter.
    """
    trained: dict[str, Any] = {"licence": "Apache-2.0", "source": "trained by the stages of anygen"}
    llm = APACHE["Mistral-7B-Instruct v0.3"]
    table: dict[Modality, tuple[int, int, float, str, str, str]] = {
        Modality.IMAGE: (
            77, 1024, 7.5, "CC-BY-SA-4.0", "CommonCanvas-S-C", "common-canvas/CommonCanvas-S-C",
        ),
        Modality.AUDIO: (
            128, 768, 7.0, "Stability AI Community License", "Stable Audio Open 1.0",
            "stabilityai/stable-audio-open-1.0",
        ),
        Modality.VIDEO: (
            512, 4096, 5.0, "Apache-2.0", "Wan 2.1 T2V 1.3B", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        ),
    }  # fmt: skip
    made = [modality for modality in table if audio or modality is not Modality.AUDIO]
    signals = {Modality.IMAGE: 4, Modality.AUDIO: 8, Modality.VIDEO: 24}
    return AnyGenConfig(
        name=name,
        description="Full size for commercial use: other parts, each under a licence that allows it",
        chat_template=llm["template"],
        encoder=EncoderConfig.of_towers(ENCODERS[encoder], licence="see its towers", source=encoder),
        input_projection=InputProjectionConfig(**trained),
        llm=LanguageModelConfig(
            hidden_dim=llm["layers"]["hidden_size"],
            context_length=llm["context_length"],
            licence=llm["licence"],
            source="Mistral-7B-Instruct v0.3",
            reference=Reference(repo_id=llm["hub"]),
        ),
        adapter=Part(**trained),
        output_projections={
            m: OutputProjectionConfig(num_queries=table[m][0], cond_dim=table[m][1], **trained) for m in made
        },
        decoders={
            m: DecoderConfig(
                num_inference_steps=25,
                guidance_scale=table[m][2],
                licence=table[m][3],
                source=table[m][4],
                reference=Reference(repo_id=table[m][5]),
            )
            for m in made
        },
        signal_tokens={m: signals[m] for m in made},
    )


def nextgpt_7b() -> AnyGenConfig:
    """The full-size stack with Vicuna-7B v1.5 and one token an item.

    Returns:
        Its configuration.
    """
    return nextgpt()


PRESETS: dict[str, Callable[[], AnyGenConfig]] = {
    "toybox-tiny": toybox_tiny,
    "small": small,
    "nextgpt-7b": nextgpt_7b,
    "nextgpt-7b-v0": partial(nextgpt, llm="Vicuna-7B v0", name="nextgpt-7b-v0"),
    "nextgpt-7b-grouping": partial(nextgpt, input_projection="grouping", name="nextgpt-7b-grouping"),
    "clean-7b": clean,
    "clean-7b-clip": partial(clean, encoder="clip-clap", name="clean-7b-clip"),
    "clean-7b-audio": partial(clean, audio=True, name="clean-7b-audio"),
    "nextgpt-13b": partial(nextgpt, llm="Vicuna-13B v1.5", name="nextgpt-13b"),
}
"""Builder of every named configuration."""
