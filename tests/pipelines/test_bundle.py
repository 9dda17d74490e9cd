"""The bundled model does what it was trained for: every face once; scores are `anygen eval`'s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anygen import AnyGenPipeline
from anygen.modality import Modality
from anygen.toybox import Scene, read, render

SCENE = Scene(shape="ring", color="blue", size="large", background="black", motion="up")


@pytest.fixture(scope="module")
def pipe() -> AnyGenPipeline:
    return AnyGenPipeline.from_pretrained("toybox-tiny")


def test_pictures_show_what_was_asked(pipe: AnyGenPipeline) -> None:
    asked = [("square", "red"), ("ring", "blue"), ("triangle", "yellow"), ("circle", "white")]
    replies = pipe([f"Show me a picture of a large {color} {shape}" for shape, color in asked], seed=0)
    found = [read(Modality.IMAGE, reply.images[0]) for reply in replies]
    right = [(f["shape"], f["color"]) == pair for f, pair in zip(found, asked, strict=True)]
    assert sum(right) >= 3, found


@pytest.mark.parametrize("modality", [m for m in Modality if m is not Modality.TEXT])
def test_every_medium_is_understood(pipe: AnyGenPipeline, modality: Modality) -> None:
    media = render(SCENE, modality, rng=np.random.default_rng(0))
    part = {"type": str(modality), str(modality): media}
    reply = pipe([{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}], seed=0)
    said = read(Modality.TEXT, reply.text)
    assert {n: said[n] for n in SCENE.revealed(modality)} == SCENE.revealed(modality)
    assert not reply.images and not reply.audios and not reply.videos


def test_a_required_output_always_comes(pipe: AnyGenPipeline) -> None:
    quick = {"num_inference_steps": 1}
    for request in ("hello", "a green star", "tell me about Paris", "?"):
        reply = pipe(
            request,
            outputs=["audio", "image", "video"],
            seed=0,
            image_options=quick,
            audio_options=quick,
            video_options=quick,
        )
        assert len(reply.images) >= 1 and len(reply.audios) >= 1 and len(reply.videos) >= 1


def test_outside_its_world_it_says_so(pipe: AnyGenPipeline) -> None:
    for request in ("draw a dragon", "What is the capital of France?"):
        reply = pipe(request, seed=0)
        assert "outside my small world" in reply.text
        assert not reply.images


def test_the_same_seed_gives_the_same_pixels_and_another_does_not(
    pipe: AnyGenPipeline, tmp_path: Path
) -> None:
    first, again, other = (np.asarray(pipe("a small red star", seed=s).images[0]) for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
