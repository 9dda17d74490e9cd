from __future__ import annotations

import numpy as np
import pytest

from anygen.errors import BadArgument
from anygen.toybox.scene import ATTRIBUTES, Scene
from anygen.toybox.sound import PEAK, PITCH, PITCH_JITTER, play_sound, sound_batch

RATE = 16000


def sound(shape="circle", size="large", motion="still", seed=0, **options):
    scene = Scene(shape=shape, color="red", size=size, background="gray", motion=motion)
    return sound_batch([scene], rng=np.random.default_rng(seed), **options)[0].astype(np.float64)


def strongest(samples):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return float(np.argmax(power) * RATE / len(samples))


def level(samples, hz, width=12.0):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    frequency = np.arange(len(power)) * RATE / len(samples)
    return float(np.sqrt(power[np.abs(frequency - hz) < width].sum()))


def rms(samples):
    return float(np.sqrt((samples**2).mean()))


def test_every_sound_is_two_seconds_long_and_has_the_promised_peak():
    scenes = [
        Scene(shape=shape, color="red", size=size, background="navy", motion=motion)
        for shape in ATTRIBUTES["shape"]
        for size in ATTRIBUTES["size"]
        for motion in ATTRIBUTES["motion"]
    ]
    batch = sound_batch(scenes, rng=np.random.default_rng(0))
    assert batch.shape == (60, 32000) and batch.dtype == np.float32
    np.testing.assert_allclose(np.abs(batch).max(axis=1), PEAK, rtol=1e-5)


def test_play_sound_is_mono_audio_at_its_rate():
    scene = Scene(shape="ring", color="blue", size="small", background="black", motion="up")
    audio = play_sound(scene, rng=np.random.default_rng(0), seconds=1.0, sample_rate=22050)
    assert audio.samples.shape == (1, 22050) and audio.sample_rate == 22050


def test_color_and_background_make_no_sound_and_the_seed_fixes_everything():
    one = Scene(shape="cross", color="red", size="small", background="gray", motion="up")
    other = Scene(shape="cross", color="white", size="small", background="brown", motion="up")
    first, second = (sound_batch([scene], rng=np.random.default_rng(4)) for scene in (one, other))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "star", "ring"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_pitch_tells_the_size(shape, size):
    slack = PITCH_JITTER * PITCH[size] + 5.0
    assert abs(strongest(sound(shape, size)) - PITCH[size]) < slack


def test_square_has_odd_harmonics_and_sawtooth_all_at_one_over_n():
    for shape, second in (("square", 0.0), ("triangle", 1 / 2)):
        samples = sound(shape, seed=1)
        pitch = strongest(samples)
        ratios = [level(samples, pitch * n) / level(samples, pitch) for n in (2, 3, 5)]
        np.testing.assert_allclose(ratios, [second, 1 / 3, 1 / 5], atol=0.02)


def test_bell_has_its_partials_and_four_strikes_a_second():
    samples = sound("star", seed=2)
    pitch = strongest(samples)
    partials = [level(samples, pitch * ratio, 40.0) for ratio in (2.76, 5.40, 8.93)]
    between = [level(samples, pitch * ratio, 40.0) for ratio in (2.0, 4.0, 7.0)]
    assert min(partials) > 5 * max(between)
    loud = np.array([rms(part) for part in np.array_split(samples, 200)])
    assert np.sum((loud[1:] > 2 * loud[:-1]) & (loud[1:] > 0.5 * loud.max())) in (7, 8, 9)


def test_tremolo_swings_fully_twelve_times_a_second():
    envelope = np.abs(sound("ring")).reshape(-1, 80).max(axis=1)
    middle = envelope[20:-20]
    assert middle.min() < 0.06 * middle.max()
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean()))
    assert np.argmax(spectrum) / 2.0 == pytest.approx(12.0, abs=0.5)


def test_noise_fills_a_band_of_24_percent():
    samples = sound("cross", "small")
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.arange(len(power)) / 2.0
    inside = np.abs(frequency / 880.0 - 1) < 0.135
    assert power[inside].sum() > 0.98 * power.sum()
    share = np.cumsum(power) / power.sum()
    width = np.ptp(frequency[(share > 0.05) & (share < 0.95)])
    assert width == pytest.approx(0.9 * 0.24 * 880.0, rel=0.15)


@pytest.mark.parametrize(("motion", "ratio"), [("up", 2.0), ("down", 0.5), ("still", 1.0)])
def test_up_and_down_glide_one_octave(motion, ratio):
    samples = sound("circle", "small", motion)
    first, last = strongest(samples[:1600]), strongest(samples[-1600:])
    assert last / first == pytest.approx(ratio ** (1 - 1600 / 32000), rel=0.02)


@pytest.mark.parametrize(("motion", "ratio"), [("right", 2.246), ("left", 1 / 2.246)])
def test_right_fades_in_and_left_fades_out(motion, ratio):
    # A line from 0.1 to 1: the root mean squares of its halves are 0.350 and 0.786.
    samples = sound("circle", "small", motion)
    assert rms(samples[16000:]) / rms(samples[:16000]) == pytest.approx(ratio, rel=0.02)


def test_nothing_aliases_when_harmonics_pass_half_the_rate():
    samples = sound("triangle", "small", "up", seed=3)
    last = samples[-3200:]
    power = np.abs(np.fft.rfft(last * np.hanning(len(last)))) ** 2
    frequency = np.arange(len(power)) * 5.0
    below = power[frequency < 1500].sum()
    assert below < 1e-4 * power.sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seconds": 0.2}, "Found a clip of 0.2 s"), ({"sample_rate": 2000}, "Found a sample rate of 2000 Hz")],
)
def test_too_little_room_is_refused(options, message):
    with pytest.raises(BadArgument, match=message):
        sound(**options)
