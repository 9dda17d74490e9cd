from __future__ import annotations

import math

import pytest
import torch

from anygen.decoders.build import build_vocoder
from anygen.decoders.mel import SAMPLE_RATE, log_mel, mel_filters
from anygen.decoders.waveform import linear_magnitudes, refine_waveform, vocode


def _faded_tones() -> torch.Tensor:
    """Two clips (2, 16000): a swelling tone, and a tone that trembles."""
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    swell = (0.1 + 0.7 * time) * torch.sin(2 * math.pi * 220 * time)
    tremble = 0.4 * (1 - torch.cos(2 * math.pi * 12 * time)) * torch.sin(2 * math.pi * 880 * time)
    return torch.stack([swell, tremble])


def test_linear_magnitudes_have_the_mels_they_were_made_from() -> None:
    mel = log_mel(_faded_tones())
    again = torch.log((linear_magnitudes(mel).transpose(1, 2) @ mel_filters(mel.device)).clamp(min=1e-5))
    loud = mel > -3
    assert (again - mel)[loud].abs().mean() < 0.1


def test_refinement_moves_noise_to_the_mels_asked_for() -> None:
    mel = log_mel(_faded_tones())
    noise = 0.1 * torch.randn(2, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    loud = mel > -3
    before = (log_mel(noise) - mel)[loud].abs().mean()
    refined = refine_waveform(noise, mel, 32)
    after = (log_mel(refined) - mel)[loud].abs().mean()
    assert refined.shape == noise.shape
    assert refined.abs().max() <= 1
    assert after < 0.2 * before


def test_a_waveform_that_fits_stays_as_it_is() -> None:
    wave = _faded_tones()
    mel = log_mel(wave)
    refined = refine_waveform(wave, mel, 4)
    middle = slice(2000, -2000)
    error = (refined - wave)[:, middle].norm() / wave[:, middle].norm()
    assert error < 0.2


@pytest.mark.parametrize(("takes_phase", "refine_steps"), [(False, 0), (True, 0), (True, 2)])
def test_a_vocoder_runs_as_its_configuration_says(takes_phase: bool, refine_steps: int) -> None:
    torch.manual_seed(0)
    vocoder = build_vocoder(
        upsample_initial_channel=16, takes_phase=takes_phase, refine_steps=refine_steps
    ).eval()
    mel = log_mel(_faded_tones())
    with torch.no_grad():
        wave, plain = vocode(vocoder, mel), vocoder(mel)
    assert wave.shape == plain.shape == (2, SAMPLE_RATE)
    assert torch.equal(wave, plain) == (not takes_phase)
