"""Memory as a budget: predicted against measured peaks, each in a fresh process, at random weights.

The stack is toybox-tiny with a wider language model and wider UNets, stored in float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MIB = 2**20
INNER, LAYERS = 8000, 64
"""Width inside the language model's layers, and how many there are at scale 1: about 1.2 GB."""
CHANNELS = (192, 320, 448)
"""Widths of the UNets at scale 1: 0.2 to 0.5 GB."""


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
        type(unet).from_config(wide).save_pretrained(part / "unet")
    manifest.write(folder)


def measure(folder: Path, budget: str | None) -> dict[str, Any]:
    """Answer one request with an image and a sound in this process.

    Args:
        folder: the stack.
        budget: as for `AnyGenPipeline.from_pretrained`.

    Returns:
        Bytes: predicted for what was used, and the peak of the resident set.
    """
    from anygen.pipelines.any_to_any import AnyGenPipeline
    from anygen.pipelines.planning import plan

    pipe = AnyGenPipeline.from_pretrained(folder, memory_budget=budget, dtype="float32", batch_size=1)
    chosen = pipe.memory_plan or plan(folder, dtype="float32")
    steps = {"num_inference_steps": 1}
    pipe(
        "a small red star " * 16,
        outputs=["image", "audio"],
        image_options=steps,
        audio_options=steps,
        max_new_tokens=16,
    )
    ledger, predicted = chosen.ledger(), 0
    for name in ("llm", "decoders/image", "decoders/audio"):
        ledger.admit(name)
        predicted = max(predicted, ledger.peak(name))
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return {"predicted": predicted, "measured": int(line.split()[1]) * 1024, "budget": chosen.budget}
    raise SystemExit("This system does not tell the peak of the resident set.")


def compare(folder: Path) -> dict[str, dict[str, Any]]:
    """Measure without a budget and with three, each in a process of its own."""
    from anygen.pipelines.planning import plan

    free = plan(folder, dtype="float32")
    least = free.fixed + max(cost.weights + cost.extra for cost in free.costs.values())
    sums = free.fixed + sum(free.costs[f"decoders/{name}"].weights for name in ("image", "audio"))
    everything = sums + free.costs["llm"].weights
    budgets = {"no budget": None, "least": least + MIB, "one part goes": (least + everything) // 2}
    budgets["all fits"] = free.peak + MIB
    found = {}
    for name, budget in budgets.items():
        command = [sys.executable, __file__, "--measure", str(folder), str(budget or "")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr[-2000:]}")
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of weights")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "BUDGET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, budget = arguments.measure
        sys.stdout.write(json.dumps(measure(Path(folder), budget or None)) + "\n")
        return
    with tempfile.TemporaryDirectory() as place:
        build(Path(place) / "stack", arguments.scale)
        found = compare(Path(place) / "stack")
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
