"""What the media of a message are in memory: plain arrays with a meaning, checked once when they are made.

An image is a `PIL.Image.Image` in mode RGB and needs no class of its own. Everything else is here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anygen.errors import BadMedia

IMU_SAMPLE_RATE = 400.0
"""Hz assumed for an IMU trace that comes without a rate (ImageBind's Ego4D clips are 5 s of 2000 samples)."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A waveform. Raises BadMedia unless the samples are finite float32 (channels, n) in [-1, 1]."""

    samples: np.ndarray
    """float32 (channels, n), full scale at 1."""
    sample_rate: int
    """Samples a second."""

    def __post_init__(self) -> None:
        _check_array("audio samples", self.samples, np.float32, ("channels", "n"))
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int | np.integer):
            raise BadMedia(f"audio sample rate is {self.sample_rate!r}, expected a whole number of Hz")
        if self.sample_rate <= 0:
            raise BadMedia(f"audio sample rate is {self.sample_rate} Hz, expected more than 0")
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        _check_range("audio samples", self.samples, -1.0, 1.0, "divide by the peak or clip")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples.shape[1] / self.sample_rate


@dataclass(frozen=True, eq=False)
class Video:
    """A clip without sound. Raises BadMedia unless the frames are uint8 (t, h, w, 3)."""

    frames: np.ndarray
    """uint8 (t, h, w, 3), RGB."""
    fps: float
    """Frames a second."""

    def __post_init__(self) -> None:
        _check_array("video frames", self.frames, np.uint8, ("t", "h", "w", "3"))
        if self.frames.shape[3] != 3:
            raise BadMedia(f"video frames have {self.frames.shape[3]} channels, expected 3 (RGB)")
        object.__setattr__(self, "fps", _positive("video frame rate", self.fps))

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames.shape[0] / self.fps


@dataclass(frozen=True, eq=False)
class Depth:
    """A depth map. Raises BadMedia unless it is finite float32 (h, w) and nowhere negative."""

    meters: np.ndarray
    """float32 (h, w) metres from the camera; 0 means no data."""

    def __post_init__(self) -> None:
        _check_array("depth map", self.meters, np.float32, ("h", "w"))
        _check_range("depth map", self.meters, 0.0, math.inf, "mark missing depth with 0")


@dataclass(frozen=True, eq=False)
class Thermal:
    """A thermal image. Raises BadMedia unless it is finite float32 (h, w) in [0, 1]."""

    values: np.ndarray
    """float32 (h, w), 0 the coldest and 1 the hottest the camera can tell."""

    def __post_init__(self) -> None:
        _check_array("thermal image", self.values, np.float32, ("h", "w"))
        _check_range("thermal image", self.values, 0.0, 1.0, "scale it to the camera's range")


@dataclass(frozen=True, eq=False)
class IMU:
    """A motion trace. Raises BadMedia unless the samples are finite float32 (6, n)."""

    samples: np.ndarray
    """float32 (6, n): accelerometer x, y, z in m/s^2, then gyroscope x, y, z in rad/s."""
    sample_rate: float = IMU_SAMPLE_RATE
    """Samples a second."""

    def __post_init__(self) -> None:
        _check_array("IMU samples", self.samples, np.float32, ("6", "n"))
        if self.samples.shape[0] != 6:
            raise BadMedia(
                f"IMU samples have {self.samples.shape[0]} rows, expected 6: accelerometer, gyroscope"
            )
        object.__setattr__(self, "sample_rate", _positive("IMU sample rate", self.sample_rate))
        _check_range("IMU samples", self.samples, -math.inf, math.inf, "")

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples.shape[1] / self.sample_rate


def _check_array(what: str, array: object, dtype: type[np.generic], axes: tuple[str, ...]) -> None:
    """Raise BadMedia unless `array` is a non-empty ndarray of that dtype and number of axes."""
    shape = ", ".join(axes)
    if not isinstance(array, np.ndarray):
        raise BadMedia(
            f"{what} are {type(array).__name__}, expected a numpy {dtype.__name__} array ({shape})"
        )
    if array.dtype != dtype:
        raise BadMedia(f"{what}: found {array.dtype}, expected {dtype.__name__}; convert with .astype first")
    if array.ndim != len(axes):
        raise BadMedia(f"{what}: found shape {array.shape}, expected ({shape})")
    if array.size == 0:
        raise BadMedia(f"{what}: found shape {array.shape}, expected ({shape}) with nothing empty")


def _check_range(what: str, array: np.ndarray, low: float, high: float, remedy: str) -> None:
    """Raise BadMedia unless every value is finite and in [low, high]."""
    smallest, largest = float(array.min()), float(array.max())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise BadMedia(f"{what}: found NaN or infinity, expected finite numbers; clean the data first")
    if smallest < low or largest > high:
        found = f"found values from {smallest:g} to {largest:g}"
        raise BadMedia(f"{what}: {found}, expected {low:g} to {high:g}; {remedy}")


def _positive(what: str, value: object) -> float:
    """`value` as a float; BadMedia unless it is a finite number above 0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool | str) or not (math.isfinite(number) and number > 0):
        raise BadMedia(f"{what} is {value!r}, expected a finite number above 0")
    return number
