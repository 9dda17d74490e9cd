from __future__ import annotations

import math

import pytest
import torch

from anygen.decoders.mel import HOP, MEL_BINS, SAMPLE_RATE, log_mel
from anygen.decoders.phase import CENTRE, HANDS, SWING, find_pitch, with_phase


def _tone(hertz: torch.Tensor, overtones: int = 1) -> torch.Tensor:
    """A tone (1, n) whose pitch (n,) may glide, with overtones of amplitude 1 / order."""
    angle = 2 * math.pi * hertz.double().cumsum(0) / SAMPLE_RATE
    return sum((order * angle).sin() / order for order in range(1, overtones + 1)).float()[None] * 0.5


@pytest.mark.parametrize("overtones", [1, 4])
@pytest.mark.parametrize("hertz", [110.0, 217.0, 440.0, 893.0, 1700.0])
def test_the_pitch_of_a_tone_is_found_within_a_third_of_a_semitone(hertz: float, overtones: int) -> None:
    pitch = find_pitch(log_mel(_tone(torch.full((SAMPLE_RATE,), hertz), overtones)))[0, 5:-5]
    assert (12 * torch.log2(pitch / hertz)).abs().max() < 0.33


def test_a_glide_is_followed() -> None:
    hertz = 220 * torch.exp2(torch.arange(2 * SAMPLE_RATE) / (2 * SAMPLE_RATE))
    pitch = find_pitch(log_mel(_tone(hertz)))[0]
    wanted = hertz[HOP // 2 :: HOP]
    assert (12 * torch.log2(pitch / wanted))[5:-5].abs().max() < 0.33


def test_the_phase_turns_as_fast_as_the_tone() -> None:
    mel = log_mel(_tone(torch.full((SAMPLE_RATE,), 230.0)))
    phased = with_phase(mel)
    hands = (phased[0, :, -HANDS:-1] - CENTRE) / SWING
    assert torch.allclose(hands.norm(dim=-1), torch.ones(len(hands)), atol=1e-4)
    turn = torch.view_as_complex(hands.contiguous())
    per_frame = (turn[1:] / turn[:-1]).angle() / (2 * math.pi)
    hertz = (per_frame % 1 + 2) * SAMPLE_RATE / HOP
    assert (hertz[5:-5] - 230).abs().max() < 4


def test_only_the_highest_bands_are_written_and_every_call_is_the_same() -> None:
    mel = torch.randn(2, 12, MEL_BINS) - 6
    phased = with_phase(mel)
    assert torch.equal(phased[..., :-HANDS], mel[..., :-HANDS])
    assert not torch.allclose(phased[..., -HANDS:], mel[..., -HANDS:])
    assert torch.equal(phased, with_phase(mel))
