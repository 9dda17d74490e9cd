"""The training loss, the conditioning and the zero-SNR schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler

from anygen.decoders.base import ConditioningSpec
from anygen.decoders.denoising import denoising_loss, diffusion_target, min_snr_weights, predict
from anygen.decoders.sampler import denoise
from anygen.errors import BadArgument
from anygen.modality import Modality

SHAPES = {Modality.IMAGE: (2, 4, 8, 8), Modality.AUDIO: (2, 4, 5, 8), Modality.VIDEO: (2, 4, 3, 8, 8)}
ANY = ConditioningSpec(tokens=1, width=2)


class Oracle(torch.nn.Module):
    """Stands where a UNet does and answers with a function of what it is asked."""

    def __init__(self, answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.answer, self.anchor = answer, torch.nn.Parameter(torch.zeros(1))

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, **conditioning: Any
    ) -> tuple[torch.Tensor]:
        return (self.answer(sample, timestep),)


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_loss_is_finite_and_reaches_unet_and_conditioning(
    modality: Modality, kind: str, make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    parts = make_decoder(modality).parts
    scheduler = DDPMScheduler(prediction_type=kind)
    embeds = embeds_of(modality).requires_grad_()
    latents = torch.randn(SHAPES[modality])
    weights = torch.rand(2, 1, *SHAPES[modality][2:])
    unet = parts.unet.requires_grad_(True)
    try:
        loss = denoising_loss(
            unet,
            scheduler,
            latents,
            embeds,
            parts.spec,
            generator=torch.Generator().manual_seed(0),
            weights=weights,
            snr_gamma=5.0,
        )
        loss.backward()
        assert loss.ndim == 0 and torch.isfinite(loss)
        assert embeds.grad is not None and embeds.grad.abs().sum() > 0
        assert unet.conv_in.weight.grad.abs().sum() > 0
    finally:
        unet.zero_grad()
        unet.requires_grad_(False)


def test_noising_and_targets_are_the_schedulers_own() -> None:
    latents, noise, timesteps = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    for kind in ("epsilon", "v_prediction", "sample"):
        scheduler = DDPMScheduler(prediction_type=kind)
        asked: list[torch.Tensor] = []

        def answer(
            sample: torch.Tensor, timestep: torch.Tensor, seen: list[torch.Tensor] = asked
        ) -> torch.Tensor:
            seen.append(sample)
            return torch.zeros_like(sample)

        loss = denoising_loss(
            Oracle(answer),
            scheduler,
            latents,
            torch.zeros(3, 2),
            ANY,
            generator=None,
            timesteps=timesteps,
            noise=noise,
        )
        target = {"epsilon": noise, "sample": latents}.get(kind)
        target = scheduler.get_velocity(latents, noise, timesteps) if target is None else target
        assert (asked[0] - scheduler.add_noise(latents, noise, timesteps)).abs().max() < 1e-5
        assert (diffusion_target(scheduler, latents, noise, timesteps) - target).abs().max() < 1e-5
        assert torch.allclose(loss, target.square().mean(), rtol=1e-5)


def test_weights_move_attention_and_not_the_size_of_the_loss() -> None:
    scheduler, latents = DDPMScheduler(prediction_type="sample"), torch.ones(2, 4, 8, 8)
    latents[:, :, :4] = 3.0
    noise, steps = torch.randn_like(latents), torch.tensor([5, 6])

    def loss(weights: torch.Tensor | None) -> float:
        zero = Oracle(lambda sample, timestep: torch.zeros_like(sample))
        return denoising_loss(
            zero,
            scheduler,
            latents,
            torch.zeros(2, 2),
            ANY,
            generator=None,
            timesteps=steps,
            noise=noise,
            weights=weights,
        ).item()

    top = torch.zeros(2, 1, 8, 8)
    top[:, :, :4] = 7.0
    assert loss(None) == pytest.approx(5.0) == loss(torch.full((2, 1, 8, 8), 0.2))
    assert loss(top) == pytest.approx(9.0)


def test_min_snr_weights_follow_the_paper() -> None:
    timesteps = torch.tensor([0, 300, 999])
    power = DDPMScheduler().alphas_cumprod[timesteps]
    snr = power / (1 - power)
    for kind, base in (("epsilon", snr), ("v_prediction", snr + 1), ("sample", torch.ones(3))):
        found = min_snr_weights(DDPMScheduler(prediction_type=kind), timesteps, 5.0)
        assert torch.allclose(found, snr.clamp(max=5.0) / base, rtol=1e-4)
    zero = DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert min_snr_weights(zero, timesteps, 5.0)[-1] == 0


def test_random_timesteps_and_noise_come_from_the_generator() -> None:
    unet = Oracle(lambda sample, timestep: torch.zeros_like(sample))
    losses = {
        denoising_loss(
            unet,
            DDPMScheduler(),
            torch.ones(2, 4, 8, 8),
            torch.zeros(2, 2),
            ANY,
            generator=torch.Generator().manual_seed(seed),
        ).item()
        for seed in (1, 1, 2)
    }
    assert len(losses) == 2


@pytest.mark.parametrize("make", ["zero-snr ddim", "zero-snr euler"])
def test_a_perfect_v_network_samples_its_data(make: str, schedulers: Any) -> None:
    """With zero terminal SNR the first step sees pure noise; N(2, 0.5) must come out in twenty steps."""
    euler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler = euler if make == "zero-snr euler" else schedulers[make]()
    mean, spread = 2.0, 0.5

    def velocity(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        power = schedulers["zero-snr ddim"]().alphas_cumprod[timestep.long()].view(-1, 1, 1, 1)
        signal, noise = power.sqrt(), (1 - power).sqrt()
        residual = (sample - signal * mean) / (power * spread**2 + noise**2)
        return signal * noise * residual - noise * (mean + signal * spread**2 * residual)

    torch.manual_seed(0)
    found = denoise(
        Oracle(velocity), scheduler, torch.randn(4, 4, 16, 16), torch.zeros(4, 2), ANY, num_inference_steps=20
    )
    assert found.mean().item() == pytest.approx(mean, abs=0.03)
    assert found.std().item() == pytest.approx(spread, rel=0.15)


def test_mistakes_are_named() -> None:
    unet = Oracle(lambda sample, timestep: sample)
    latents = torch.zeros(1, 4, 8, 8)
    with pytest.raises(BadArgument, match=r"prompt_embeds: found shape \(1, 3\), expected \(batch, 1, 2\)"):
        predict(unet, latents, torch.tensor([1]), torch.zeros(1, 3), ANY)
    with pytest.raises(BadArgument, match="generator: found None"):
        denoising_loss(unet, DDPMScheduler(), latents, torch.zeros(1, 2), ANY, generator=None)
    odd = DDPMScheduler()
    odd.register_to_config(prediction_type="flow")
    with pytest.raises(BadArgument, match="prediction_type: found 'flow'"):
        diffusion_target(odd, latents, latents, torch.tensor([1]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": 0, "width": 2}, "conditioning size: found 0 x 2"),
        ({"tokens": 1, "width": 2, "entry": "timestep"}, "conditioning entry: found 'timestep'"),
        ({"tokens": 2, "width": 2, "entry": "class_labels"}, "conditioning tokens: found 2, expected 1"),
    ],
)
def test_bad_specs_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        ConditioningSpec(**fields)


def test_normalised_specs_normalise_and_others_do_not() -> None:
    embeds = torch.tensor([[3.0, 4.0]])
    spec = ConditioningSpec(tokens=1, width=2, normalised=True, entry="class_labels")
    assert torch.allclose(spec.fit(embeds), torch.tensor([[[0.6, 0.8]]]))
    assert torch.equal(ANY.fit(embeds), embeds[:, None])
