"""The binding stage at width 8: which pairs, which negatives, purity of batches, and what it saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anygen.encoders.imagebind import ImageBindConfig, TextTokenizer, load_encoder, load_processor
from anygen.encoders.imagebind.config import imagebind_tiny
from anygen.encoders.imagebind.text import special_ids, train_tokenizer
from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.stages.base import set_trainable
from anygen.stages.binding import PAIRS, BindingConfig, BindingStage, info_nce
from anygen.stages.binding_data import (
    HELD_OUT_TABLE,
    UNNAMED,
    Perturbation,
    draw_scenes,
    fits,
    image_caption,
    render_batch,
    revealed_codes,
    unseen,
)
from anygen.stages.binding_evaluation import probe
from anygen.toybox.scene import ATTRIBUTES, HELD_OUT, Scene, is_held_out, sample_scene

CONFIG = BindingConfig(corpus_size=200, vocab_size=300, evaluation_size=16)


def small_encoder() -> tuple[ImageBindConfig, TextTokenizer]:
    tokenizer = train_tokenizer(["a small red star on a black background"], vocab_size=280)
    config = imagebind_tiny(**special_ids(tokenizer))
    towers: dict[str, Any] = {
        name: replace(tower, width=8, num_blocks=1, num_heads=2) for name, tower in config.towers.items()
    }
    config = replace(config, embed_dim=8, **towers)
    assert config.text is not None
    return config, TextTokenizer(tokenizer, config.text)


@pytest.fixture
def stage() -> BindingStage:
    return BindingStage(CONFIG, *small_encoder())


def test_pairs_are_with_images_alone() -> None:
    assert {(str(a), str(b)) for a, b in PAIRS} == {
        ("image", "text"),
        ("video", "audio"),
        ("image", "depth"),
        ("image", "thermal"),
        ("video", "imu"),
    }


def test_the_bundled_size_is_under_five_million() -> None:
    model = BindingStage(CONFIG).model
    assert sum(p.numel() for p in model.parameters()) < 5_000_000
    assert model.modalities == frozenset(Modality)
    assert model.embed_dim == 256


def test_a_batch_is_a_function_of_its_indices(stage: BindingStage) -> None:
    first, again = stage.batch(np.arange(4)), stage.batch(np.arange(4))
    other = stage.batch(np.arange(4, 8))
    assert set(first) == set(Modality)
    for modality in first:
        for a, b in zip(first[modality], again[modality], strict=True):
            assert torch.equal(a, b)
        assert not torch.equal(first[modality][0], other[modality][0])


def test_no_sample_shows_or_names_a_held_out_pair(stage: BindingStage) -> None:
    shape, color = list(ATTRIBUTES).index("shape"), list(ATTRIBUTES).index("color")
    for start in range(0, 512, 64):
        for _, codes in stage.batch(np.arange(start, start + 64)).values():
            for row in codes.tolist():
                if row[shape] != UNNAMED and row[color] != UNNAMED:
                    named = (ATTRIBUTES["shape"][row[shape]], ATTRIBUTES["color"][row[color]])
                    assert not is_held_out({"shape": named[0], "color": named[1]})


def test_captions_name_two_attributes_of_the_image_at_least() -> None:
    rng = np.random.default_rng(0)
    counts = set()
    for _ in range(200):
        scene = sample_scene(rng)
        text, named = image_caption(scene, rng)
        assert text and set(named) <= {"shape", "color", "size", "background"}
        assert all(getattr(scene, name) == value for name, value in named.items())
        counts.add(len(named))
    assert counts == {2, 3, 4}


def test_what_is_true_of_an_anchor_is_no_negative() -> None:
    scenes = [
        Scene("star", "red", "small", "black", "still"),
        Scene("star", "red", "large", "black", "up"),
        Scene("ring", "red", "small", "black", "up"),
    ]
    anchors = revealed_codes([s.attributes() for s in scenes])
    others = revealed_codes([{"shape": "star", "color": "red"}, {"size": "large"}, {"shape": "ring"}])
    assert fits(anchors, others).tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def test_what_would_make_a_held_out_pair_is_no_negative() -> None:
    anchors = revealed_codes([Scene("star", "cyan", "small", "black", "still").attributes()])
    others = revealed_codes(
        [{"shape": "circle"}, {"shape": "ring"}, {"color": "green"}, {"color": "red"}, {"size": "large"}]
    )
    assert unseen(anchors, others).tolist() == [[True, False, True, False, False]]
    assert HELD_OUT_TABLE.sum() == len(HELD_OUT) == 6


def test_labels_do_not_rule_out_what_is_never_seen(stage: BindingStage) -> None:
    """The logit of a circle must not be pushed down by cyan pictures, though none of them shows a circle."""
    vectors = F.normalize(torch.randn(3, 8), dim=1)
    codes = torch.from_numpy(
        revealed_codes(
            [Scene(s, "cyan", "small", "black", "still").attributes() for s in ("star", "ring", "cross")]
        )
    )
    stage._label_loss(Modality.IMAGE, vectors, codes).backward()
    gradient = stage.heads["shape"].bias.grad
    assert gradient is not None and gradient[0] == 0 and (gradient[1:] != 0).all()


def test_info_nce_is_symmetric_cross_entropy_without_the_ignored() -> None:
    torch.manual_seed(0)
    anchors, others = (F.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    logits, labels = 10 * anchors @ others.T, torch.arange(4)
    plain, _ = info_nce(anchors, 10 * others, torch.eye(4, dtype=torch.bool))
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert torch.allclose(plain, expected)
    ignore = torch.eye(4, dtype=torch.bool)
    ignore[0, 1:] = True
    masked, _ = info_nce(anchors, 10 * others, ignore)
    kept = logits.clone()
    kept[0, 1:] = -1e9
    expected = (F.cross_entropy(kept, labels) + F.cross_entropy(kept.T, labels)) / 2
    assert torch.allclose(masked, expected)
    _, hit = info_nce(anchors, anchors, torch.zeros(4, 4, dtype=torch.bool))
    assert hit == 1.0


def test_training_lowers_every_loss(stage: BindingStage) -> None:
    set_trainable(stage.modules(), stage.trainable_parameters())
    optimizer = torch.optim.AdamW(stage.trainable_parameters(), lr=3e-3)
    batch = stage.batch(np.arange(16))
    history = []
    for _ in range(30):
        losses, report = stage.training_forward(batch)
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append({name: value.item() for name, value in losses.items()})
    assert set(history[0]) == {"loss", "labels", *(f"{a}-{b}" for a, b in PAIRS)} and len(report) == 5
    for name in history[0]:
        assert history[-1][name] < history[0][name], name


def test_every_parameter_gets_a_gradient(stage: BindingStage) -> None:
    named = set_trainable(stage.modules(), stage.trainable_parameters())
    losses, _ = stage.training_forward(stage.batch(np.arange(8)))
    losses["loss"].backward()
    without = [name for name, p in named.items() if p.grad is None]
    assert not without


def test_labels_reach_the_vision_tower_alone(stage: BindingStage) -> None:
    losses, _ = stage.training_forward(stage.batch(np.arange(8)))
    losses["labels"].backward()
    touched = {name.split(".")[1] for name, p in stage.model.named_parameters() if p.grad is not None}
    assert touched == {"vision"}


def test_hard_negatives_are_seen_scenes_that_share_attributes() -> None:
    scenes = draw_scenes(64, np.random.default_rng(0))
    assert len(scenes) == 64 and not any(is_held_out(s.attributes()) for s in scenes)
    groups = [scenes[i : i + 8] for i in range(0, 64, 8)]
    shared = [
        sum(len({getattr(s, n) for s in g}) == 1 for n in ("color", "size", "background")) for g in groups
    ]
    assert 0.25 < sum(shared) / 24 < 0.75
    assert all(len({s.shape for s in g}) > 1 for g in groups)


def test_scores_and_what_is_saved(stage: BindingStage, tmp_path: Path) -> None:
    stage.model.eval()
    with torch.no_grad():
        scores = stage.evaluate()
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    for key in (
        "zero_shot/held_out/audio/shape",
        "retrieval/seen/text-audio",
        "probe/held_out/imu/motion",
        "probe/seen/mean",
    ):
        assert key in scores
    assert not any(key.startswith("zero_shot") and key.endswith("motion") for key in scores)
    stage.save(tmp_path)
    model, processor = load_encoder(tmp_path / "encoder"), load_processor(tmp_path / "encoder")
    texts = ["a red star", "a blue ring"]
    with torch.no_grad():
        found = model.encode(Modality.TEXT, processor(Modality.TEXT, texts))
        expected = stage.model.encode(Modality.TEXT, stage.processor(Modality.TEXT, texts))
    assert torch.allclose(found, expected, atol=5e-3)
    again = BindingStage(replace(CONFIG, start=str(tmp_path / "encoder")))
    assert again.model.config == stage.model.config
    for name, value in model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_some_modalities_alone() -> None:
    stage = BindingStage(
        replace(CONFIG, modalities=(Modality.IMAGE, Modality.TEXT, Modality.AUDIO)), *small_encoder()
    )
    assert stage.pairs == ((Modality.IMAGE, Modality.TEXT),)
    assert set(stage.batch(np.arange(2))) == {Modality.IMAGE, Modality.TEXT}
    with pytest.raises(
        BadArgument, match="Found modalities text, audio; expected both sides of a trained pair"
    ):
        BindingStage(replace(CONFIG, modalities=(Modality.TEXT, Modality.AUDIO)), *small_encoder())


def test_perturbed_media_keep_their_shape_and_range() -> None:
    config, _ = small_encoder()
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(6)]
    for modality in (m for m in Modality if m is not Modality.TEXT):
        clean = render_batch(modality, scenes, config, rng=rng, perturbation=None)
        rough = render_batch(modality, scenes, config, rng=rng, perturbation=Perturbation())
        assert rough.shape == clean.shape and rough.dtype == clean.dtype, modality
        assert np.isfinite(rough).all()
    thermal = render_batch(Modality.THERMAL, scenes, config, rng=rng, perturbation=Perturbation())
    assert thermal.min() >= 0 and thermal.max() <= 1


def test_a_probe_reads_what_is_linear() -> None:
    torch.manual_seed(0)
    centers = F.normalize(torch.randn(3, 16), dim=1)
    classes = np.arange(60) % 3
    vectors = centers[classes] + 0.05 * torch.randn(60, 16)
    unknown = np.where(np.arange(60) < 6, UNNAMED, classes)
    assert (probe(vectors, unknown, centers, 3) == [0, 1, 2]).all()
