from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from anygen.errors import BadArgument, BadMedia, LimitExceeded
from anygen.media import IMU, Depth, MediaLimits, Thermal, load_media, save_media

Encode = Callable[..., bytes]

TRACE = np.arange(60, dtype=np.float32).reshape(6, 10) / 7


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def csv(array: np.ndarray, head: str = "") -> bytes:
    rows = [",".join(f"{value:.9g}" for value in row) for row in array]
    return (head + "\n".join(rows) + "\n").encode()


@settings(max_examples=20, deadline=None)
@given(values=hnp.arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)))
@pytest.mark.parametrize(("modality", "make"), [("depth", Depth), ("thermal", Thermal)])
def test_maps_round_trip(
    tmp_path_factory: pytest.TempPathFactory, modality: str, make: type, values: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("map") / "map.npy"
    save_media(make(values), path)
    loaded = load_media(modality, path)
    np.testing.assert_array_equal(loaded.meters if modality == "depth" else loaded.values, values)


@settings(max_examples=20, deadline=None)
@given(samples=hnp.arrays(np.float32, (6, 9), elements=st.floats(-100, 100, width=32)))
def test_traces_round_trip(tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("imu") / "trace.npy"
    save_media(IMU(samples), path)
    for source in (path, csv(samples), csv(samples.T)):
        np.testing.assert_array_equal(load_media("imu", source, rate=400).samples, samples)


def test_depth_png_is_millimetres(encode_image: Encode) -> None:
    millimetres = np.array([[0, 1, 1500, 65535]] * 8, np.uint16).repeat(2, axis=1)
    depth = load_media("depth", encode_image(Image.fromarray(millimetres), "PNG"))
    np.testing.assert_allclose(depth.meters, millimetres / 1000.0, rtol=1e-6)
    assert depth.meters[0, 0] == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_depth_arrays_of_all_floats(dtype: type) -> None:
    meters = np.linspace(0, 8, 64, dtype=dtype).reshape(8, 8)
    for source in (meters, npy(meters)):
        assert load_media("depth", source).meters.dtype == np.float32


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_thermal_pictures_are_scaled(encode_image: Encode, dtype: type, top: int) -> None:
    gray = np.linspace(0, top, 64).astype(dtype).reshape(8, 8)
    for source in (encode_image(Image.fromarray(gray), "PNG"), gray, npy(gray)):
        np.testing.assert_allclose(load_media("thermal", source).values, gray / top, atol=1e-6)


def test_objects_pass_through() -> None:
    small = np.zeros((8, 8), np.float32)
    for modality, media in (("depth", Depth(small)), ("thermal", Thermal(small)), ("imu", IMU(TRACE))):
        assert load_media(modality, media) is media


def test_imu_layouts_and_rates(caplog: pytest.LogCaptureFixture) -> None:
    heading = "ax,ay,az,gx,gy,gz\r\n"
    for source in (TRACE, TRACE.T, npy(TRACE.T), csv(TRACE), csv(TRACE.T, heading), csv(TRACE, "\ufeff")):
        trace = load_media("imu", source)
        np.testing.assert_allclose(trace.samples, TRACE, rtol=1e-6)
        assert trace.sample_rate == 400.0
    assert "has no sample rate: 400 Hz is assumed" in caplog.text
    caplog.clear()
    assert load_media("imu", csv(TRACE), rate=100).sample_rate == 100.0
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("modality", "source", "error", "message"),
    [
        ("depth", np.zeros((8, 8), np.uint16), BadMedia, "found uint16, expected float metres"),
        ("depth", np.full((8, 8), 2500.0), BadMedia, "found depths up to 2500 m.*; if they are millimetres"),
        ("depth", np.full((8, 8), np.nan), BadMedia, "found NaN or infinity"),
        ("depth", np.full((8, 8), 1e300), BadMedia, "found NaN or infinity"),
        ("depth", np.full((8, 8), -1.0), BadMedia, "mark missing depth with 0"),
        ("depth", np.zeros((8, 8, 3)), BadMedia, r"found shape \(8, 8, 3\), expected \(h, w\)"),
        ("depth", np.zeros((4, 8)), BadMedia, "found 8 x 4 pixels, expected at least 8"),
        ("depth", npy(np.zeros((8, 8), np.int32)), BadMedia, "found int32, expected float metres"),
        ("depth", b"nothing like it", BadMedia, "found text or markup, expected PNG"),
        ("depth", 5, BadMedia, "depth map: found int, expected a path"),
        ("thermal", np.full((8, 8), 1.5), BadMedia, "found values from 1.5 to 1.5, expected 0 to 1"),
        ("thermal", np.zeros((8, 8), np.int64), BadMedia, "found int64, expected floats in 0 to 1, uint8"),
        ("imu", np.zeros((7, 10)), BadMedia, r"found float64 \(7, 10\), expected numbers, 6 x n or n x 6"),
        ("imu", np.zeros(6), BadMedia, "expected numbers, 6 x n or n x 6"),
        ("imu", np.zeros((6, 4), complex), BadMedia, "found complex128"),
        ("imu", np.full((6, 4), np.inf), BadMedia, "found NaN or infinity"),
        ("imu", np.full((6, 4), 1e300), BadMedia, "found NaN or infinity"),
        ("imu", np.zeros((6, 10)).astype(str), BadMedia, "expected numbers, 6 x n or n x 6"),
        ("imu", b"1,2,3,4,5,six\n" * 3, BadMedia, "line 2 holds something else than numbers"),
        ("imu", b"1,2,3,4,5,6\n1,2,3\n", BadMedia, "line 2 has 3 numbers and the first 6"),
        ("imu", b"1,2,3,4,5,nan\n" * 3, BadMedia, "found NaN or infinity"),
        ("imu", b"words\n", BadMedia, "found no numbers, expected 6 columns"),
        ("imu", b"\xff\xfe\xfa" * 9, BadMedia, "found bytes that are no text, expected .npy or .csv"),
        ("imu", b"1,2,3,4,5,6,7\n" * 3, BadMedia, r"found float64 \(3, 7\)"),
    ],
)  # fmt: skip
def test_what_is_refused(modality: str, source: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_media(modality, source)


@pytest.mark.parametrize(("mode", "modality"), [("L", "depth"), ("RGB", "depth"), ("RGB", "thermal")])
def test_pictures_of_the_wrong_kind(encode_image: Encode, mode: str, modality: str) -> None:
    with pytest.raises(BadMedia, match=f"found a picture of mode {mode}, expected"):
        load_media(modality, encode_image(Image.new(mode, (8, 8)), "PNG"))


def test_objects_in_npy_are_never_unpickled(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    for modality in ("depth", "thermal", "imu"):
        with pytest.raises(BadMedia, match="found an array of object, expected plain numbers"):
            load_media(modality, npy(np.array([Boom()], dtype=object)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("modality", ["depth", "thermal", "imu"])
def test_npy_headers_that_lie(modality: str) -> None:
    data = npy(np.zeros((6, 100), np.float32))
    with pytest.raises(BadMedia, match="found data that ends too early"):
        load_media(modality, data[:-4])
    with pytest.raises(BadMedia, match="expected a complete"):
        load_media(modality, data[:20])
    for broken in (b"(6, 10x)", b"(6, -10)", b"(6, 1e9)"):
        with pytest.raises(BadMedia, match="expected a complete"):
            load_media(modality, data.replace(b"(6, 100)", broken))
    header = npy(np.zeros((1, 1), np.float32)).replace(b"(1, 1), }" + b" " * 12, b"(60000, 60000), }    ")
    with pytest.raises(LimitExceeded, match="found 3600000000 values, more than the limit allows"):
        load_media(modality, header)


def test_long_traces_are_stopped() -> None:
    limits = MediaLimits(max_imu_samples=9)
    for source in (TRACE, IMU(TRACE), npy(TRACE), csv(TRACE), csv(TRACE.T)):
        with pytest.raises(LimitExceeded, match="found over 9 samples, which is the limit; cut the trace"):
            load_media("imu", source, limits)


@pytest.mark.parametrize("data", [b"1," * 20_000_000, b"1" * 20_000_000, b"1\n" * 400_000])
def test_text_bombs_are_refused_small(data: bytes) -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises((LimitExceeded, BadMedia)):
        load_media("imu", data, MediaLimits(max_imu_samples=2_000))
    assert time.perf_counter() - started < 5
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_rates_only_where_they_mean_something() -> None:
    with pytest.raises(BadArgument, match="found a rate for depth that needs none"):
        load_media("depth", np.zeros((8, 8)), rate=1)
    with pytest.raises(BadArgument, match="found a rate for imu that needs none"):
        load_media("imu", IMU(TRACE), rate=100)
    with pytest.raises(BadArgument, match="rate is 'fast', expected a finite number above 0"):
        load_media("imu", TRACE, rate="fast")  # type: ignore[arg-type]
