"""The three stages on own data, at tiny width: they train what they say, resume to the bit, write models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_towers as tiny
import torch
from strangers_folder import make_folder

from anygen.checkpoints import manifest
from anygen.checkpoints.folder import load_model
from anygen.config import read_json
from anygen.errors import BadArgument, BadMedia, LimitExceeded, MissingPart
from anygen.media import Video, save_media
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.run import build_stage
from anygen.stages.trainer import Trainer, TrainerConfig

TRAINER = TrainerConfig(steps=2, batch_size=4, learning_rate=1e-2, warmup_steps=1, save_every=1, log_every=1)
STAGES = {
    "encoder-alignment": {"input_projection"},
    "decoder-alignment": {"output_projections", "llm"},
    "instruction-tuning": {"input_projection", "output_projections", "llm"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("own") / "data", pictures=8, sounds=6)


def config(model: Path, data: Path, **more: Any) -> dict[str, Any]:
    own = {"sources": [{"path": str(data / "captions.jsonl")}], "held_out": 0.4}
    return {"model": str(model), "data": own, **more}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_resumes_and_writes_a_model_folder(
    name: str, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    settings = config(tiny_folder, folder)
    whole = Trainer(build_stage(name, settings), TRAINER, tmp_path / "whole", progress=False)
    scores = whole.run()
    assert {n.split(".")[1] for n in whole.trainable} == STAGES[name]
    Trainer(build_stage(name, settings), TRAINER, tmp_path / "half", progress=False).run(until=1)
    half = Trainer(build_stage(name, settings), TRAINER, tmp_path / "half", progress=False)
    assert half.run(resume=True) == scores
    assert all(torch.equal(whole.trainable[n], half.trainable[n]) for n in whole.trainable)
    expected = {
        "encoder-alignment": {"held_out/caption_loss", "held_out/shuffled_loss", "held_out/better"},
        "decoder-alignment": {"held_out/distance/image", "held_out/shuffled_distance/audio"},
        "instruction-tuning": {"held_out/caption_loss"},
    }
    assert expected[name] <= scores.keys()

    result = tmp_path / "whole" / "result"
    manifest.verify(result, [path.name for path in result.iterdir() if path.name != "manifest.json"])
    again = load_model(result, modalities=[])
    trained = dict(whole.stage.modules()["model"].named_parameters())
    for key, value in again.model.named_parameters():
        assert torch.equal(value, trained[key].detach()), key
    assert again.config.name == "tiny-random-tuned"
    told = {n.split("/")[0] for n, part in again.config.parts().items() if name in part.source}
    assert told == {{"llm": "adapter"}.get(n, n) for n in STAGES[name]}
    frozen = [
        p
        for p in tiny_folder.rglob("*.safetensors")
        if p.parts[len(tiny_folder.parts)] in ("llm", "encoder", "decoders")
    ]
    assert len(frozen) > 8
    for path in frozen:
        assert (result / path.relative_to(tiny_folder)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["encoder-alignment", "instruction-tuning"])
def test_a_grouping_of_patch_tokens_trains_like_any_projection(
    name: str, tiny_folder: Path, folder: Path, tmp_path: Path
) -> None:
    model = tiny.with_encoder(tiny_folder, tmp_path / "model", "imagebind", grouping=True)
    settings = config(model, folder) | ({"blurred": 0.1} if name == "instruction-tuning" else {})
    stage: Any = build_stage(name, settings)
    (group, *_) = stage.batch(torch.arange(4).numpy())
    assert {tokens.ndim for tokens in group.vectors} == {2}
    assert len({len(tokens) for g in stage.batch(torch.arange(8).numpy()) for tokens in g.vectors}) > 1
    before = {n: p.detach().clone() for n, p in stage.system.model.input_projection.named_parameters()}
    scores = Trainer(stage, TRAINER, tmp_path / "run", progress=False).run()
    assert {"held_out/caption_loss", "held_out/shuffled_loss"} <= scores.keys()
    after = dict(stage.system.model.input_projection.named_parameters())
    assert all(not torch.equal(before[n], after[n]) for n in before)
    again = load_model(tmp_path / "run" / "result", modalities=[])
    assert again.model.takes_tokens
    assert all(torch.equal(p, after[n]) for n, p in again.model.input_projection.named_parameters())


def test_features_beyond_the_bytes_are_forgotten(tiny_folder: Path, folder: Path) -> None:
    stage: Any = build_stage("encoder-alignment", config(tiny_folder, folder))
    size, media = stage.dataset_size, stage.system.media
    media._most_bytes = 0
    first = stage.batch(torch.arange(size).numpy())
    second = stage.batch(torch.arange(size).numpy())
    assert media.computed == 2 * size and media._bytes == 0
    assert all(torch.equal(a.vectors, b.vectors) for a, b in zip(first, second, strict=True))


def test_features_are_computed_once_and_forgotten_last_used_first(tiny_folder: Path, folder: Path) -> None:
    stage: Any = build_stage("encoder-alignment", config(tiny_folder, folder))
    size = stage.dataset_size
    first = stage.batch(torch.arange(size).numpy())
    media = stage.system.media
    assert media.computed == size
    second = stage.batch(torch.arange(size).numpy())
    assert media.computed == size
    assert all(torch.equal(a.vectors, b.vectors) for a, b in zip(first, second, strict=True))
    settings = config(tiny_folder, folder)
    settings["data"]["cached_items"] = 1
    stage = build_stage("encoder-alignment", settings)
    assert torch.equal(stage.batch(torch.arange(size).numpy())[0].vectors, first[0].vectors)
    stage.batch(torch.arange(size).numpy())
    assert stage.system.media.computed > size


def test_conversations_of_all_kinds_train(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    photo, recording = str(folder / "photos/0000.png"), str(folder / "recordings/0000.wav")
    shown = [
        {"type": "text", "text": "Here:"},
        {"type": "image", "path": photo, "caption": "a blue square"},
        {"type": "text", "text": "and"},
        {"type": "audio", "caption": "a star"},
        {"type": "video", "caption": "a red star moving"},
    ]
    asked = [{"type": "image", "image": photo}, {"type": "audio", "audio": recording}]
    messages = [
        {"role": "user", "content": [*asked, {"type": "text", "text": "Mix these."}]},
        {"role": "assistant", "content": shown},
        {"role": "user", "content": "What was it?"},
        {"role": "assistant", "content": "A square."},
    ]
    rows = [{"messages": messages}] * 3 + [{"prompt": "Draw.", "output_image": photo, "text": "a square"}]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"model": str(tiny_folder), "data": {"sources": [{"path": str(path)}], "held_out": 0.0}}
    for name in STAGES:
        stage: Any = build_stage(name, settings)
        set_trainable(stage.modules(), stage.trainable_parameters())
        groups = stage.batch(torch.arange(4).numpy())
        losses, _ = stage.training_forward(groups)
        assert torch.isfinite(losses["loss"])
        assert stage.evaluate() == {}
        signals = [s for g in groups for s in g.prompts.signals]
        assert len(signals) == (0 if name == "encoder-alignment" else 10)
        if name == "encoder-alignment":  # what goes out is described where nothing comes in
            assert sum(len(g.prompts.slots) for g in groups) == 7


def test_the_denoising_loss_is_taken_on_the_data_s_own_media(tiny_folder: Path, folder: Path) -> None:
    settings = config(tiny_folder, folder, denoise=["image", "audio"])
    stage: Any = build_stage("decoder-alignment", settings)
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    assert not any("unet" in name for name in named) and "image_unet" in stage.modules()
    losses, _ = stage.training_forward(stage.batch(torch.arange(stage.dataset_size).numpy()))
    losses["loss"].backward()
    assert {"denoising/image", "denoising/audio"} <= losses.keys()
    without = losses["signal"] + sum(v for k, v in losses.items() if k.startswith("distance/"))
    assert losses["loss"] > without
    assert all(torch.isfinite(p.grad).all() for n, p in named.items() if p.grad is not None)
    with pytest.raises(BadArgument, match="found `denoise` without `model`"):
        build_stage("decoder-alignment", {"denoise": ["image"]})


def test_films_become_latents(tiny_folder: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 24, 32, 3), np.uint8)
    save_media(Video(frames, 4.0), tmp_path / "v.mp4")
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"video": "v.mp4", "text": "a red star"}))
    settings = {"model": str(tiny_folder), "data": {"sources": [{"path": str(path)}], "held_out": 0.0}}
    stage: Any = build_stage("decoder-alignment", settings | {"denoise": ["video"]})
    losses, _ = stage.training_forward(stage.batch(torch.arange(1).numpy()))
    assert torch.isfinite(losses["denoising/video"])


def test_bad_media_and_long_conversations_are_told_by_their_place(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    path = tmp_path / "x.jsonl"
    settings = {"model": str(tiny_folder), "data": {"sources": [{"path": str(path)}]}}
    path.write_text(json.dumps({"image": "no.png", "text": "x"}))
    stage = build_stage("encoder-alignment", settings)
    with pytest.raises(BadMedia, match=r"x.jsonl:1: 'no.png'"):
        stage.batch(torch.arange(1).numpy())
    path.write_text(json.dumps({"image": "no.png", "text": "many words " * 200}))
    stage = build_stage("encoder-alignment", settings)
    with pytest.raises(LimitExceeded, match=r"x.jsonl:1: the conversation takes \d+ tokens"):
        stage.batch(torch.arange(1).numpy())


def test_model_parts_and_data_must_fit(tiny_folder: Path, folder: Path) -> None:
    with pytest.raises(BadArgument, match="found neither of `system` and `model`"):
        build_stage("encoder-alignment", {})
    system = {"llm": "x", "encoder": "x", "text_encoders": {}}
    with pytest.raises(BadArgument, match="found both of `system` and `model`"):
        build_stage("decoder-alignment", {"system": system, **config(tiny_folder, folder)})
    with pytest.raises(BadArgument, match="found `model` without `data`"):
        build_stage("instruction-tuning", {"model": str(tiny_folder)})
    with pytest.raises(BadArgument, match="`pth` is not a field here; did you mean `path`"):
        build_stage("encoder-alignment", {"model": "x", "data": {"sources": [{"pth": "x"}]}})


def test_a_model_without_an_encoder_is_refused(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("encoder", "decoders", "manifest.json")
    bare = shutil.copytree(tiny_folder, tmp_path / "bare", ignore=ignored)
    manifest.write(bare)
    with pytest.raises(MissingPart, match="has no encoder, expected one"):
        build_stage("encoder-alignment", config(bare, folder))


def test_parts_one_by_one_take_own_data_too(tiny_folder: Path, folder: Path, tmp_path: Path) -> None:
    llm = tmp_path / "llm"
    shutil.copytree(tiny_folder / "llm", llm)
    for path in (tiny_folder / "tokenizer").iterdir():
        shutil.copy(path, llm / path.name)
    system = {
        "llm": str(llm),
        "encoder": str(tiny_folder / "encoder"),
        "text_encoders": {m: str(tiny_folder / "decoders" / m) for m in ("image", "video", "audio")},
        "num_slot_tokens": 2,
        "signal_tokens": {"image": 2, "audio": 2, "video": 3},
        "projection": {"inner_dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16},
    }
    with pytest.raises(BadArgument, match="found no `features`"):
        build_stage("encoder-alignment", {"system": system})
    own = {"sources": [{"path": str(folder / "captions.jsonl")}]}
    stage: Any = build_stage("decoder-alignment", {"system": system, "data": own})
    trainer = Trainer(stage, TRAINER, tmp_path / "run", progress=False)
    trainer.run()
    assert (tmp_path / "run/result/output_projections/image.safetensors").exists()
    assert not (tmp_path / "run/result/config.json").exists()
    assert stage.system.targets(Modality.AUDIO, ["a star"]).shape[:2] == (1, 1)
    assert read_json(tmp_path / "run" / "summary.json")["steps"] == 2
