"""Sizes that a caller may and may not ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from anygen.decoders.latents import memory_errors
from anygen.errors import AnyGenError, BadArgument, LimitExceeded, OutOfMemory
from anygen.modality import Modality


def test_sizes_can_be_chosen(
    make_decoder: Callable[..., Any], embeds_of: Callable[..., torch.Tensor]
) -> None:
    image = make_decoder(Modality.IMAGE)(embeds_of(Modality.IMAGE, 1), seeds=[1], height=8, width=18)[0]
    assert image.size == (18, 8)
    video = make_decoder(Modality.VIDEO)(
        embeds_of(Modality.VIDEO, 1), seeds=[1], height=8, width=18, num_frames=2, fps=12
    )[0]
    assert video.frames.shape == (2, 8, 18, 3) and video.fps == 12.0
    audio = make_decoder(Modality.AUDIO)(embeds_of(Modality.AUDIO, 1), seeds=[1], audio_length_in_s=0.07)[0]
    assert audio.samples.shape == (1, 1120) and audio.sample_rate == 16000


@pytest.mark.parametrize(
    ("modality", "options", "error", "message"),
    [
        (Modality.IMAGE, {"height": 17}, BadArgument, "height: found 17, expected a positive multiple of 2"),
        (Modality.IMAGE, {"width": 0}, BadArgument, "width: found 0, expected a positive multiple of 2"),
        (Modality.IMAGE, {"width": "64"}, BadArgument, "width: found '64', expected a whole number"),
        (Modality.IMAGE, {"height": 8192, "width": 8192}, LimitExceeded, "pixels of an image"),
        (Modality.VIDEO, {"num_frames": 0}, BadArgument, "num_frames: found 0"),
        (
            Modality.VIDEO,
            {"num_frames": 10_000},
            LimitExceeded,
            "num_frames: found 10000, expected at most 512",
        ),
        (
            Modality.VIDEO,
            {"height": 2048, "width": 2048, "num_frames": 64},
            LimitExceeded,
            "pixels of a video",
        ),
        (Modality.VIDEO, {"fps": 0.0}, BadArgument, "fps: found 0.0, expected a positive number"),
        (Modality.VIDEO, {"fps": float("nan")}, BadArgument, "fps: found nan"),
        (
            Modality.AUDIO,
            {"audio_length_in_s": 0.01},
            BadArgument,
            "found 0.01, expected at least 0.02 seconds",
        ),
        (Modality.AUDIO, {"audio_length_in_s": float("inf")}, BadArgument, "audio_length_in_s: found inf"),
        (Modality.AUDIO, {"audio_length_in_s": 3600.0}, LimitExceeded, "found 3600, expected at most 60"),
    ],
)
def test_bad_sizes_are_refused(
    modality: Modality,
    options: dict[str, Any],
    error: type[AnyGenError],
    message: str,
    make_decoder: Callable[..., Any],
    embeds_of: Callable[..., torch.Tensor],
) -> None:
    with pytest.raises(error, match=message):
        make_decoder(modality)(embeds_of(modality, 1), seeds=[1], **options)


def test_long_clips_are_decoded_in_pieces(
    make_decoder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = make_decoder(Modality.VIDEO)
    latents = torch.randn(2, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = decoder.decode(latents)
    monkeypatch.setattr("anygen.decoders.latents.DECODE_PIXELS", 3 * 16 * 16)
    assert (decoder.decode(latents) - whole).abs().max() < 1e-5


def test_encode_and_decode_meet(make_decoder: Callable[..., Any]) -> None:
    for modality, data in (
        (Modality.IMAGE, torch.rand(2, 3, 16, 16)),
        (Modality.VIDEO, torch.rand(2, 3, 3, 16, 16)),
        (Modality.AUDIO, torch.rand(2, 10, 16)),
    ):
        decoder = make_decoder(modality)
        latents = decoder.encode(data)
        drawn = decoder.encode(data, generator=torch.Generator().manual_seed(0))
        assert latents.shape == drawn.shape and not torch.equal(latents, drawn)
        assert decoder.decode(latents).shape == (data.shape if modality is not Modality.AUDIO else (2, 1600))
    assert make_decoder(Modality.VIDEO).encode(torch.rand(2, 3, 3, 16, 16)).shape == (2, 4, 3, 8, 8)


def test_out_of_memory_is_named_and_other_errors_pass() -> None:
    with pytest.raises(OutOfMemory, match="ask for fewer or smaller outputs"), memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(OutOfMemory), memory_errors():
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
        )
    with pytest.raises(RuntimeError, match="shape mismatch"), memory_errors():
        raise RuntimeError("shape mismatch")
