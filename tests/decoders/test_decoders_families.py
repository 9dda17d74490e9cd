"""The families beyond the first of each modality: against diffusers' pipelines, on disk, and refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableAudioPipeline,
    StableDiffusionXLPipeline,
    StableUnCLIPImg2ImgPipeline,
    WanPipeline,
)
from tiny_decoders import LENGTH, SCHEDULERS, WIDTH
from tiny_families import FAMILIES, latent_consistency
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from anygen.decoders import DECODERS, ConditioningSpec, DecoderParts, open_decoder
from anygen.decoders.layouts import LAYOUTS, layout_of
from anygen.errors import BadArgument, LimitExceeded, MissingPart
from anygen.media import Audio, Video
from anygen.modality import Modality

LAYOUT = {layout.pipeline: layout for layout in LAYOUTS}
SMALL: dict[str, dict[str, Any]] = {
    "StableDiffusionXLPipeline": {},
    "StableUnCLIPImg2ImgPipeline": {},
    "StableAudioPipeline": {},
    "WanPipeline": {"height": 32, "width": 16, "num_frames": 5},
}
SHAPES = {
    "StableDiffusionXLPipeline": (4, 8, 8),
    "StableUnCLIPImg2ImgPipeline": (4, 8, 8),
    "StableAudioPipeline": (4, 16),
    "WanPipeline": (16, 2, 4, 2),
}


@pytest.fixture(scope="session")
def made() -> dict[str, Any]:
    """One tiny decoder a family; shared, so leave them as they are."""
    decoders = {}
    for name, build in FAMILIES.items():
        modules, spec, defaults = build()
        for module in modules.values():
            if isinstance(module, torch.nn.Module):
                module.eval().requires_grad_(False)
        layout = LAYOUT[name]
        parts = DecoderParts(layout.modality, modules, spec=spec, defaults=defaults, layout=layout)
        decoders[name] = DECODERS[layout.modality](parts)
    return decoders


def reference(decoder: Any, **changes: Any) -> Any:
    """diffusers' pipeline over the same modules."""
    parts = decoder.parts
    modules = {name: parts.get(name) for name in parts.layout.classes} | changes
    if parts.layout.pipeline == "StableUnCLIPImg2ImgPipeline":
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        unused = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=8, patch_size=4))
        modules["image_normalizer"] = copy.deepcopy(modules["image_normalizer"])  # its weights are replaced
        pipe: Any = StableUnCLIPImg2ImgPipeline(feature_extractor=None, image_encoder=unused, **modules)
    elif parts.layout.pipeline == "WanPipeline":
        pipe = WanPipeline(**modules)
    else:
        kinds = {
            "StableAudioPipeline": StableAudioPipeline,
            "StableDiffusionXLPipeline": StableDiffusionXLPipeline,
        }
        pipe = kinds[parts.layout.pipeline](**modules)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def embeds_of(decoder: Any, rows: int = 2) -> torch.Tensor:
    spec = decoder.spec
    drawn = torch.randn(rows, spec.tokens, spec.width, generator=torch.Generator().manual_seed(3))
    if spec.pooled:
        drawn[:, -1, spec.pooled :] = 0
    return spec.fit(drawn)


def expected_of(
    decoder: Any, embeds: torch.Tensor, latents: torch.Tensor, guidance: float, **changes: Any
) -> Any:
    """What diffusers makes of the same embeddings and latents, as our `sample` has it."""
    pipe, name = reference(decoder, **changes), decoder.parts.layout.pipeline
    given: dict[str, Any] = {
        "latents": latents.clone(),
        "num_inference_steps": 4,
        "guidance_scale": guidance,
        "output_type": "np",
    }
    if name == "StableDiffusionXLPipeline":
        tokens, pooled = embeds[:, :-1], embeds[:, -1, : decoder.spec.pooled]
        images = pipe(
            **given,
            height=16,
            width=16,
            prompt_embeds=tokens,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=torch.zeros_like(tokens),
            negative_pooled_prompt_embeds=torch.zeros_like(pooled),
        ).images
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    if name == "StableUnCLIPImg2ImgPipeline":
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        for generator in generators:
            torch.randn(latents.shape[1:], generator=generator)  # ours draws the latents first
        context = decoder.parts.context.expand(2, -1, -1)
        images = pipe(
            **given,
            image_embeds=embeds[:, 0],
            prompt_embeds=context,
            negative_prompt_embeds=context,
            generator=generators,
        ).images
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    if name == "StableAudioPipeline":
        return torch.from_numpy(pipe(**given, prompt_embeds=embeds, audio_end_in_s=0.5).audios)
    negative = decoder.negative_prompt_embeds.expand_as(embeds)
    clips = pipe(
        **given, **SMALL[name], prompt_embeds=embeds, negative_prompt_embeds=negative, max_sequence_length=512
    ).frames
    return torch.from_numpy(np.asarray(clips)).permute(0, 1, 4, 2, 3)


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("name", FAMILIES)
def test_family_parity_with_diffusers_pipeline(name: str, guidance: float, made: Any) -> None:
    decoder = made[name]
    embeds, options = embeds_of(decoder), dict(SMALL[name])
    latents = torch.randn(2, *SHAPES[name], generator=torch.Generator().manual_seed(5))
    if name == "StableAudioPipeline":
        options = {"audio_length_in_s": 0.5}
    options |= {"num_inference_steps": 4, "guidance_scale": guidance, "latents": latents}
    found = decoder.sample(embeds, seeds=[0, 1], **options)
    expected = expected_of(decoder, embeds, latents, guidance)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 1e-3  # a constant output would agree with anything
    other = decoder.sample(embeds.flip(0), seeds=[0, 1], **options)
    assert (found - other).abs().max() > 1e-4  # and so would one that ignores the conditioning


@pytest.mark.parametrize("kind", ["pndm", "dpm++", "euler"])
def test_sdxl_parity_over_schedulers(kind: str, made: Any) -> None:
    shared = made["StableDiffusionXLPipeline"]
    modules = {name: shared.parts.get(name) for name in shared.parts.layout.classes}
    modules["scheduler"] = SCHEDULERS[kind]()
    parts = DecoderParts(
        Modality.IMAGE,
        modules,
        spec=shared.spec,
        defaults=shared.parts.defaults,
        layout=shared.parts.layout,
    )
    embeds = embeds_of(shared)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    found = DECODERS[Modality.IMAGE](parts).sample(
        embeds, seeds=[0, 1], num_inference_steps=4, guidance_scale=3.5, latents=latents
    )
    expected = expected_of(shared, embeds, latents, 3.5, scheduler=SCHEDULERS[kind]())
    assert (found - expected).abs().max() < 1e-4


def test_wan_parity_with_the_euler_of_flow_matching(made: Any) -> None:
    shared = made["WanPipeline"]
    modules = {name: shared.parts.get(name) for name in shared.parts.layout.classes}
    modules["scheduler"] = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = DecoderParts(
        Modality.VIDEO,
        modules,
        spec=shared.spec,
        defaults=shared.parts.defaults,
        layout=shared.parts.layout,
    )
    embeds = embeds_of(shared)
    latents = torch.randn(2, *SHAPES["WanPipeline"], generator=torch.Generator().manual_seed(5))
    found = DECODERS[Modality.VIDEO](parts).sample(
        embeds,
        seeds=[0, 1],
        num_inference_steps=4,
        guidance_scale=3.5,
        latents=latents,
        **SMALL["WanPipeline"],
    )
    expected = expected_of(shared, embeds, latents, 3.5, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0))
    assert (found - expected).abs().max() < 1e-4


def test_a_unet_distilled_with_guidance_is_told_it() -> None:
    modules, spec, defaults = latent_consistency()
    modules["scheduler"] = LCMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False
    )
    decoder = DECODERS[Modality.IMAGE](DecoderParts(Modality.IMAGE, modules, spec=spec, defaults=defaults))
    embeds = embeds_of(decoder)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    found = decoder.sample(embeds, seeds=[0, 1], latents=latents)
    pipe: Any = LatentConsistencyModelPipeline(
        **modules, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    for generator in generators:
        torch.randn(4, 8, 8, generator=generator)
    images = pipe(
        prompt_embeds=embeds,
        latents=latents.clone(),
        height=16,
        width=16,
        guidance_scale=8.5,
        num_inference_steps=4,
        generator=generators,
        output_type="np",
    ).images
    assert (found - torch.from_numpy(images).permute(0, 3, 1, 2)).abs().max() < 1e-4


def test_text_encoding_of_the_families_equals_the_pipelines(made: Any) -> None:
    texts = ["a red star", "blue"]
    decoder = made["StableDiffusionXLPipeline"]
    tokens, negative, pooled, negative_pooled = reference(decoder).encode_prompt(texts, device="cpu")
    found = decoder.encode_text(texts)
    assert (found[:, :-1] - tokens).abs().max() < 1e-5
    assert (found[:, -1, : decoder.spec.pooled] - pooled).abs().max() < 1e-5
    assert not negative.any() and not negative_pooled.any() and not decoder.negative_prompt_embeds.any()

    decoder = made["WanPipeline"]
    tokens, negative = reference(decoder).encode_prompt(["a&amp;  red star", "blue"], max_sequence_length=512)
    assert (decoder.encode_text(["a&amp;  red star", "blue"]) - tokens).abs().max() < 1e-5
    assert (decoder.negative_prompt_embeds - negative[:1]).abs().max() < 1e-5

    decoder = made["StableAudioPipeline"]
    tokens = reference(decoder).encode_prompt(texts, "cpu", False)
    assert (decoder.encode_text(texts) - tokens).abs().max() < 1e-5

    with pytest.raises(MissingPart, match="found a decoder of image vectors"):
        made["StableUnCLIPImg2ImgPipeline"].encode_text(texts)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_on_disk(name: str, made: Any, tmp_path: Path) -> None:
    decoder = made[name]
    decoder.save_pretrained(tmp_path / "ours")
    read = open_decoder(decoder.modality, tmp_path / "ours")
    embeds = embeds_of(decoder)
    options = SMALL[name] | {"num_inference_steps": 2}
    found = read.sample(embeds, seeds=[1, 2], **options)
    assert torch.allclose(found, decoder.sample(embeds, seeds=[1, 2], **options), atol=1e-5)
    assert not {"text_encoder", "tokenizer"} & read.parts.loaded().keys()
    assert read.spec == decoder.spec and read.parts.defaults == decoder.parts.defaults
    if name != "StableUnCLIPImg2ImgPipeline":  # it wants the image encoder that our vectors come in place of
        pipe: Any = DiffusionPipeline.from_pretrained(tmp_path / "ours", local_files_only=True)
        assert type(pipe).__name__ == name
    for file in ("decoder.json", "unconditional.safetensors"):  # official folders have neither
        (tmp_path / "ours" / file).unlink()
    official = open_decoder(decoder.modality, tmp_path / "ours")
    assert official.spec == decoder.spec and official.parts.defaults == decoder.parts.defaults
    assert torch.allclose(found, official.sample(embeds, seeds=[1, 2], **options), atol=1e-5)
    kinds: dict[Modality, Any] = {Modality.AUDIO: Audio, Modality.VIDEO: Video}
    medium = official(embeds[:1], seeds=[1], **options)[0]
    assert isinstance(medium, kinds.get(decoder.modality, object))


@pytest.mark.parametrize("name", FAMILIES)
def test_families_report_and_move(name: str, made: Any) -> None:
    decoder, seen = made[name], []
    decoder(
        embeds_of(decoder),
        seeds=[1, 2],
        num_inference_steps=2,
        on_step=lambda e: seen.append(e.preview()),
        **SMALL[name],
    )
    assert len(seen) == 2 and all(len(shown) == 2 and shown[0].dtype == np.uint8 for shown in seen)
    decoder.parts.to(dtype=torch.float32)
    assert not any(p.requires_grad for module in decoder.parts.loaded().values() for p in module.parameters())


@pytest.mark.parametrize("name", ["WanPipeline", "StableAudioPipeline"])
def test_autoencoders_of_time_come_back(name: str, made: Any) -> None:
    decoder = made[name]
    shape = (1, 5, 3, 16, 16) if name == "WanPipeline" else (1, 2, 64)
    data = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = decoder.encode(data)
    assert latents.shape == ((1, 16, 2, 2, 2) if name == "WanPipeline" else (1, 4, 8))
    assert decoder.decode(latents).shape == shape
    assert decoder.encode(data, generator=torch.Generator().manual_seed(0)).shape == latents.shape


def test_imagebind_vectors_are_brought_to_the_usual_norm(made: Any) -> None:
    decoder = made["StableUnCLIPImg2ImgPipeline"]
    unit = torch.nn.functional.normalize(torch.randn(2, WIDTH), dim=-1)
    assert torch.allclose(decoder.spec.fit(unit).norm(dim=-1), torch.tensor(decoder.spec.norm))
    options = {"seeds": [1, 2], "num_inference_steps": 2}
    assert torch.allclose(decoder.sample(unit, **options), decoder.sample(unit * 20, **options), atol=1e-5)


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_relatives_that_are_sampled_otherwise_are_refused(made: Any, tmp_path: Path) -> None:
    made["WanPipeline"].save_pretrained(tmp_path)
    _edit(tmp_path, boundary_ratio=0.9)
    with pytest.raises(BadArgument, match="found boundary_ratio = 0.9 in model_index.json, expected None"):
        open_decoder(Modality.VIDEO, tmp_path)
    _edit(tmp_path, boundary_ratio=None, _class_name="LTXPipeline")
    with pytest.raises(BadArgument, match="found a LTXPipeline folder, expected .* or WanPipeline"):
        open_decoder(Modality.VIDEO, tmp_path)


def test_sdxl_without_forced_zeros_encodes_the_empty_text(made: Any, tmp_path: Path) -> None:
    made["StableDiffusionXLPipeline"].save_pretrained(tmp_path)
    (tmp_path / "unconditional.safetensors").unlink()
    assert not open_decoder(Modality.IMAGE, tmp_path).negative_prompt_embeds.any()
    _edit(tmp_path, force_zeros_for_empty_prompt=False)
    assert open_decoder(Modality.IMAGE, tmp_path).negative_prompt_embeds.any()


def test_sizes_that_a_family_cannot_make_are_refused(made: Any) -> None:
    wan, audio = made["WanPipeline"], made["StableAudioPipeline"]
    options = {"seeds": [1], "num_inference_steps": 1}
    with pytest.raises(
        BadArgument, match="num_frames: found 6, expected 1 more than a multiple of 4; .* 5 or 9"
    ):
        wan.sample(embeds_of(wan, 1), height=16, width=16, num_frames=6, **options)
    with pytest.raises(BadArgument, match="height: found 24, expected a positive multiple of 16"):
        wan.sample(embeds_of(wan, 1), height=24, width=16, num_frames=5, **options)
    with pytest.raises(LimitExceeded, match="audio_length_in_s: found 1.5, expected at most 1"):
        audio.sample(embeds_of(audio, 1), audio_length_in_s=1.5, **options)
    with pytest.raises(BadArgument, match="audio_length_in_s: found 0, expected at least 0.0625 seconds"):
        audio.sample(embeds_of(audio, 1), audio_length_in_s=0, **options)


def test_an_unclip_folder_of_pickles_is_refused(made: Any, tmp_path: Path) -> None:
    made["StableUnCLIPImg2ImgPipeline"].save_pretrained(tmp_path)
    (tmp_path / "decoder.json").unlink()
    for path in (tmp_path / "image_normalizer").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(MissingPart, match="image_normalizer: found no safetensors weights"):
        open_decoder(Modality.IMAGE, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooled": WIDTH + 1}, "pooled conditioning: found 9 in 6 x 8"),
        ({"pooled": 4, "tokens": 1}, "pooled conditioning: found 4 in 1 x 8"),
        ({"norm": 0.0}, "conditioning norm and size_ids: found 0.0 and 0"),
        ({"size_ids": -1}, "conditioning norm and size_ids: found 1.0 and -1"),
    ],
)
def test_impossible_conditioning_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        ConditioningSpec(**{"tokens": LENGTH, "width": WIDTH} | fields)


def test_layouts_are_found_by_pipeline_and_alias() -> None:
    assert layout_of(Modality.IMAGE).pipeline == "StableDiffusionPipeline"
    assert layout_of(Modality.IMAGE, "StableUnCLIPPipeline").pipeline == "StableUnCLIPImg2ImgPipeline"
    names: list[Callable[..., Any] | str] = [layout.pipeline for layout in LAYOUTS]
    assert len(set(names)) == len(names)
