"""Every stage of the recipe at tiny width: it trains what it says, resumes to the bit, and feeds the next
one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_encoder
from torch import nn

from anygen.decoders.inflate import is_temporal
from anygen.decoders.registry import open_decoder
from anygen.encoders.imagebind import load_encoder, load_processor, save_encoder
from anygen.errors import BadArgument, CheckpointCorrupt
from anygen.modality import GENERATED, Modality
from anygen.stages.base import Stage, set_trainable
from anygen.stages.caching.work import CacheJob, CacheOptions
from anygen.stages.caption_start import pooled, ridge
from anygen.stages.features import FeatureConfig, MediaFeatures
from anygen.stages.replay import ReplayAnswer, replay_prompt, write_answers
from anygen.stages.run import build_stage
from anygen.stages.trainer import Trainer, TrainerConfig
from anygen.toybox.read_text import read_text

TRAINER = TrainerConfig(steps=3, batch_size=4, learning_rate=1e-3, warmup_steps=1, save_every=2, log_every=1)


def frozen_hashes(stage: Stage, trainable: set[str]) -> dict[str, str]:
    return {
        f"{name}.{key}": hashlib.sha256(p.detach().contiguous().numpy().tobytes()).hexdigest()
        for name, module in stage.modules().items()
        for key, p in module.named_parameters()
        if f"{name}.{key}" not in trainable
    }


def run_stage(name: str, config: dict[str, Any], folder: Path, **replaced: Any) -> Path:
    """Train three steps whole, and two plus one; both must end at the same weights; frozen parts must not
    move."""
    results = []
    for half in (None, 2):
        stage = build_stage(name, config)
        for key, value in replaced.items():
            setattr(stage, key, value)
        run_folder = folder / f"{name}-{half}"
        trainer = Trainer(stage, TRAINER, run_folder, progress=False)
        before = frozen_hashes(stage, set(trainer.trainable))
        trainer.run(until=half)
        if half:
            stage = build_stage(name, config)
            trainer = Trainer(stage, TRAINER, run_folder, progress=False)
            trainer.run(resume=True)
        assert frozen_hashes(stage, set(trainer.trainable)) == before
        assert all(torch.isfinite(p).all() for p in trainer.trainable.values())
        results.append({k: p.detach().clone() for k, p in trainer.trainable.items()})
    whole, resumed = results
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole), "a resumed run differs from the whole one"
    return folder / f"{name}-2" / "result"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of the stages that need no other, each at tiny width."""
    root = tmp_path_factory.mktemp("parts")
    text = {"width": 16, "layers": 1, "vocab_size": 300, "corpus_size": 50, "length": 8}
    return {
        "picture": run_stage(
            "autoencoder",
            {"kind": "picture", "block_out_channels": [8, 8, 8], "latent_channels": 2},
            root / "picture",
        ),
        "spectrogram": run_stage(
            "autoencoder",
            {"kind": "spectrogram", "block_out_channels": [8, 8, 8, 8], "latent_channels": 2},
            root / "spectrogram",
        ),
        "clip": run_stage("text-encoder", {"kind": "clip", "modality": "video", **text}, root / "clip"),
        "clap": run_stage("text-encoder", {"kind": "clap", "modality": "audio", **text}, root / "clap"),
        "llm": run_stage(
            "language-model",
            {"width": 16, "layers": 1, "heads": 2, "intermediate": 16, "vocab_size": 300, "corpus_size": 50},
            root / "llm",
        ),
    }


def diffusion(parts: dict[str, Path], modality: Modality, root: Path, **more: Any) -> dict[str, Any]:
    sound = modality is Modality.AUDIO
    return {
        "modality": str(modality),
        "autoencoder": str(parts["spectrogram" if sound else "picture"]),
        "text_encoder": str(parts["clap" if sound else "clip"]),
        "block_out_channels": [32, 32],
        "bank_size": 6,
        "bank": str(root / f"{modality}-bank.safetensors"),
        "num_inference_steps": 2,
        "evaluation_count": 2,
        **more,
    }


def test_decoders_train_and_open(parts: dict[str, Path], tmp_path: Path) -> None:
    vocoder = run_stage(
        "vocoder",
        {
            "upsample_initial_channel": 16,
            "segment_frames": 16,
            "autoencoder": str(parts["spectrogram"]),
            "refine_steps": 2,
            "evaluation_count": 4,
        },
        tmp_path,
    )
    image = run_stage("diffusion", diffusion(parts, Modality.IMAGE, tmp_path), tmp_path / "image")
    films = diffusion(parts, Modality.VIDEO, tmp_path, coordinates=1, num_frames=4)
    frames = run_stage(
        "diffusion", {**films, "image_unet": str(image / "unet"), "lone_frames": True}, tmp_path / "frames"
    )
    video = run_stage(
        "diffusion", {**films, "start": str(frames / "unet"), "shared_noise": 0.5}, tmp_path / "video"
    )
    sounds = diffusion(parts, Modality.AUDIO, tmp_path, vocoder=str(vocoder))
    audio = run_stage("diffusion", {**sounds, "coordinates": 2}, tmp_path / "audio")
    for modality, folder in zip(GENERATED, (image, audio, video), strict=True):
        decoder = open_decoder(modality, folder)
        made = decoder(decoder.encode_text(["a small red star"]), seeds=[0], num_inference_steps=1)
        assert len(made) == 1


def test_a_frame_is_trained_at_the_time_it_has_in_its_film(parts: dict[str, Path], tmp_path: Path) -> None:
    config = diffusion(parts, Modality.VIDEO, tmp_path, coordinates=1, num_frames=4, lone_frames=True)
    stage = build_stage("diffusion", config)
    batch = stage.batch(np.array([0, 1, 2, 3]))
    for row, place in enumerate(batch["places"]):
        frame = int(((place + 1) / 2 * 3).round())
        assert torch.equal(batch["latents"][row], stage.latents[row, :, frame].float())
    with pytest.raises(BadArgument, match="without coordinates"):
        build_stage("diffusion", {**config, "coordinates": 0})
    with pytest.raises(BadArgument, match="only video has them"):
        build_stage("diffusion", {**config, "modality": "image"})


def test_spatial_layers_go_on_alone_and_come_back(parts: dict[str, Path], tmp_path: Path) -> None:
    films = diffusion(parts, Modality.VIDEO, tmp_path, coordinates=1, num_frames=4, apart=1.0)
    film = run_stage("diffusion", films, tmp_path / "film")
    alone = {**films, "start": str(film / "unet"), "lone_frames": True}
    begun = build_stage("diffusion", alone).unet.state_dict()
    before = build_stage("diffusion", {**films, "start": str(film / "unet")}).unet.state_dict()
    assert all(torch.equal(value.flatten(), before[name].flatten()) for name, value in begun.items())
    frames = run_stage("diffusion", alone, tmp_path / "frames")
    both = {**films, "start": str(film / "unet"), "image_unet": str(frames / "unet")}
    after = build_stage("diffusion", both).unet.state_dict()
    trained = build_stage("diffusion", {**alone, "start": str(frames / "unet")}).unet.state_dict()
    assert any(not torch.equal(value, begun[name]) for name, value in trained.items())
    for name, value in after.items():
        expected = before[name] if is_temporal(name) else trained[name]
        assert torch.equal(value.flatten(), expected.flatten())


def test_captions_leave_out_shape_or_color(parts: dict[str, Path], tmp_path: Path) -> None:
    stage = build_stage("diffusion", diffusion(parts, Modality.IMAGE, tmp_path, apart=1.0, unconditional=0.0))
    scenes = np.arange(len(stage.scenes))
    captions = [text for _ in range(16) for text in stage.batch(scenes)["captions"]]
    named = [{k: v for k, v in read_text(text).items() if v is not None} for text in captions]
    assert all(len(a) == 1 or not {"shape", "color"} <= a.keys() for a in named)
    assert any("shape" in a for a in named) and any("color" in a for a in named)


def test_a_language_model_stage_trains_the_whole_model(parts: dict[str, Path]) -> None:
    assert (parts["llm"] / "model.safetensors").exists()
    assert (parts["llm"] / "tokenizer.json").exists()


def test_modules_are_all_named() -> None:
    stage = build_stage(
        "autoencoder", {"kind": "picture", "block_out_channels": [8, 8], "latent_channels": 2}
    )
    assert all(isinstance(m, nn.Module) for m in stage.modules().values())


@pytest.fixture(scope="module")
def system(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Configuration of the frozen parts of the three alignment runs."""
    root = tmp_path_factory.mktemp("system")
    model, tokenizer = tiny_encoder()
    save_encoder(root / "encoder", model, tokenizer)
    return {
        "llm": str(parts["llm"]),
        "encoder": str(root / "encoder"),
        "features": str(root / "features"),
        "text_encoders": {
            m: str(parts["clap" if m == "audio" else "clip"]) for m in ("image", "video", "audio")
        },
        "num_slot_tokens": 2,
        "signal_tokens": {"image": 2, "audio": 2, "video": 3},
        "projection": {"inner_dim": 16, "layers": 1, "heads": 2, "ffn_dim": 16},
        "feature_set": {"renders": 2},
    }


def names(stage: Stage) -> set[str]:
    return set(set_trainable(stage.modules(), stage.trainable_parameters()))


def test_the_three_alignment_runs_train_exactly_what_they_say_and_feed_one_another(
    parts: dict[str, Path], system: dict[str, Any], tmp_path: Path
) -> None:
    first = run_stage("encoder-alignment", {"system": system}, tmp_path)
    stage = build_stage("encoder-alignment", {"system": system})
    assert names(stage) == {"model.input_projection.linear.weight", "model.input_projection.linear.bias"}

    image = run_stage("diffusion", diffusion(parts, Modality.IMAGE, tmp_path), tmp_path / "image")
    bank = {"decoder": str(image), "bank": str(tmp_path / "image-bank.safetensors"), "bank_size": 6}
    config = {"system": {**system, "start": str(first)}, "denoising": {"image": bank}}
    second = run_stage("decoder-alignment", config, tmp_path)
    trained = names(build_stage("decoder-alignment", config))
    assert {n.split(".")[1] for n in trained} == {"llm", "output_projections"}
    assert {n for n in trained if ".llm." in n} == {
        "model.llm.model.embed_tokens.rows",
        "model.llm.lm_head.rows",
    }

    config = {"system": {**system, "start": str(second)}, "rank": 2, "alpha": 2, "hidden": 0.3}
    third = run_stage("instruction-tuning", config, tmp_path)
    trained = names(build_stage("instruction-tuning", config))
    assert {n.split(".")[1] for n in trained} == {"llm", "output_projections", "input_projection"}
    assert all(".lora_" in n or n.endswith(".rows") for n in trained if ".llm." in n)
    assert (third / "adapter" / "adapter_model.safetensors").exists()

    again = {**system, "start": str(third), "averaged_with": [str(third)], "fresh_outputs": True}
    last = build_stage("instruction-tuning", {"system": again, "trains": ["output_projections"]})
    assert {n.split(".")[1] for n in names(last)} == {"output_projections"}
    kept = load_file(third / "input_projection.safetensors")["linear.weight"]
    assert torch.equal(last.modules()["model"].input_projection.linear.weight, kept)
    replaced = load_file(third / "output_projections" / "image.safetensors")["query_embs"]
    fresh = last.modules()["model"].output_projections["image"].query_embs
    assert not torch.equal(fresh, replaced), "fresh output projections are the old ones"


def test_features_of_another_encoder_are_refused(system: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    encoder = load_encoder(Path(system["encoder"]))
    processor = load_processor(Path(system["encoder"]))
    config = FeatureConfig(renders=2)
    made = MediaFeatures.load_or_compute(path, encoder, processor, config)
    again = MediaFeatures.load_or_compute(path, encoder, processor, config)
    assert all(torch.equal(made.vectors[m], again.vectors[m]) for m in made.vectors)
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    with pytest.raises(CheckpointCorrupt, match="another encoder"):
        MediaFeatures.load_or_compute(path, encoder, processor, config)


@pytest.mark.parametrize(
    ("name", "few"),
    [
        ("encoder-alignment", {"evaluated": 2}),
        ("decoder-alignment", {}),
        ("decoder-alignment", {"told": 0.0}),
    ],
    ids=["encoder-alignment", "told", "shown"],
)
def test_cached_toybox_dialogues_train_as_live_ones_do(
    name: str, few: dict[str, Any], system: dict[str, Any], tmp_path: Path
) -> None:
    live: Any = build_stage(name, {"system": system, **few})
    settings = {"system": system, "cache": str(tmp_path / "cache"), **few}
    options = CacheOptions(samples=12, shard=5, batch=4, dtype="float32")
    index = CacheJob(name, settings, options).run()
    assert index.splits["train"] == 12 and any(split.startswith("held_out") for split in index.splits)
    stored: Any = build_stage(name, settings)
    assert stored.dataset_size == 12
    for stage in (live, stored):
        set_trainable(stage.modules(), stage.trainable_parameters())
    groups = stored.batch(np.arange(12))
    losses, _ = stored.training_forward(groups)
    if name == "encoder-alignment":  # the same groups: live, each look at a scene draws another render
        expected, _ = live.training_forward(groups)
        assert torch.equal(losses["loss"], expected["loss"])
    else:
        whole = live.system.grouped(live.training_prompts(range(12)), np.random.default_rng(0), parts=1)
        assert ("told" in few) == any(group.prompts.slots for group in whole)
        expected, _ = live.training_forward(whole)
        for key in losses.keys() - {"loss"}:
            assert losses[key].item() == pytest.approx(expected[key].item(), rel=1e-4), key
    scores = Trainer(stored, TRAINER, tmp_path / "run", progress=False).run()
    assert scores and all(np.isfinite(value) for value in scores.values())
    assert (tmp_path / "run" / "result" / "input_projection.safetensors").is_file()
    other = {**settings, "system": {**system, "seed": 1}}
    with pytest.raises(BadArgument, match=r"system.seed: found 0, expected 1\); cache into a new folder"):
        build_stage(name, other)


def test_the_projection_can_begin_at_the_words_of_captions(system: dict[str, Any]) -> None:
    stage: Any = build_stage("encoder-alignment", {"system": system, "begin": "captions", "describing": 1.0})
    parts = stage.system
    prompts = [p for p in stage.training_prompts(range(200)) if len(p.slots) == 1]
    vectors = torch.stack(
        parts.media.vectors([p.slots[0].item for p in prompts], np.random.default_rng(0), held_out=False)
    )
    embed = parts.model.llm.get_input_embeddings()
    with torch.no_grad():
        wanted = torch.stack([pooled(embed(torch.tensor(words(p, parts))), 2).flatten() for p in prompts])
        found = parts.model.input_projection(vectors).flatten(1)
        plain: Any = build_stage("encoder-alignment", {"system": system})
        before = plain.system.model.input_projection(vectors).flatten(1)
    error = (found - wanted).square().mean()
    assert error < (wanted - wanted.mean(0)).square().mean() < (before - wanted).square().mean()
    assert names(stage) == names(plain)


def words(prompt: Any, parts: Any) -> list[int]:
    return [i for i in prompt.labels if i >= 0 and i not in parts.tokens.control_ids]


def test_regression_is_that_of_the_normal_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 3, dtype=torch.float64, generator=generator)
    weight, bias = torch.randn(4, 3, dtype=torch.float64, generator=generator), torch.arange(4.0).double()
    found = ridge(inputs, inputs @ weight.T + bias, 1e-12)
    assert torch.allclose(found[0], weight) and torch.allclose(found[1], bias)
    assert ridge(inputs, inputs @ weight.T + bias, 10.0)[0].norm() < weight.norm() / 2
    pieces = pooled(torch.arange(5.0)[:, None], 2).flatten()
    assert pieces.tolist() == [0.5, 3.0] and pooled(torch.arange(2.0)[:, None], 4).flatten().tolist() == [
        0,
        0,
        1,
        1,
    ]


def test_what_the_model_says_by_itself_is_trained_with_the_rest(
    system: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "replay.jsonl"
    write_answers(
        file, [ReplayAnswer(("Hello there", "Good day"), True), ReplayAnswer(("Why", "Because of"), False)]
    )
    config = {
        "system": {**system, "share_prefix": True, "half_products": True}, "rank": 2, "alpha": 2,
        "target_modules": ["q_proj", "v_proj"], "begin": "captions", "without": ["chat", "outside"],
        "replay": str(file), "replayed": 0.5, "evaluated": 1,
    }  # fmt: skip
    stage: Any = build_stage("instruction-tuning", config)
    lora = {n.split(".lora_")[0].split(".")[-1] for n in names(stage) if ".lora_" in n}
    assert lora == {"q_proj", "v_proj"}
    decode, builder = stage.system.tokenizer.decode, stage.system.builder
    said = [decode(prompt.input_ids) for prompt in map(stage._prompt, range(60))]
    replayed = [text for text in said if "Good day" in text or "Because of" in text]
    assert 15 < len(replayed) < 45 and len(set(replayed)) == 2
    assert {t.endswith(stage.system.tokenizer.eos_token) for t in replayed if "Because" in t} == {False}
    rng = np.random.default_rng(0)
    drawn = {stage._dialogue(rng).direction for _ in range(300)}
    assert drawn.isdisjoint({"chat", "outside"}) and len(drawn) > 20
    whole = replay_prompt(builder, ReplayAnswer(("Hello there", "Good day"), True))
    learned = [i for i, label in zip(whole.input_ids, whole.labels, strict=True) if label >= 0]
    assert decode(learned).strip() == f"Good day{stage.system.tokenizer.eos_token}"
    # beginning at captions is nearer to what is said of media than beginning at random
    plain: Any = build_stage("instruction-tuning", {**config, "begin": "as-given"})
    weights = [s.modules()["model"].input_projection.linear.weight for s in (stage, plain)]
    assert not torch.equal(*weights)
    run_stage("instruction-tuning", config, tmp_path)
    with pytest.raises(BadArgument, match="found direction 'small-talk', expected one of text-to-image"):
        build_stage("instruction-tuning", {**config, "without": ["small-talk"]})
