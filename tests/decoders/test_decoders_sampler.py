"""What the sampling loop promises whatever the modality."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import HeunDiscreteScheduler, LCMScheduler, UniPCMultistepScheduler
from PIL import Image

from anygen.decoders import DECODERS, StepEvent
from anygen.decoders.sampler import denoise, fresh, starting_noise
from anygen.errors import BadArgument, Cancelled, NonFinite
from anygen.media import Audio, Video
from anygen.modality import Modality

KINDS = {Modality.IMAGE: Image.Image, Modality.AUDIO: Audio, Modality.VIDEO: Video}


def array(media: Any) -> np.ndarray:
    return (
        media.samples
        if isinstance(media, Audio)
        else media.frames
        if isinstance(media, Video)
        else np.asarray(media)
    )


@pytest.mark.parametrize("modality", DECODERS)
def test_call_gives_one_medium_a_row(
    modality: Modality, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    found = make_decoder(modality)(embeds_of(modality), seeds=[1, 2])
    shapes = {Modality.IMAGE: (16, 16, 3), Modality.AUDIO: (1, 1600), Modality.VIDEO: (3, 16, 16, 3)}
    assert [type(x) for x in found] == [KINDS[modality]] * 2
    assert [array(x).shape for x in found] == [shapes[modality]] * 2


@pytest.mark.parametrize(
    ("modality", "kind"),
    [(Modality.IMAGE, kind) for kind in ("ddim", "pndm", "dpm++", "euler")]
    + [(modality, "zero-snr ddim") for modality in DECODERS],
)
def test_a_sample_is_the_same_alone_and_in_a_batch(
    modality: Modality,
    kind: str,
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
    schedulers: Any,
) -> None:
    decoder, embeds = make_decoder(modality, scheduler=schedulers[kind]()), embeds_of(modality, 3)
    batch = decoder.sample(embeds, seeds=[4, 5, 6])
    alone = torch.cat([decoder.sample(embeds[i : i + 1], seeds=[4 + i]) for i in range(3)])
    assert (batch - alone).abs().max() < 1e-4


def test_seeds_decide_the_noise_and_nothing_else_does() -> None:
    torch.manual_seed(1)
    first, _ = starting_noise((2, 3), [7, 8])
    torch.manual_seed(2)
    second, _ = starting_noise((2, 3), [8, 7])
    assert torch.equal(first, second.flip(0)) and not torch.equal(first[0], first[1])


def test_same_seed_same_bytes(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    decoder, embeds = make_decoder(Modality.IMAGE), embeds_of(Modality.IMAGE, 1)
    first, second, other = (decoder(embeds, seeds=[seed])[0].tobytes() for seed in (3, 3, 4))
    assert first == second != other


def test_ancestral_noise_comes_from_the_seeds_too(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    from diffusers import EulerAncestralDiscreteScheduler

    decoder = make_decoder(Modality.VIDEO, scheduler=EulerAncestralDiscreteScheduler())
    embeds = embeds_of(Modality.VIDEO)
    batch = decoder.sample(embeds, seeds=[4, 5])
    assert (batch[1:] - decoder.sample(embeds[1:], seeds=[5])).abs().max() < 1e-4


@pytest.mark.parametrize(("kind", "calls"), [("ddim", 3), ("dpm++", 3), ("euler", 3), ("pndm", 4)])
def test_progress_counts_scheduler_calls(
    kind: str,
    calls: int,
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
    schedulers: Any,
) -> None:
    events: list[StepEvent] = []
    decoder = make_decoder(Modality.IMAGE, scheduler=schedulers[kind]())
    decoder(embeds_of(Modality.IMAGE), seeds=[1, 2], on_step=events.append)
    assert [(e.step, e.total) for e in events] == [(i + 1, calls) for i in range(calls)]


@pytest.mark.parametrize(
    ("modality", "shape"),
    [(Modality.IMAGE, (8, 8, 3)), (Modality.AUDIO, (8, 5, 3)), (Modality.VIDEO, (3, 8, 8, 3))],
)
def test_previews_are_small_pictures(
    modality: Modality,
    shape: tuple[int, ...],
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
) -> None:
    seen: list[list[np.ndarray]] = []
    make_decoder(modality)(embeds_of(modality), seeds=[1, 2], on_step=lambda e: seen.append(e.preview()))
    assert {p.shape for previews in seen for p in previews} == {shape}
    assert all(p.dtype == np.uint8 for previews in seen for p in previews) and len(seen[0]) == 2


def test_preview_follows_the_colors(make_decoder: Callable[..., Any]) -> None:
    decoder = make_decoder(Modality.IMAGE)
    matrix = decoder.parts.preview
    assert matrix.shape == (5, 3) and torch.isfinite(matrix).all()
    assert decoder.parts.preview is matrix


def test_what_the_callback_raises_ends_the_run(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    steps: list[int] = []

    def stop(event: StepEvent) -> None:
        steps.append(event.step)
        if event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_decoder(Modality.VIDEO)(embeds_of(Modality.VIDEO), seeds=[1, 2], on_step=stop)
    assert steps == [1, 2]


def test_should_stop_is_asked_before_every_step(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    answers = iter([False, True])
    with pytest.raises(Cancelled, match="before step 2 of 3"):
        make_decoder(Modality.AUDIO)(
            embeds_of(Modality.AUDIO), seeds=[1, 2], should_stop=lambda: next(answers)
        )


def test_threads_share_a_decoder_without_harm(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor], schedulers: Any
) -> None:
    decoder, embeds = (
        make_decoder(Modality.IMAGE, scheduler=schedulers["pndm"]()),
        embeds_of(Modality.IMAGE, 1),
    )
    expected = [decoder.sample(embeds, seeds=[seed]) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda seed: decoder.sample(embeds, seeds=[seed]), range(6)))
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(expected, found, strict=True))


def test_the_given_scheduler_is_never_run(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor], schedulers: Any
) -> None:
    scheduler = schedulers["pndm"]()
    before = copy.deepcopy(scheduler.__dict__)
    make_decoder(Modality.IMAGE, scheduler=scheduler)(embeds_of(Modality.IMAGE), seeds=[1, 2])
    assert str(before) == str(scheduler.__dict__)


def test_guidance_of_one_leaves_the_unconditional_half_out(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    decoder, rows = make_decoder(Modality.IMAGE), []
    handle = decoder.parts.unet.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    try:
        for scale in (0.5, 1.0, 1.5):
            decoder(embeds_of(Modality.IMAGE), seeds=[1, 2], guidance_scale=scale, num_inference_steps=1)
    finally:
        handle.remove()
    assert rows == [2, 2, 4]


def test_guidance_rescale_keeps_the_spread_of_the_conditional_prediction() -> None:
    from anygen.decoders.sampler import _guide

    output = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rescaled = _guide(output, 9.0, 1.0)
    assert torch.allclose(rescaled.std((1, 2, 3)), output[2:].std((1, 2, 3)), rtol=1e-4)
    assert torch.equal(_guide(output, 1.5, 0.0), output[:2] + 1.5 * (output[2:] - output[:2]))


@pytest.mark.parametrize(
    "scheduler",
    [HeunDiscreteScheduler(), LCMScheduler(), UniPCMultistepScheduler()],
    ids=["heun", "lcm", "unipc"],
)
def test_other_schedulers_run(
    scheduler: Any, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    for modality in (Modality.IMAGE, Modality.VIDEO):
        found = make_decoder(modality, scheduler=scheduler).sample(embeds_of(modality), seeds=[1, 2])
        assert torch.isfinite(found).all()


def test_one_step_and_too_many_steps(schedulers: Any) -> None:
    for make in schedulers.values():
        assert len(fresh(make(), 1, "cpu").timesteps) >= 1
    with pytest.raises(BadArgument, match="num_inference_steps: found 200, more than LCMScheduler can make"):
        fresh(LCMScheduler(), 200, "cpu")


def test_nan_in_the_network_is_an_error(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    decoder = make_decoder(Modality.IMAGE)
    broken = copy.deepcopy(decoder.parts.unet)
    with torch.no_grad():
        broken.conv_out.bias.fill_(math.nan)
    with pytest.raises(NonFinite, match="denoising step 1 of 3: found NaN or infinity"):
        make_decoder(Modality.IMAGE, unet=broken)(embeds_of(Modality.IMAGE), seeds=[1, 2])
    vae = copy.deepcopy(decoder.parts.vae)
    with torch.no_grad():
        vae.post_quant_conv.bias.fill_(math.inf)
    with pytest.raises(NonFinite, match="image: found NaN or infinity after decoding"):
        make_decoder(Modality.IMAGE, vae=vae)(embeds_of(Modality.IMAGE), seeds=[1, 2])


def test_nan_in_the_conditioning_is_an_error(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(NonFinite, match="prompt_embeds: found NaN"):
        make_decoder(Modality.IMAGE)(embeds_of(Modality.IMAGE) * math.nan, seeds=[1, 2])


def test_a_network_in_training_is_sampled_in_eval_mode(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    unet = copy.deepcopy(make_decoder(Modality.VIDEO).parts.unet).train()
    decoder, embeds = make_decoder(Modality.VIDEO, unet=unet), embeds_of(Modality.VIDEO)
    assert torch.equal(decoder.sample(embeds, seeds=[1, 2]), decoder.sample(embeds, seeds=[1, 2]))
    assert unet.training


def test_denoise_lets_gradients_through(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    parts = make_decoder(Modality.IMAGE).parts
    embeds = embeds_of(Modality.IMAGE).requires_grad_()
    clean = denoise(
        parts.unet, parts.scheduler, torch.randn(2, 4, 8, 8), embeds, parts.spec, num_inference_steps=2
    )
    clean.sum().backward()
    assert embeds.grad is not None and embeds.grad.abs().sum() > 0


def test_sampling_first_does_not_spoil_training_later(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    decoder = make_decoder(Modality.IMAGE)
    decoder(embeds_of(Modality.IMAGE), seeds=[1, 2], on_step=lambda e: e.preview())
    negative = decoder.negative_prompt_embeds
    (negative * torch.ones(1, requires_grad=True)).sum().backward()
    assert not negative.is_inference()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: found 0, expected 1 to 1000"),
        ({"num_inference_steps": 1001}, "found 1001, expected 1 to 1000"),
        ({"num_inference_steps": 2.5}, "found 2.5, expected a whole number"),
        ({"num_inference_steps": True}, "found True, expected a whole number"),
        ({"guidance_scale": math.nan}, "guidance_scale: found nan, expected a finite number"),
        ({"guidance_scale": -1.0}, "guidance_scale: found -1.0"),
        ({"guidance_scale": "7"}, "guidance_scale: found '7', expected a number"),
        ({"seeds": [1]}, "seeds: found 1, expected 2"),
        ({"seeds": [1, -1]}, "seed: found -1, expected a whole number from 0"),
        ({"seeds": [1, 2**63]}, "seed: found 9223372036854775808"),
        ({"seeds": [1, 1.5]}, "seed: found 1.5"),
    ],
)
def test_bad_requests_are_refused(
    options: dict[str, Any],
    message: str,
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
) -> None:
    with pytest.raises(BadArgument, match=message):
        make_decoder(Modality.IMAGE)(embeds_of(Modality.IMAGE), **({"seeds": [1, 2]} | options))


def test_bad_conditioning_is_refused(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    parts, embeds = make_decoder(Modality.IMAGE).parts, embeds_of(Modality.IMAGE)
    noise = torch.randn(2, 4, 8, 8)

    def run(**options: Any) -> None:
        denoise(
            parts.unet,
            parts.scheduler,
            noise,
            **({"prompt_embeds": embeds} | options),
            spec=parts.spec,
            num_inference_steps=1,
        )

    with pytest.raises(
        BadArgument, match=r"prompt_embeds: found shape \(2, 6, 7\), expected \(batch, 6, 8\)"
    ):
        run(prompt_embeds=embeds[..., :7])
    with pytest.raises(BadArgument, match="prompt_embeds: found 1 rows, expected 2"):
        run(prompt_embeds=embeds[:1])
    with pytest.raises(BadArgument, match="negative_prompt_embeds: found None"):
        run(guidance_scale=2.0)
    with pytest.raises(BadArgument, match="negative_prompt_embeds: found 3 rows, expected 1 or 2"):
        run(guidance_scale=2.0, negative_prompt_embeds=torch.zeros(3, 6, 8))
    with pytest.raises(BadArgument, match=r"latents: found shape \(2, 4, 8, 8\), expected \(1, 4, 8, 8\)"):
        make_decoder(Modality.IMAGE).sample(embeds[:1], seeds=[1], latents=noise)
