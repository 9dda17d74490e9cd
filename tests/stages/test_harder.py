"""Word dropout hides words of answers, and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from anygen.modality import Modality
from anygen.prompting import IGNORED, PromptBatch
from anygen.stages.features import MediaFeatures, revealed_keys
from anygen.stages.harder import blurred, drop_words
from anygen.toybox.scene import REVEALS, Scene


def batch(rows: int = 50) -> PromptBatch:
    ids = torch.tensor([[1, 10, 11, 12, 13, 90, 2]]).repeat(rows, 1)
    labels = ids.masked_fill(torch.arange(7) < 3, IGNORED)  # the user's words are 10 and 11
    mask = torch.ones_like(ids)
    return PromptBatch(
        input_ids=ids, attention_mask=mask, slot_mask=mask == 0, labels=labels, slots=(), signals=()
    )


def test_only_words_of_answers_are_hidden() -> None:
    whole = batch()
    hidden = drop_words(whole, 1.0, np.random.default_rng(0), kept=(90, 2), hidden=0)
    assert hidden.input_ids[0].tolist() == [1, 10, 11, 0, 0, 90, 2]
    assert torch.equal(hidden.labels, whole.labels)
    assert torch.equal(
        drop_words(whole, 0.0, np.random.default_rng(0), kept=(), hidden=0).input_ids, whole.input_ids
    )


def test_a_share_is_hidden_each_word_for_itself() -> None:
    hidden = drop_words(batch(2000), 0.3, np.random.default_rng(0), kept=(90, 2), hidden=0).input_ids == 0
    shares = hidden.float().mean(0)
    assert shares[[0, 1, 2, 5, 6]].sum() == 0 and bool(((shares[3:5] - 0.3).abs() < 0.04).all())
    both = (hidden[:, 3] & hidden[:, 4]).float().mean()
    assert abs(float(both) - 0.09) < 0.03


def test_blurred_vectors_are_unit_vectors_nearby() -> None:
    vectors = torch.nn.functional.normalize(
        torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    noisy = blurred(vectors, 0.3, np.random.default_rng(0))
    assert torch.allclose(noisy.norm(dim=-1), torch.ones(400), atol=1e-5)
    cosine = (vectors * noisy).sum(-1).mean()
    assert abs(float(cosine) - (1 + 0.3**2) ** -0.5) < 0.01


def test_a_moved_vector_stands_for_the_scene_and_comes_of_another() -> None:
    generator = torch.Generator().manual_seed(0)
    keys = revealed_keys(Modality.IMAGE)
    values = {v: torch.randn(64, generator=generator) for key in keys for v in key}
    sums = torch.stack([sum((values[v] for v in key), torch.zeros(64)) for key in keys])
    marks = torch.nn.functional.one_hot(torch.arange(len(keys))).float()  # tells which scene it comes of
    vectors = torch.cat([sums / 16, marks * 0.1], dim=1)[:, None]
    features = MediaFeatures({Modality.IMAGE: vectors})
    scene = Scene(shape="star", color="red", size="small", background="navy", motion="still")
    own = keys.index(tuple(getattr(scene, n) for n in REVEALS[Modality.IMAGE]))
    rng, origins = np.random.default_rng(0), set()
    for _ in range(40):
        moved = features.moved(Modality.IMAGE, scene, rng)
        assert torch.allclose(moved.norm(), torch.tensor(1.0), atol=1e-5)
        assert torch.nn.functional.cosine_similarity(moved[:64], vectors[own, 0, :64], dim=0) > 0.98
        origin = keys[int(moved[64:].argmax())]
        assert sum(a != b for a, b in zip(origin, keys[own], strict=True)) == 1
        origins.add(origin)
    assert {"star", "red"} & {v for o in origins for v in o} and len(origins) > 5
    sound = MediaFeatures({Modality.IMU: torch.eye(10)[:, None]})
    assert sound.moved(Modality.IMU, scene, rng).sum() == 1, "what has no shape and no color is not moved"
