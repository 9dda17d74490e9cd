"""A UNet that is told where each of its positions lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_decoders import LENGTH, WIDTH

from anygen.decoders import ConditioningSpec
from anygen.decoders.build import build_image_unet, build_scheduler, build_video_unet
from anygen.decoders.denoising import predict
from anygen.decoders.inflate import init_with_coordinates
from anygen.decoders.sampler import denoise
from anygen.errors import BadArgument, WeightsMismatch

SPEC = ConditioningSpec(tokens=LENGTH, width=WIDTH)
SIZES = {"latent_channels": 4, "block_out_channels": (32, 32), "cross_attention_dim": WIDTH, "sample_size": 8}


def test_coordinates_run_from_minus_one_to_one_along_the_first_axes() -> None:
    sample = torch.randn(2, 4, 3, 5)
    assert SPEC.network_input(sample) is sample
    told = replace(SPEC, coordinates=2).network_input(sample)
    assert told.shape == (2, 6, 3, 5) and torch.equal(told[:, :4], sample)
    assert torch.equal(told[0, 4, :, 0], torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(told[1, 5, 2], torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))


def test_a_frame_alone_is_told_what_it_is_told_in_its_film() -> None:
    spec, film = replace(SPEC, coordinates=3), torch.randn(2, 4, 3, 8, 8)
    whole = spec.network_input(film)
    for frame, place in enumerate((-1.0, 0.0, 1.0)):
        alone = spec.network_input(film[:, :, frame], torch.full((2, 1), place))
        assert torch.equal(alone, whole[:, :, frame])


def test_a_unet_takes_over_all_but_its_coordinates_which_it_hears_from_the_start() -> None:
    torch.manual_seed(0)
    plain, told = build_image_unet(**SIZES).eval(), build_image_unet(**SIZES, coordinates=1).eval()
    own = told.conv_in.weight[:, 4:].clone()
    init_with_coordinates(plain, told)
    assert torch.equal(told.conv_in.weight[:, 4:], own) and own.abs().sum() > 0
    spec = replace(SPEC, coordinates=1)
    sample, times, embeds = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        assert not torch.equal(
            predict(told, sample, times, embeds, spec), predict(plain, sample, times, embeds, SPEC)
        )
        told.conv_in.weight[:, 4:] = 0
        unheard = predict(told, sample, times, embeds, spec)
        assert torch.allclose(unheard, predict(plain, sample, times, embeds, SPEC), atol=1e-5)
    with pytest.raises(WeightsMismatch, match="expected the same but for input channels"):
        init_with_coordinates(plain, build_image_unet(**{**SIZES, "block_out_channels": (32, 64)}))


def test_a_film_is_sampled_with_its_time_and_latents_keep_their_channels() -> None:
    torch.manual_seed(0)
    unet = build_video_unet(**SIZES, coordinates=1).eval()
    noise, embeds = torch.randn(1, 4, 3, 8, 8), torch.randn(1, LENGTH, WIDTH)

    def sample(spec: ConditioningSpec) -> torch.Tensor:
        with torch.no_grad():
            return denoise(unet, build_scheduler(), noise, embeds, spec, num_inference_steps=2)

    assert sample(replace(SPEC, coordinates=1)).shape == noise.shape
    with pytest.raises(BadArgument, match="expected 0 to 3 axes"):
        replace(SPEC, coordinates=4)
