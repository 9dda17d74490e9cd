"""Several gloo processes are one run: same losses, same data, checkpoints that any number of them resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from line_stage import CONFIG, LineStage, in_processes, losses
from safetensors.torch import load_file

from anygen.stages import checkpointing
from anygen.stages.sampling import IndexSampler
from anygen.stages.trainer import Trainer

THIRTY = replace(CONFIG, steps=30, micro_batches=2)
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def train(folder: Path, *, until: int | None = None, resume: bool = False) -> None:
    stage = LineStage()
    trainer = Trainer(stage, THIRTY, folder, progress=False)
    trainer.run(until=until, resume=resume)
    seen = folder / f"seen-{trainer.accelerator.process_index}-of-{trainer.accelerator.num_processes}.json"
    seen.write_text(json.dumps(stage.seen))


def largest_difference(one: Path, other: Path) -> float:
    left, right = losses(one), losses(other)
    assert left.keys() == right.keys() and len(left) == 30
    return max(abs(float.fromhex(left[s]) - float.fromhex(right[s])) for s in left)


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpointing.step_folders(folder / "checkpoints")[0] / checkpointing.STATE)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    train(tmp_path / "one")
    in_processes(2, lambda rank: train(tmp_path / "two"))
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-5
    one, two = (json.loads((tmp_path / n / "summary.json").read_text())["scores"] for n in ("one", "two"))
    assert abs(one["weight"] - two["weight"]) < 1e-4


def test_one_process_resumes_two_within_an_epoch_on_the_same_data(tmp_path: Path) -> None:
    in_processes(2, lambda rank: train(tmp_path / "run", until=13))
    train(tmp_path / "run", resume=True)
    sampler = IndexSampler(batch_size=THIRTY.batch_size, seed=THIRTY.seed, dataset_size=10)
    assert sampler.state(13)["position"] != 0
    files = {p.name: json.loads(p.read_text()) for p in (tmp_path / "run").glob("seen-*.json")}
    for step in range(30):
        if step < 13:
            pieces = [files[f"seen-{rank}-of-2.json"][step] for rank in (0, 1)]
        else:
            pieces = files["seen-0-of-1.json"][2 * (step - 13) :][:2]
        together = [index for pair in zip(*pieces, strict=True) for index in pair]
        assert together == sampler.indices(step).tolist()
    train(tmp_path / "one")
    assert largest_difference(tmp_path / "one", tmp_path / "run") < 1e-5


def test_fsdp2_trains_saves_and_resumes_over_gloo(tmp_path: Path) -> None:
    in_processes(2, lambda rank: train(tmp_path / "run", until=11), **FSDP)
    in_processes(2, lambda rank: train(tmp_path / "run", resume=True), **FSDP)
    train(tmp_path / "one")
    assert largest_difference(tmp_path / "one", tmp_path / "run") < 1e-5
    one, sharded = final(tmp_path / "one"), final(tmp_path / "run")
    assert one.keys() == sharded.keys()
    assert all(torch.allclose(one[k], sharded[k], atol=1e-5) for k in one)
    assert (tmp_path / "run" / "result" / "weight.json").exists()


def test_one_process_resumes_a_sharded_run(tmp_path: Path) -> None:
    in_processes(2, lambda rank: train(tmp_path / "run", until=11), **FSDP)
    train(tmp_path / "run", resume=True)
    train(tmp_path / "one")
    assert largest_difference(tmp_path / "one", tmp_path / "run") < 1e-5


def test_accelerate_still_needs_help_with_fsdp_on_cpus() -> None:
    """When this fails, `allow_fsdp_on_cpu` can go."""

    def work(rank: int) -> None:
        accelerator = Accelerator(cpu=True)
        accelerator.wait_for_everyone()
        assert accelerator.distributed_type == DistributedType.MULTI_CPU

    in_processes(2, work, **FSDP)
