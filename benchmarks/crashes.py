"""Kill training at random moments, spoil its checkpoints and fill its disk; count what is lost.

    python benchmarks/crashes.py --json crashes.json

Every stage trains at tiny width: once undisturbed, then again in processes that get SIGKILL, each resumed by
the next. Then every loss and the last checkpoint must be the undisturbed run's, bit by bit. Checkpoints of
those runs are then spoilt: each damage must be noticed, and the checkpoint before must still load. The full
disk is a tmpfs, which takes root; without, a limit on the size of files stands in for it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anygen.errors import CheckpointCorrupt, SaveFailed
from anygen.stages import checkpointing
from anygen.stages.base import Stage
from anygen.stages.metrics import read_metrics
from anygen.stages.run import build_stage
from anygen.stages.trainer import Trainer, TrainerConfig

STEPS = 10
CONFIG = TrainerConfig(
    steps=STEPS + 1, batch_size=4, learning_rate=1e-3, warmup_steps=2, ema_decay=0.9, log_every=1,
    save_every=1, tensorboard=False,
)  # fmt: skip
"""One step more than is trained: evaluations are long, and not what is tested."""


def cases(parts: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label, stage, configuration) of every stage at tiny width; results of the earlier lie in `parts`."""

    def at(label: str) -> str:
        return str(parts / label)

    text = {"width": 16, "layers": 1, "vocab_size": 300, "corpus_size": 50, "length": 8}
    yield "picture", "autoencoder", {"kind": "picture", "block_out_channels": [8, 8, 8], "latent_channels": 2}
    yield "spectrogram", "autoencoder", {
        "kind": "spectrogram", "block_out_channels": [8, 8, 8, 8], "latent_channels": 2,
    }  # fmt: skip
    yield "clip", "text-encoder", {"kind": "clip", "modality": "video", **text}
    yield "clap", "text-encoder", {"kind": "clap", "modality": "audio", **text}
    yield "llm", "language-model", {
        "width": 16, "layers": 1, "heads": 2, "intermediate": 16, "vocab_size": 300, "corpus_size": 50,
    }  # fmt: skip
    yield "vocoder", "vocoder", {
        "upsample_initial_channel": 16, "segment_frames": 16, "autoencoder": at("spectrogram"),
    }  # fmt: skip
    yield "diffusion", "diffusion", {
        "modality": "image", "autoencoder": at("picture"), "text_encoder": at("clip"), "bank_size": 16,
        "block_out_channels": [32, 32], "bank": at("bank.safetensors"), "num_inference_steps": 2,
    }  # fmt: skip
    yield "binding", "binding", {
        "vocab_size": 300, "corpus_size": 50,
        "sizes": {"width": 16, "num_blocks": 1, "image_size": 32, "embed_dim": 16},
    }  # fmt: skip
    system = {
        "llm": at("llm"), "encoder": at("binding/encoder"), "features": at("features"), "num_slot_tokens": 2,
        "text_encoders": {"image": at("clip"), "video": at("clip"), "audio": at("clap")},
        "signal_tokens": {"image": 2, "audio": 2, "video": 3}, "feature_set": {"renders": 1},
        "projection": {"inner_dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16},
    }  # fmt: skip
    yield "encoder-alignment", "encoder-alignment", {"system": system}
    yield "decoder-alignment", "decoder-alignment", {"system": {**system, "start": at("encoder-alignment")}}
    tuned = {"system": {**system, "start": at("decoder-alignment")}, "rank": 2, "alpha": 2, "dropout": 0.1}
    yield "instruction-tuning", "instruction-tuning", tuned


def train(
    stage: Stage, config: TrainerConfig, folder: Path, *, until: int, result: Path | None = None
) -> int:
    """Train in a process of its own, a fork: kills it, and nothing of this process, costs no second import.

    Returns:
        The process id.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        trainer = Trainer(stage, config, folder, progress=False)
        trainer.run(resume=True, until=until)
        if result is not None:
            stage.save(result)
        status = 0
    except BaseException as error:
        sys.stderr.write(f"{folder}: {error}\n")
    finally:
        os._exit(status)


def losses(folder: Path) -> dict[int, str]:
    """Every logged loss to its last bit."""
    return {row["step"]: float(row["loss"]).hex() for row in read_metrics(folder) if "loss" in row}


def weights(folder: Path) -> str:
    """Hash of the newest checkpoint's weights, averages and optimizer state."""
    newest = checkpointing.step_folders(folder / "checkpoints")[0]
    return hashlib.sha256((newest / checkpointing.STATE).read_bytes()).hexdigest()


@dataclass
class Kills:
    """What happened to one stage."""

    kills: int = 0
    in_save: int = 0
    """Kills that left a half-written checkpoint."""
    lives: int = 0
    """Runs that ended, each compared with the undisturbed one."""
    differing: int = 0
    """Of these, those with another loss or other weights."""


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return None if found == 0 else status


def kill_at_random(
    pid: int, folder: Path, rng: np.random.Generator, seconds: float, *, in_save: bool
) -> bool:
    """Send SIGKILL at a random moment, or at one inside a save; False when the run ended before.

    A save lasts milliseconds: the process is stopped first, and goes on when its save has ended meanwhile.
    """
    until = time.monotonic() + float(rng.uniform(0.0, seconds))
    drafts = folder / "checkpoints"
    while (status := _ended(pid)) is None:
        late = time.monotonic() >= until
        if late and (not in_save or (_saving(drafts) and _stopped_in_save(pid, drafts, rng))):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return True
        time.sleep(0.0005)
    if status != 0:
        raise SystemExit(f"training in {folder.name} failed with status {status}")
    return False


def _stopped_in_save(pid: int, drafts: Path, rng: np.random.Generator) -> bool:
    """Stop the process a moment later; whether it is in a save then. If not, it goes on."""
    time.sleep(float(rng.uniform(0, 0.004)))
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if _saving(drafts):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def _saving(drafts: Path) -> bool:
    """Whether a half-written checkpoint lies there."""
    try:
        return any(name.startswith(".tmp-") for name in os.listdir(drafts))
    except FileNotFoundError:
        return False


def crash(
    make: Callable[[], Stage],
    folder: Path,
    result: Path | None,
    *,
    kills: int,
    seed: int,
    config: TrainerConfig = CONFIG,
) -> Kills:
    """Train undisturbed, then under `kills` kills, every second one aimed at a save, and compare.

    Args:
        make: builds the stage; it must do so alike every time.
        folder: where the runs go.
        result: where the undisturbed run's result goes, for stages after it.
        kills: how many.
        seed: decides the moments.
        config: how to train; one step less than it says is trained.
    """
    steps, rng, count = config.steps - 1, np.random.default_rng(seed), Kills()
    began = time.monotonic()
    _wait(train(make(), config, folder / "whole", until=steps, result=result))
    seconds = time.monotonic() - began
    wanted = (losses(folder / "whole"), weights(folder / "whole"))
    life = folder / "killed"
    while True:
        pid = train(make(), config, life, until=steps)
        if count.kills < kills:
            if kill_at_random(pid, life, rng, seconds * 0.8, in_save=count.kills % 2 == 0):
                count.kills += 1
                count.in_save += _saving(life / "checkpoints")
                continue
        else:
            _wait(pid)
        count.lives += 1
        count.differing += (losses(life), weights(life)) != wanted
        shutil.rmtree(life)
        if count.kills >= kills:
            return count


def _wait(pid: int) -> None:
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("training failed")


def spoil(folders: list[Path], *, count: int, seed: int) -> tuple[int, int]:
    """Flip bits, truncate and delete files of checkpoints.

    Args:
        folders: `checkpoints` folders of runs.
        count: damages.
        seed: decides them.

    Returns:
        Damages noticed with the older checkpoint still loading, and damages tried.
    """
    rng, noticed = np.random.default_rng(seed), 0
    for number in range(count):
        folder = folders[number % len(folders)]
        newest, older = checkpointing.step_folders(folder)[:2]
        path = (
            newest / (checkpointing.STATE, checkpointing.META, checkpointing.MANIFEST)[int(rng.integers(3))]
        )
        good = path.read_bytes()
        kind = ("flip", "flip", "truncate", "flip", "delete")[number % 5]
        if kind == "delete":
            path.unlink()
        elif kind == "truncate":
            path.write_bytes(good[: int(rng.integers(len(good)))])
        else:
            spoilt = bytearray(good)
            spoilt[int(rng.integers(len(good)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(spoilt))
        try:
            checkpointing.load(newest)
        except CheckpointCorrupt:
            found = checkpointing.load_newest(folder)
            noticed += found is not None and found.step == int(older.name.removeprefix("step-"))
        path.write_bytes(good)
    return noticed, count


def fill_disk(checkpoint: checkpointing.Checkpoint, folder: Path, free: int) -> bool:
    """Save with `free` bytes left on the disk; whether that fails cleanly and the one before is good."""
    later = checkpointing.Checkpoint(checkpoint.step + 1, checkpoint.tensors, checkpoint.meta)
    stat = os.statvfs(folder)
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - free))
    try:
        checkpointing.save(folder / "checkpoints", later)
    except SaveFailed:
        return _only_good(folder / "checkpoints", checkpoint.step)
    finally:
        ballast.unlink()
    return False


def limit_files(checkpoint: checkpointing.Checkpoint, folder: Path, free: int) -> bool:
    """The same by a limit on the size of a file, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (free, free))
            later = checkpointing.Checkpoint(checkpoint.step + 1, checkpoint.tensors, checkpoint.meta)
            checkpointing.save(folder / "checkpoints", later)
        except SaveFailed:
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0 and _only_good(folder / "checkpoints", checkpoint.step)


def _only_good(folder: Path, step: int) -> bool:
    found = checkpointing.load_newest(folder)
    return (
        found is not None and found.step == step and not any(n.startswith(".tmp") for n in os.listdir(folder))
    )


def full_disk(source: Path, mount: Path, *, points: int) -> tuple[int, int, str]:
    """Fill the disk at `points` places of a save, from its first bytes to its last.

    Returns:
        Saves that failed and left the checkpoint before good, saves tried, and what stood for the disk.
    """
    checkpoint = checkpointing.load_newest(source)
    assert checkpoint is not None
    size = sum(p.stat().st_size for p in checkpointing.step_folders(source)[0].iterdir())
    mount.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={4 * size + 2**20}", "tmpfs", str(mount)]
    real = subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    try:
        checkpointing.save(mount / "checkpoints", checkpoint)
        attempt = fill_disk if real else limit_files
        good = sum(attempt(checkpoint, mount, size * i // points) for i in range(points))
    finally:
        if real:
            subprocess.run(["umount", str(mount)], check=True)
    return good, points, "tmpfs" if real else "file size limit"


def main() -> None:
    """Run everything and print one line a stage and a bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=33, help="over all stages")
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        labels = [label for label, *_ in cases(root)]
        rows: dict[str, Kills] = {}
        for index, (label, stage, config) in enumerate(cases(root / "parts")):
            share = arguments.kills // len(labels) + (index < arguments.kills % len(labels))
            built = build_stage(stage, config)
            result = root / "parts" / label
            rows[label] = crash(
                lambda built=built: built, root / label, result, kills=share, seed=arguments.seed + index
            )
            sys.stdout.write(f"{label:20} {rows[label]}\n")
            sys.stdout.flush()
        folders = [root / label / "whole" / "checkpoints" for label in labels]
        noticed, damages = spoil(folders, count=arguments.damages, seed=arguments.seed)
        good, points, disk = full_disk(folders[labels.index("llm")], root / "mount", points=arguments.points)
    kills, in_save = (sum(getattr(row, key) for row in rows.values()) for key in ("kills", "in_save"))
    lives, differing = (sum(getattr(row, key) for row in rows.values()) for key in ("lives", "differing"))
    figures = {
        "kills": kills, "kills_in_a_save": in_save, "runs_compared": lives, "runs_differing": differing,
        "damages": damages, "damages_noticed": noticed, "full_disks": points, "full_disks_survived": good,
        "disk": disk, "stages": {label: vars(row) for label, row in rows.items()},
    }  # fmt: skip
    sys.stdout.write(
        f"kill -9: {kills}, {in_save} of them in a save; {differing} of {lives} runs differ\n"
        f"damaged checkpoints noticed: {noticed} of {damages}\n"
        f"full disk ({disk}) survived: {good} of {points}\n"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
