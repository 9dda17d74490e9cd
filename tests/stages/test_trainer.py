"""The trainer: exact resume, exact trainable sets, averaged weights, skipped steps."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from line_stage import CONFIG, LineStage, losses, run
from safetensors.torch import load_file
from torch import Tensor, nn

from anygen.errors import BadArgument, CheckpointCorrupt, NonFinite, WeightsMismatch
from anygen.stages import checkpointing
from anygen.stages.also_train import ALSO_TRAINED, AlsoTrain
from anygen.stages.base import part_of, set_trainable, to_device, trainable_table
from anygen.stages.data.own import mixture
from anygen.stages.data.readers import SourceConfig
from anygen.stages.metrics import MetricsLog, read_metrics, samples_per_second
from anygen.stages.run import STAGES, read_config, stage_config
from anygen.stages.run_folder import hold
from anygen.stages.sampling import PERIOD, IndexSampler, Source
from anygen.stages.trainer import Trainer, TrainerConfig


def test_resume_is_bitwise(tmp_path: Path) -> None:
    whole = run(LineStage(), tmp_path / "whole")
    assert run(LineStage(), tmp_path / "parts", until=7) == {}
    resumed = run(LineStage(), tmp_path / "parts", resume=True)
    assert resumed == whole
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == CONFIG.steps


def test_resume_after_a_crash_between_checkpoints_forgets_the_lost_steps(tmp_path: Path) -> None:
    run(LineStage(), tmp_path / "a", until=9)
    newest = checkpointing.step_folders(tmp_path / "a" / "checkpoints")[0]
    (newest / "state.safetensors").write_bytes(b"spoilt")
    whole = run(LineStage(), tmp_path / "whole")
    assert run(LineStage(), tmp_path / "a", resume=True) == whole
    assert losses(tmp_path / "a") == losses(tmp_path / "whole")


def test_a_finite_data_set_is_seen_in_epochs(tmp_path: Path) -> None:
    stage = LineStage(dataset_size=8)
    run(stage, tmp_path)
    assert sorted(sum(stage.seen[:2], [])) == sorted(sum(stage.seen[2:4], [])) == list(range(8))
    assert stage.seen[:2] != stage.seen[2:4]


def test_frozen_parts_stay_and_only_the_named_train(tmp_path: Path) -> None:
    stage = LineStage()
    before = stage.frozen.weight.detach().clone()
    trainer = Trainer(stage, CONFIG, tmp_path, progress=False)
    assert set(trainer.trainable) == {"head.1.weight", "head.1.bias"}
    assert not stage.frozen.training and stage.head.training
    trainer.run()
    assert torch.equal(stage.frozen.weight, before)


def test_a_used_run_folder_is_refused(tmp_path: Path) -> None:
    run(LineStage(), tmp_path)
    with pytest.raises(BadArgument, match="expected an empty run folder"):
        run(LineStage(), tmp_path)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    other = TrainerConfig(steps=13, batch_size=4, learning_rate=0.05)
    with pytest.raises(BadArgument, match="another configuration"):
        Trainer(LineStage(), other, tmp_path, progress=False).run(resume=True)


def test_all_checkpoints_spoilt_is_an_error(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    for folder in checkpointing.step_folders(tmp_path / "checkpoints"):
        (folder / "meta.json").write_text("{}")
    with pytest.raises(CheckpointCorrupt, match="none verifies"):
        run(LineStage(), tmp_path, resume=True)


def test_non_finite_gradients_stop_the_run_and_never_reach_the_weights(tmp_path: Path) -> None:
    stage = LineStage(poison=1)
    with pytest.raises(NonFinite, match="10 non-finite gradients in a row"):
        run(stage, tmp_path)
    assert torch.isfinite(stage.head[1].weight).all()


def test_a_foreign_parameter_is_refused() -> None:
    with pytest.raises(BadArgument, match="all of them"):
        set_trainable({"a": nn.Linear(1, 1)}, [{"params": [nn.Parameter(torch.zeros(1))]}])


@pytest.mark.parametrize("bad", [{"steps": 0}, {"learning_rate": 0.0}, {"ema_decay": 1.0}])
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadArgument, match="expected steps >= 1"):
        TrainerConfig(**({"steps": 1, "batch_size": 1, "learning_rate": 1.0} | bad))  # type: ignore[arg-type]


def test_checkpoints_keep_two_and_refuse_one(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpointing.save(tmp_path, checkpointing.Checkpoint(step, {"x": torch.ones(1)}, {}))
    assert [p.name for p in checkpointing.step_folders(tmp_path)] == ["step-00000003", "step-00000002"]
    with pytest.raises(BadArgument, match="expected at least 2"):
        checkpointing.save(tmp_path, checkpointing.Checkpoint(4, {}, {}), keep=1)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    checkpointing.save(tmp_path, checkpointing.Checkpoint(1, {"x": torch.arange(64.0)}, {"a": 1}))
    folder = tmp_path / "step-00000001"
    rng = np.random.default_rng(0)
    for name in ("state.safetensors", "meta.json"):
        good = (folder / name).read_bytes()
        for position in rng.integers(0, len(good), 25):
            spoilt = bytearray(good)
            spoilt[position] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(spoilt)
            with pytest.raises(CheckpointCorrupt):
                checkpointing.load(folder)
        (folder / name).write_bytes(good)
    assert checkpointing.load(folder).step == 1


def whole_weights(folder: Path) -> dict[str, Tensor]:
    return load_file(checkpointing.step_folders(folder / "checkpoints")[0] / checkpointing.STATE)


def test_micro_batches_accumulate_to_the_whole_batch(tmp_path: Path) -> None:
    class Exact(LineStage):
        def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
            self.head.eval()  # neither dropout nor noise: only the pieces differ
            return {"loss": (self.head(self.frozen(batch)) - 3 * batch).square().mean()}, {}

    for pieces in (1, 2, 4):
        config = replace(CONFIG, micro_batches=pieces)
        Trainer(Exact(), config, tmp_path / str(pieces), progress=False).run()
    one, *others = (whole_weights(tmp_path / str(p)) for p in (1, 2, 4))
    for other in others:
        assert all(torch.allclose(one[k], other[k], atol=1e-6) for k in one)


def test_a_resumed_run_keeps_the_pieces_of_its_checkpoint(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        first = Trainer(LineStage(), replace(CONFIG, micro_batches=2), tmp_path / name, progress=False)
        first.run(until=6 if name == "parts" else None)
    run(LineStage(), tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_pieces_must_divide_the_batch(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="expected a multiple"):
        Trainer(LineStage(), replace(CONFIG, micro_batches=3), tmp_path, progress=False).run()


def test_one_bad_gradient_is_skipped_and_counted_anew(tmp_path: Path) -> None:
    class Hiccup(LineStage):
        def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
            losses, report = super().training_forward(batch)
            return {"loss": losses["loss"] * (math.nan if len(self.seen) in (3, 4, 8) else 1.0)}, report

    stage = Hiccup()
    trainer = Trainer(stage, replace(CONFIG, max_bad_steps=3), tmp_path, progress=False)
    trainer.run()
    assert trainer.bad_steps == 0 and torch.isfinite(stage.head[1].weight).all()
    norms = {r["step"]: r["grad_norm"] for r in read_metrics(tmp_path) if "grad_norm" in r}
    assert [step for step, norm in norms.items() if not math.isfinite(norm)] == [3, 4, 8]


def test_sigterm_saves_at_the_step_boundary(tmp_path: Path) -> None:
    class Told(LineStage):
        def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
            if len(self.seen) == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().training_forward(batch)

    assert run(Told(), tmp_path / "told") == {}
    assert checkpointing.step_folders(tmp_path / "told" / "checkpoints")[0].name == "step-00000007"
    whole = run(LineStage(), tmp_path / "whole")
    assert run(LineStage(), tmp_path / "told", resume=True) == whole
    assert losses(tmp_path / "told") == losses(tmp_path / "whole")


def test_a_run_folder_belongs_to_one_process(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(BadArgument, match="in use by another process"):
        run(LineStage(), tmp_path)


def test_a_line_that_a_crash_cut_off_is_forgotten(tmp_path: Path) -> None:
    run(LineStage(), tmp_path / "cut", until=7)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    run(LineStage(), tmp_path / "cut", resume=True)
    run(LineStage(), tmp_path / "whole")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_run_that_ended_ends_the_same_again(tmp_path: Path) -> None:
    first = run(LineStage(), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text().count("eval/")
    assert run(LineStage(), tmp_path, resume=True) == first
    assert (tmp_path / "metrics.jsonl").read_text().count("eval/") == before


def test_frozen_weights_that_moved_are_noticed(tmp_path: Path) -> None:
    class Leaking(LineStage):
        def training_forward(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, float]]:
            with torch.no_grad():
                self.frozen.weight.add_(1e-3)
            return super().training_forward(batch)

    with pytest.raises(CheckpointCorrupt, match="frozen weights changed"):
        run(Leaking(), tmp_path)


def test_other_frozen_weights_are_refused_unless_forced(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    stage = LineStage()
    with torch.no_grad():
        stage.frozen.bias.add_(1.0)
    trainer = Trainer(stage, CONFIG, tmp_path, progress=False)
    with pytest.raises(BadArgument, match="weights of frozen parts"):
        trainer.run(resume=True)
    assert trainer.run(resume=True, force=True)


def test_other_settings_of_the_stage_are_named(tmp_path: Path) -> None:
    stage, other = LineStage(), LineStage()
    stage.config, other.config = {"width": 4, "old": 1}, {"width": 5, "new": 2}  # type: ignore[attr-defined]
    run(stage, tmp_path, until=5)
    with pytest.raises(BadArgument, match=r"stage.width \(4, now 5\); expected"):
        run(other, tmp_path, resume=True)


def test_settings_that_change_no_weight_may_change(tmp_path: Path) -> None:
    run(LineStage(), tmp_path / "a", until=5)
    other = replace(CONFIG, save_every=3, keep=4, evaluate_every=4)
    Trainer(LineStage(), other, tmp_path / "a", progress=False).run(resume=True)
    run(LineStage(), tmp_path / "whole")
    assert losses(tmp_path / "a") == losses(tmp_path / "whole")


def test_checkpoints_of_older_versions_resume(tmp_path: Path) -> None:
    run(LineStage(), tmp_path / "old", until=5)
    newest = checkpointing.load_newest(tmp_path / "old" / "checkpoints")
    assert newest is not None
    meta = {k: newest.meta[k] for k in ("config", "stage", "seconds")}
    for field in ("schedule", "micro_batches", "keep", "tensorboard"):
        del meta["config"][field]
    checkpointing.save(tmp_path / "old" / "checkpoints", checkpointing.Checkpoint(5, newest.tensors, meta))
    run(LineStage(), tmp_path / "old", resume=True)
    run(LineStage(), tmp_path / "whole")
    assert losses(tmp_path / "old") == losses(tmp_path / "whole")


def test_metrics_have_speed_memory_and_gradient_norm(tmp_path: Path) -> None:
    run(LineStage(), tmp_path)
    rows = [r for r in read_metrics(tmp_path) if "loss" in r]
    assert all({"samples_per_second", "memory_mb", "grad_norm", "lr", "seconds"} <= r.keys() for r in rows)
    assert samples_per_second([{"step": 2, "seconds": 1.0}, {"step": 4, "seconds": 2.0}], 8) == 16.0
    assert samples_per_second([], 8) is None


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path, step=0, last_step=3, tensorboard=True)
    log.write(1, {"loss": 0.5, "eval/score": 1.0})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {t: events.Scalars(t)[0].value for t in events.Tags()["scalars"]} == {
        "train/loss": 0.5,
        "eval/score": 1.0,
    }


def test_linear_decay_ends_where_it_should() -> None:
    config = TrainerConfig(
        steps=11, batch_size=1, learning_rate=1.0, warmup_steps=1, schedule="linear", final_lr_ratio=0.0
    )
    assert config.learning_rate_at(0) == 1.0
    assert config.learning_rate_at(6) == pytest.approx(0.5) and config.learning_rate_at(11) == 0.0


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"log_every": 0}, {"keep": 1}, {"micro_batches": -1}])
def test_bad_counts_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(BadArgument, match="expected whole numbers from 1"):
        replace(CONFIG, **bad)  # type: ignore[arg-type]


def test_a_mixture_keeps_its_shares_and_sees_each_source_in_epochs() -> None:
    sampler = IndexSampler(
        batch_size=10, seed=1, sources=(Source(size=7, weight=3.0), Source(size=500, weight=1.0))
    )
    drawn = np.concatenate([sampler.indices(step) for step in range(2 * PERIOD // 10)])
    assert int((drawn < 7).sum()) == 1500
    first = drawn[drawn < 7][: 7 * 100].reshape(100, 7)
    assert all(sorted(row) == list(range(7)) for row in first)
    assert sorted(drawn[drawn >= 7]) == list(range(7, 507))
    assert sampler.state(60) == {"seed": 1, "epoch": 1, "position": 93}
    halves = [sampler.indices(3, rank=r, world_size=2) for r in (0, 1)]
    assert sorted(np.concatenate(halves)) == sorted(sampler.indices(3))


def test_bad_sources_are_refused() -> None:
    with pytest.raises(BadArgument, match="weight above 0"):
        Source(size=3, weight=0.0)
    mixed = IndexSampler(batch_size=1, seed=0, sources=(Source(size=1, weight=1e6), Source(size=1)))
    with pytest.raises(BadArgument, match="share below 1 in 1000"):
        mixed.indices(0)


def test_own_data_mix_by_their_weights() -> None:
    records: list[Any] = [object() for _ in range(6)]
    apart, training = [records[:4], records[4:]], [*records[1:4], records[5]]
    weighted = [SourceConfig(path="a", weight=1.0), SourceConfig(path="b", weight=3.0)]
    expected = (Source(size=3, weight=1.0), Source(size=1, weight=3.0))
    assert mixture(weighted, apart, training) == expected
    assert mixture([SourceConfig(path="a"), SourceConfig(path="b")], apart, training) == ()
    with pytest.raises(BadArgument, match="a weight for 1 of 2 sources, expected all or none"):
        mixture([weighted[0], SourceConfig(path="b")], apart, training)


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    run(LineStage(), tmp_path, until=5)
    with pytest.raises(BadArgument, match="expected the same data set"):
        run(LineStage(dataset_size=11), tmp_path, resume=True)


def test_further_parameters_train_and_travel(tmp_path: Path) -> None:
    stage = AlsoTrain(LineStage(), ["frozen.b*"])
    trainer = Trainer(stage, CONFIG, tmp_path, progress=False)
    assert set(trainer.trainable) == {"head.1.weight", "head.1.bias", "frozen.bias"}
    trainer.run()
    next_stage = LineStage()
    AlsoTrain(next_stage, ["frozen.bias"], start=tmp_path / "result")
    saved = load_file(tmp_path / "result" / ALSO_TRAINED)
    assert torch.equal(next_stage.frozen.bias, saved["frozen.bias"])
    with pytest.raises(WeightsMismatch, match="expected the 1 of `train_also`"):
        AlsoTrain(LineStage(), ["frozen.weight"], start=tmp_path / "result")
    with pytest.raises(BadArgument, match="is not a pattern of this stage's parameters"):
        AlsoTrain(LineStage(), ["frozen.bais"])


def test_the_table_counts_tied_parameters_once() -> None:
    tied = nn.ModuleDict({"embed": nn.Embedding(3, 2), "head": nn.Linear(2, 3, bias=False)})
    tied["head"].weight = tied["embed"].weight
    assert trainable_table({"model": tied}) == {"model.embed": {"parameters": 6, "trainable": 6}}
    assert part_of("model.llm.layers.0.q.lora_A.default.weight") == "model.llm (LoRA)"
    assert part_of("model.output_projections.image.fc.weight") == "model.output_projections.image"
    assert part_of("model.llm.lm_head.rows") == "model.llm (new rows)"


def test_batches_move_whole() -> None:
    moved = to_device({"a": [torch.ones(1)], "b": (CONFIG, torch.ones(2))}, torch.device("meta"))
    assert moved["a"][0].device.type == moved["b"][1].device.type == "meta"


RECIPES = sorted((Path(__file__).parents[2] / "stages" / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_recipes_parse(path: Path) -> None:
    config = read_config(path)
    if "preset" in path.read_text():
        name = next(stage for stage in STAGES if path.stem.endswith(stage))
        stage_config(name, config.stage)


def write(folder: Path, **more: Any) -> Path:
    path = folder / "run.yaml"
    trainer = {"steps": 5, "batch_size": 2, "learning_rate": 0.1}
    path.write_text(json.dumps({"run_folder": "runs/x", "trainer": trainer, "stage": {}, **more}))
    return path


def test_settings_lie_over_the_file(tmp_path: Path) -> None:
    settings = ["trainer.steps=10", "trainer.learning_rate=1e-3", "stage.system.llm=folder", "threads=2"]
    config = read_config(write(tmp_path), settings)
    assert (config.trainer.steps, config.trainer.learning_rate, config.threads) == (10, 0.001, 2)
    assert config.stage == {"system": {"llm": "folder"}}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.step=1", "did you mean `steps`"),
        ("trainer", "expected key.of.a.field=value"),
        ("run_folder.x=1", "expected the key of a field"),
        ("threads=[", "expected a value as YAML writes it"),
        ("preset=nextgpt", "did you mean `nextgpt-7b`"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        read_config(write(tmp_path), [setting])


def test_a_run_may_end_before_its_schedule_does(tmp_path: Path) -> None:
    whole = Trainer(LineStage(), CONFIG, tmp_path / "whole", progress=False)
    whole.run(until=5)
    assert not (tmp_path / "whole" / "result").exists()
    short = Trainer(LineStage(), replace(CONFIG, ends_at=5), tmp_path / "short", progress=False)
    short.run()
    summary = json.loads((tmp_path / "short" / "summary.json").read_text())
    assert summary["steps"] == 5 and (tmp_path / "short" / "result").is_dir()
    assert all(torch.equal(p, short.trainable[n]) for n, p in whole.trainable.items())
    # a run that stopped may be told that this was its end; one that went on may not
    again = Trainer(LineStage(), replace(CONFIG, ends_at=5), tmp_path / "whole", progress=False)
    again.run(resume=True)
    assert (tmp_path / "whole" / "result").is_dir()
    with pytest.raises(BadArgument, match="checkpoint of step 5; expected none after 4, where the run ends"):
        Trainer(LineStage(), replace(CONFIG, ends_at=4), tmp_path / "whole", progress=False).run(resume=True)
    with pytest.raises(BadArgument, match="Found ends_at=99; expected 0 to steps="):
        replace(CONFIG, ends_at=99)
