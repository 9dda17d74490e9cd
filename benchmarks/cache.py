"""What caches of frozen features save, and whether their damage is seen.

    python benchmarks/cache.py --json cache.json
    python benchmarks/cache.py --only decoder --llm runs/smollm2/llm

`encoder`: encoder alignment on toybox-tiny, media read and encoded in every step against none. `decoder`:
decoder alignment's caption distances, the language model in every step against its cached signal states;
the same projections, signal rows frozen in both. `damage`: 300 bit flips, cuts and deletions. Speeds are
samples per second of processor time on one thread, so that other programs do not bend them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anygen.checkpoints.resolve import resolve
from anygen.errors import CheckpointCorrupt, MissingPart
from anygen.media import save_media
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.caching.index import read_index
from anygen.stages.caching.stored import Stored
from anygen.stages.caching.work import CacheJob, CacheOptions
from anygen.stages.data.scores import caption_scores, signal_scores
from anygen.stages.decoder_alignment import mean_distances
from anygen.stages.run import build_stage
from anygen.stages.sampling import IndexSampler
from anygen.toybox.render import render
from anygen.toybox.scene import sample_scene

SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}


def captioned_media(folder: Path, count: int) -> Path:
    """Files of toybox scenes with captions, and their manifest."""
    from anygen.toybox.captions import caption

    rows, rng = [], np.random.default_rng(0)
    for number in range(count):
        modality = list(SUFFIXES)[number % len(SUFFIXES)]
        scene = sample_scene(rng)
        path = folder / f"{number:04d}{SUFFIXES[modality]}"
        save_media(render(scene, modality, rng=rng), path)
        rows.append({str(modality): path.name, "text": caption(scene.revealed(modality))})
    return _manifest(folder, rows)


def requests(folder: Path, count: int) -> Path:
    """Requests whose answers show a picture or a sound of which only the caption is known."""
    from anygen.toybox.captions import caption

    rows: list[dict[str, Any]] = []
    rng = np.random.default_rng(1)
    for number in range(count):
        modality = (Modality.IMAGE, Modality.AUDIO)[number % 2]
        words = caption(sample_scene(rng).revealed(modality))
        shown = {"type": str(modality), "caption": words}
        said = {"role": "assistant", "content": [{"type": "text", "text": words}, shown]}
        asked = {"role": "user", "content": f"Please make this: {words}"}
        rows.append({"messages": [asked, said]})
    return _manifest(folder, rows)


def _manifest(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def samples_per_second(stage: Any, loss: Callable[[Any], Any], *, steps: int, batch: int) -> float:
    """Samples per second of processor time over training steps, after one that is not counted."""
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    optimizer = torch.optim.AdamW(named.values(), lr=1e-3)
    sampler = IndexSampler(batch_size=batch, seed=0, dataset_size=stage.dataset_size)
    started = 0.0
    for step in range(steps + 1):
        if step == 1:
            started = time.process_time()
        torch.manual_seed(step)
        loss(stage.batch(sampler.indices(step))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps * batch / (time.process_time() - started)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95% interval."""
    spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return statistics.fmean(values), 1.96 * spread


def compared(
    score: Callable[[Any, Any], dict[str, float]], key: str, stages: dict[str, Any]
) -> dict[str, Any]:
    """A score of the held-out samples, item by item, of each stage's present weights."""
    table: dict[str, Any] = {}
    for name, stage in stages.items():
        for module in stage.modules().values():
            module.eval()
        values = []
        with torch.no_grad():
            for prompt in stage.evaluation_prompts()["held_out"]:
                found = score(stage.system, [prompt])
                values += [value for label, value in found.items() if label.startswith(key)][:1]
        mean, half = interval(values)
        table[name] = {"mean": mean, "half_width": half, "count": len(values)}
    cached, live = table["cached"], table["live"]
    table["agree"] = abs(cached["mean"] - live["mean"]) <= min(cached["half_width"], live["half_width"])
    return table


def encoder(folder: Path, *, steps: int, batch: int) -> dict[str, Any]:
    """Encoder alignment on toybox-tiny with and without a cache."""
    own = {"sources": [{"path": str(captioned_media(folder, 2 * batch))}], "held_out": 0.2}
    settings = {"model": "toybox-tiny", "data": own | {"cached_items": 1}}
    cache = {"cache": str(folder / "cache")}
    CacheJob("encoder-alignment", settings | cache, CacheOptions(shard=16)).run()
    stages = {
        "live": build_stage("encoder-alignment", settings),
        "cached": build_stage("encoder-alignment", settings | cache),
    }
    rates = {
        name: samples_per_second(
            stage, lambda b, s=stage: s.training_forward(b)[0]["loss"], steps=steps, batch=batch
        )
        for name, stage in stages.items()
    }
    scores = compared(caption_scores, "held_out/caption_loss", stages)
    return {"rates": rates, "ratio": rates["cached"] / rates["live"], "bar": 2, "scores": scores}


def decoder(folder: Path, llm: str | None, *, steps: int, batch: int) -> dict[str, Any]:
    """Decoder alignment with and without a cache, on a model folder or on a language model's own."""
    own = {"sources": [{"path": str(requests(folder, 6 * batch))}], "held_out": 0.4}
    tiny = resolve("toybox-tiny")
    settings: dict[str, Any] = {"data": own, "model": "toybox-tiny"}
    if llm is not None:
        texts = {m: str(tiny / "decoders" / m) for m in ("image", "audio")}
        system = {
            "llm": llm, "encoder": str(tiny / "encoder"), "text_encoders": texts,
            "signal_tokens": {"image": 4, "audio": 4},
        }  # fmt: skip
        settings = {"data": own, "system": system}
    cache = {"cache": str(folder / "cache")}
    CacheJob("decoder-alignment", settings | cache, CacheOptions(shard=64, batch=batch)).run()
    stages: dict[str, Any] = {
        "live": build_stage("decoder-alignment", settings),
        "cached": build_stage("decoder-alignment", settings | cache),
    }

    def frozen_rows() -> list[dict[str, Any]]:
        stages["live"].system.model.set_trainable(["output_projections"])
        return [{"params": list(stages["live"].system.model.output_projections.parameters())}]

    stages["live"].trainable_parameters = frozen_rows
    rates = {
        name: samples_per_second(stage, _distances_of(stage), steps=steps, batch=batch)
        for name, stage in stages.items()
    }
    scores = compared(signal_scores, "held_out/distance", stages)
    return {"rates": rates, "ratio": rates["cached"] / rates["live"], "bar": 10, "scores": scores}


def _distances_of(stage: Any) -> Callable[[Any], Any]:
    def loss(groups: Any) -> Any:
        outputs = []
        for group in groups:
            model, prompts = stage.system.model, group.prompts
            if hasattr(model, "llm"):  # no loss of words, as from a cache: the head is not computed
                outputs.append(model(prompts.input_ids, prompts.attention_mask))
            else:
                outputs.append(stage.system.forward(group))
        return sum(mean_distances(stage.system, groups, outputs).values())

    return loss


def damage(cache: Path, *, count: int) -> dict[str, Any]:
    """Flip a bit of, cut or delete a file of a cache, one at a time; what of it is seen before it is used."""
    rng = np.random.default_rng(0)
    ignored = (".lock", "plan.json")
    files = [p for p in sorted(cache.rglob("*")) if p.is_file() and p.name not in ignored]
    seen: dict[str, list[int]] = {"flip": [0, 0], "cut": [0, 0], "delete": [0, 0]}
    for number in range(count):
        path, kind = files[rng.integers(len(files))], list(seen)[number % 3]
        before = path.read_bytes()
        data = bytearray(before)
        if kind == "flip":
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
        elif kind == "cut":
            path.write_bytes(data[: rng.integers(len(data))])
        else:
            path.unlink()
        seen[kind][1] += 1
        try:
            stored = Stored(cache, read_index(cache))
            for split, samples in stored.index.splits.items():
                stored.prompts(split, range(samples))
        except (CheckpointCorrupt, MissingPart):
            seen[kind][0] += 1
        path.write_bytes(before)
    return {kind: {"detected": found, "done": done} for kind, (found, done) in seen.items()}


def main() -> int:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("encoder", "decoder", "damage"), action="append")
    parser.add_argument("--llm", help="folder of a causal language model for `decoder`, such as SmolLM2-135M")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=48, help="samples of a step; 48, as the recipe has it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = arguments.only or ["encoder", "decoder", "damage"]
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    size = {"steps": arguments.steps, "batch": arguments.batch}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in ("encoder", "decoder"):
            if name not in wanted and not (name == "encoder" and "damage" in wanted):
                continue
            (root / name).mkdir()
            more = {"llm": arguments.llm} if name == "decoder" else {}
            figures = found[name] = {"encoder": encoder, "decoder": decoder}[name](
                root / name, **size, **more
            )
            rates, scores = figures["rates"], figures["scores"]
            print(
                f"{name}: {rates['cached']:,.1f} samples/s cached, {rates['live']:,.2f} without: "
                f"{figures['ratio']:,.1f} times (bar {figures['bar']})"
            )
            for kind in ("cached", "live"):
                row = scores[kind]
                print(
                    f"  held out, {kind}: {row['mean']:.5f} +- {row['half_width']:.5f} ({row['count']} items)"
                )
            print(f"  scores agree within their intervals: {scores['agree']}", flush=True)
        if "damage" in wanted:
            found["damage"] = damage(root / "encoder" / "cache", count=300)
            for kind, row in found["damage"].items():
                print(f"damage, {kind}: {row['detected']} of {row['done']} detected")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
