from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from anygen.errors import AnyGenError, BadArgument, BadMedia, LimitExceeded
from anygen.media import (
    IMU,
    Audio,
    Depth,
    MediaLimits,
    Thermal,
    Video,
    load_media,
    load_tags,
    modality_of,
    save_media,
)
from anygen.modality import MEDIA_INPUTS, Modality

SMALL = np.zeros((8, 8), np.float32)
MEDIA = {
    Modality.IMAGE: (Image.new("RGB", (8, 8), "red"), "a.png"),
    Modality.AUDIO: (Audio(np.linspace(-1, 1, 800, dtype=np.float32)[None], 8_000), "a.wav"),
    Modality.VIDEO: (Video(np.zeros((2, 16, 16, 3), np.uint8), 8), "a.mp4"),
    Modality.DEPTH: (Depth(SMALL), "d.npy"),
    Modality.THERMAL: (Thermal(SMALL), "t.npy"),
    Modality.IMU: (IMU(np.zeros((6, 8), np.float32)), "i.npy"),
}


@pytest.mark.parametrize("modality", MEDIA_INPUTS)
def test_everything_is_written_and_read(tmp_path: Path, modality: Modality) -> None:
    media, name = MEDIA[modality]
    assert modality_of(media) is modality
    path = tmp_path / name
    save_media(media, path)
    first = path.read_bytes()
    save_media(media, str(path))
    assert path.read_bytes() == first
    assert modality_of(load_media(modality, path)) is modality
    assert modality_of(load_media(str(modality), media)) is modality
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO])
def test_tags_are_written_and_read(tmp_path: Path, modality: Modality) -> None:
    media, name = MEDIA[modality]
    tags = {"Software": "anygen", "seed": "7", "note": "caf\u00e9 \u2603; a=b\nc"}
    save_media(media, tmp_path / name, metadata=tags)
    assert load_tags(tmp_path / name) == tags
    assert load_tags((tmp_path / name).read_bytes()) == tags
    save_media(media, tmp_path / name)
    assert load_tags(tmp_path / name) == {}


def test_png_carries_nothing_of_its_source(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("secret", "where I live")
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png", pnginfo=info, dpi=(300, 300))
    with Image.open(tmp_path / "in.png") as image:
        save_media(image, tmp_path / "out.png")
    assert load_tags(tmp_path / "out.png") == {}
    assert b"pHYs" not in (tmp_path / "out.png").read_bytes()


def test_files_are_the_same_over_processes(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from anygen.media import *\n"
        "from PIL import Image\n"
        "rng = np.random.default_rng(0)\n"
        "frames = rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)\n"
        "tags = {'seed': '1'}\n"
        "save_media(Video(frames, 8), sys.argv[1] + '/a.mp4', metadata=tags)\n"
        "save_media(Image.fromarray(frames[0]), sys.argv[1] + '/a.png', metadata=tags)\n"
        "samples = rng.uniform(-1, 1, (1, 800)).astype(np.float32)\n"
        "save_media(Audio(samples, 8000), sys.argv[1] + '/a.wav', metadata=tags)\n"
    )
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
        contents.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert contents[0] == contents[1]


def test_nothing_is_left_of_a_failed_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    media = MEDIA[Modality.AUDIO][0]
    save_media(media, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device: /secret/place")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadArgument, match="^cannot write 'a.wav': No space left on device; choose another"):
        save_media(media, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("media", "name", "tags", "message"),
    [
        (MEDIA[Modality.IMAGE][0], "a.jpg", None, "found the file name 'a.jpg' for image, expected"),
        (MEDIA[Modality.DEPTH][0], "a.png", None, "for depth, expected it to end in .npy"),
        (MEDIA[Modality.DEPTH][0], "a.npy", {"a": "b"}, "found metadata for a .npy file"),
        (MEDIA[Modality.IMAGE][0], "no/a.png", None, "cannot write 'a.png': its folder does not exist"),
        (MEDIA[Modality.IMAGE][0], "folder.png", None, "cannot write 'folder.png': a folder has that name"),
        (MEDIA[Modality.IMAGE][0], "a.png", {"a": 1}, "found the metadata entry 'a', expected a short"),
        (MEDIA[Modality.IMAGE][0], "a.png", {"": "b"}, "found the metadata entry '', expected a short"),
        (Image.new("RGBA", (8, 8)), "a.png", None, "image has mode RGBA, expected RGB"),
        (SMALL, "a.npy", None, "found ndarray, expected a PIL image or an anygen Audio"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved(
    tmp_path: Path, media: object, name: str, tags: dict[str, str] | None, message: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadArgument, match=message):
        save_media(media, tmp_path / name, metadata=tags)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("modality", ["text", "smell", None, 3])
def test_unknown_modalities(modality: object) -> None:
    with pytest.raises(BadArgument, match="expected one of image, audio, video, depth, thermal, imu"):
        load_media(modality, SMALL)  # type: ignore[arg-type]


def test_media_of_another_modality() -> None:
    with pytest.raises(BadMedia, match="depth: found anygen.Thermal, expected depth; name it by its kind"):
        load_media("depth", Thermal(SMALL))
    with pytest.raises(BadMedia, match="expected a path"):
        load_media("audio", Image.new("RGB", (8, 8)))


@pytest.mark.parametrize("modality", MEDIA_INPUTS)
def test_paths_that_lead_nowhere(tmp_path: Path, modality: Modality) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for source, message in (
        (tmp_path / "none", "'none': found no such file"),
        (tmp_path, "found a folder, expected a regular"),
        (tmp_path / "pipe", "'pipe': found a device or pipe, expected a regular"),
        (tmp_path / "link", "'link': found a device or pipe, expected a regular"),
        ("/dev/zero", "'zero': found a device or pipe, expected a regular"),
        (tmp_path / "empty", "'empty': found 0 bytes, expected"),
        ("nul\0byte", "the file cannot be opened"),
        ("x" * 5000, "the file cannot be opened"),
        ("http://127.0.0.1:9/a.png", "found a URL, expected a local file; download it"),
        ("file:///etc/passwd", "found a URL, expected a local file; download it"),
        ("data:image/png;base64,AAAA", "found a URL, expected a local file; download it"),
        ("concat:a.mp4|b.mp4", "found no such file"),
        ("", "found no such file|cannot be opened"),
    ):
        with pytest.raises(BadMedia, match=message) as error:
            load_media(modality, source)
        assert str(tmp_path) not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("modality", MEDIA_INPUTS)
def test_no_reader_takes_junk(modality: Modality, tmp_path: Path) -> None:
    path = tmp_path / "up load\n.png"
    rng = np.random.default_rng(0)
    contents = (
        rng.bytes(5_000),
        b"<html><body>404</body></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        b"PK\3\4" + bytes(200),
        b"RIFF\xff\xff\xff\xffWAVE",
        b"\x93NUMPY\x03\x00" + b"\xff" * 100,
        b"GIF89a\xff\xff\xff\xff" + bytes(20),
    )
    for content in contents:
        path.write_bytes(content)
        with pytest.raises((BadMedia, LimitExceeded)) as error:
            load_media(modality, path)
        message = str(error.value)
        assert "\n" not in message
        assert "0x" not in message
        assert str(tmp_path) not in message
        assert error.value.__suppress_context__ or error.value.__context__ is None


def test_file_size_is_judged_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(2**40)
    for modality in MEDIA_INPUTS:
        with pytest.raises(LimitExceeded, match="'sparse.png': found 1048576 MiB, the limit is 256 MiB"):
            load_media(modality, path)


def test_memory_errors_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: Image.Image, mode: str) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", exhausted)
    with pytest.raises(LimitExceeded, match="decoding ran out of memory; make the image smaller"):
        load_media("image", Image.new("L", (8, 8)))


def test_errors_name_their_kind(tmp_path: Path) -> None:
    with pytest.raises(AnyGenError) as error:
        load_media("image", tmp_path / "none.png", MediaLimits())
    assert error.value.code == "bad_media"
    assert isinstance(error.value, ValueError)
