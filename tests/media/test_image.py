from __future__ import annotations

import io
import resource
import threading
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, TiffImagePlugin

from anygen.errors import BadMedia, LimitExceeded
from anygen.media import MediaLimits, load_media, save_media

Encode = Callable[..., bytes]

RAMP = np.arange(16 * 16 * 3, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8)


def png_header(width: int, height: int, extra: bytes = b"") -> bytes:
    """A PNG that promises a size and then holds almost nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@settings(max_examples=25, deadline=None)
@given(
    pixels=hnp.arrays(np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24), st.just(3))),
    tags=st.dictionaries(
        st.sampled_from(["Software", "seed", "model"]), st.text(st.characters(codec="utf-8"))
    ),
)
def test_png_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, tags: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("png") / "image.png"
    tags = {key: value.replace("\0", "") for key, value in tags.items()}
    save_media(Image.fromarray(pixels), path, metadata=tags)
    loaded = load_media("image", path)
    assert loaded.mode == "RGB"
    assert loaded.info == {}
    np.testing.assert_array_equal(np.asarray(loaded), pixels)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG"])
def test_every_format_by_path_bytes_and_wrong_name(encode_image: Encode, tmp_path: Path, format: str) -> None:
    data = encode_image(Image.new("RGB", (16, 12), (200, 30, 90)), format)
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    for source in (path, str(path), data):
        image = load_media("image", source)
        assert (image.mode, image.size) == ("RGB", (16, 12))
        np.testing.assert_allclose(np.asarray(image)[6, 8], (200, 30, 90), atol=4)


def test_orientation_is_applied(encode_image: Encode) -> None:
    image = Image.fromarray(RAMP[:8])
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = load_media("image", encode_image(image, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(loaded), np.rot90(RAMP[:8], -1))


def test_sixteen_bit_gray_is_scaled(encode_image: Encode) -> None:
    gray = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.rint(gray / 257).astype(np.uint8)
    for source in (encode_image(Image.fromarray(gray), "PNG"), Image.fromarray(gray), gray):
        np.testing.assert_array_equal(np.asarray(load_media("image", source))[..., 1], expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(encode_image: Encode, mode: str) -> None:
    if mode == "P":
        image = Image.new("RGB", (8, 8), "red").quantize(4)
        data = encode_image(image, "PNG", transparency=image.getpixel((0, 0)))
    else:
        color = (255, 0, 0, 0) if mode == "RGBA" else (0, 0)
        data = encode_image(Image.new(mode, (8, 8), color), "PNG")
    assert np.asarray(load_media("image", data)).min() == 255


def test_half_transparent_mixes_with_white() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 255, 128))
    np.testing.assert_allclose(np.asarray(load_media("image", image))[0, 0], (127, 127, 255), atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = load_media("image", Image.new("RGB", (8, 8), "white").convert(mode))
    assert image.mode == "RGB"
    assert np.asarray(image).min() >= 254


def test_animation_gives_its_first_frame(encode_image: Encode, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = encode_image(first, "GIF", save_all=True, append_images=[second] * 9)
    assert load_media("image", data).getpixel((4, 4)) == (255, 0, 0)
    assert "is animated: its first frame is used" in caplog.text


def test_arrays_of_floats_and_with_alpha() -> None:
    floats = (RAMP / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(load_media("image", floats)), RAMP)
    clear = np.concatenate([RAMP, np.zeros((16, 16, 1), np.uint8)], axis=2)
    assert np.asarray(load_media("image", clear)).min() == 255


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8,), np.uint8), r"found uint8 \(8,\), expected \(height, width\)"),
        (np.zeros((3, 8, 8), np.uint8), r"expected \(height, width\), \(height, width, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"expected \(height, width\)"),
        (np.full((8, 8), 2.0), "with values from 2 to 2, expected floats in 0 to 1"),
        (np.full((8, 8), np.nan), "with values from nan to nan, expected floats in 0 to 1"),
        (np.zeros((8, 8), np.int32), "expected uint8, gray uint16 or floats"),
        (np.zeros((8, 8), object), "expected uint8, gray uint16 or floats"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, message: str) -> None:
    with pytest.raises(BadMedia, match=message):
        load_media("image", array)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (
            (20_000, 20_000),
            LimitExceeded,
            r"20000 x 20000 pixels .*limit is 25.2 megapixels|far too many pixels",
        ),
        ((12_000, 12_000), LimitExceeded, r"12000 x 12000 pixels \(144.0 megapixels\), the limit is"),
        ((1, 1), BadMedia, "found 1 x 1 pixels, expected at least 8 on each side"),
        ((1, 10_000), BadMedia, "expected at least 8 on each side"),
        ((8, 1_000), BadMedia, "found 8 x 1000 pixels, expected sides of at most 20 to 1"),
        ((0, 10), BadMedia, "no known format"),
    ],
)
def test_declared_size_is_judged_first(size: tuple[int, int], error: type[Exception], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message):
            load_media("image", png_header(*size))


def test_real_bomb_is_refused_fast_and_small(encode_image: Encode, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (13_000, 13_000)).save(bomb)  # 169 megapixels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(LimitExceeded, match=r"'bomb.png': found 13000 x 13000 pixels \(169.0 megapixels\)"):
        load_media("image", bomb)
    assert time.perf_counter() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


def test_text_bomb_is_refused() -> None:
    data = b"note\0\0" + zlib.compress(b"a" * 50_000_000)
    chunk = len(data).to_bytes(4, "big") + b"zTXt" + data + zlib.crc32(b"zTXt" + data).to_bytes(4, "big")
    with pytest.raises(BadMedia, match="expected PNG, JPEG|expected a complete image"):
        load_media("image", png_header(16, 16, chunk))


def test_cut_and_flipped_bytes(encode_image: Encode) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for format in ("PNG", "JPEG"):
        data = encode_image(noise, format)
        with pytest.raises(BadMedia, match="ends too early, expected a complete image"):
            load_media("image", data[: len(data) // 2])
    png = bytearray(encode_image(noise, "PNG"))
    png[len(png) // 2] ^= 0xFF
    with pytest.raises(BadMedia, match="expected a complete image"):
        load_media("image", bytes(png))


def test_float_pictures_are_refused(encode_image: Encode) -> None:
    data = encode_image(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")
    with pytest.raises(BadMedia, match="found pixels of mode F, expected 8-bit color"):
        load_media("image", data)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_mutations_give_an_image_or_a_typed_error(format: str, position: int, value: int, cut: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, format=format)
    data = bytearray(buffer.getvalue())
    data[position % len(data)] = value
    try:
        image = load_media("image", bytes(data[: cut % len(data) + 1]), MediaLimits(max_pixels=10**6))
        assert image.mode == "RGB"
    except (BadMedia, LimitExceeded) as error:
        assert "0x" not in str(error)
        assert "\n" not in str(error)


def test_threads_do_not_disturb_each_other(encode_image: Encode) -> None:
    data = encode_image(Image.fromarray(RAMP), "PNG")
    filters = list(warnings.filters)
    results: list[bool] = []

    def work() -> None:
        for _ in range(20):
            results.append(bool((np.asarray(load_media("image", data)) == RAMP).all()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(results)
    assert list(warnings.filters) == filters


def test_a_tiff_with_a_lying_strip_is_refused(encode_image: Encode) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    data = encode_image(Image.fromarray(RAMP), "TIFF", tiffinfo=info)
    with pytest.raises(BadMedia):
        load_media("image", data[:200])
