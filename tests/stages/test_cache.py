"""Caches at tiny width: what trains on them trains alike, and nothing stale, foreign or damaged is used."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_towers as tiny
import torch
from strangers_folder import make_folder

from anygen.app.cli import main
from anygen.checkpoints.folder import load_model
from anygen.config import read_json
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, NonFinite
from anygen.modality import Modality
from anygen.prompting import Placed, Prompt
from anygen.stages.base import set_trainable
from anygen.stages.caching import index as indexing
from anygen.stages.caching.export import export_webdataset
from anygen.stages.caching.samples import Sample, StoredMedium, pack
from anygen.stages.caching.stored import Stored
from anygen.stages.caching.work import CacheJob, CacheOptions
from anygen.stages.run import build_stage
from anygen.stages.trainer import Trainer, TrainerConfig

TRAINER = TrainerConfig(steps=2, batch_size=4, learning_rate=1e-2, warmup_steps=1, save_every=1, log_every=1)
EXACT = CacheOptions(shard=3, batch=2, dtype="float32")
STAGES = ("encoder-alignment", "decoder-alignment")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("own") / "data", pictures=6, sounds=4)


@pytest.fixture(scope="module")
def caches(tiny_folder: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of each stage, in a folder named after it; shared, so not to be changed."""
    root = tmp_path_factory.mktemp("caches")
    for name in STAGES:
        CacheJob(name, config(tiny_folder, folder, root / name), EXACT).run()
    return root


def config(model: Path, data: Path, cache: Path, **more: Any) -> dict[str, Any]:
    own = {"sources": [{"path": str(data / "captions.jsonl")}], "held_out": 0.4}
    return {"model": str(model), "data": own, "cache": str(cache), **more}


def live(settings: dict[str, Any]) -> Any:
    return build_stage("decoder-alignment", {k: v for k, v in settings.items() if k != "cache"})


def test_encoder_alignment_from_shards_is_what_it_was_without(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    settings = config(tiny_folder, folder, caches / "encoder-alignment")
    stored: Any = build_stage("encoder-alignment", settings)
    bare = {k: v for k, v in settings.items() if k != "cache"}
    runs = [
        Trainer(stored, TRAINER, tmp_path / "stored", progress=False),
        Trainer(build_stage("encoder-alignment", bare), TRAINER, tmp_path / "live", progress=False),
    ]
    scores, without = (run.run() for run in runs)
    assert stored.dataset_size == 6 and stored.data is None
    assert scores == pytest.approx(without, abs=1e-5)
    for name, tensor in runs[0].trainable.items():
        assert torch.allclose(tensor, runs[1].trainable[name], atol=1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_patch_tokens_are_cached_like_vectors(
    name: str, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    model = tiny.with_encoder(tiny_folder, tmp_path / "model", "imagebind", grouping=True)
    settings = config(model, folder, tmp_path / "cache")
    CacheJob(name, settings, EXACT).run()
    stored: Any = build_stage(name, settings)
    bare: Any = build_stage(name, {k: v for k, v in settings.items() if k != "cache"})
    assert stored.evaluate() == pytest.approx(bare.evaluate(), rel=1e-3)
    rows = np.arange(stored.dataset_size)
    losses = [s.training_forward(s.batch(rows))[0] for s in (stored, bare)]
    shared = losses[0].keys() & losses[1].keys() - {"loss", "signal"}
    shared |= {"loss"} if name == "encoder-alignment" else set()
    assert shared
    for key in shared:
        assert losses[0][key].item() == pytest.approx(losses[1][key].item(), rel=1e-3)


def test_decoder_alignment_from_shards_has_the_losses_and_scores_of_the_model(
    tiny_folder: Path, folder: Path, caches: Path
) -> None:
    settings = config(tiny_folder, folder, caches / "decoder-alignment")
    stored: Any = build_stage("decoder-alignment", settings)
    named = set_trainable(stored.modules(), stored.trainable_parameters())
    assert all(name.startswith("model.output_projections.") for name in named)
    everything = np.arange(stored.dataset_size)
    losses, _ = stored.training_forward(stored.batch(everything))
    other = live(settings)
    whole = other.system.grouped(other.training_prompts(everything), np.random.default_rng(0), parts=1)
    expected, _ = other.training_forward(whole)
    assert "signal" in expected and "signal" not in losses
    for name in losses.keys() - {"loss"}:
        assert losses[name].item() == pytest.approx(expected[name].item(), rel=1e-4)
    assert stored.evaluate() == pytest.approx(other.evaluate(), rel=1e-3)


def test_decoder_alignment_trains_resumes_and_writes_a_whole_model(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    settings = config(tiny_folder, folder, caches / "decoder-alignment")
    whole = Trainer(build_stage("decoder-alignment", settings), TRAINER, tmp_path / "whole", progress=False)
    scores = whole.run()
    Trainer(build_stage("decoder-alignment", settings), TRAINER, tmp_path / "half", progress=False).run(
        until=1
    )
    half = Trainer(build_stage("decoder-alignment", settings), TRAINER, tmp_path / "half", progress=False)
    assert half.run(resume=True) == scores
    assert all(torch.equal(whole.trainable[n], half.trainable[n]) for n in whole.trainable)
    model = load_model(tmp_path / "whole" / "result").model
    before = load_model(tiny_folder).model
    for name, tensor in model.state_dict().items():
        if name.startswith("output_projections"):
            assert torch.allclose(tensor, whole.trainable[f"model.{name}"].detach())
        else:
            assert torch.equal(tensor, before.state_dict()[name])


def test_latents_are_kept_and_the_denoising_loss_is_taken_on_them(
    tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    settings = config(tiny_folder, folder, tmp_path / "cache", denoise=["image"])
    CacheJob("decoder-alignment", settings, EXACT).run()
    stored: Any = build_stage("decoder-alignment", settings)
    named = set_trainable(stored.modules(), stored.trainable_parameters())
    assert not any("unet" in name for name in named)
    losses, _ = stored.training_forward(stored.batch(np.arange(stored.dataset_size)))
    losses["denoising/image"].backward()
    assert torch.isfinite(losses["loss"]) and any(p.grad is not None for p in named.values())
    other = live(settings)
    (placed,) = other.training_prompts([0])[0].signals
    if str(placed.modality) == "image":
        kept = stored.training_prompts([0])[0].signals[0].item.latents
        assert torch.equal(kept, other.banks[placed.modality].latents(placed.item))


def test_training_needs_neither_media_nor_data(tiny_folder: Path, tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", pictures=3, sounds=2)
    for name in STAGES:
        CacheJob(name, config(tiny_folder, data, tmp_path / name), EXACT).run()
    shutil.rmtree(data)
    for name in STAGES:
        stage: Any = build_stage(name, config(tiny_folder, data, tmp_path / name))
        losses, _ = stage.training_forward(stage.batch(np.arange(2)))
        assert torch.isfinite(losses["loss"])


def test_what_a_cache_was_computed_from_must_be_the_same(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    cache = caches / "encoder-alignment"
    with pytest.raises(
        BadArgument, match="found a cache of encoder-alignment in .*, expected one of decoder"
    ):
        build_stage("decoder-alignment", config(tiny_folder, folder, cache))
    other = config(tiny_folder, folder, cache)
    other["data"] = other["data"] | {"seed": 3}
    with pytest.raises(BadArgument, match=r"data.seed: found 0, expected 3\); cache into a new folder"):
        build_stage("encoder-alignment", other)
    with pytest.raises(BadArgument, match=r"data.seed: found 0, expected 3\); remove it"):
        CacheJob("encoder-alignment", other, EXACT)
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = model / "encoder" / "model.safetensors"
    if not weights.is_file():
        weights = next(iter(sorted((model / "encoder").rglob("*.safetensors"))))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadArgument, match=r"weights.encoder: found [0-9a-f]+, expected [0-9a-f]+"):
        build_stage("encoder-alignment", config(model, folder, cache))
    with pytest.raises(MissingPart, match="found no cache in .*, expected index.json; run `anygen cache`"):
        build_stage("encoder-alignment", config(tiny_folder, folder, tmp_path / "none"))


def test_changed_data_are_named_and_touched_ones_are_not(tiny_folder: Path, tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", pictures=3, sounds=1)
    settings = config(tiny_folder, data, tmp_path / "cache")
    CacheJob("encoder-alignment", settings, EXACT).run()
    photo = next(iter(sorted(data.rglob("*.png"))))
    os.utime(photo, (1, 1))
    build_stage("encoder-alignment", settings)
    photo.write_bytes(photo.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CheckpointCorrupt, match=rf"changed after the cache was computed: .*{photo.name}"):
        build_stage("encoder-alignment", settings)


def touch_everything(stored: Stored) -> None:
    for split, count in stored.index.splits.items():
        stored.prompts(split, range(count))


def damage(path: Path, rng: np.random.Generator) -> str:
    kind = ("flip", "cut", "delete")[rng.integers(3)]
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
    elif kind == "cut":
        path.write_bytes(data[: rng.integers(len(data))])
    else:
        path.unlink()
    return kind


def test_every_damage_is_detected_and_mended(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    cache = shutil.copytree(caches / "decoder-alignment", tmp_path / "cache")
    files = [p for p in sorted(cache.rglob("*")) if p.is_file() and p.name not in (".lock", "plan.json")]
    for round_ in range(20):
        path = files[rng.integers(len(files))]
        before = path.read_bytes()
        kind = damage(path, rng)
        with pytest.raises((CheckpointCorrupt, MissingPart)):
            touch_everything(Stored(cache, indexing.read_index(cache)))
            pytest.fail(f"round {round_}: {kind} of {path.name} went unnoticed")
        path.write_bytes(before)
    touch_everything(Stored(cache, indexing.read_index(cache)))
    shard = next(iter(sorted((cache / "shards").glob("train-*"))))
    damage(shard, rng)
    job = CacheJob("decoder-alignment", config(tiny_folder, folder, cache), EXACT)
    assert job.estimate().finished == len(job.shards) - 1
    job.run()
    touch_everything(Stored(cache, indexing.read_index(cache)))


def test_a_killed_run_goes_on_and_keeps_what_was_finished(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    job = CacheJob("decoder-alignment", config(tiny_folder, folder, cache), EXACT)

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        job.run(kill)
    with pytest.raises(MissingPart, match="it is not finished"):
        build_stage("decoder-alignment", config(tiny_folder, folder, cache))
    (cache / "shards" / ".train-00009.safetensors.7.tmp").write_bytes(b"half")
    kept = {p: p.stat().st_mtime_ns for p in (cache / "shards").glob("*.safetensors")}
    assert len(kept) == 2
    again = CacheJob("decoder-alignment", config(tiny_folder, folder, cache), EXACT)
    assert again.estimate().finished == 2
    index = again.run()
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())
    whole = indexing.read_index(caches / "decoder-alignment")
    assert [s.sha256 for s in index.shards] == [s.sha256 for s in whole.shards]
    assert sorted(p.name for p in (cache / "shards").iterdir()) == sorted(s.file for s in whole.shards)


def write_run(path: Path, settings: dict[str, Any]) -> Path:
    trainer = {"steps": 1, "batch_size": 2, "learning_rate": 1e-3}
    path.write_text(
        json.dumps({"run_folder": str(path.parent / "run"), "trainer": trainer, "stage": settings})
    )
    return path


def test_the_command_tells_what_is_ahead_works_and_exports(
    tiny_folder: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run.yaml", config(tiny_folder, folder, tmp_path / "cache"))
    command = ["cache", "encoder-alignment", "--config", str(run), "--samples-per-shard", "4", "--quiet"]
    assert main([*command, "--dry-run"]) == 0
    assert "encoder-alignment: 10 samples in 3 shards; about " in capsys.readouterr().out
    assert not (tmp_path / "cache" / "index.json").exists()
    assert main([*command, "--export-webdataset", str(tmp_path / "tars")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{tmp_path / 'cache'}: 10 samples, ") and lines[2].endswith(": 3 tars")
    with tarfile.open(tmp_path / "tars" / "train-00000.tar") as tar:
        names = tar.getnames()
        assert names[:2] == ["train-0000000.json", "train-0000000.0.vector.npy"] and len(names) == 8
        member = tar.extractfile(names[1])
        assert member is not None
        vector = np.load(io.BytesIO(member.read()))
    assert vector.dtype == np.float16 and np.linalg.norm(vector.astype(float)) == pytest.approx(1, abs=1e-3)
    assert main(command) == 0
    assert "3 shards, 3 of them finished" in capsys.readouterr().out
    with pytest.raises(BadArgument, match="holds other files, expected a new or empty folder"):
        export_webdataset(tmp_path / "cache", tmp_path / "tars")


def test_jobs_that_make_no_sense_are_refused(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    settings = config(tiny_folder, folder, tmp_path / "cache")
    with pytest.raises(BadArgument, match="found stage binding, expected one with features"):
        CacheJob("binding", settings, EXACT)
    with pytest.raises(BadArgument, match="found no `cache` in the stage's configuration"):
        CacheJob("encoder-alignment", {k: v for k, v in settings.items() if k != "cache"}, EXACT)
    with pytest.raises(BadArgument, match="expected at least 1 of each"):
        CacheOptions(workers=0)
    with pytest.raises(BadArgument, match="found dtype 'int8', expected one of float16, float32"):
        CacheOptions(dtype="int8")
    (tmp_path / "cache").write_text("x")
    with pytest.raises(BadArgument, match="is a file, expected a folder for the cache"):
        CacheJob("encoder-alignment", settings, EXACT)
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / "plan.json").write_text("{}")
    with pytest.raises(BadArgument, match=r"plan.json is damaged\); remove it, or cache into a new folder"):
        CacheJob("encoder-alignment", settings | {"cache": str(spoilt)}, EXACT)
    with pytest.raises(BadArgument, match="holds other files and no cache"):
        CacheJob("encoder-alignment", settings | {"cache": str(folder)}, EXACT)


def test_values_that_a_type_cannot_hold_are_refused() -> None:
    place = Placed(modality=Modality.IMAGE, start=0, length=1, item=None)
    prompt = Prompt(input_ids=(1,), labels=(1,), slots=(place,))
    sample = Sample(prompt, media=(StoredMedium(torch.tensor([1e6])),))
    with pytest.raises(NonFinite, match=r"found 1e\+06 among vectors"):
        pack([sample], torch.float16)
    assert pack([sample], torch.float32)["vectors"].item() == 1e6


def test_an_index_of_another_version_is_refused(caches: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(caches / "encoder-alignment", tmp_path / "cache")
    content = indexing.unseal(cache / "index.json") | {"format_version": 9}
    (cache / "index.json").write_bytes(indexing.seal(content))
    with pytest.raises(CheckpointCorrupt, match=f"found format version 9, expected {indexing.FORMAT}"):
        indexing.read_index(cache)
    made_with = read_json(caches / "encoder-alignment" / "index.json")["content"]["made_with"]
    assert {"torch", "model", "revision", "anygen-multimodal"} <= made_with.keys()


@pytest.mark.slow
def test_two_processes_write_what_one_writes_and_survive_a_kill(
    tiny_folder: Path, folder: Path, caches: Path, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run.yaml", config(tiny_folder, folder, tmp_path / "cache"))
    command = [sys.executable, "-m", "anygen.app.cli", "cache", "decoder-alignment", "--config", str(run)]
    command += ["--samples-per-shard", "3", "--batch", "2", "--dtype", "float32", "--workers", "2"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    shards = tmp_path / "cache" / "shards"
    while first.poll() is None and not list(shards.glob("*.safetensors.json")):
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    index = indexing.read_index(tmp_path / "cache")
    whole = indexing.read_index(caches / "decoder-alignment")
    assert [s.sha256 for s in index.shards] == [s.sha256 for s in whole.shards]
