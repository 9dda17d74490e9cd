"""Every decoder against diffusers' own pipeline: same weights, same latents, same embeddings, same output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AudioLDMPipeline, StableDiffusionPipeline, TextToVideoSDPipeline

from anygen.modality import Modality

SHAPES = {Modality.IMAGE: (4, 8, 8), Modality.AUDIO: (4, 5, 8), Modality.VIDEO: (4, 3, 8, 8)}


def reference(
    modality: Modality, modules: dict[str, Any], latents: torch.Tensor, steps: int, **inputs: Any
) -> torch.Tensor:
    """Output of diffusers' pipeline in the layout of our `sample`."""
    inputs |= {"latents": latents, "num_inference_steps": steps}
    if modality is Modality.IMAGE:
        pipe: Any = StableDiffusionPipeline(
            **modules, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
        return torch.from_numpy(pipe(**inputs, height=16, width=16, output_type="np").images).permute(
            0, 3, 1, 2
        )
    if modality is Modality.VIDEO:
        pipe = TextToVideoSDPipeline(**modules)
        pipe.set_progress_bar_config(disable=True)
        frames = pipe(**inputs, height=16, width=16, num_frames=3, output_type="np").frames
        return torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
    pipe = AudioLDMPipeline(**modules)
    pipe.set_progress_bar_config(disable=True)
    inputs = {k: v[:, 0] if k.endswith("prompt_embeds") else v for k, v in inputs.items()}
    return torch.from_numpy(pipe(**inputs, audio_length_in_s=0.1).audios)


CASES = [("ddim", 1.0), ("ddim", 3.5), ("pndm", 1.0), ("pndm", 3.5), ("dpm++", 3.5), ("zero-snr ddim", 3.5)]


@pytest.mark.parametrize(("kind", "guidance"), CASES)
@pytest.mark.parametrize("modality", SHAPES)
def test_parity_with_diffusers_pipeline(
    modality: Modality,
    kind: str,
    guidance: float,
    make_decoder: Callable[..., Any],
    modules_of: Any,
    embeds_of: Callable[..., torch.Tensor],
    schedulers: Any,
) -> None:
    decoder = make_decoder(modality, scheduler=schedulers[kind]())
    embeds = embeds_of(modality)
    latents = torch.randn(2, *SHAPES[modality], generator=torch.Generator().manual_seed(5))
    found = decoder.sample(
        embeds, num_inference_steps=4, guidance_scale=guidance, seeds=[0, 1], latents=latents
    )
    expected = reference(
        modality,
        modules_of[modality] | {"scheduler": schedulers[kind]()},
        latents.clone(),
        4,
        guidance_scale=guidance,
        prompt_embeds=embeds,
        negative_prompt_embeds=decoder.negative_prompt_embeds.expand_as(embeds),
    )
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 1e-3  # a constant output would agree with anything
    if kind != "ddim":
        return
    other = decoder.sample(
        embeds.flip(0), num_inference_steps=4, guidance_scale=guidance, seeds=[0, 1], latents=latents
    )
    assert (found - other).abs().max() > 1e-4  # and so would one that ignores the conditioning


@pytest.mark.parametrize("modality", SHAPES)
def test_text_encoding_equals_the_pipelines(
    modality: Modality, make_decoder: Callable[..., Any], modules_of: Any
) -> None:
    texts = ["a red star", "blue"]
    decoder = make_decoder(modality)
    if modality is Modality.AUDIO:
        pipe: Any = AudioLDMPipeline(**modules_of[modality])
        # diffusers pads the empty text to the width of the embedding, which fits its official size only
        expected = pipe._encode_prompt(texts, "cpu", 1, False)[:, None]
        empty = pipe._encode_prompt([""], "cpu", 1, False)[:, None]
    else:
        maker = StableDiffusionPipeline if modality is Modality.IMAGE else TextToVideoSDPipeline
        extra = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipe = maker(**modules_of[modality], **(extra if modality is Modality.IMAGE else {}))
        expected, empty = pipe.encode_prompt(texts, "cpu", 1, True)
    assert (decoder.encode_text(texts) - expected).abs().max() < 1e-5
    assert (decoder.negative_prompt_embeds - empty[:1]).abs().max() < 1e-5
