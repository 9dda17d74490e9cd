"""Depth maps, thermal images and motion traces: NumPy files, 16-bit PNGs and CSV tables."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from anygen.errors import BadMedia, LimitExceeded

from .image import open_image
from .limits import MediaLimits, check_size
from .source import decoding, is_file_source, label_of, open_source
from .types import IMU, IMU_SAMPLE_RATE, Depth, Thermal

logger = logging.getLogger(__name__)

_NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADERS: dict[tuple[int, int], Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_IMU_COLUMNS = "accelerometer x, y, z, gyroscope x, y, z"
_CELL_CHARACTERS = 32


def read_depth(source: object, limits: MediaLimits, rate: float | None = None) -> Depth:
    """Read a depth map.

    Args:
        source: A path or file content as `bytes` (`.npy` of float metres, or a 16-bit gray PNG of
            millimetres; 0 is no data in both), a float array (h, w) of metres, or a `Depth`.
        limits: Enforced on the header.
        rate: Must be None.

    Raises:
        BadMedia: anything else: 8-bit or color pictures (their unit is anyone's guess), integers, NaN,
            negatives.
        LimitExceeded: too many bytes or pixels.
    """
    label = label_of(source, "depth map")
    if isinstance(source, Depth):
        meters = source.meters
    elif isinstance(source, np.ndarray):
        meters = _depth_array(source, label)
    elif _is_npy(source, "depth map", limits):
        meters = _depth_array(_read_npy(source, "depth map", limits), label)
    else:
        with open_image(source, "depth map", limits) as image:
            if not image.mode.startswith("I;16"):
                found = f"{label}: found a picture of mode {image.mode}"
                raise BadMedia(f"{found}, expected 16-bit gray millimetres or .npy float metres; convert it")
            meters = np.asarray(image).astype(np.float32) / np.float32(1000.0)
    check_size(label, meters.shape[1], meters.shape[0], limits)
    farthest = float(meters.max())
    if farthest > limits.max_depth_meters:
        found = f"{label}: found depths up to {farthest:g} m, expected up to {limits.max_depth_meters:g} m"
        raise BadMedia(f"{found}; if they are millimetres, divide by 1000")
    return source if isinstance(source, Depth) else Depth(meters)


def _depth_array(array: np.ndarray, label: str) -> np.ndarray:
    """float32 (h, w) metres. Raises BadMedia."""
    if not np.issubdtype(array.dtype, np.floating):
        raise BadMedia(f"{label}: found {array.dtype}, expected float metres; convert the unit and the type")
    with np.errstate(over="ignore"):
        return Depth(array.astype(np.float32)).meters


def read_thermal(source: object, limits: MediaLimits, rate: float | None = None) -> Thermal:
    """Read a thermal image.

    Args:
        source: A path or file content as `bytes` (8 or 16-bit gray picture, or `.npy` of 0 to 1), an array
            (h, w) of floats in [0, 1], uint8 or uint16, or a `Thermal`.
        limits: Enforced on the header.
        rate: Must be None.

    Raises:
        BadMedia: anything else: false-color pictures, other ranges, NaN.
        LimitExceeded: too many bytes or pixels.
    """
    label = label_of(source, "thermal image")
    if isinstance(source, Thermal):
        values = source.values
    elif isinstance(source, np.ndarray):
        values = _thermal_array(source, label)
    elif _is_npy(source, "thermal image", limits):
        values = _thermal_array(_read_npy(source, "thermal image", limits), label)
    else:
        with open_image(source, "thermal image", limits) as image:
            if image.mode != "L" and not image.mode.startswith("I;16"):
                found = f"{label}: found a picture of mode {image.mode}"
                raise BadMedia(
                    f"{found}, expected 8 or 16-bit gray (hotter is brighter); export it without colors"
                )
            array = np.asarray(image)
            values = _thermal_array(array.astype(np.uint8 if image.mode == "L" else np.uint16), label)
    check_size(label, values.shape[1], values.shape[0], limits)
    return source if isinstance(source, Thermal) else Thermal(values)


def _thermal_array(array: np.ndarray, label: str) -> np.ndarray:
    """float32 (h, w) in [0, 1]. Raises BadMedia."""
    if array.dtype in (np.uint8, np.uint16):
        array = array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    elif not np.issubdtype(array.dtype, np.floating):
        raise BadMedia(
            f"{label}: found {array.dtype}, expected floats in 0 to 1, uint8 or uint16; convert it"
        )
    with np.errstate(over="ignore"):
        return Thermal(array.astype(np.float32)).values


def read_imu(source: object, limits: MediaLimits, rate: float | None = None) -> IMU:
    """Read a motion trace.

    Args:
        source: A path or file content as `bytes` (`.npy`, or comma-separated text with at most one heading
            line), an array of 6 x n or n x 6 numbers (6 x 6 is read as 6 x n), or an `IMU`.
        limits: Enforced while reading.
        rate: Samples a second; `IMU_SAMPLE_RATE` is assumed, with a warning in the log, when it is not given.

    Raises:
        BadMedia: anything else: other shapes, words, NaN.
        LimitExceeded: too many bytes or samples.
    """
    label = label_of(source, "IMU")
    if isinstance(source, IMU):
        _check_count(source.samples.shape[1], limits, label)
        return source
    if isinstance(source, np.ndarray):
        array = source
    elif _is_npy(source, "IMU", limits):
        array = _read_npy(source, "IMU", limits)
    else:
        array = _read_csv(source, limits, label)
    if (
        array.ndim != 2
        or 6 not in array.shape
        or not np.issubdtype(array.dtype, np.number)
        or array.dtype.kind == "c"
    ):
        found = f"{label}: found {array.dtype} {array.shape}"
        raise BadMedia(f"{found}, expected numbers, 6 x n or n x 6 ({_IMU_COLUMNS}); rearrange it")
    samples = array if array.shape[0] == 6 else array.T
    _check_count(samples.shape[1], limits, label)
    if rate is None:
        logger.warning("%s has no sample rate: %g Hz is assumed", label, IMU_SAMPLE_RATE)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(samples, dtype=np.float32)
    return IMU(values, IMU_SAMPLE_RATE if rate is None else rate)


def _check_count(count: int, limits: MediaLimits, label: str) -> None:
    """Raise LimitExceeded for too many samples."""
    if count > limits.max_imu_samples:
        raise LimitExceeded(
            f"{label}: found over {limits.max_imu_samples} samples, which is the limit; cut the trace"
        )


def _is_npy(source: object, kind: str, limits: MediaLimits) -> bool:
    """Whether a file starts like a NumPy array. Raises BadMedia when there is no file to look at."""
    if not is_file_source(source):
        raise BadMedia(
            f"{kind}: found {type(source).__name__}, expected a path, bytes, a numpy array or its class"
        )
    with open_source(source, kind, limits) as file:
        return file.read(len(_NPY_MAGIC)) == _NPY_MAGIC


def _read_npy(source: object, kind: str, limits: MediaLimits) -> np.ndarray:
    """The array in a `.npy` file, header checked before anything of its size is allocated.

    Raises:
        BadMedia: objects, structured types, or fewer bytes than the header promises.
        LimitExceeded: more values than any sensor input may have.
    """
    label = label_of(source, kind)
    with open_source(source, kind, limits) as file:
        with decoding(label, kind):
            shape, _, dtype = _NPY_HEADERS[np.lib.format.read_magic(file)](file)
            count = int(np.prod(shape, dtype=object))
            start = file.tell()
            stored = file.seek(0, os.SEEK_END) - start
        if dtype.kind not in "fiu":
            raise BadMedia(f"{label}: found an array of {dtype}, expected plain numbers; save floats")
        if count > max(limits.max_pixels, 6 * limits.max_imu_samples):
            raise LimitExceeded(f"{label}: found {count} values, more than the limit allows; make it smaller")
        if stored < count * dtype.itemsize:
            raise BadMedia(
                f"{label}: found data that ends too early, expected a complete {kind}; export it again"
            )
        file.seek(0)
        with decoding(label, kind):
            return np.load(file, allow_pickle=False)


def _read_csv(source: object, limits: MediaLimits, label: str) -> np.ndarray:
    """float64 (lines, columns) of comma-separated numbers. Raises BadMedia or LimitExceeded."""
    rows: list[list[float]] = []
    most = 6 * limits.max_imu_samples
    longest = _CELL_CHARACTERS * limits.max_imu_samples
    with open_source(source, "IMU", limits) as file:
        for number in itertools.count(1):
            line = file.readline(longest)
            if not line:
                break
            # Counted before they are split: commas alone would become a list a hundred times their size.
            if len(line) == longest or (line.count(b",") + 1) * (len(rows) + 1) > most:
                _check_count(limits.max_imu_samples + 1, limits, label)
            row = _parse_line(line, number, bool(rows), label)
            if row and rows and len(row) != len(rows[0]):
                found = f"line {number} has {len(row)} numbers and the first {len(rows[0])}"
                raise BadMedia(f"{label}: {found}, expected the same on every line; repair the table")
            if row:
                rows.append(row)
    if not rows:
        raise BadMedia(f"{label}: found no numbers, expected 6 columns ({_IMU_COLUMNS}); export it again")
    return np.array(rows, dtype=np.float64)


def _parse_line(line: bytes, number: int, inside: bool, label: str) -> list[float]:
    """The numbers of a line; none for an empty line and for words in the first one. Raises BadMedia."""
    try:
        cells = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        raise BadMedia(f"{label}: found bytes that are no text, expected .npy or .csv; convert it") from None
    try:
        return [float(cell) for cell in cells.split(",")] if cells else []
    except ValueError:
        if inside or number > 1:
            found = f"line {number} holds something else than numbers"
            raise BadMedia(
                f"{label}: {found}, expected 6 columns ({_IMU_COLUMNS}); repair the table"
            ) from None
        return []
