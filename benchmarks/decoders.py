"""How fast the decoders sample, as ratios inside one run, and what the shortcuts cost in quality.

Times are CPU seconds of this process on one thread, so that a busy machine does not blur them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel, UNet3DConditionModel

import anygen
from anygen.decoders import open_decoder
from anygen.decoders.base import ConditioningSpec
from anygen.decoders.sampler import denoise
from anygen.decoders.schedulers import choose
from anygen.modality import Modality
from anygen.stages.evaluation.grade import grade
from anygen.toybox import caption, sample_scene

CHANNELS = (64, 128, 256, 256)
"""A fifth of Stable Diffusion's widths, in its ratios."""
TOKENS = ConditioningSpec(tokens=16, width=64)
WAYS: dict[str, dict[str, Any]] = {
    "50 steps": {"num_inference_steps": 50},
    "50 steps, cache_interval=3": {"num_inference_steps": 50, "cache_interval": 3},
    "20 steps": {"num_inference_steps": 20},
    "20 steps, dpmpp_2m": {"num_inference_steps": 20, "scheduler": "dpmpp_2m"},
    "50 steps, cache_interval=5": {"num_inference_steps": 50, "cache_interval": 5},
    "8 steps, lcm (not distilled)": {"num_inference_steps": 8, "scheduler": "lcm"},
}
"""Ways to sample the same toybox scenes."""
Rows = Iterator[tuple[str, float]]
"""Names and values, as they are measured."""


def seconds(work: Callable[[], Any], repeats: int = 2) -> float:
    """CPU seconds of the faster of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def unets() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Random UNets of Stable Diffusion's and Zeroscope's size ratios, and the latents of one sample.

    32 x 32 positions keep the ratio of positions to width, and so of attention to convolution, near that of
    Stable Diffusion at 64 x 64.
    """
    torch.manual_seed(0)
    common: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": CHANNELS,
        "cross_attention_dim": TOKENS.width,
        "sample_size": 32,
    }
    down, up = ["CrossAttnDownBlock"] * 3 + ["DownBlock"], ["UpBlock"] + ["CrossAttnUpBlock"] * 3
    flat = UNet2DConditionModel(
        **common,
        down_block_types=tuple(f"{name}2D" for name in down),
        up_block_types=tuple(f"{name}2D" for name in up),
        attention_head_dim=8,
    )
    deep = UNet3DConditionModel(
        **common,
        down_block_types=tuple(f"{name}3D" for name in down),
        up_block_types=tuple(f"{name}3D" for name in up),
        attention_head_dim=32,
    )
    return {"UNet2D": (flat.eval(), (4, 32, 32)), "UNet3D": (deep.eval(), (4, 4, 16, 16))}


def cache_speed(decoder: Any, arguments: argparse.Namespace) -> Rows:
    """How many times faster 50 (3-D: 12) guided steps are with deep features kept for 3 steps."""
    scheduler = choose(decoder.parts.scheduler, "ddim")
    for name, (unet, shape) in unets().items():
        latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
        embeds = torch.randn(1, TOKENS.tokens, TOKENS.width, generator=torch.Generator().manual_seed(1))
        steps = 50 if name == "UNet2D" else 12
        run = partial(
            denoise,
            unet,
            scheduler,
            latents,
            embeds,
            TOKENS,
            num_inference_steps=steps,
            guidance_scale=3.0,
            negative_prompt_embeds=torch.zeros_like(embeds),
        )
        with torch.inference_mode():
            kept, whole = seconds(partial(run, cache_interval=3), 1), seconds(run, 1)
        yield f"{name}, {steps} steps: seconds", whole
        yield f"{name}, {steps} steps: cache_interval=3 is faster by", whole / kept


def toybox_quality(decoder: Any, arguments: argparse.Namespace) -> Rows:
    """Share of attributes that the oracle reads right, and CPU seconds, of several ways to sample."""
    rng = np.random.default_rng((0, 8))
    expected = [sample_scene(rng).revealed(Modality.IMAGE) for _ in range(arguments.count)]
    embeds = decoder.encode_text([caption(scene) for scene in expected])
    for way in arguments.ways:
        made: list[Any] = []
        start = time.process_time()
        for first in range(0, len(embeds), 16):
            rows = embeds[first : first + 16]
            made += decoder(rows, seeds=list(range(first, first + len(rows))), **WAYS[way])
        yield f"toybox, {way}: seconds", time.process_time() - start
        scores = grade(Modality.IMAGE, made, expected).values()
        yield f"toybox, {way}: right", sum(right for right, _ in scores) / sum(n for _, n in scores)


def guidance(decoder: Any, arguments: argparse.Namespace) -> Rows:
    """What one call for both halves saves over two, and a stored unconditional embedding over encoding it."""
    parts = decoder.parts
    unet, embeds = parts.unet, decoder.encode_text(["a red star"])
    sample, step = torch.randn(1, unet.config.in_channels, 16, 16), torch.tensor([500])
    negative = parts.negative_prompt_embeds.to(embeds)
    both, twice = torch.cat([negative, embeds]), torch.cat([sample, sample])

    def apart() -> None:
        for half in (negative, embeds):
            for _ in range(20):
                unet(sample, step, encoder_hidden_states=half)

    def together() -> None:
        for _ in range(20):
            unet(twice, step, encoder_hidden_states=both)

    with torch.inference_mode():
        together()
        ratio = seconds(apart, 3) / seconds(together, 3)
        encoded = seconds(lambda: decoder.encode_text([""]))
        stored = seconds(lambda: decoder.negative_prompt_embeds)
    yield "two calls over one for guidance", ratio
    yield "unconditional embedding: encoding it, milliseconds", encoded * 1000
    yield "unconditional embedding: stored, milliseconds", stored * 1000


def batches(decoder: Any, arguments: argparse.Namespace) -> Rows:
    """A batch of 8 over 8 single samples, 10 steps."""
    embeds = decoder.encode_text([f"a {color} star" for color in ("red", "blue", "green", "white")] * 2)
    together = seconds(lambda: decoder(embeds, seeds=list(range(8)), num_inference_steps=10))

    def alone() -> None:
        for row in range(8):
            decoder(embeds[row : row + 1], seeds=[row], num_inference_steps=10)

    yield "a batch of 8 over 8 singles", together / seconds(alone)


PARTS: dict[str, Callable[[Any, argparse.Namespace], Rows]] = {
    "cache": cache_speed,
    "guidance": guidance,
    "batches": batches,
    "toybox": toybox_quality,
}
"""What can be measured."""


def main() -> None:
    """Run the parts asked for, and print each as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")
    parser.add_argument("--count", type=int, default=64, help="toybox scenes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="ways to sample toybox")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    decoder = open_decoder(
        Modality.IMAGE, Path(anygen.__file__).parent / "bundled/toybox-tiny/decoders/image"
    )
    decoder.parts.load(text_encoder=True)
    for part in arguments.only:
        for name, value in PARTS[part](decoder, arguments):
            line = json.dumps({name: value}) if arguments.json else f"{name:<58} {value:8.3f}"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
