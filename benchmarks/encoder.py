"""ImageBind's forward pass against the reference implementation of PyPI: same weights, same inputs.

The reference (`pip download --no-deps imagebind-unofficial einops`, unpacked into one folder) is no
dependency: its code is for non-commercial use, and its requirements torchvision, torchaudio, timm and
pytorchvideo do not import beside this torch. Its towers need two functions of timm and a file opener, which
stand-ins take the place of; nothing of them runs in a forward pass in evaluation mode.

`--kernels` says why it is not more: the share of the time that both spend in the same two kernels of torch,
matrix products and attention, over the same numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from anygen.encoders.imagebind import ImageBindConfig, ImageBindModel, imagebind_huge
from anygen.encoders.imagebind.config import TOWER
from anygen.modality import Modality

BAR = 1.25
"""Least that the reference's time over ours may be."""
WORDS = 10
"""Words of every text, about as many as a request or a caption has."""


def reference(folder: Path, config: ImageBindConfig) -> nn.Module:
    """The reference model at the sizes of a configuration.

    Args:
        folder: has `imagebind/` and `einops/`.
        config: all six towers.
    """
    sys.path.insert(0, str(folder))
    package = types.ModuleType("imagebind")  # its own __init__ imports the media libraries
    package.__path__ = [str(folder / "imagebind")]
    timm, layers = types.ModuleType("timm"), types.ModuleType("timm.layers")
    layers.DropPath = lambda rate=0.0: nn.Identity()
    layers.trunc_normal_ = nn.init.trunc_normal_
    names = ("iopath", "iopath.common", "iopath.common.file_io")
    opening = {name: types.ModuleType(name) for name in names}
    opening[names[-1]].g_pathmgr = None
    sys.modules.update({"imagebind": package, "timm": timm, "timm.layers": layers, **opening})
    model_class = importlib.import_module("imagebind.models.imagebind_model").ImageBindModel
    sizes: dict[str, int] = {}
    for name, tower in config.towers.items():
        sizes |= {
            f"{name}_embed_dim": tower.width,
            f"{name}_num_blocks": tower.num_blocks,
            f"{name}_num_heads": tower.num_heads,
        }
    built: nn.Module = model_class(out_embed_dim=config.embed_dim, **sizes)
    return built.eval()


def narrow(divisor: int) -> ImageBindConfig:
    """`imagebind-huge` with towers of a fraction of the width, and as many blocks and heads."""
    whole = imagebind_huge()
    towers = {name: dataclasses.replace(t, width=t.width // divisor) for name, t in whole.towers.items()}
    return dataclasses.replace(whole, embed_dim=whole.embed_dim // divisor, **towers)


def inputs(count: int) -> dict[Modality, Tensor]:
    """`count` prepared items of every tower, of the published shapes."""
    texts = torch.zeros(count, 77, dtype=torch.long)
    texts[:, 0], texts[:, WORDS + 1] = 49406, 49407
    texts[:, 1 : WORDS + 1] = torch.randint(1, 40000, (count, WORDS))
    return {
        Modality.IMAGE: torch.randn(count, 3, 224, 224),
        Modality.TEXT: texts,
        Modality.AUDIO: torch.randn(count, 3, 1, 128, 204),
        Modality.DEPTH: torch.randn(count, 1, 224, 224),
        Modality.THERMAL: torch.randn(count, 1, 224, 224),
        Modality.IMU: torch.randn(count, 6, 2000),
    }


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Processor seconds of the fastest of some runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


SAME = ("aten::addmm", "aten::_scaled_dot_product_flash_attention_for_cpu")
"""Kernels that both call on the same shapes."""


def share(work: Callable[[], Any]) -> float:
    """Share of the processor's time that is spent in the common kernels."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if event.key in SAME) / whole


def both(folder: Path, divisor: int) -> tuple[nn.Module, ImageBindModel]:
    """The reference and ours, with the same weights."""
    torch.manual_seed(0)
    config = narrow(divisor)
    theirs = reference(folder, config)
    ours = ImageBindModel(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


@torch.inference_mode()
def kernels(folder: Path, divisor: int, count: int) -> dict[str, dict[str, float]]:
    """The share of the common kernels in both, for every tower."""
    theirs, ours = both(folder, divisor)
    return {
        TOWER[m]: {
            "reference": share(lambda m=m, v=values: theirs({TOWER[m]: v})),
            "ours": share(lambda m=m, v=values: ours({m: v})),
        }
        for m, values in inputs(count).items()
    }


@torch.inference_mode()
def compare(folder: Path, divisor: int, count: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of both for every tower, after checking that they agree."""
    theirs, ours = both(folder, divisor)
    found: dict[str, dict[str, float]] = {}
    for modality, values in inputs(count).items():
        name = TOWER[modality]
        ask = {name: values}
        one, other = theirs(ask)[name], ours({modality: values})[modality]
        if not torch.allclose(one, other, rtol=1e-4, atol=1e-4):
            raise SystemExit(f"{name}: the two differ by {float((one - other).abs().max())}")
        found[name] = {
            "reference": seconds(lambda a=ask: theirs(a), repeats),
            "ours": seconds(lambda m=modality, v=values: ours({m: v}), repeats),
        }
    found["all"] = {who: sum(row[who] for row in found.values()) for who in ("reference", "ours")}
    return found


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path, metavar="FOLDER", help="the unpacked reference and einops")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--divisor", type=int, default=4, help="of the towers' widths")
    parser.add_argument("--count", type=int, default=1, help="items of every tower")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--kernels", action="store_true", help="shares of the common kernels instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.kernels:
        found = kernels(arguments.reference, arguments.divisor, arguments.count)
    else:
        found = compare(arguments.reference, arguments.divisor, arguments.count, arguments.repeats)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, row in found.items():
        if arguments.kernels:
            sys.stdout.write(f"{name:<8} reference {row['reference']:6.1%}  ours {row['ours']:6.1%}\n")
            continue
        ratio = row["reference"] / row["ours"]
        times = f"reference {row['reference']:7.3f} s  ours {row['ours']:7.3f} s"
        sys.stdout.write(f"{name:<8} {times}  {ratio:5.2f} times as fast\n")


if __name__ == "__main__":
    main()
