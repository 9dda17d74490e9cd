from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage, signal

from anygen.errors import BadArgument
from anygen.media import IMU, Audio, Depth, Thermal, Video, load_media, save_media
from anygen.modality import Modality
from anygen.toybox.oracles import oracle_accuracy, read
from anygen.toybox.render import render
from anygen.toybox.scene import ATTRIBUTES, REVEALS, Scene, sample_scene
from anygen.toybox.sound import sound_batch
from anygen.toybox.visual import depth_batch, image_batch, thermal_batch, video_batch

RNG = np.random.default_rng


def scenes(count, seed=0):
    rng = RNG(seed)
    return [sample_scene(rng, held_out=index % 2 == 1) for index in range(count)]


def right_share(modality, pairs):
    """Share of revealed attributes read right over (scene, medium) pairs."""
    hits = [
        read(modality, medium)[name] == value
        for scene, medium in pairs
        for name, value in scene.revealed(modality).items()
    ]
    return float(np.mean(hits))


def noisy(pixels, sigma, seed=0):
    return np.clip(pixels + RNG(seed).normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


IMAGE_DAMAGE = {
    "clean": lambda image: image,
    "noise": lambda image: Image.fromarray(noisy(np.asarray(image, float), 25)),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(1.8)),
    "soft decoder": lambda image: Image.fromarray(
        noisy(np.asarray(image.resize((32, 32)).resize((64, 64), Image.Resampling.BICUBIC), float), 10)
    ),
    "small": lambda image: image.resize((32, 32), Image.Resampling.BILINEAR),
    "big": lambda image: image.resize((150, 150)),
    "dim": lambda image: image.point(lambda value: value * 0.88),
    "jpeg": lambda image: jpeg(image, 40),
}


@pytest.mark.parametrize("damage", IMAGE_DAMAGE)
def test_images_are_read_through_damage(damage):
    chosen = scenes(100, seed=1)
    pictures = image_batch(chosen, size=64, rng=RNG(2), jitter=0.2)
    pairs = [(s, IMAGE_DAMAGE[damage](Image.fromarray(p))) for s, p in zip(chosen, pictures, strict=True)]
    assert right_share(Modality.IMAGE, pairs) >= 0.99


def test_every_shape_color_size_and_background_is_read():
    names = ("shape", "color", "size", "background")
    chosen = [
        Scene(shape=s, color=c, size=z, background=b, motion="still")
        for s, c, z, b in itertools.product(*(ATTRIBUTES[name] for name in names))
    ]
    pictures = image_batch(chosen, size=64, rng=RNG(3))
    pairs = [(s, Image.fromarray(p)) for s, p in zip(chosen, pictures, strict=True)]
    assert right_share(Modality.IMAGE, pairs) == 1.0


def test_an_image_without_one_object_reads_as_nothing():
    nothing = dict.fromkeys(REVEALS[Modality.IMAGE])
    rng = RNG(0)
    blanks = [np.full((64, 64, 3), level, np.uint8) for level in (0, 120, 255)]
    junk = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    half = np.repeat(np.array([[[0, 0, 0]], [[255, 255, 255]]], np.uint8), 32, axis=0).repeat(64, axis=1)
    two = blanks[0].copy()
    two[10:22, 10:22] = two[40:52, 40:52] = 240
    for pixels in (*blanks, junk, half, two):
        assert read(Modality.IMAGE, Image.fromarray(pixels)) == nothing


def test_an_unknown_shape_and_color_are_not_guessed():
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[30:34, 8:56] = (255, 120, 255)
    reading = read(Modality.IMAGE, Image.fromarray(pixels))
    assert reading == {"shape": None, "color": None, "size": None, "background": "gray"}


AUDIO_DAMAGE = {
    "clean": lambda x: (x, 16000),
    "noise": lambda x: (x + RNG(0).normal(0, 0.3 * x.std(), x.shape), 16000),
    "quiet": lambda x: (x * 0.03, 16000),
    "44100 Hz": lambda x: (signal.resample_poly(x, 441, 160), 44100),
    "8000 Hz": lambda x: (signal.resample_poly(x, 1, 2), 8000),
    "silence around": lambda x: (np.pad(x, (4000, 6000)), 16000),
    "dull": lambda x: (signal.sosfilt(signal.butter(2, 3000, fs=16000, output="sos"), x), 16000),
    "smeared": lambda x: (vocoded(x), 16000),
}


def vocoded(x):
    """Wrong phases and amplitudes in every cell of a spectrogram, as a neural vocoder makes them."""
    _, _, cells = signal.stft(x, nperseg=512, noverlap=352)
    rng = RNG(1)
    cells = cells * np.exp(rng.normal(0, 0.25, cells.shape) + 0.5j * rng.normal(0, 1, cells.shape))
    return signal.istft(cells, nperseg=512, noverlap=352)[1]


@pytest.mark.parametrize("damage", AUDIO_DAMAGE)
def test_sounds_are_read_through_damage(damage):
    chosen = [
        Scene(shape=s, color="red", size=z, background="gray", motion=m)
        for s, z, m in itertools.product(*(ATTRIBUTES[name] for name in ("shape", "size", "motion")))
    ]
    chosen = chosen if damage == "clean" else chosen[::3] + chosen[1::6]
    pairs = []
    for scene, sound in zip(chosen, sound_batch(chosen, rng=RNG(5)), strict=True):
        samples, rate = AUDIO_DAMAGE[damage](sound.astype(float))
        samples = samples / max(1.0, np.abs(samples).max())
        pairs.append((scene, Audio(samples=samples[None].astype(np.float32), sample_rate=rate)))
    assert right_share(Modality.AUDIO, pairs) >= (0.99 if damage == "clean" else 0.97)


def test_stereo_sounds_are_read_even_when_the_channels_cancel():
    scene = Scene(shape="square", color="red", size="small", background="gray", motion="left")
    mono = sound_batch([scene], rng=RNG(0))[0]
    for other in (0.5 * mono, -mono, 0 * mono):
        reading = read(Modality.AUDIO, Audio(samples=np.stack([mono, other]), sample_rate=16000))
        assert reading == scene.revealed(Modality.AUDIO)


def test_a_sound_that_is_none_of_the_world_reads_as_nothing():
    noise = RNG(0).uniform(-0.8, 0.8, 32000)
    click = 0.02 * noise
    click[16000:16010] = 0.9
    for samples in (np.zeros(32000), np.zeros(50), noise, noise[:3000], click):
        audio = Audio(samples=samples[None].astype(np.float32), sample_rate=16000)
        assert set(read(Modality.AUDIO, audio).values()) == {None}
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    audio = Audio(samples=tone[None].astype(np.float32), sample_rate=16000)
    assert read(Modality.AUDIO, audio) == {"shape": "circle", "size": None, "motion": "still"}


def test_videos_are_read_through_noise_blur_and_another_rate():
    chosen = scenes(12, seed=6)
    films = video_batch(chosen, size=64, num_frames=16, rng=RNG(7))
    damaged = [noisy(ndimage.gaussian_filter(film.astype(float), (0, 1.2, 1.2, 0)), 12) for film in films]
    slow = [film[::3] for film in films]
    for version, fps in ((films[:6], 8.0), (damaged, 8.0), (slow, 2.7)):
        pairs = [
            (s, Video(frames=np.ascontiguousarray(f), fps=fps)) for s, f in zip(chosen, version, strict=False)
        ]
        assert right_share(Modality.VIDEO, pairs) >= 0.99


def test_videos_are_read_after_compression(tmp_path):
    chosen = scenes(4, seed=8)
    pairs = []
    for index, scene in enumerate(chosen):
        save_media(render(scene, Modality.VIDEO, rng=RNG(index)), tmp_path / f"{index}.mp4")
        pairs.append((scene, load_media(Modality.VIDEO, tmp_path / f"{index}.mp4")))
    assert right_share(Modality.VIDEO, pairs) >= 0.97


def film_along(places):
    frames = np.full((len(places), 64, 64, 3), 15, np.uint8)
    for frame, (x, y) in zip(frames, places, strict=True):
        frame[y - 10 : y + 10, x - 10 : x + 10] = (220, 40, 40)
    return Video(frames=frames, fps=8.0)


def test_jitter_is_still_and_a_slant_has_no_direction():
    jitter = film_along([(32 + i % 3 * 2, 32 - i % 2 * 2) for i in range(16)])
    assert read(Modality.VIDEO, jitter)["motion"] == "still"
    assert read(Modality.VIDEO, film_along([(20 + i, 20 + i) for i in range(16)]))["motion"] is None
    single = film_along([(32, 32)])
    assert read(Modality.VIDEO, single) == {
        "shape": "square", "color": "red", "size": "small", "background": "black", "motion": None
    }  # fmt: skip


@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_depth_and_thermal_maps_are_read_through_noise(sigma):
    chosen = scenes(100, seed=9)
    depths = depth_batch(chosen, size=96, rng=RNG(1)) + RNG(2).normal(0, 4 * sigma, (100, 96, 96))
    depths[:, :3, :3] = 0.0
    heats = np.clip(thermal_batch(chosen, rng=RNG(3)) + RNG(4).normal(0, sigma, (100, 64, 64)), 0, 1)
    pairs = [
        (s, Depth(meters=np.maximum(d, 0).astype(np.float32))) for s, d in zip(chosen, depths, strict=True)
    ]
    assert right_share(Modality.DEPTH, pairs) >= 0.99
    pairs = [(s, Thermal(values=h.astype(np.float32))) for s, h in zip(chosen, heats, strict=True)]
    assert right_share(Modality.THERMAL, pairs) >= 0.99


def test_empty_maps_read_as_nothing():
    empty = np.zeros((64, 64), np.float32)
    assert read(Modality.DEPTH, Depth(meters=empty)) == {"shape": None, "size": None}
    assert read(Modality.DEPTH, Depth(meters=empty + 4)) == {"shape": None, "size": None}
    assert read(Modality.THERMAL, Thermal(values=empty)) == {"shape": None, "color": None, "size": None}


def test_imu_traces_are_read_through_noise_offset_and_another_rate():
    chosen = scenes(60, seed=10)
    pairs = []
    for index, scene in enumerate(chosen):
        samples = render(scene, Modality.IMU, rng=RNG(index)).samples[:, ::4].astype(float)
        samples += RNG(index).normal(0, 0.1, samples.shape) + 0.5
        pairs.append((scene, IMU(samples=samples.astype(np.float32), sample_rate=100.0)))
    assert right_share(Modality.IMU, pairs) >= 0.99


def test_an_imu_trace_with_two_axes_has_no_direction():
    samples = np.zeros((6, 2000), np.float32)
    samples[:2, 200:400] = 2.0
    assert read(Modality.IMU, IMU(samples=samples)) == {"size": None, "motion": None}


def test_clean_renders_of_every_modality_are_read():
    shares = oracle_accuracy(10, seed=1)
    assert set(shares) == set(Modality)
    for modality, by_name in shares.items():
        assert set(by_name) == set(REVEALS[modality])
        assert min(by_name.values()) >= 0.9, (modality, by_name)


def test_wrong_requests_are_refused():
    with pytest.raises(BadArgument, match="found count=0, expected at least 1 scene"):
        oracle_accuracy(0)
    with pytest.raises(BadArgument, match="found modality 'smell', expected one of text, image"):
        read("smell", "roses")
    with pytest.raises(BadArgument, match="found modality 'smell', expected one of text, image"):
        render(sample_scene(RNG(0)), "smell", rng=RNG(0))
