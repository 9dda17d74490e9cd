"""Blends of encoder vectors: what they are, and that they reach the decoder as a medium would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anygen import AnyGenPipeline, BadArgument, MissingPart, Modality
from anygen.pipelines import events
from anygen.pipelines.blending import blend, stream_blend

FEW = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def pipe(tiny_folder: Path) -> AnyGenPipeline:
    return AnyGenPipeline.from_pretrained(tiny_folder)


def test_a_blend_is_a_weighted_sum_of_unit_norm() -> None:
    vectors = torch.eye(3)
    assert torch.allclose(blend(vectors, [3, 0, -4]), torch.tensor([0.6, 0.0, -0.8]))
    assert torch.equal(blend(vectors, [0, 0.1, 0]), vectors[1])
    with pytest.raises(BadArgument, match="found 2 weights for 3 items"):
        blend(vectors, [1, 1])
    with pytest.raises(BadArgument, match="found 0 weights for 0 items"):
        blend(torch.zeros(0, 3), [])
    with pytest.raises(BadArgument, match="no finite number"):
        blend(vectors, [1, float("nan"), 1])
    with pytest.raises(BadArgument, match="cancel each other out"):
        blend(torch.ones(2, 3), [1, -1])


def test_a_blend_of_one_medium_is_that_medium(pipe: AnyGenPipeline) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8))
    encoder = pipe.model.encoder
    assert encoder is not None
    with torch.inference_mode():
        vector = encoder.encode(Modality.IMAGE, encoder.prepare(Modality.IMAGE, [picture]))
    message = {
        "role": "user",
        "content": [{"type": "image", "image": picture}, {"type": "text", "text": "Draw this."}],
    }
    told = pipe([message], outputs=["image"], seed=5, image_options=FEW)
    *_, done = stream_blend(pipe, vector, [0.5], output=Modality.IMAGE, seed=5, options=FEW)
    assert isinstance(done, events.Done)
    assert np.array_equal(np.asarray(done.reply.images[0]), np.asarray(told.images[0]))


def test_what_cannot_be_blended(pipe: AnyGenPipeline) -> None:
    with pytest.raises(BadArgument, match="found output text"):
        stream_blend(pipe, torch.eye(2), [1, 1], output=Modality.TEXT)
    assert Modality.IMAGE in pipe.config.decoders
    with pytest.raises((BadArgument, MissingPart), match="num_inference_steps"):
        stream_blend(pipe, torch.eye(2), [1, 1], output=Modality.IMAGE, options={"num_inference_steps": 0})
