from __future__ import annotations

import numpy as np
import pytest

from anygen.toybox.scene import Scene
from anygen.toybox.sensors import GRAVITY, NOISE, imu_batch, move_imu


def scene(motion, size="small"):
    return Scene(shape="star", color="red", size=size, background="gray", motion=motion)


def test_trace_is_five_seconds_of_six_channels():
    imu = move_imu(scene("up"), rng=np.random.default_rng(0))
    assert imu.samples.shape == (6, 2000) and imu.sample_rate == 400.0


def test_still_is_gravity_and_noise_alone():
    trace = imu_batch([scene("still")], rng=np.random.default_rng(1))[0]
    np.testing.assert_allclose(trace.std(axis=1), NOISE, rtol=0.1)
    np.testing.assert_allclose(trace.mean(axis=1), [0, 0, GRAVITY, 0, 0, 0], atol=0.01)


@pytest.mark.parametrize(("size", "height"), [("small", 3.0), ("large", 1.0)])
@pytest.mark.parametrize(
    ("motion", "row", "sign"), [("right", 0, 1), ("left", 0, -1), ("up", 1, 1), ("down", 1, -1)]
)
def test_a_move_is_a_push_and_then_a_brake(motion, row, sign, size, height):
    trace = imu_batch([scene(motion, size)], rng=np.random.default_rng(2))[0]
    assert sign * (np.argmax(trace[row]) - np.argmin(trace[row])) < 0
    assert np.abs(trace[row]).max() == pytest.approx(height, abs=0.25)
    assert np.abs(trace[1 - row]).max() < 0.3
    assert abs(trace[row].sum()) / 400.0 < 0.05, "what is pushed comes to rest"
