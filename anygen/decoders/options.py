"""What a call of a decoder may say: one table a modality, typed for editors, checked when called."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from torch import Tensor

from ..config import unknown_name
from ..errors import BadArgument, LimitExceeded
from .base import OnStep
from .deep_cache import check_interval
from .defaults import DecoderDefaults

MAX_STEPS = 1000
"""Most denoising steps of one call."""
MAX_SEED = 2**63 - 1
"""Largest seed."""
MAX_PIXELS = 2048 * 2048
"""Most pixels of one image or frame."""
MAX_VIDEO_PIXELS = 512 * 576 * 320
"""Most pixels of one clip, all frames together."""
MAX_FRAMES = 512
"""Most frames of one clip."""
MAX_SECONDS = 60.0
"""Longest sound."""


class SampleOptions(TypedDict, total=False):
    """Options of every decoder; None and what is left out stand for the decoder's default."""

    num_inference_steps: int | None
    """Denoising steps, 1 to 1000."""
    guidance_scale: float | None
    """Weight of classifier-free guidance; 1 turns it off."""
    scheduler: str | None
    """Sampler in place of the decoder's own: "dpmpp_2m" and "unipc" need about 20 steps, "lcm" 4 to 8 of a
    distilled UNet; see `schedulers.NAMED`."""
    cache_interval: int | None
    """Steps from one computation of a UNet's deep layers to the next: 3 is about twice as fast and costs a
    little quality; 1, the default, computes all."""
    on_step: OnStep | None
    """Called after every step; what it raises ends the run and reaches the caller."""
    should_stop: Callable[[], bool] | None
    """Asked before every step."""
    latents: Tensor | None
    """(B, ...) noise to start from in place of the seeds' own."""


class ImageOptions(SampleOptions, total=False):
    """Options of an image decoder."""

    height: int | None
    """Pixels, a multiple of the autoencoder's factor."""
    width: int | None
    """Pixels, likewise."""


class AudioOptions(SampleOptions, total=False):
    """Options of an audio decoder."""

    audio_length_in_s: float | None
    """Seconds; what the autoencoder's factor adds is cut off."""


class VideoOptions(ImageOptions, total=False):
    """Options of a video decoder."""

    num_frames: int | None
    """Frames."""
    fps: float | None
    """Frames a second at which the clip is to be shown; changes nothing in the frames."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Checked options: every field has its value."""

    num_inference_steps: int
    """Denoising steps."""
    guidance_scale: float
    """Weight of guidance."""
    scheduler: str | None = None
    """Name of a sampler; None is the decoder's own."""
    cache_interval: int = 1
    """Calls between computations of the deep layers."""
    on_step: OnStep | None = None
    """Progress callback."""
    should_stop: Callable[[], bool] | None = None
    """Asked before every step."""
    latents: Tensor | None = None
    """Noise to start from."""
    height: int | None = None
    """Pixels."""
    width: int | None = None
    """Pixels."""
    num_frames: int | None = None
    """Frames."""
    fps: float | None = None
    """Frames a second."""
    audio_length_in_s: float | None = None
    """Seconds."""


def read_options(table: type, given: Mapping[str, Any], defaults: DecoderDefaults) -> Request:
    """Fill in the defaults of a decoder.

    Args:
        table: The modality's options, such as `ImageOptions`.
        given: What the caller said.
        defaults: What the decoder does otherwise.

    Returns:
        A request; its sizes still have to be checked against the decoder.

    Raises:
        BadArgument: An option is unknown, or a value that does not depend on the decoder is bad.
    """
    known = table.__annotations__.keys() | SampleOptions.__annotations__.keys()
    for name in given:
        if name not in known:
            raise BadArgument(unknown_name(name, known, "an option of this decoder"))
    values = {name: getattr(defaults, name) for name in known if hasattr(defaults, name)}
    request = Request(**values | {name: value for name, value in given.items() if value is not None})
    check_interval(request.cache_interval)
    if "fps" in known:
        _check_rate(request.fps)
    return request


def check_request(
    *, num_inference_steps: int, guidance_scale: float, seeds: Sequence[int], batch_size: int
) -> None:
    """Refuse what cannot be sampled before anything is computed.

    Args:
        num_inference_steps: Denoising steps asked for.
        guidance_scale: Weight of classifier-free guidance.
        seeds: One for each sample.
        batch_size: Rows of `prompt_embeds`.

    Raises:
        BadArgument: A number is of the wrong type or out of range.
    """
    if isinstance(num_inference_steps, bool) or not isinstance(num_inference_steps, int):
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps!r}, expected a whole number; pass 1 to "
            f"{MAX_STEPS}"
        )
    if not 1 <= num_inference_steps <= MAX_STEPS:
        raise BadArgument(
            f"num_inference_steps: found {num_inference_steps}, expected 1 to {MAX_STEPS}; 20 to 50 is usual"
        )
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float):
        raise BadArgument(
            f"guidance_scale: found {guidance_scale!r}, expected a number; 1 turns guidance off"
        )
    if not math.isfinite(guidance_scale) or guidance_scale < 0:
        raise BadArgument(
            f"guidance_scale: found {guidance_scale}, expected a finite number from 0; 1 turns guidance off"
        )
    if len(seeds) != batch_size:
        raise BadArgument(
            f"seeds: found {len(seeds)}, expected {batch_size}; pass one seed for each row of prompt_embeds"
        )
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise BadArgument(
                f"seed: found {seed!r}, expected a whole number from 0 to 2**63 - 1; pick another seed"
            )


def check_size(value: object, name: str, *, multiple: int = 1) -> int:
    """A positive whole number that the autoencoder can divide, or BadArgument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadArgument(f"{name}: found {value!r}, expected a whole number; pass a multiple of {multiple}")
    if value < 1 or value % multiple:
        raise BadArgument(f"{name}: found {value}, expected a positive multiple of {multiple}; round it")
    return value


def check_limit(value: float, most: float, name: str) -> None:
    """LimitExceeded where a request is larger than anyone should compute."""
    if value > most:
        raise LimitExceeded(f"{name}: found {value:g}, expected at most {most:g}; ask for less")


def _check_rate(rate: object) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise BadArgument(f"fps: found {rate!r}, expected a positive number; 8 is usual")
