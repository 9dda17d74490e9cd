"""The engine process with the bundled model: what requests give, and that it recovers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anygen.app.engine.client import EngineClient
from anygen.app.engine.types import (
    BlendRequest,
    Cancelled,
    Done,
    EmbedRequest,
    Failed,
    GenerateRequest,
    Limits,
    MediaFinished,
    MediaProgress,
    MediaStarted,
    Part,
    Request,
    Started,
    TextDelta,
    Ticket,
    from_json,
    to_json,
)
from anygen.app.media_tags import read_tags
from anygen.errors import BadArgument, BadText

FEW = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    limits = Limits(spare_after=-1, preview_seconds=0)
    with EngineClient("toybox-tiny", tmp_path_factory.mktemp("workspace"), limits) as client:
        assert client.wait_ready(280), client.status()
        yield client


def ask(engine: EngineClient, request: Request) -> list[Any]:
    ticket = engine.submit(request)
    assert isinstance(ticket, Ticket)
    return list(engine.follow(ticket))


def question(text: str, *media: Part, **options: Any) -> GenerateRequest:
    content = [*media, {"type": "text", "text": text}]
    return GenerateRequest(session="me", conversation=[{"role": "user", "content": content}], **options)


def test_what_is_known_of_the_model(engine: EngineClient) -> None:
    status = engine.status()
    assert status.state == "ready"
    assert status.rss_bytes > 50_000_000
    facts = status.facts
    assert facts["name"] == "toybox-tiny"
    assert facts["outputs"] == ["text", "image", "audio", "video"]
    assert {"image", "text", "imu"} <= set(facts["embeds"])
    assert facts["options"]["image"]["width"] == 64
    assert facts["parameters"] == sum(part["parameters"] for part in facts["parts"])


def test_an_image(engine: EngineClient) -> None:
    request = question(
        "Draw a red circle.", outputs=("text", "image"), seed=7, image_options=FEW, remember_prompt=True
    )
    events = ask(engine, request)
    kinds = [type(event) for event in events]
    for kind in (Started, TextDelta, MediaStarted, MediaProgress, MediaFinished, Done):
        assert kind in kinds
    progress = [event for event in events if isinstance(event, MediaProgress)][-1]
    assert progress.step == progress.total
    assert progress.preview is not None and Image.open(progress.preview).size == (128, 128)
    done = events[-1]
    assert done.seed == 7 and done.times["image"] > 0
    text, image = done.parts
    assert text["text"] == "".join(e.text for e in events if isinstance(e, TextDelta))
    stored = engine.workspace.find("me", image["media_id"])
    assert stored.path.parent.parent == engine.workspace.root / "me"
    tags = read_tags(stored.path)
    assert tags is not None
    assert (tags.seed, tags.prompt, tags.options["num_inference_steps"]) == (7, "Draw a red circle.", 2)
    assert image["settings"]["seed"] == 7
    with pytest.raises(BadArgument, match="not \\(or no longer\\) here"):
        engine.workspace.find("you", image["media_id"])


def test_the_same_seed_gives_the_same_pixels_and_variations_differ(engine: EngineClient) -> None:
    request = question("Draw a star.", outputs=("image",), image_options=FEW, seed=3, variations=2)
    first, again = ask(engine, request)[-1], ask(engine, request)[-1]
    assert [answer.seed for answer in first.answers] == [3, 4]

    def pixels(answer: Any) -> Any:
        return np.asarray(Image.open(engine.workspace.find("me", answer.parts[-1]["media_id"]).path))

    assert np.array_equal(pixels(first.answers[0]), pixels(again.answers[0]))
    assert not np.array_equal(pixels(first.answers[0]), pixels(first.answers[1]))
    assert read_tags(engine.workspace.find("me", first.parts[-1]["media_id"]).path).prompt is None  # type: ignore[union-attr]


def test_an_output_is_an_input_again(engine: EngineClient) -> None:
    made = ask(engine, question("Draw a red circle.", outputs=("image",), image_options=FEW, seed=1))[-1]
    part = {"type": "image", "media_id": made.parts[-1]["media_id"], "settings": {"ignored": True}}
    done = ask(engine, question("What is this?", part, outputs=("text",)))[-1]
    assert isinstance(done, Done)
    assert done.parts[0]["type"] == "text"


def test_vectors_and_a_blend(engine: EngineClient) -> None:
    stored = engine.workspace.add("me", Image.new("RGB", (64, 64), "red"))
    items: list[Part] = [
        {"type": "text", "text": "a red circle"},
        {"type": "image", "media_id": stored.id},
    ]
    vectors = np.array(ask(engine, EmbedRequest(session="me", items=items))[-1].vectors)
    assert vectors.shape == (2, engine.status().facts["embed_dim"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    request = BlendRequest(
        session="me", items=items, weights=[0.5, -0.5], seed=2, options=FEW, remember_prompt=True
    )
    done = ask(engine, request)[-1]
    tags = read_tags(engine.workspace.find("me", done.parts[-1]["media_id"]).path)
    assert tags is not None and tags.blended
    assert [(item.weight, item.text) for item in tags.inputs] == [(0.5, "a red circle"), (-0.5, None)]
    cancels = BlendRequest(session="me", items=[items[0], items[0]], weights=[1, -1])
    event = ask(engine, cancels)[-1]
    assert isinstance(event, Failed) and "cancel each other out" in event.sentence


def test_stop_keeps_what_is_there(engine: EngineClient) -> None:
    request = question("Draw a red circle.", outputs=("image",), image_options={"num_inference_steps": 500})
    ticket = engine.submit(request)
    for event in engine.follow(ticket):  # type: ignore[arg-type]
        if isinstance(event, MediaProgress) and event.step < 400:
            engine.cancel(ticket)  # type: ignore[arg-type]
    assert isinstance(event, Cancelled)
    assert event.parts[0]["type"] == "text"


def test_what_the_model_refuses_is_a_sentence(engine: EngineClient) -> None:
    event = ask(engine, question("Draw.", outputs=("image",), image_options={"num_inference_steps": 0}))[-1]
    assert isinstance(event, Failed)
    assert event.code == "bad_argument"
    assert "num_inference_steps" in event.sentence
    stored = engine.workspace.add_file("me", b"\x89PNG and no more", "image")
    event = ask(engine, question("What?", {"type": "image", "media_id": stored.id}))[-1]
    assert isinstance(event, Failed) and event.code == "bad_media"
    assert str(engine.workspace.root) not in event.sentence + event.details


def test_a_long_history_loses_its_oldest_turns(engine: EngineClient) -> None:
    turn = [{"role": "user", "content": "red " * 100}, {"role": "assistant", "content": "blue " * 100}]
    conversation = [*turn * 4, {"role": "user", "content": "Hello"}]
    request = GenerateRequest(session="me", conversation=conversation, text_options={"max_new_tokens": 8})
    done = ask(engine, request)[-1]
    assert isinstance(done, Done)
    assert done.left_out >= 2 and done.left_out % 2 == 0


HELLO = [{"role": "user", "content": "x"}]
WORD: list[Part] = [{"type": "text", "text": "x"}]


def chat(*messages: dict[str, Any], session: str = "me") -> GenerateRequest:
    return GenerateRequest(session=session, conversation=list(messages))


def blend(*weights: float, output: str = "image") -> BlendRequest:
    return BlendRequest(session="me", items=WORD, weights=list(weights), output=output)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (question("x", {"type": "image", "media_id": "../../etc/passwd"}), BadArgument, "not \\(or no"),
        (question("x", {"type": "image"}), BadArgument, "without media_id"),
        (question("x", {"type": "smell", "media_id": "x"}), BadArgument, "expected text or a modality"),
        (question("x", {"type": "text"}), BadArgument, "text part without a text"),
        (question("x", variations=9), BadArgument, "expected 1 to 8"),
        (question("x" * 40_000), BadText, "40000 characters"),
        (chat(*HELLO, session="../x"), BadArgument, "session name"),
        (chat(), BadText, "conversation is empty"),
        (chat({"role": "cat"}), BadArgument, "role and content"),
        (chat({"role": "user"}), BadArgument, "without content"),
        (EmbedRequest(session="me", items=[]), BadArgument, "expected 1 to 64"),
        (blend(), BadArgument, "one for each"),
        (blend(0), BadArgument, "all weights are 0"),
        (blend(9), BadArgument, "found the weight 9"),
        (blend(1, output="text"), BadArgument, "found output 'text'"),
        ("hello", BadArgument, "found str, expected a request"),
    ],
)
def test_requests_that_cannot_be(engine: EngineClient, request_: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        engine.submit(request_)


def test_requests_and_events_are_json() -> None:
    request = question("x", outputs=("image",), seed=2**62)
    assert from_json(to_json(request)) == request
    done = Done(vectors=[[0.5]], seconds=1.0)
    assert from_json(to_json(done)) == done


@pytest.mark.slow
def test_kill_in_the_middle(engine: EngineClient) -> None:
    request = question("Draw a red circle.", outputs=("image",), image_options={"num_inference_steps": 900})
    ticket = engine.submit(request)
    for event in engine.follow(ticket):  # type: ignore[arg-type]
        if isinstance(event, MediaProgress) and event.step == 1:
            os.kill(engine.status().pid or 0, signal.SIGKILL)
    assert isinstance(event, Failed)
    assert event.code == "engine_died"
    done = ask(engine, question("Hello", text_options={"max_new_tokens": 4}))[-1]
    assert isinstance(done, Done)
    assert engine.status().restarts == 1
