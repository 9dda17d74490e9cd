"""The log-mel front end against an independent implementation, and its promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from anygen.decoders.mel import FFT_SIZE, HOP, log_mel
from anygen.errors import BadArgument


def test_log_mel_equals_transformers_spectrogram() -> None:
    wave = np.random.default_rng(0).normal(0, 0.2, 8000)
    filters = mel_filter_bank(513, 64, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    expected = spectrogram(
        wave,
        window_function(FFT_SIZE, "hann"),
        frame_length=FFT_SIZE,
        hop_length=HOP,
        power=1.0,
        center=True,
        pad_mode="reflect",
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel=None,
    )
    found = log_mel(torch.from_numpy(wave)[None], center=True)[0].numpy()
    assert np.abs(found - np.log(np.maximum(expected.T, 1e-5))).max() < 1e-5


def test_log_mel_gives_one_frame_per_hop_in_the_vocoder_alignment() -> None:
    assert log_mel(torch.zeros(2, 32000)).shape == (2, 200, 64)
    assert log_mel(torch.zeros(2, 32000), center=True).shape == (2, 201, 64)


def test_log_mel_of_silence_is_the_floor() -> None:
    assert torch.allclose(log_mel(torch.zeros(1, 1600)), torch.tensor(math.log(1e-5)))


def test_log_mel_finds_the_pitch() -> None:
    time = torch.arange(16000) / 16000
    low, high = (
        log_mel(torch.sin(2 * math.pi * hz * time)[None]).mean(1).argmax().item() for hz in (300.0, 3000.0)
    )
    assert low < high


def test_log_mel_is_differentiable_after_inference_mode_filled_the_cache() -> None:
    wave = torch.randn(1, 1600, dtype=torch.float64)
    with torch.inference_mode():
        log_mel(wave)
    wave.requires_grad_()
    log_mel(wave).sum().backward()
    assert wave.grad is not None and torch.isfinite(wave.grad).all()
    silence = torch.zeros(1, 1600, requires_grad=True)
    log_mel(silence).sum().backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.zeros(1600), r"waveform: found shape \(1600,\)"),
        (torch.zeros(1, 1600, dtype=torch.int64), "torch.int64"),
        (torch.zeros(1, 400), "found 400 samples, expected more than 432"),
    ],
)
def test_log_mel_refuses(wave: torch.Tensor, message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        log_mel(wave)
