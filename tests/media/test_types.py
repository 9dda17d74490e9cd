from __future__ import annotations

import numpy as np
import pytest

from anygen.errors import BadArgument, BadMedia
from anygen.media import IMU, Audio, Depth, MediaLimits, Thermal, Video

OK = np.zeros((2, 4), np.float32)
NAN = np.full((2, 4), np.nan, np.float32)
RGB = np.zeros((2, 8, 8, 3), np.uint8)


def test_types_keep_what_they_are_given() -> None:
    assert Audio(OK, 4).duration == 1.0
    assert Video(RGB, 4).duration == 0.5
    assert Depth(OK).meters is OK
    assert Thermal(OK).values is OK
    assert IMU(np.zeros((6, 800), np.float32)).duration == 2.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Audio([0.0], 4), "audio samples are list, expected a numpy float32 array"),
        (lambda: Audio(OK.astype(np.float64), 4), "found float64, expected float32"),
        (lambda: Audio(OK[0], 4), r"found shape \(4,\), expected \(channels, n\)"),
        (lambda: Audio(OK[:, :0], 4), "with nothing empty"),
        (lambda: Audio(OK, 0), "sample rate is 0 Hz, expected more than 0"),
        (lambda: Audio(OK, 0.5), "sample rate is 0.5, expected a whole number"),
        (lambda: Audio(OK, True), "sample rate is True, expected a whole number"),
        (lambda: Audio(NAN, 4), "found NaN or infinity, expected finite numbers"),
        (lambda: Audio(OK + 1.5, 4), "found values from 1.5 to 1.5, expected -1 to 1"),
        (lambda: Video(RGB.astype(np.float32), 4), "found float32, expected uint8"),
        (lambda: Video(RGB[0], 4), r"expected \(t, h, w, 3\)"),
        (lambda: Video(RGB[..., :2], 4), "have 2 channels, expected 3"),
        (lambda: Video(RGB, 0), "frame rate is 0, expected a finite number above 0"),
        (lambda: Video(RGB, "8"), "frame rate is '8', expected a finite number above 0"),
        (lambda: Video(RGB, float("nan")), "frame rate is nan, expected a finite number above 0"),
        (lambda: Depth(-OK - 1), "mark missing depth with 0"),
        (lambda: Depth(NAN), "found NaN or infinity"),
        (lambda: Thermal(OK + 2), "expected 0 to 1; scale it"),
        (lambda: IMU(OK), "have 2 rows, expected 6"),
        (lambda: IMU(np.full((6, 2), np.inf, np.float32)), "found NaN or infinity"),
        (lambda: IMU(np.zeros((6, 2), np.float32), None), "IMU sample rate is None"),
    ],
)
def test_types_refuse_what_they_do_not_mean(make: object, message: str) -> None:
    with pytest.raises(BadMedia, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "8", None])
def test_limits_are_positive_numbers(value: object) -> None:
    with pytest.raises(BadArgument, match="media limit max_pixels is .*, expected a finite number above 0"):
        MediaLimits(max_pixels=value)  # type: ignore[arg-type]
