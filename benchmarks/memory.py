"""Memory as a budget: predicted against measured peaks, each in a process of its own, at random weights.

The stack is toybox-tiny with a wider language model and wider UNets, stored in float32. Every measurement is
a fork of this process, which has imported the libraries and nothing else, so their import is paid once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20
INNER, LAYERS = 8000, 32
"""Width inside the language model's layers, and how many there are at scale 1: about 0.6 GB."""
CHANNELS = (192, 320, 448)
"""Widths of the UNets at scale 1: 0.2 to 0.5 GB."""
USED = ("llm", "decoders/image", "decoders/audio")
"""Parts that the measured request uses, in its order."""


def build(folder: Path, scale: float) -> None:
    """Write the stack.

    Args:
        folder: where to.
        scale: of the number of weights.
    """
    import torch
    from transformers import AutoConfig

    import anygen
    from anygen.checkpoints import manifest
    from anygen.decoders import open_decoder
    from anygen.llm import build_backbone, save_backbone
    from anygen.modality import Modality

    small = Path(anygen.__file__).parent / "bundled/toybox-tiny"
    shutil.copytree(small, folder)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(small / "llm")
    config.intermediate_size, config.num_hidden_layers = INNER, max(1, int(LAYERS * scale))
    shutil.rmtree(folder / "llm")
    save_backbone(build_backbone(config), folder / "llm")
    for file in (folder / "adapter").glob("adapter_*"):
        file.unlink()  # it belongs to the small language model
    for modality in (Modality.IMAGE, Modality.AUDIO):
        part = folder / "decoders" / modality.value
        unet = open_decoder(modality, part).parts.unet
        wide = dict(unet.config)
        count = len(wide["block_out_channels"])
        wide["block_out_channels"] = [
            max(32, int(width * scale**0.5) // 32 * 32) for width in (*CHANNELS, CHANNELS[-1])[:count]
        ]
        if isinstance(wide["cross_attention_dim"], (list, tuple)):  # AudioLDM's attend to themselves
            wide["cross_attention_dim"] = wide["block_out_channels"]
        type(unet).from_config(wide).save_pretrained(part / "unet")
    manifest.write(folder)


def measure(folder: Path, budget: int | None) -> dict[str, Any]:
    """Answer one request with an image and a sound in this process.

    Args:
        folder: the stack.
        budget: as for `AnyGenPipeline.from_pretrained`.

    Returns:
        Bytes: predicted for what was used, and the peak of the resident set; and the processor seconds taken.
    """
    from anygen.pipelines.any_to_any import AnyGenPipeline
    from anygen.pipelines.planning import plan

    start, before = time.process_time(), resident("VmRSS")
    pipe = AnyGenPipeline.from_pretrained(folder, memory_budget=budget, dtype="float32", batch_size=1)
    chosen = pipe.memory_plan or plan(folder, dtype="float32")
    loaded = resident("VmHWM")
    steps = {"num_inference_steps": 1}
    pipe(
        "a small red star " * 16,
        outputs=["image", "audio"],
        image_options=steps,
        audio_options=steps,
        max_new_tokens=16,
    )
    ledger, predicted = chosen.ledger(), 0
    for name in USED:
        ledger.admit(name)
        predicted = max(predicted, ledger.peak(name))
    return {
        "predicted": predicted,
        "measured": resident("VmHWM"),
        "budget": chosen.budget,
        "libraries": before,
        "loaded": loaded,
        "kept": resident("VmRSS"),
        "seconds": time.process_time() - start,
    }


def resident(name: str) -> int:
    """Bytes of this process's resident set: now ("VmRSS") or at its peak ("VmHWM")."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit("This system does not tell the size of the resident set.")


def forked(work: Callable[[], Any]) -> Any:
    """What some work gives, computed in a fork of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            with os.fdopen(writing, "w") as out:
                out.write(json.dumps(work()))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as given:
        text = given.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("A measurement failed.")
    return json.loads(text)


def compare(folder: Path) -> dict[str, dict[str, Any]]:
    """Measure without a budget and with three, each in a process of its own."""
    from anygen.pipelines.planning import plan

    free = plan(folder, dtype="float32")
    least = free.fixed + max(cost.weights + cost.extra for cost in free.costs.values())
    everything = free.fixed + sum(free.costs[name].weights for name in USED)
    budgets = {"no budget": None, "least": least + MIB, "one part goes": (least + everything) // 2}
    budgets["all fits"] = free.peak + MIB
    return {name: forked(lambda b=budget: measure(folder, b)) for name, budget in budgets.items()}


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of weights")
    arguments = parser.parse_args()
    import anygen.decoders
    import anygen.llm
    import anygen.pipelines.any_to_any  # noqa: F401

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "stack"
        forked(lambda: build(folder, arguments.scale))
        found = compare(folder)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, row in found.items():
        limit = "-" if row["budget"] is None else f"{row['budget'] / MIB:.0f}"
        ratio = row["measured"] / row["predicted"]
        sizes = f"{row['predicted'] / MIB:8.0f} {row['measured'] / MIB:8.0f}"
        sys.stdout.write(f"{name:<16} budget {limit:>6}  predicted and measured MiB {sizes}  {ratio:.2f}\n")


if __name__ == "__main__":
    main()
