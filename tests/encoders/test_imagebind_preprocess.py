"""Front ends of ImageBind against golden data, and the batch paths against the item paths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from anygen.encoders.imagebind.audio import clip_starts, log_mel, resample, spectrogram_clips
from anygen.encoders.imagebind.config import (
    AudioTowerConfig,
    DepthTowerConfig,
    ImageBindConfig,
    ImuTowerConfig,
    TextTowerConfig,
    ThermalTowerConfig,
    VisionTowerConfig,
)
from anygen.encoders.imagebind.preprocess import ImageBindProcessor
from anygen.encoders.imagebind.text import TextTokenizer, clip_tokenizer, special_ids, train_tokenizer
from anygen.encoders.imagebind.vision import clip_frames, resize_and_crop, spatial_crops
from anygen.errors import BadMedia, BadText, MissingPart
from anygen.media import IMU, Audio, Depth, Thermal, Video
from anygen.modality import Modality

DATA = Path(__file__).parents[1] / "data"
SIZES = {"width": 8, "num_blocks": 1, "num_heads": 1}
FULL = ImageBindConfig(
    embed_dim=8,
    vision=VisionTowerConfig(**SIZES),
    text=TextTowerConfig(**SIZES),
    audio=AudioTowerConfig(**SIZES),
    depth=DepthTowerConfig(**SIZES),
    thermal=ThermalTowerConfig(**SIZES),
    imu=ImuTowerConfig(**SIZES),
)
SMALL = ImageBindConfig(
    embed_dim=8,
    vision=VisionTowerConfig(**SIZES, image_size=32, patch_size=8, num_clips=1, num_crops=1),
    audio=AudioTowerConfig(**SIZES, num_clips=1),
    depth=DepthTowerConfig(**SIZES, image_size=32),
    thermal=ThermalTowerConfig(**SIZES, image_size=32),
    imu=ImuTowerConfig(**SIZES),
)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(DATA / "imagebind_audio_golden.safetensors")


@pytest.fixture(scope="module")
def clip() -> TextTokenizer:
    excerpt = json.loads((DATA / "clip_bpe_excerpt.json").read_text())
    merges = [tuple(pair.split()) for pair in excerpt["merges"]]
    return TextTokenizer(clip_tokenizer(merges, excerpt["vocabulary"]), FULL.text)


@pytest.mark.parametrize("name", ["0p5s", "1p3s", "2s", "2p5s"])
@pytest.mark.parametrize("num_mel_bins", [126, 128])
def test_log_mel_equals_kaldi(golden: dict[str, torch.Tensor], name: str, num_mel_bins: int) -> None:
    expected = golden[f"fbank{num_mel_bins}.{name}"]
    found = log_mel(golden[f"wav.{name}"].float()[0], num_mel_bins=num_mel_bins)
    assert (found - expected).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["0p5s", "1p3s", "2s", "2p5s"])
def test_audio_input_equals_the_reference(golden: dict[str, torch.Tensor], name: str) -> None:
    tower = AudioTowerConfig(**SIZES, num_clips=1, clip_seconds=3.0)
    processor = ImageBindProcessor(ImageBindConfig(embed_dim=8, audio=tower))
    found = processor(Modality.AUDIO, [Audio(golden[f"wav.{name}"].float().numpy(), 16000)])
    assert found.shape == (1, 1, 1, 128, 204)
    assert (found[0, 0] - golden[f"imagebind.{name}"]).abs().max() < 1e-4


def test_ids_equal_the_reference(clip: TextTokenizer) -> None:
    cases = json.loads((DATA / "imagebind_text_golden.json").read_text())
    found = clip([case["text"] for case in cases])
    assert len(cases) == 15
    for row, case in zip(found.tolist(), cases, strict=True):
        assert row == case["ids"]


def test_ids_survive_a_folder(clip: TextTokenizer, tmp_path: Path) -> None:
    clip.save(tmp_path)
    again = TextTokenizer.from_folder(tmp_path, FULL.text)
    texts = ["a photo of a cat's toy", "hello_world"]
    assert torch.equal(again(texts), clip(texts))


def test_a_merges_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version\nh i</w>\n")
    tower = TextTowerConfig(**SIZES, context_length=6)
    assert TextTokenizer.from_folder(tmp_path, tower)(["Hi"])[0].tolist() == [49406, 512, 49407, 0, 0, 0]
    with pytest.raises(
        MissingPart, match="Found no tokenizer.json, bpe_simple_vocab_16e6.txt.gz or merges.txt"
    ):
        TextTokenizer.from_folder(tmp_path / "nowhere", tower)


def test_a_small_tokenizer_has_no_special_words(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a small red star", "a large blue ring"] * 10, vocab_size=300)
    tower = TextTowerConfig(**SIZES, context_length=16, **special_ids(tokenizer))
    rows = TextTokenizer(tokenizer, tower)(["A red  STAR", "a red star", "<end> <pad>", "word " * 40])
    assert torch.equal(rows[0], rows[1])
    assert (rows == tower.end_token_id).sum(dim=1).tolist() == [1, 1, 1, 1]
    assert rows.max() == tower.end_token_id == tower.vocab_size - 1
    assert rows[3, -1] == tower.end_token_id


def test_bad_texts_are_refused(clip: TextTokenizer) -> None:
    with pytest.raises(BadText, match="Found int; expected a string"):
        clip([3])  # type: ignore[list-item]
    with pytest.raises(BadText, match="lone surrogate"):
        clip(["\ud800"])


def test_clips_are_spread_to_the_end() -> None:
    assert clip_starts(10.0, clip_seconds=2.0, num_clips=3) == [0.0, 4.0, 8.0]
    assert clip_starts(1.0, clip_seconds=2.0, num_clips=3) == [0.0, 0.0, 0.0]
    assert clip_starts(10.0, clip_seconds=2.0, num_clips=1) == [0.0]


def test_frames_are_first_and_last_of_each_clip() -> None:
    options = {"num_clips": 5, "clip_seconds": 2.0, "frames_per_clip": 2}
    assert clip_frames(300, 30.0, **options).tolist() == [
        [0, 59],
        [60, 119],
        [120, 179],
        [180, 239],
        [240, 299],
    ]
    assert clip_frames(16, 8.0, **options).tolist() == [[0, 15]] * 5
    assert clip_frames(1, 8.0, **options).tolist() == [[0, 0]] * 5


@pytest.mark.parametrize(("width", "left"), [(226, 1), (227, 2), (225, 0), (231, 4), (229, 2)])
def test_center_crop_rounds_ties_to_even(width: int, left: int) -> None:
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (224, width, 3))
    cropped = np.asarray(resize_and_crop(Image.fromarray(np.ascontiguousarray(columns)), 224))
    assert cropped.shape == (224, 224, 3)
    assert cropped[0, 0, 0] == left


def test_crops_lie_along_the_longer_side() -> None:
    wide = torch.arange(9).expand(1, 4, 9)
    assert [int(c[0, 0, 0]) for c in spatial_crops(wide, 4, 3)] == [0, 3, 5]
    assert [int(c[0, 0, 0]) for c in spatial_crops(wide.transpose(1, 2), 4, 3)] == [0, 3, 5]
    assert [int(c[0, 0, 0]) for c in spatial_crops(wide, 4, 1)] == [3]


def test_shapes_at_full_size() -> None:
    processor = ImageBindProcessor(FULL)
    rng = np.random.default_rng(0)
    video = Video(rng.integers(0, 255, (20, 30, 50, 3), dtype=np.uint8), 8.0)
    audio = Audio(rng.uniform(-0.5, 0.5, (2, 44100)).astype(np.float32), 44100)
    assert processor(Modality.IMAGE, [Image.new("RGB", (300, 200))]).shape == (1, 3, 224, 224)
    assert processor(Modality.VIDEO, [video]).shape == (1, 15, 3, 2, 224, 224)
    assert processor(Modality.AUDIO, [audio]).shape == (1, 3, 1, 128, 204)
    assert processor(Modality.DEPTH, [Depth(np.ones((40, 60), np.float32))]).shape == (1, 1, 224, 224)
    assert processor(Modality.THERMAL, [Thermal(np.ones((60, 40), np.float32))]).shape == (1, 1, 224, 224)
    assert processor(Modality.IMU, [IMU(np.ones((6, 500), np.float32), 100.0)]).shape == (1, 6, 2000)


def test_pixels_are_normalised() -> None:
    image = Image.new("RGB", (32, 32), (255, 0, 128))
    values = ImageBindProcessor(SMALL)(Modality.IMAGE, [image])[0, :, 5, 5]
    expected = (np.array([1.0, 0.0, 128 / 255]) - SMALL.vision.mean) / np.array(SMALL.vision.std)
    assert np.allclose(values, expected, atol=1e-6)


def test_depth_becomes_normalised_disparity() -> None:
    meters = np.full((32, 32), 2.0, np.float32)
    meters[0, 0] = 0.0
    values = ImageBindProcessor(SMALL)(Modality.DEPTH, [Depth(meters)])[0, 0]
    disparity = 0.075 * 518.857901 / 2.0 / 75.0
    assert values[1, 1] == pytest.approx((disparity - 0.0418) / 0.0295, rel=1e-5)
    assert values[0, 0] == pytest.approx((0.01 / 75.0 - 0.0418) / 0.0295, rel=1e-5)


def test_batches_equal_items() -> None:
    processor, rng = ImageBindProcessor(SMALL), np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    clips = rng.integers(0, 255, (2, 16, 32, 32, 3), dtype=np.uint8)
    waves = rng.uniform(-0.5, 0.5, (2, 32000)).astype(np.float32)
    meters = rng.uniform(1, 4, (2, 32, 32)).astype(np.float32)
    heat = rng.uniform(0, 1, (2, 32, 32)).astype(np.float32)
    traces = rng.normal(size=(2, 6, 2000)).astype(np.float32)
    pairs = {
        Modality.IMAGE: (images, [Image.fromarray(i) for i in images]),
        Modality.VIDEO: (clips, [Video(c, 8.0) for c in clips]),
        Modality.AUDIO: (waves, [Audio(w[None], 16000) for w in waves]),
        Modality.DEPTH: (meters, [Depth(m) for m in meters]),
        Modality.THERMAL: (heat, [Thermal(h) for h in heat]),
        Modality.IMU: (traces, [IMU(t) for t in traces]),
    }
    for modality, (batch, items) in pairs.items():
        assert torch.allclose(processor(modality, batch), processor(modality, items), atol=1e-5), modality


def test_long_and_short_traces() -> None:
    processor = ImageBindProcessor(SMALL)
    ramp = np.broadcast_to(np.arange(2002, dtype=np.float32), (6, 2002)).copy()
    assert processor(Modality.IMU, [IMU(ramp)])[0, 0, 0] == 1.0
    short = processor(Modality.IMU, [IMU(ramp[:, :1000])])[0, 0]
    assert short[0] == 0.0 and short[500] == 0.0 and short[501] == 1.0 and short[-1] == 999.0


def test_resampling_keeps_a_tone() -> None:
    time = torch.arange(44100, dtype=torch.float64) / 44100
    tone = torch.sin(2 * torch.pi * 440 * time)[None].float()
    found = resample(tone, 44100, 16000)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
    assert found.shape == (1, 16000)
    assert (found[0] - expected)[200:-200].abs().max() < 2e-3
    assert resample(tone, 44100, 44100) is tone


def test_only_the_first_channel_counts_but_the_mean_is_of_all() -> None:
    waves = torch.rand(1, 2, 16000)
    options = {
        "sample_rate": 16000,
        "num_mel_bins": 32,
        "target_frames": 204,
        "num_clips": 1,
        "clip_seconds": 2.0,
    }
    stereo = spectrogram_clips(waves, **options, mean=0.0, std=1.0)
    mono = spectrogram_clips(waves[:, :1], **options, mean=0.0, std=1.0)
    assert torch.allclose(stereo, mono, atol=1e-2)
    assert torch.equal(stereo[..., 98:], torch.zeros_like(stereo[..., 98:]))


def test_what_cannot_be_prepared_is_refused() -> None:
    processor = ImageBindProcessor(SMALL)
    with pytest.raises(BadMedia, match="Found no image items; expected at least one"):
        processor(Modality.IMAGE, [])
    with pytest.raises(BadMedia, match="Found an item of type str; expected Audio"):
        processor(Modality.AUDIO, ["a.wav"])
    with pytest.raises(
        BadMedia, match=r"Found a image batch of float64 \(2, 3\); expected uint8 \(n, h, w, 3\)"
    ):
        processor(Modality.IMAGE, np.zeros((2, 3)))
    with pytest.raises(BadMedia, match="Found audio of 10 samples; expected at least 400"):
        processor(Modality.AUDIO, [Audio(np.zeros((1, 10), np.float32), 16000)])
    with pytest.raises(MissingPart, match="Found no text tower in this encoder"):
        processor(Modality.TEXT, ["a star"])
    with pytest.raises(MissingPart, match="Found no tokenizer; texts need one"):
        ImageBindProcessor(FULL)(Modality.TEXT, ["a star"])
