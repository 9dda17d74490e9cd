"""How fast whole requests are, as ratios inside one run: over bare component calls, in batches, seen before.

Processor seconds of this process on one thread decide, so that a busy machine does not blur them; wall
seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from anygen.generation import generate
from anygen.messages import parse_conversation
from anygen.modality import Modality
from anygen.pipelines.any_to_any import AnyGenPipeline
from anygen.pipelines.encoded import EncodedMedia
from anygen.pipelines.media_inputs import as_turns, encode_slots
from anygen.pipelines.options import derived_seed, text_options
from anygen.prompting import Placed, PromptBuilder

ROWS = 8
BARS = {"over bare calls": 1.05, "batch over singles": 0.75, "hit in milliseconds": 2.0}
"""Most that each figure may be."""

Times = tuple[float, float]
"""Processor and wall seconds."""


def seconds(work: Callable[[], Any], repeats: int) -> Times:
    """The fastest of some runs, by either clock."""
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def picture(side: int) -> Image.Image:
    """Random pixels."""
    pixels = np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Bare:
    """The components of a request, called one after the other without the pipeline.

    Args:
        pipe: whose parts are called.
        steps: denoising steps.
    """

    def __init__(self, pipe: AnyGenPipeline, steps: int) -> None:
        self._pipe, self._steps = pipe, steps
        self._builder = PromptBuilder(
            pipe.tokenizer, pipe.model.tokens, template=pipe.config.chat_template,
            num_slot_tokens=pipe.config.input_projection.num_tokens,
            context_length=pipe.config.llm.context_length,
        )  # fmt: skip

    @torch.inference_mode()
    def __call__(self, conversation: Any) -> Any:
        """Encode, generate, project, decode an image."""
        pipe, model = self._pipe, self._pipe.model
        encoder: Any = model.encoder
        turns = as_turns(parse_conversation(conversation), model.generated)
        batch = self._builder.collate([self._builder.encode(turns)], side="left")
        images = [slot.item for slot in batch.slots]
        vectors = encoder.encode(Modality.IMAGE, encoder.prepare(Modality.IMAGE, images))
        (answer,) = generate(
            model, self._builder, batch, media_vectors=vectors, options=text_options(pipe.config, {}),
            outputs=[[Modality.IMAGE]], seeds=[derived_seed(0, "text")], lead_ins=pipe.config.lead_ins,
        )  # fmt: skip
        (group,) = (part for part in answer.parts if not isinstance(part, str))
        embeds = model.project(group.modality, group.signal_states[None], group.signal_embeds[None])
        seed = derived_seed(0, "image", 0)
        return pipe.decoders[Modality.IMAGE](embeds, seeds=[seed], num_inference_steps=self._steps)[0]


def over_bare_calls(pipe: AnyGenPipeline, steps: int, repeats: int) -> list[Times]:
    """A request with a picture in and one out: by the pipeline, and by its components."""
    bare = Bare(pipe, steps)
    text = {"type": "text", "text": "Make it blue"}
    options: dict[str, Any] = {
        "outputs": ["image"], "seed": 0, "image_options": {"num_inference_steps": steps},
    }  # fmt: skip
    pictures = iter([picture(100 + i) for i in range(2 * repeats + 2)])  # new ones: no hit helps the pipeline

    def talk() -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "image", "image": next(pictures)}, text]}]

    same = picture(99)
    conversation = [{"role": "user", "content": [{"type": "image", "image": same}, text]}]
    ours = pipe(conversation, **options).images[0]
    if ours.tobytes() != bare(conversation).tobytes():
        raise SystemExit("The bare calls made another picture than the pipeline.")
    return [seconds(lambda: pipe(talk(), **options), repeats), seconds(lambda: bare(talk()), repeats)]


def batches(pipe: AnyGenPipeline, steps: int, repeats: int) -> list[Times]:
    """Eight requests for a picture together, and one after the other."""
    asked = [f"Draw a {size} {color} star" for size in ("small", "large") for color in COLORS][:ROWS]
    options: dict[str, Any] = {"outputs": ["image"], "image_options": {"num_inference_steps": steps}}
    pipe(asked[:1], seed=0, **options)

    def apart() -> None:
        for row, text in enumerate(asked):
            pipe(text, seed=row, **options)

    together = seconds(lambda: pipe(asked, seed=list(range(ROWS)), **options), repeats)
    return [together, seconds(apart, repeats)]


COLORS = ("red", "green", "blue", "yellow")


def hit(pipe: AnyGenPipeline, side: int) -> Times:
    """A picture whose vector is known."""
    known, slot = EncodedMedia(), Placed(modality=Modality.IMAGE, start=1, length=1, item=picture(side))
    with torch.inference_mode():
        encode_slots(pipe.model, [slot], batch_size=1, known=known)
        return seconds(lambda: encode_slots(pipe.model, [slot], batch_size=1, known=known), 20)


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--model", default="toybox-tiny", help="bundled name, folder or hub id")
    parser.add_argument("--steps", type=int, default=8, help="denoising steps")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--side", type=int, default=512, help="pixels of the picture that is seen again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipe = AnyGenPipeline.from_pretrained(arguments.model)
    found: dict[str, Times] = {}
    for name, run in (("over bare calls", over_bare_calls), ("batch over singles", batches)):
        first, second = run(pipe, arguments.steps, arguments.repeats)
        found[name] = first[0] / second[0], first[1] / second[1]
    cpu, wall = hit(pipe, arguments.side)
    found["hit in milliseconds"] = cpu * 1000, wall * 1000
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, (cpu, wall) in found.items():
        sys.stdout.write(f"{name:<24} by processor {cpu:8.3f}  by the clock {wall:8.3f}  bar {BARS[name]}\n")


if __name__ == "__main__":
    main()
