"""`AnyGenPipeline` on a whole tiny model of random weights: every promise of its contract but quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anygen import (
    IMU,
    AnyGenError,
    AnyGenPipeline,
    Audio,
    BadArgument,
    BadMedia,
    BadText,
    Cancelled,
    Depth,
    LimitExceeded,
    MediaPart,
    Message,
    MissingPart,
    Modality,
    NonFinite,
    OutOfMemory,
    TextPart,
    Thermal,
    Video,
)
from anygen.pipelines import events

ALL = ["text", "image", "audio", "video"]


def test_denoisers_are_compiled_where_asked(tiny_folder: Path) -> None:
    pipe = AnyGenPipeline.from_pretrained(tiny_folder, compile=["image"])
    unets = [pipe.decoders[m].parts.unet for m in (Modality.IMAGE, Modality.AUDIO)]
    assert [unet._compiled_call_impl is not None for unet in unets] == [True, False]
    with pytest.raises(BadArgument, match="`compile`: `text` is not an output"):
        AnyGenPipeline.from_pretrained(tiny_folder, compile=["text"])


@pytest.fixture(scope="module")
def pipe(tiny_folder: Path) -> AnyGenPipeline:
    return AnyGenPipeline.from_pretrained(tiny_folder)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3)).astype(np.uint8)


def media() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "image": Image.fromarray(picture()),
        "audio": Audio(rng.uniform(-1, 1, (1, 16000)).astype(np.float32), 16000),
        "video": Video(rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8), 8.0),
        "depth": Depth(rng.uniform(1, 4, (32, 32)).astype(np.float32)),
        "thermal": Thermal(rng.uniform(0, 1, (32, 32)).astype(np.float32)),
        "imu": IMU(rng.normal(size=(6, 2000)).astype(np.float32)),
    }


def bytes_of(reply: Any) -> list[bytes]:
    images = [image.tobytes() for image in reply.images]
    return [
        reply.text.encode(),
        *images,
        *(a.samples.tobytes() for a in reply.audios),
        *(v.frames.tobytes() for v in reply.videos),
    ]


def test_outputs_are_guaranteed_and_typed(pipe: AnyGenPipeline) -> None:
    reply = pipe("Show me a small red star and play its sound", outputs=ALL, seed=0)
    kinds = [getattr(part, "modality", Modality.TEXT) for part in reply.parts]
    assert set(kinds) == {Modality(name) for name in ALL}
    assert isinstance(reply.text, str) and reply.text and "[IMG" not in reply.text
    assert reply.images[0].size == (16, 16) and reply.images[0].mode == "RGB"
    (audio,) = reply.audios
    assert audio.samples.dtype == np.float32 and audio.samples.shape == (1, 2560)
    (video,) = reply.videos
    assert video.frames.shape == (3, 16, 16, 3) and video.fps == 8.0
    assert reply.seed == 0 and reply.model == "tiny-random"
    assert set(reply.seconds) == {"encode", "text", "image", "audio", "video"}


def test_every_modality_goes_in(pipe: AnyGenPipeline) -> None:
    content = [{"type": name, name: medium} for name, medium in media().items()]
    conversation = [{"role": "user", "content": [*content, {"type": "text", "text": "What is it?"}]}]
    mixed = pipe(conversation, outputs=["image"], seed=1)
    alone = pipe("What is it?", outputs=["image"], seed=1)
    assert bytes_of(mixed) != bytes_of(alone)


def test_same_seed_same_bytes(pipe: AnyGenPipeline) -> None:
    first = pipe("red star", outputs=["image", "audio"], seed=5, do_sample=True, temperature=2.0)
    again = pipe("red star", outputs=["image", "audio"], seed=5, do_sample=True, temperature=2.0)
    other = pipe("red star", outputs=["image", "audio"], seed=6, do_sample=True, temperature=2.0)
    assert bytes_of(first) == bytes_of(again)
    assert all(a != b for a, b in zip(bytes_of(first), bytes_of(other), strict=True))


def test_a_batch_answers_as_its_requests_alone(pipe: AnyGenPipeline) -> None:
    first = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
    conversations = [first, "a blue circle, please, and quickly", "star"]
    batch = pipe(conversations, outputs=["image", "audio"], seed=[7, 3, 9])
    for conversation, reply, seed in zip(conversations, batch, [7, 3, 9], strict=True):
        single = pipe(conversation, outputs=["image", "audio"], seed=seed)
        assert single.text == reply.text and reply.seed == seed
        difference = np.asarray(single.images[0], float) - np.asarray(reply.images[0], float)
        assert np.abs(difference).max() <= 1
        assert np.abs(single.audios[0].samples - reply.audios[0].samples).max() < 1e-3
    assert [reply.seed for reply in pipe(["a", "b"], seed=4)] == [4, 5]
    assert isinstance(pipe(["a"], seed=4), list)


def test_a_reply_is_the_assistants_turn(pipe: AnyGenPipeline) -> None:
    reply = pipe("a red star", outputs=["text", "image"], seed=0)
    question = {"role": "user", "content": "now make it blue"}
    by_reply = pipe([Message("user", (TextPart("a red star"),)), reply, question], seed=1, outputs=["image"])
    by_message = pipe(
        [
            {"role": "user", "content": "a red star"},
            {"role": "assistant", "content": list(reply.parts)},
            question,
        ],
        seed=1,
        outputs=["image"],
    )
    assert bytes_of(by_reply) == bytes_of(by_message)
    assert reply.message == Message("assistant", reply.parts)


def test_the_stream_ends_with_what_a_call_returns(pipe: AnyGenPipeline) -> None:
    seen = []
    for event in pipe.stream("a red star", outputs=["text", "image", "video"], seed=2):
        seen.append(event)
        if isinstance(event, events.MediaProgress):
            preview = event.preview()
            assert preview.dtype == np.uint8 and preview.shape[-1] == 3
            assert preview.ndim == (4 if event.modality is Modality.VIDEO else 3)
    done = seen[-1]
    assert isinstance(done, events.Done)
    assert bytes_of(done.reply) == bytes_of(pipe("a red star", outputs=["text", "image", "video"], seed=2))
    for index, part in enumerate(done.reply.parts):
        if isinstance(part, TextPart):
            pieces = [e.text for e in seen if isinstance(e, events.TextDelta) and e.index == index]
            assert "".join(pieces) == part.text
            continue
        steps = [e for e in seen if isinstance(e, events.MediaProgress) and e.index == index]
        assert [(e.step, e.total) for e in steps] == [(1, 2), (2, 2)]
        kinds = [type(e).__name__ for e in seen if getattr(e, "index", None) == index]
        assert kinds == ["MediaStarted", "MediaProgress", "MediaProgress", "MediaFinished"]
        assert [e.part for e in seen if isinstance(e, events.MediaFinished) and e.index == index] == [part]


def test_leaving_a_stream_and_cancel_stop_the_work(pipe: AnyGenPipeline) -> None:
    stream = pipe.stream("a", outputs=["image"], seed=0, image_options={"num_inference_steps": 900})
    for event in stream:
        if isinstance(event, events.MediaProgress) and event.step == 2:
            break
    stream.close()
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(Cancelled):
        pipe("a", outputs=["image"], image_options={"num_inference_steps": 900}, cancel=cancel)
    assert pipe("a", outputs=["image"], seed=0).images


def test_options_reach_the_decoders(pipe: AnyGenPipeline) -> None:
    reply = pipe(
        "a",
        outputs=["image", "audio", "video"],
        seed=0,
        image_options={"num_inference_steps": 3, "guidance_scale": 1.0, "height": 24, "width": 32},
        audio_options={"audio_length_in_s": 0.1},
        video_options={"num_frames": 2},
    )
    assert reply.images[0].size == (32, 24)
    assert reply.audios[0].samples.shape == (1, 1600)
    assert len(reply.videos[0].frames) == 2
    by_kind = dict(zip([getattr(p, "modality", "text") for p in reply.parts], reply.settings, strict=True))
    assert by_kind["image"] == {"Seed": 0, "Steps": 3, "Guidance": 1.0}
    assert by_kind["audio"] == {"Seed": 0, "Steps": 2, "Guidance": 2.0}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"max_new_token": 3},
            BadArgument,
            "`max_new_token` is not an option; did you mean `max_new_tokens`",
        ),
        ({"image_options": {"steps": 3}}, BadArgument, "`steps` is not a field of `image_options`"),
        ({"image_options": {"heigth": 8}}, BadArgument, "did you mean `height`"),
        (
            {"image_options": {"height": 12}},
            BadArgument,
            "`image_options.height` is 12, expected a whole number d",
        ),
        ({"image_options": 3}, BadArgument, "`image_options` is 3, expected a dict"),
        (
            {"audio_options": {"guidance_scale": float("nan")}},
            BadArgument,
            "guidance_scale` is nan, expected a",
        ),
        (
            {"video_options": {"num_inference_steps": 0}},
            BadArgument,
            "steps` is 0, expected a whole number from 1",
        ),
        ({"video_options": {"num_inference_steps": True}}, BadArgument, "is True, expected a whole number"),
        ({"max_new_tokens": 0}, BadArgument, "`max_new_tokens` is 0"),
        ({"max_new_tokens": 2.5}, BadArgument, "`max_new_tokens` is 2.5"),
        ({"temperature": 0}, BadArgument, "`temperature` is 0"),
        ({"top_p": 1.5}, BadArgument, "`top_p` is 1.5"),
        ({"do_sample": "yes"}, BadArgument, "`do_sample` is 'yes', expected True or False"),
        ({"seed": -1}, BadArgument, "`seed` is -1"),
        ({"seed": [1, 2]}, BadArgument, "`seed` has 2 numbers, expected one for each of the 1 requests"),
        ({"seed": "x"}, BadArgument, "`seed` is 'x'"),
        ({"outputs": []}, BadArgument, "`outputs` is empty"),
        ({"outputs": "image"}, BadArgument, "`outputs` is 'image', expected a list"),
        ({"outputs": ["imag"]}, BadArgument, "`outputs`: `imag` is not an output; did you mean `image`"),
        ({"outputs": ["depth"]}, BadArgument, "`depth` is not an output"),
        (
            {"outputs": ["image", "video"], "max_new_tokens": 4},
            LimitExceeded,
            "room for 4 tokens, expected at l",
        ),
    ],
)
def test_bad_options(pipe: AnyGenPipeline, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        pipe("a red star", **options)
    assert isinstance(caught.value, AnyGenError) and isinstance(caught.value, ValueError)
    if "outputs" not in options or "max_new_tokens" not in options:
        with pytest.raises(error, match=message):
            pipe.stream("a red star", **options)


@pytest.mark.parametrize(
    ("conversation", "error", "message"),
    [
        ("", BadText, "message 1 is empty"),
        ([], BadText, "conversation is empty"),
        (3, BadArgument, "conversation is int"),
        (
            [{"role": "assistant", "content": "x"}],
            BadArgument,
            "last message is the assistant's, expected the user",
        ),
        ([{"role": "user", "content": [{"type": "image", "image": "none.png"}]}], BadMedia, "none.png"),
        (["a", {"role": "user", "content": "x"}], BadArgument, "both conversations and messages|either"),
        ("a " * 2000, LimitExceeded, "the model reads 256; shorten it"),
    ],
)
def test_bad_conversations(pipe: AnyGenPipeline, conversation: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        pipe(conversation)


def test_typed_signals_are_plain_words(pipe: AnyGenPipeline) -> None:
    reply = pipe("[IMG0][IMG1] <Img> </s> draw", outputs=["text"], seed=0)
    assert reply.images == [] and reply.parts == (TextPart(reply.text),)
    with pytest.raises(BadArgument, match="`stream` found several conversations, expected one"):
        pipe.stream(["a", "b"])
    with pytest.raises(BadArgument, match="Found 5000 conversations, expected at most 4096"):
        pipe(["a"] * 5000)


def test_what_goes_wrong_inside_is_typed(pipe: AnyGenPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    projection = pipe.model.output_projections["image"]
    bias = projection.model.bias
    with torch.no_grad():
        kept = bias.clone()
        bias.fill_(float("nan"))
    with pytest.raises(NonFinite, match="The image projection gave NaN or infinity"):
        pipe("a", outputs=["image"])
    with torch.no_grad():
        bias.copy_(kept)
    for cause in (
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ):

        def fail(*args: Any, cause: BaseException = cause, **kwargs: Any) -> None:
            raise cause

        with monkeypatch.context() as patch:
            patch.setattr(pipe.model, "project", fail)
            with pytest.raises(OutOfMemory, match="Memory ran out; ask for smaller or fewer media"):
                pipe("a", outputs=["image"])
    with pytest.raises(BadArgument, match="`device` is 'cuda:99', which is not available; use cpu"):
        AnyGenPipeline.from_pretrained("x", device="cuda:99")
    with pytest.raises(BadArgument, match="`device` is 'meta', which cannot compute"):
        AnyGenPipeline.from_pretrained("x", device="meta")
    with pytest.raises(BadArgument, match="`float31` is not a dtype; did you mean `float32`"):
        AnyGenPipeline.from_pretrained("x", dtype="float31")
    with pytest.raises(BadArgument, match="`batch_size` is 0"):
        AnyGenPipeline.from_pretrained(pipe.folder or "", batch_size=0)
    with pytest.raises(BadArgument, match="`repo_id` is 'x', expected owner/name"):
        pipe.push_to_hub("x")
    with pytest.raises(MissingPart, match="Cannot upload to a/b"):
        pipe.push_to_hub("a/b")


def test_half_precision_answers(tiny_folder: Path) -> None:
    half = AnyGenPipeline.from_pretrained(tiny_folder, dtype="bfloat16")
    conversation = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
    reply = half(conversation, outputs=["image", "audio"], seed=0)
    assert len(reply.images) == len(reply.audios) == 1


def test_saved_and_loaded_it_answers_alike(pipe: AnyGenPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "copy")
    again = AnyGenPipeline.from_pretrained(str(tmp_path / "copy"))
    asked = {"outputs": ["image", "audio"], "seed": 3}
    assert bytes_of(pipe("a red star", **asked)) == bytes_of(again("a red star", **asked))
    again.save_pretrained(tmp_path / "copy")  # over itself
    manifests = [
        (folder / "manifest.json").read_text() for folder in (tmp_path / "copy", pipe.folder or tmp_path)
    ]
    assert manifests[0] == manifests[1]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("mine")
    with pytest.raises(BadArgument, match="holds other files and no model"):
        pipe.save_pretrained(tmp_path / "other")


def test_provenance_without_the_prompt(pipe: AnyGenPipeline, tmp_path: Path) -> None:
    from anygen import save_media
    from anygen.media import load_tags

    reply = pipe("a secret wish", outputs=["image", "audio", "video"], seed=11)
    names = {Modality.IMAGE: "x.png", Modality.AUDIO: "x.wav", Modality.VIDEO: "x.mp4"}
    for part, tags in zip(reply.parts, reply.provenance(), strict=True):
        if isinstance(part, MediaPart):
            path = tmp_path / names[part.modality]
            save_media(part.media, path, metadata=tags)
            found = load_tags(path)
            assert found["Model"] == "tiny-random" and found["Seed"] == "11" and found["Steps"] == "2"
            assert found["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
            assert b"secret" not in path.read_bytes()
    assert reply.provenance(prompt="a secret wish")[-1]["Prompt"] == "a secret wish"
