"""Shortcuts of sampling: schedulers by name, deep features kept, compiled parts, slices and tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from tiny_decoders import BETAS, DEFAULTS, SPECS, make_unet

from anygen.decoders import DECODERS, DecoderParts
from anygen.decoders.deep_cache import DeepCache
from anygen.decoders.schedulers import FLOW_NAMED, NAMED, choose, fresh
from anygen.errors import BadArgument
from anygen.modality import Modality


def unet_call(modality: Modality, side: int = 8) -> tuple[Any, torch.Tensor, torch.Tensor, dict[str, Any]]:
    torch.manual_seed(1)
    frames = (3,) if modality is Modality.VIDEO else ()
    sample, spec = torch.randn(2, 4, *frames, side, side), SPECS[modality]
    embeds = torch.randn(2, spec.tokens, spec.width)
    arguments = (
        {"encoder_hidden_states": None, "class_labels": embeds[:, 0]}
        if spec.entry == "class_labels"
        else {"encoder_hidden_states": embeds}
    )
    return make_unet(modality).eval(), sample, torch.tensor([500, 500]), arguments


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("modality", DECODERS)
def test_a_whole_call_with_a_cache_is_the_unet_itself(modality: Modality, depth: int, side: int) -> None:
    unet, sample, timesteps, arguments = unet_call(modality, side)
    with torch.no_grad():
        expected = unet(sample, timesteps, **arguments, return_dict=False)[0]
        cached = DeepCache(unet, 2, depth=depth)
        assert torch.allclose(cached(sample, timesteps, **arguments)[0], expected, atol=1e-6)
        again = cached(sample, timesteps, **arguments)[0]  # same input: the kept features are right
        assert torch.allclose(again, expected, atol=1e-6)
        moved = cached(sample, timesteps - 100, **arguments)[0]
        assert torch.allclose(
            moved, unet(sample, timesteps - 100, **arguments, return_dict=False)[0], atol=1e-6
        )


def test_kept_features_save_layers_and_change_little() -> None:
    unet, sample, timesteps, arguments = unet_call(Modality.IMAGE)
    calls: list[int] = []
    handle = unet.mid_block.register_forward_pre_hook(lambda *_: calls.append(1))
    cached = DeepCache(unet, 3)
    with torch.no_grad():
        near = [cached(sample, timesteps - 10 * i, **arguments)[0] for i in range(7)]
        exact = unet(sample, timesteps - 10, **arguments, return_dict=False)[0]
    handle.remove()
    assert len(calls) == 3 + 1
    assert not torch.equal(near[1], exact) and (near[1] - exact).abs().mean() < 0.2 * exact.abs().mean()
    once = DeepCache(unet, 1)
    with torch.no_grad():
        assert torch.equal(once(sample, timesteps - 10, **arguments)[0], exact)


@pytest.mark.parametrize("modality", DECODERS)
def test_cache_interval_of_a_decoder(
    modality: Modality, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    decoder, embeds = make_decoder(modality), embeds_of(modality)
    plain = decoder.sample(embeds, seeds=[1, 2])
    assert torch.equal(decoder.sample(embeds, seeds=[1, 2], cache_interval=1), plain)
    near = decoder.sample(embeds, seeds=[1, 2], cache_interval=3)
    assert near.shape == plain.shape and not torch.equal(near, plain)


@pytest.mark.parametrize("interval", [0, 21, 2.0, True])
def test_bad_intervals_are_refused(
    interval: Any, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(BadArgument, match="cache_interval: found .*, expected a whole number from 1"):
        make_decoder(Modality.IMAGE)(embeds_of(Modality.IMAGE), seeds=[1, 2], cache_interval=interval)


def test_only_unets_keep_features() -> None:
    with pytest.raises(BadArgument, match=r"cache_interval: found 3 for a Linear, expected 1"):
        DeepCache(torch.nn.Linear(1, 1), 3)


@pytest.mark.parametrize("name", NAMED)
def test_schedulers_by_name(
    name: str, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor], schedulers: Any
) -> None:
    decoder = make_decoder(Modality.IMAGE, scheduler=schedulers["zero-snr ddim"]())
    found = decoder.sample(embeds_of(Modality.IMAGE), seeds=[1, 2], scheduler=name)
    assert torch.isfinite(found).all()
    chosen = choose(decoder.parts.scheduler, name)
    assert type(chosen).__name__ == NAMED[name][0]
    assert chosen.config.prediction_type == "v_prediction" and chosen.config.beta_start == BETAS["beta_start"]


def test_dpmpp_2m_is_what_it_says(schedulers: Any) -> None:
    chosen = choose(schedulers["ddim"](), "dpmpp_2m")
    assert isinstance(chosen, DPMSolverMultistepScheduler)
    assert chosen.config.algorithm_type == "dpmsolver++" and chosen.config.solver_order == 2
    assert isinstance(choose(schedulers["ddim"](), "lcm"), LCMScheduler)


@pytest.mark.parametrize("name", FLOW_NAMED)
def test_schedulers_of_flow_matching_keep_its_shift(name: str) -> None:
    unipc = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )
    for own in (unipc, FlowMatchEulerDiscreteScheduler(shift=3.0)):
        run = fresh(choose(own, name), 4, "cpu")
        assert run.sigmas[0] > 0.99 and run.sigmas[1] > 0.85  # without the shift it would be 0.75


def test_schedulers_that_do_not_fit_are_refused(schedulers: Any) -> None:
    with pytest.raises(BadArgument, match="scheduler: found 'magic', expected one of ddim"):
        choose(schedulers["ddim"](), "magic")
    with pytest.raises(BadArgument, match="scheduler: found 'ddim', expected one of dpmpp_2m, euler, unipc"):
        choose(FlowMatchEulerDiscreteScheduler(), "ddim")
    with pytest.raises(BadArgument, match="expected none beside its own EDMDPMSolverMultistepScheduler"):
        choose(EDMDPMSolverMultistepScheduler(), "euler")


def test_an_unknown_option_names_the_nearest(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(BadArgument, match="`heigth` is not an option of this decoder; did you mean `height`"):
        make_decoder(Modality.IMAGE)(embeds_of(Modality.IMAGE), seeds=[1, 2], heigth=16)


def test_parts_are_compiled_where_asked(modules_of: Any, embeds_of: Callable[..., torch.Tensor]) -> None:
    parts = DecoderParts(
        Modality.IMAGE,
        {**modules_of[Modality.IMAGE], "unet": make_unet(Modality.IMAGE).eval()},
        spec=SPECS[Modality.IMAGE],
        defaults=DEFAULTS[Modality.IMAGE],
        compile=["unet"],
    )
    assert parts.unet._compiled_call_impl is not None and parts.vae._compiled_call_impl is None
    with pytest.raises(BadArgument, match="compile: found 'net', expected names of unet, vae"):
        DecoderParts(
            Modality.IMAGE, {}, spec=SPECS[Modality.IMAGE], defaults=DEFAULTS[Modality.IMAGE], compile=["net"]
        )


def test_slices_change_nothing_and_tiles_little(folders: Any, embeds_of: Callable[..., torch.Tensor]) -> None:
    decoder = DECODERS[Modality.IMAGE].from_pretrained(folders[Modality.IMAGE])
    embeds = embeds_of(Modality.IMAGE)
    plain = decoder.sample(embeds, seeds=[1, 2])
    decoder.parts.save_memory(slicing=True, tiling=True)
    assert decoder.parts.vae.use_tiling
    assert (decoder.sample(embeds, seeds=[1, 2]) - plain).abs().max() < 1e-5
    decoder.parts.save_memory()
    assert not decoder.parts.vae.use_tiling
