"""The motion trace of a toybox scene: one push and one brake along the axis of its move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anygen.media import IMU, IMU_SAMPLE_RATE

from .scene import Scene

AMPLITUDE: dict[str, float] = {"small": 3.0, "large": 1.0}
"""Peak acceleration in m/s^2 of a push, by size."""

AXIS: dict[str, tuple[int, float]] = {
    "right": (0, 1.0),
    "left": (0, -1.0),
    "up": (1, 1.0),
    "down": (1, -1.0),
}
"""Accelerometer row and sign of the push that starts each move; the brake has the other sign."""

GRAVITY = 9.81
"""Standing acceleration in m/s^2 on z."""

NOISE = 0.05
"""Standard deviation of sensor noise on all six channels."""

LENGTH = 2000
"""Samples of a trace: 5 s at 400 Hz."""

PULSE_SECONDS = (0.35, 0.6)
"""Range of the length of a push or brake, each half a sine wave."""


def move_imu(scene: Scene, *, rng: np.random.Generator) -> IMU:
    """Simulate the motion trace of a scene; shape, color and background leave none.

    Args:
        scene: What moves.
        rng: Source of noise, of when the push comes and of how long it lasts.

    Returns:
        Six channels (accelerometer x y z in m/s^2, gyroscope x y z in rad/s), 5 s at 400 Hz.
    """
    return IMU(samples=imu_batch([scene], rng=rng)[0], sample_rate=IMU_SAMPLE_RATE)


def imu_batch(scenes: Sequence[Scene], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Simulate many traces at once.

    Returns:
        (len(scenes), 6, 2000) float32.
    """
    traces = rng.normal(0.0, NOISE, (len(scenes), 6, LENGTH))
    traces[:, 2] += GRAVITY
    time = np.arange(LENGTH) / IMU_SAMPLE_RATE
    for trace, scene in zip(traces, scenes, strict=True):
        if scene.motion in AXIS:
            row, sign = AXIS[scene.motion]
            width = rng.uniform(*PULSE_SECONDS)
            push = rng.uniform(0.3, 1.2)
            brake = push + rng.uniform(1.5, 2.5)
            shape = _pulse(time, push, width) - _pulse(time, brake, width)
            trace[row] += sign * AMPLITUDE[scene.size] * shape
    return traces.astype(np.float32)


def _pulse(time: NDArray[np.float64], start: float, width: float) -> NDArray[np.float64]:
    """Half a sine wave of height 1."""
    phase = np.clip((time - start) / width, 0.0, 1.0)
    return np.sin(np.pi * phase)
