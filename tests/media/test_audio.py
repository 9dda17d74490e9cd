from __future__ import annotations

import io
import struct
import time
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from anygen.errors import BadArgument, BadMedia, LimitExceeded
from anygen.media import Audio, MediaLimits, load_media, resample, save_media, to_mono

Encode = Callable[..., bytes]

RATE = 16_000


def sine(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """float32 (channels, n) at half of full scale."""
    wave_ = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave_.astype(np.float32), (channels, 1))


def wav(
    data: bytes, *, rate: int = RATE, channels: int = 1, bits: int = 16, tag: int = 1, size: int | None = None
) -> bytes:
    """A WAV file with any header one likes."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate, (rate * block) % 2**32, block % 2**16, bits)
    length = len(data) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", (len(body) + (length - len(data))) % 2**32) + body


def pcm16(samples: np.ndarray) -> bytes:
    return np.clip(np.rint(samples.T * 32768), -32768, 32767).astype("<i2").tobytes()


@settings(max_examples=25, deadline=None)
@given(
    pcm=hnp.arrays(np.int16, st.tuples(st.integers(1, 8), st.integers(1200, 1500))),
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
)
def test_wav_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, pcm: np.ndarray, rate: int
) -> None:
    path = tmp_path_factory.mktemp("wav") / "sound.wav"
    audio = Audio(pcm.astype(np.float32) / 32768, rate)
    save_media(audio, path, metadata={"model": "toybox", "note": "h\u00e9"})
    loaded = load_media("audio", path)
    assert loaded.sample_rate == rate
    np.testing.assert_array_equal(loaded.samples, audio.samples)
    with wave.open(str(path)) as plain:
        assert (plain.getnchannels(), plain.getsampwidth(), plain.getframerate()) == (pcm.shape[0], 2, rate)


def test_full_scale_is_written_without_wrapping(tmp_path: Path) -> None:
    save_media(Audio(np.tile(np.array([[1.0, -1.0]], np.float32), 400), 8_000), tmp_path / "a.wav")
    samples = load_media("audio", tmp_path / "a.wav").samples
    assert samples.max() == np.float32(32767 / 32768)
    assert samples.min() == -1.0


@pytest.mark.parametrize(
    ("suffix", "codec", "format", "tolerance"),
    [
        ("flac", "flac", "s16p", 1e-4),
        ("mp3", "libmp3lame", "fltp", 0.02),
        ("m4a", "aac", "fltp", 0.05),
        ("mkv", "libopus", "flt", 0.05),
        ("ogg", "libopus", "flt", 0.05),
    ],
)
def test_common_formats(encode_audio: Encode, suffix: str, codec: str, format: str, tolerance: float) -> None:
    rate = 48_000
    samples = sine(rate=rate)
    source = (samples * 32767).astype(np.int16) if format == "s16p" else samples
    audio = load_media("audio", encode_audio(source, rate, suffix, codec, format.replace("s16p", "s16")))
    assert audio.sample_rate == rate
    assert audio.samples.shape[0] == 1
    assert abs(audio.duration - 0.5) < 0.06
    spectrum = np.abs(np.fft.rfft(audio.samples[0], 2 * rate))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=1)
    middle = audio.samples[:, rate // 8 : rate // 4]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / 2**0.5, abs=tolerance)


def test_depths_rates_and_channels() -> None:
    high = sine(rate=96_000, channels=6)
    raw24 = np.clip(np.rint(high.T.astype(np.float64) * 2**23), -(2**23), 2**23 - 1).astype("<i4")
    data24 = raw24.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    loaded = load_media("audio", wav(data24, rate=96_000, channels=6, bits=24))
    assert loaded.sample_rate == 96_000
    np.testing.assert_allclose(loaded.samples, high, atol=2**-22)
    eight = (sine() * 127 + 128).astype(np.uint8)
    np.testing.assert_allclose(load_media("audio", wav(eight.tobytes(), bits=8)).samples, sine(), atol=0.02)
    floats = load_media("audio", wav(sine().tobytes(), bits=32, tag=3))
    np.testing.assert_array_equal(floats.samples, sine())
    assert to_mono(loaded).samples.shape == (1, high.shape[1])


def test_sound_of_a_video_file(encode_video: Encode, gray_steps: np.ndarray) -> None:
    audio = load_media("audio", encode_video(gray_steps, "mp4", sound_seconds=1.5))
    assert audio.duration == pytest.approx(1.5, abs=0.15)


def test_arrays() -> None:
    np.testing.assert_array_equal(load_media("audio", sine()[0], rate=RATE).samples, sine())
    np.testing.assert_array_equal(load_media("audio", sine().astype(np.float64), rate=RATE).samples, sine())
    quantised = np.round(sine() * 32768).astype(np.int16)
    np.testing.assert_allclose(load_media("audio", quantised, rate=RATE).samples, sine(), atol=2**-16)
    audio = Audio(sine(), RATE)
    assert load_media("audio", audio) is audio


@pytest.mark.parametrize(
    ("array", "rate", "error", "message"),
    [
        (sine(), None, BadMedia, "found sample rate None, expected a whole number of Hz; give sampling_rate"),
        (sine(), 0.5, BadMedia, "found sample rate 0.5"),
        (sine(), -1, BadArgument, "rate is -1, expected a finite number above 0"),
        (sine(), 100, BadMedia, "found a sample rate of 100 Hz, expected 4000 to 384000 Hz"),
        (sine().T, RATE, LimitExceeded, r"found 8000 channels, the limit is 8; .*\(channels, n\)"),
        (sine().astype(np.int32), RATE, BadMedia, "found int32, expected floats in -1 to 1 or int16"),
        (sine() * 4, RATE, BadMedia, "expected -1 to 1; divide by the peak or clip"),
        (sine() * np.nan, RATE, BadMedia, "found NaN or infinity"),
        (sine()[:, :200], RATE, BadMedia, "found 12.5 ms of sound, expected at least 25 ms"),
        (np.zeros((1, 61 * 8000), np.float32), 8000, LimitExceeded, "found 61.0 s, the limit is 60 s"),
        (np.zeros((1, 2, 3), np.float32), RATE, BadMedia, "expected .channels, n."),
    ],
)
def test_arrays_that_are_no_sound(
    array: np.ndarray, rate: float | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_media("audio", array, rate=rate)


FULL = pcm16(sine())
NAN = sine().copy()
NAN[0, 100] = np.nan


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", BadMedia, "found 0 bytes, expected audio data"),
        (bytes(range(7, 256)) * 20, BadMedia, "bytes of no known format"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", BadMedia, "found text or markup"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", BadMedia, "found text or markup"),
        (wav(b""), BadMedia, "nothing in its audio track|no samples|no known format"),
        (wav(FULL[:2]), BadMedia, "ms of sound, expected at least 25 ms"),
        (wav(FULL[:320]), BadMedia, "found 10 ms of sound, expected at least 25 ms"),
        (wav(FULL)[: len(FULL) // 2], BadMedia, "found 7956 of 16000 bytes of samples, expected"),
        (wav(FULL)[: 44 + 4096], BadMedia, "found 4096 of 16000 bytes of samples"),
        (wav(FULL, rate=0), BadMedia, "no known format|sample rate of 0 Hz"),
        (wav(FULL, rate=2**31 - 1), BadMedia, "sample rate of 2147483647 Hz, expected|no known"),
        (wav(FULL, channels=0), BadMedia, "no known format|expected a common|nothing in its"),
        (wav(FULL, channels=65_535), (BadMedia, LimitExceeded), "65535 channels|no known|nothing in its"),
        (wav(NAN.tobytes(), bits=32, tag=3), BadMedia, "found NaN, infinity or samples beyond 8 times"),
        (wav((sine() * 2e30).tobytes(), bits=32, tag=3), BadMedia, "beyond 8 times full scale"),
    ],
)  # fmt: skip
def test_files_that_are_no_sound(
    data: bytes, error: type[Exception] | tuple[type[Exception], ...], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_media("audio", data)


def test_streamed_wav_without_a_size_is_read() -> None:
    # Programs that write WAV into a pipe cannot know the size and put its largest value.
    audio = load_media("audio", wav(FULL, size=2**32 - 1))
    np.testing.assert_allclose(audio.samples, sine(), atol=2**-15)


def test_overshoot_is_clipped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    audio = load_media("audio", wav((sine() * 2.5).tobytes(), bits=32, tag=3))
    assert np.abs(audio.samples).max() == 1.0
    assert "peaks at 1.25 of full scale: clipped to 1" in caplog.text


def test_silence_is_allowed_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert np.ptp(load_media("audio", wav(bytes(8_000))).samples) == 0
    assert "audio is silent" in caplog.text


@pytest.mark.parametrize(("suffix", "codec", "format"), [("flac", "flac", "s16"), ("mka", "libopus", "flt")])
def test_cut_files_are_refused(encode_audio: Encode, suffix: str, codec: str, format: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48_000)).astype(np.float32)
    source = (noise * 32767).astype(np.int16) if format == "s16" else noise
    data = encode_audio(source, 48_000, suffix, codec, format)
    with pytest.raises(BadMedia, match="expected a complete"):
        load_media("audio", data[: len(data) // 2])


def test_damaged_flac_is_refused(encode_audio: Encode) -> None:
    noise = (np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48_000)) * 32767).astype(np.int16)
    data = bytearray(encode_audio(noise, 48_000, "flac", "flac", "s16"))
    data[len(data) // 2 : len(data) // 2 + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BadMedia, match="expected a complete"):
        load_media("audio", bytes(data))


def test_an_hour_of_flac_is_refused_fast_and_small(encode_audio: Encode, tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    path.write_bytes(encode_audio(np.zeros((1, 3600 * 8_000), np.int16), 8_000, "flac", "flac", "s16"))
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(LimitExceeded, match=r"'hour.flac': found 3600.0 s, the limit is 60 s; cut the audio"):
        load_media("audio", path)
    assert time.perf_counter() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_long_mp3_is_stopped_while_reading(encode_audio: Encode) -> None:
    data = encode_audio(np.zeros((1, 20 * RATE), np.float32), RATE, "mp3", "libmp3lame", "fltp")
    with pytest.raises(LimitExceeded, match="the limit is 5 s"):
        load_media("audio", data, MediaLimits(max_audio_seconds=5))


def test_sample_limit_holds_while_decoding() -> None:
    with pytest.raises(LimitExceeded, match="found more than 1000 samples over all channels"):
        load_media("audio", wav(FULL), MediaLimits(max_audio_samples=1000))


def test_cover_picture_is_no_bomb(encode_audio: Encode, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "PNG")
    picture = b"\0image/png\0\3\0" + buffer.getvalue()
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(frame)
    tag = b"ID3\3\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0)) + frame
    data = tag + encode_audio(sine(), RATE, "mp3", "libmp3lame", "fltp")
    started = time.perf_counter()
    assert load_media("audio", data).sample_rate == RATE
    assert time.perf_counter() - started < 0.5
    with pytest.raises(BadMedia, match="found no video track"):
        load_media("video", data)


@pytest.mark.parametrize(("old", "new"), [(48_000, 16_000), (16_000, 48_000), (44_100, 16_000)])
def test_resample_keeps_a_tone(old: int, new: int) -> None:
    audio = resample(Audio(sine(rate=old, channels=2), old), new)
    assert audio.sample_rate == new
    assert audio.samples.shape == (2, round(0.5 * new))
    inner = slice(new // 20, -new // 20)
    np.testing.assert_allclose(audio.samples[:, inner], sine(rate=new, channels=2)[:, inner], atol=1e-4)


def test_resample_to_the_same_rate_changes_nothing() -> None:
    audio = Audio(sine(), RATE)
    assert resample(audio, RATE) is audio


@pytest.mark.parametrize("rate", [0, -1, 1.5, True, "16000"])
def test_resample_refuses_odd_rates(rate: object) -> None:
    with pytest.raises(BadArgument, match="expected a whole number of Hz above 0"):
        resample(Audio(sine(), RATE), rate)  # type: ignore[arg-type]


def test_to_mono_is_the_mean() -> None:
    both = np.stack([sine()[0], -sine()[0] * 0.5])
    np.testing.assert_allclose(to_mono(Audio(both, RATE)).samples, sine() * 0.25, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(44, 4_000))
def test_mutations_give_a_sound_or_a_typed_error(position: int, value: int, cut: int) -> None:
    data = bytearray(wav(FULL[:3_000]))
    data[position] = value
    try:
        audio = load_media("audio", bytes(data[:cut]))
        assert np.isfinite(audio.samples).all()
    except (BadMedia, LimitExceeded) as error:
        assert "0x" not in str(error)
        assert "\n" not in str(error)
