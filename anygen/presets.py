"""Named configurations: the bundled model and the full-size stack."""

from __future__ import annotations

from collections.abc import Callable
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
)
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


VICUNA: dict[str, dict[str, Any]] = {
    "Vicuna-7B v1.5": {
        "hub": "lmsys/vicuna-7b-v1.5",
        "licence": "Llama 2 Community License",
        "context_length": 4096,
        "template": "vicuna_v1",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
    "Vicuna-7B v0": {
        "hub": "",
        "licence": "LLaMA 1 research licence (non-commercial)",
        "context_length": 2048,
        "template": "vicuna_v0",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
    },
    "Vicuna-13B v1.5": {
        "hub": "lmsys/vicuna-13b-v1.5",
        "licence": "Llama 2 Community License",
        "context_length": 4096,
        "template": "vicuna_v1",
        "layers": {
            "vocab_size": 32000,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    },
}
"""Language models of the full-size stack: where they are, and what their `config.json` says. Version 0 was
published as a difference to LLaMA alone, so there is no repository to name."""

LORA: dict[str, Any] = {"rank": 32, "alpha": 32, "dropout": 0.1}
"""The adapter of NExT-GPT (its table 7): rank 32 on the four projections of every attention."""


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


def nextgpt_7b() -> AnyGenConfig:
    """The full-size stack with Vicuna-7B v1.5 and one token an item.

    Returns:
        Its configuration.
    """
    return nextgpt()


PRESETS: dict[str, Callable[[], AnyGenConfig]] = {
    "toybox-tiny": toybox_tiny,
    "nextgpt-7b": nextgpt_7b,
    "nextgpt-7b-v0": partial(nextgpt, llm="Vicuna-7B v0", name="nextgpt-7b-v0"),
    "nextgpt-7b-grouping": partial(nextgpt, input_projection="grouping", name="nextgpt-7b-grouping"),
    "nextgpt-13b": partial(nextgpt, llm="Vicuna-13B v1.5", name="nextgpt-13b"),
}
"""Builder of every named configuration."""
