"""Named configurations: the bundled model and the full-size stack."""

from __future__ import annotations

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


def nextgpt_7b() -> AnyGenConfig:
    """The full-size stack of NExT-GPT (arXiv 2309.05519): frozen public parts, trained projections.

    Returns:
        Its configuration; the frozen parts are references to the hub, the trained ones come from a run of the
        stages. The composed system is for non-commercial use.
    """
    shapes = {Modality.IMAGE: (77, 768), Modality.AUDIO: (1, 512), Modality.VIDEO: (77, 1024)}
    trained: dict[str, Any] = {"licence": "Apache-2.0", "source": "trained by the stages of anygen"}
    decoders = {
        Modality.IMAGE: DecoderConfig(
            num_inference_steps=25,
            guidance_scale=7.5,
            licence="CreativeML-OpenRAIL-M",
            source="Stable Diffusion v1.5",
            reference=Reference(repo_id="stable-diffusion-v1-5/stable-diffusion-v1-5"),
            num_parameters=1_066_235_307,
        ),
        Modality.AUDIO: DecoderConfig(
            num_inference_steps=25,
            guidance_scale=2.5,
            licence="CC-BY-NC-SA-4.0",
            source="AudioLDM-L-full",
            reference=Reference(repo_id="cvssp/audioldm-l-full"),
            num_parameters=975_000_000,
        ),
        Modality.VIDEO: DecoderConfig(
            num_inference_steps=25,
            guidance_scale=7.5,
            licence="CC-BY-NC-4.0",
            source="Zeroscope v2 576w",
            reference=Reference(repo_id="cerspense/zeroscope_v2_576w"),
            num_parameters=1_800_000_000,
        ),
    }
    return AnyGenConfig(
        name="nextgpt-7b",
        description="NExT-GPT at full size: ImageBind-Huge, Vicuna-7B, Stable Diffusion, AudioLDM, Zeroscope",
        encoder=EncoderConfig(
            embed_dim=1024,
            licence="CC-BY-NC-SA-4.0",
            source="ImageBind-Huge (its README says CC-BY-NC-4.0, its LICENSE file the stricter one)",
            num_parameters=1_200_781_057,
        ),
        input_projection=InputProjectionConfig(num_tokens=1, **trained),
        llm=LanguageModelConfig(
            hidden_dim=4096,
            context_length=4096,
            licence="Llama 2 Community License",
            source="Vicuna-7B v1.5",
            reference=Reference(repo_id="lmsys/vicuna-7b-v1.5"),
            num_parameters=6_738_415_616,
        ),
        adapter=Part(num_parameters=33_554_432, **trained),
        output_projections={
            m: OutputProjectionConfig(
                num_queries=shape[0], cond_dim=shape[1], normalize=m is Modality.AUDIO, **trained
            )
            for m, shape in shapes.items()
        },
        decoders=decoders,
        signal_tokens={Modality.IMAGE: 4, Modality.AUDIO: 8, Modality.VIDEO: 24},
    )


PRESETS = {"toybox-tiny": toybox_tiny, "nextgpt-7b": nextgpt_7b}
"""Builder of every named configuration."""
