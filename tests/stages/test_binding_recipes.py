"""Binding by other recipes: anchors, locked and low-rank towers, temperatures, negatives of all processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anygen.config import from_json
from anygen.encoders.imagebind import ImageBindConfig, TextTokenizer, load_encoder, save_encoder
from anygen.encoders.imagebind.config import imagebind_tiny
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.binding import BindingConfig, BindingStage
from anygen.stages.binding_config import TowerSizes
from anygen.stages.binding_data import caption_of, scene_of
from anygen.stages.binding_towers import resize
from anygen.stages.run import read_config
from anygen.toybox.scene import is_held_out, sample_scene

TEXT, IMAGE, VIDEO, AUDIO, DEPTH, IMU = (
    Modality(name) for name in ("text", "image", "video", "audio", "depth", "imu")
)
RECIPES = Path(__file__).resolve().parents[2] / "stages" / "recipes"
LANGUAGE: dict[str, Any] = {
    "pairs": ((TEXT, DEPTH), (TEXT, IMU)),
    "keep": (IMAGE,),
    "shares": {},
    "temperature": "learned",
    "label_weight": 0.0,
    "evaluation_size": 8,
    "store_half": False,
}


def small_encoder() -> tuple[ImageBindConfig, TextTokenizer]:
    tokenizer = train_tokenizer(["a small red star on a black background"], vocab_size=280)
    sizes = TowerSizes(width=8, num_blocks=1, image_size=16, embed_dim=8)
    config = resize(imagebind_tiny(**special_ids(tokenizer)), sizes)
    towers: dict[str, Any] = {name: replace(tower, num_heads=2) for name, tower in config.towers.items()}
    config = replace(config, **towers)
    assert config.text is not None
    return config, TextTokenizer(tokenizer, config.text)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start") / "encoder"
    stage = BindingStage(BindingConfig(store_half=False), *small_encoder())
    save_encoder(folder, stage.model, stage.tokenizer)
    return str(folder)


def language(start: str, **changes: Any) -> BindingStage:
    settings = {**LANGUAGE, "start": start, "towers": {"text": "locked", "vision": "locked"}, **changes}
    return BindingStage(BindingConfig(**settings))


def step(stage: BindingStage, indices: np.ndarray) -> dict[str, torch.Tensor]:
    losses, _ = stage.training_forward(stage.batch(indices))
    losses["loss"].backward()
    return losses


def test_captions_name_what_the_medium_shows() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        scene = sample_scene(rng)
        for modality in (DEPTH, IMU, AUDIO, Modality.THERMAL, VIDEO):
            text, named = caption_of(scene, modality, rng)
            shown = scene.revealed(modality)
            assert text and named.items() <= shown.items() and len(named) >= min(2, len(shown))


def test_text_anchors_stand_beside_their_media(start: str) -> None:
    stage = language(start, shares={IMU: 0.5})
    batch = stage.batch(np.arange(8))
    assert {m: len(codes) for m, (_, codes) in batch.items()} == {DEPTH: 8, IMU: 4, TEXT: 12}
    texts = batch[TEXT][1]
    for rows, other in ((texts[:8], DEPTH), (texts[8:], IMU)):
        named = rows >= 0
        assert torch.equal(rows[named], batch[other][1][named]) and named.any(dim=1).all()


def test_locked_towers_stay_and_all_others_train(start: str) -> None:
    stage = language(start)
    before = {n: p.clone() for n, p in stage.model.state_dict().items()}
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    assert {n.split(".")[2] for n in named if n.startswith("encoder.")} == {"depth", "imu"}
    assert {n for n in named if n.startswith("scales")} == {
        f"scales.{pair}.log_logit_scale" for pair in ("text-depth", "text-imu")
    }
    optimizer = torch.optim.AdamW(stage.trainable_parameters(), lr=1e-2)
    first = float(step(stage, np.arange(8))["loss"].detach())
    assert all(p.grad is not None for p in named.values())
    for _ in range(15):
        optimizer.step()
        optimizer.zero_grad()
        last = float(step(stage, np.arange(8))["loss"].detach())
    assert last < first
    for name, value in stage.model.state_dict().items():
        if name.split(".")[1] in ("text", "vision"):
            assert torch.equal(value, before[name]), name
    assert not stage.model.modality_trunks["text"].training


def test_learned_temperatures_stop_at_a_hundred(start: str) -> None:
    stage = language(start)
    vectors = F.normalize(torch.randn(3, 8), dim=1)
    assert torch.allclose(stage._scaled((TEXT, DEPTH), vectors), vectors / 0.07)
    torch.nn.init.constant_(stage.scales["text-depth"].log_logit_scale, 9.0)
    assert torch.allclose(stage._scaled((TEXT, DEPTH), vectors), 100 * vectors)


def test_low_rank_towers_begin_as_the_vision_tower_and_save_as_plain_ones(start: str, tmp_path: Path) -> None:
    towers = {"text": "locked", "vision": "locked", "depth": "lora", "imu": "lora"}
    plain = language(start, trunk_from={"depth": "vision"})
    stage = language(start, towers=towers, trunk_from={"depth": "vision"}, lora_rank=2)
    inputs = stage.batch(np.arange(4))[DEPTH][0]
    with torch.no_grad():
        assert torch.equal(stage.model.encode(DEPTH, inputs), plain.model.encode(DEPTH, inputs))
    vision = stage.model.modality_trunks["vision"].state_dict()
    depth = plain.model.modality_trunks["depth"].state_dict()
    assert torch.equal(vision["blocks.0.mlp.fc1.weight"], depth["blocks.0.mlp.fc1.weight"])
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    inside = {n.split("modality_trunks.depth.")[1] for n in named if "modality_trunks.depth." in n}
    assert inside == {
        "blocks.0.attn.lora_A.default.weight",
        "blocks.0.attn.lora_B.default.weight",
        "blocks.0.attn.base_layer.out_proj.lora_A.default.weight",
        "blocks.0.attn.base_layer.out_proj.lora_B.default.weight",
        "blocks.0.attn.base_layer.bias_k",
        "blocks.0.attn.base_layer.bias_v",
    }
    assert any("modality_preprocessors.depth" in n for n in named)
    optimizer = torch.optim.AdamW(stage.trainable_parameters(), lr=1e-2)
    for _ in range(2):
        step(stage, np.arange(4))
        optimizer.step()
    stage.save(tmp_path)
    saved = load_encoder(tmp_path / "encoder", [DEPTH, IMU, IMAGE])
    with torch.no_grad():
        expected = stage.model.encode(DEPTH, inputs)
        assert torch.allclose(saved.encode(DEPTH, inputs), expected, atol=1e-5)
        assert not torch.allclose(plain.model.encode(DEPTH, inputs), expected, atol=1e-3)


def test_fresh_towers_do_not_come_from_the_start(start: str) -> None:
    kept, fresh = language(start), language(start, fresh=("depth",), seed=3)
    for tower, same in (("depth", False), ("imu", True), ("vision", True)):
        name = f"modality_trunks.{tower}.blocks.0.mlp.fc1.weight"
        assert torch.equal(kept.model.state_dict()[name], fresh.model.state_dict()[name]) is same


def test_what_does_not_fit_is_named(start: str) -> None:
    with pytest.raises(BadArgument, match="Found both towers of text-depth locked"):
        language(start, towers={"text": "locked", "depth": "locked"})
    with pytest.raises(BadArgument, match="dept"):
        language(start, towers={"dept": "locked"})
    with pytest.raises(BadArgument, match="Found the pair audio, text; expected an anchor"):
        BindingConfig(pairs=((AUDIO, TEXT),))
    with pytest.raises(BadArgument, match="Found image in several roles among the pairs"):
        BindingConfig(pairs=((TEXT, IMAGE), (IMAGE, DEPTH)))
    with pytest.raises(BadArgument, match="Found lora_rank=0"):
        BindingConfig(lora_rank=0)
    with pytest.raises(BadArgument, match="Found towers imu and vision of different sizes"):
        config, tokenizer = small_encoder()
        assert config.imu is not None
        wide = replace(config, imu=replace(config.imu, width=16))
        BindingStage(BindingConfig(trunk_from={"imu": "vision"}), wide, tokenizer)


def test_samples_of_their_own_index_do_not_depend_on_the_split(start: str) -> None:
    stage = language(start, per_sample=True, shares={IMU: 0.5})
    whole = stage.batch(np.arange(8))
    halves = [stage.batch(np.arange(8)[rank::2]) for rank in range(2)]
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(whole[DEPTH][0][order], torch.cat([half[DEPTH][0] for half in halves]))
    assert torch.equal(whole[IMU][0][[0, 2, 1, 3]], torch.cat([half[IMU][0] for half in halves]))
    assert len({s for i in range(64) if not is_held_out((s := scene_of(i, 0, 0)).attributes())}) > 30
    shared = [scene_of(i, 0, 0) for i in range(64)]
    groups = [shared[i : i + 8] for i in range(0, 64, 8)]
    assert any(len({s.color for s in g}) == 1 for g in groups) and len({s.shape for s in groups[0]}) > 1


@pytest.mark.parametrize("path", sorted((RECIPES / "binding").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_say_what_they_are_named_for(path: Path) -> None:
    config = from_json(BindingConfig, read_config(path).stage, where=path.name)
    anchors = {a for a, _ in config.pairs}
    expected = {
        "start": {TEXT},
        "language-anchored": {TEXT},
        "language-lora": {TEXT},
        "image-anchored": {IMAGE, VIDEO},
        "locked-image": {IMAGE, VIDEO},
    }
    assert anchors == expected[path.stem]
    assert (config.towers.get("text") == "locked") == (path.stem not in ("start", "locked-image"))
    assert ("lora" in config.towers.values()) == (path.stem == "language-lora")


def test_text_is_tuned_to_a_locked_image_tower(start: str) -> None:
    stage = BindingStage(
        BindingConfig(start=start, fresh=("text",), pairs=((IMAGE, TEXT),), towers={"vision": "locked"},
                      label_weight=0.0, evaluation_size=8)
    )  # fmt: skip
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    step(stage, np.arange(4))
    assert {n.split(".")[2] for n in named} == {"text"}
    assert all(p.grad is not None for p in named.values())
    assert "encoder.modality_postprocessors.text.1.log_logit_scale" in named


WORKER = """
import json, sys
import numpy as np, torch, torch.distributed as dist
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.binding import BindingConfig, BindingStage
rank, world, store, settings, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
T, D, I = Modality.TEXT, Modality.DEPTH, Modality.IMU
stage = BindingStage(BindingConfig(pairs=((T, D), (T, I)), keep=(Modality.IMAGE,), shares={I: 0.5},
    temperature="learned", label_weight=0.0, per_sample=True, store_half=False,
    towers={"text": "locked", "vision": "locked"}, start=settings))
named = set_trainable(stage.modules(), stage.trainable_parameters())
optimizer = torch.optim.SGD(stage.trainable_parameters(), lr=0.3)
history = []
for number in range(4):
    indices = np.arange(number * 8, number * 8 + 8)[rank::world]
    losses, report = stage.training_forward(stage.batch(indices))
    losses["loss"].backward()
    for p in named.values():
        if world > 1:  # what DDP does
            dist.all_reduce(p.grad)
            p.grad /= world
    history.append(float(losses["loss"].detach()))
    optimizer.step()
    optimizer.zero_grad()
if rank == 0:
    weights = {n: p.detach().double().sum().item() for n, p in named.items()}
    open(out, "w").write(json.dumps({"losses": history, "weights": weights, "report": report}))
if world > 1:
    dist.destroy_process_group()
"""


def test_two_processes_bind_as_one_does(start: str, tmp_path: Path) -> None:
    def launch(world: int) -> dict[str, Any]:
        out, store = tmp_path / f"{world}.json", tmp_path / f"store-{world}"
        commands = [
            [
                sys.executable,
                "-c",
                WORKER,
                str(rank),
                str(world),
                str(store),
                start,
                str(out),
            ]
            for rank in range(world)
        ]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
        for process in running:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said.decode()[-2000:]
        return json.loads(out.read_text())

    one, two = launch(1), launch(2)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["weights"] == pytest.approx(one["weights"], abs=1e-4)
    assert two["report"] == one["report"]
    assert len({round(x, 4) for x in one["losses"]}) == 4
