"""Sixty hostile or broken uploads: how the visitor names each, and what is in it."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Hostile:
    """One file."""

    label: str
    name: str
    data: bytes
    kind: str | None = None
    """What the visitor says that it is."""
    refused: bool | None = True
    """None: either answer will do."""


def hostile_files() -> list[Hostile]:
    return [*_pictures(), *_sounds(), *_films(), *_sensors(), *_names()]


def _encode(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()


def _noise(width: int = 64, height: int = 64) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, *extra: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + _chunk(b"IEND", b"")


def _pictures() -> Iterator[Hostile]:
    png, jpeg = _encode(_noise(), "PNG"), _encode(_noise(), "JPEG")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    yield Hostile("empty picture", "empty.png", b"")
    yield Hostile("random bytes", "random.png", RNG.bytes(2000))
    yield Hostile("web page", "page.png", b"<html><script>alert(1)</script></html>")
    yield Hostile("vector drawing", "drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    yield Hostile("PostScript", "print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    yield Hostile("PDF", "paper.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")
    yield Hostile("half a PNG", "half.png", png[: len(png) // 2])
    yield Hostile("half a JPEG", "half.jpg", jpeg[: len(jpeg) // 2])
    yield Hostile("flipped bit", "flipped.png", bytes(flipped))
    yield Hostile("400 megapixels declared", "huge.png", _png(20000, 20000))
    yield Hostile("144 megapixels declared", "large.png", _png(12000, 12000))
    yield Hostile("81 real megapixels", "bomb.png", _encode(Image.new("1", (9000, 9000)), "PNG"))
    text = b"Comment\0\0" + zlib.compress(b"a" * 40_000_000, 9)
    yield Hostile("text bomb", "text.png", _png(16, 16, _chunk(b"zTXt", text)))
    yield Hostile("no width", "thin.png", _png(0, 16))
    yield Hostile("one pixel", "dot.png", _encode(_noise(1, 1), "PNG"))
    yield Hostile("thread of pixels", "thread.png", _encode(_noise(10_000, 1), "PNG"))
    yield Hostile("tall thread", "tall.png", _encode(_noise(9, 3000), "PNG"))
    nan = Image.fromarray(np.full((32, 32), np.nan, dtype=np.float32))
    yield Hostile("NaN picture", "nan.tif", _encode(nan, "TIFF"))
    yield Hostile("executable", "run.png", b"MZ\x90\0" + RNG.bytes(500))
    yield Hostile("ELF", "run.gif", b"\x7fELF\x02\x01\x01" + RNG.bytes(500))
    yield Hostile("truncated GIF", "cut.gif", _encode(_noise(), "GIF")[:60])
    frames = [Image.new("P", (16, 16), i % 250) for i in range(300)]
    gif = _encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield Hostile("animation", "moving.gif", gif, refused=None)
    yield Hostile("four inks", "inks.jpg", _encode(_noise().convert("CMYK"), "JPEG"), refused=False)
    yield Hostile("JPEG named PNG", "wrong.png", jpeg, refused=False)
    yield Hostile("JPEG with a zip behind", "two.jpg", jpeg + _zip({"a": b"b"}), refused=None)


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _wav(
    samples: bytes, *, rate: int = 16000, channels: int = 1, bits: int = 16, code: int = 1, size: int = -1
) -> bytes:
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, (rate * align) & 0xFFFFFFFF, align & 0xFFFF, bits)
    body = b"fmt " + struct.pack("<I", 16) + form
    body += b"data" + struct.pack("<I", len(samples) if size < 0 else size) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def _sounds() -> Iterator[Hostile]:
    tone = (np.sin(np.arange(16000) * 0.1) * 20000).astype("<i2").tobytes()
    yield Hostile("empty sound", "empty.wav", b"")
    yield Hostile("random sound", "random.mp3", RNG.bytes(3000))
    yield Hostile("no samples", "none.wav", _wav(b""))
    yield Hostile("one sample", "one.wav", _wav(b"\0\0"))
    yield Hostile("ten milliseconds", "short.wav", _wav(tone[:320]))
    yield Hostile("half a WAV", "half.wav", _wav(tone)[: len(tone) // 2], refused=None)
    yield Hostile("size lies", "lies.wav", _wav(tone, size=2**32 - 1), refused=None)
    yield Hostile("rate 0", "zero.wav", _wav(tone, rate=0))
    yield Hostile("rate of gigahertz", "giga.wav", _wav(tone, rate=2**31 - 1))
    yield Hostile("no channels", "mute.wav", _wav(tone, channels=0))
    yield Hostile("65535 channels", "many.wav", _wav(tone, channels=65535))
    nan = np.full(16000, np.nan, dtype="<f4").tobytes()
    yield Hostile("NaN sound", "nan.wav", _wav(nan, bits=32, code=3))
    loud = np.full(16000, 1e30, dtype="<f4").tobytes()
    yield Hostile("sound of 1e30", "loud.wav", _wav(loud, bits=32, code=3), refused=None)
    yield Hostile("an hour", "hour.wav", _wav(b"\0\0" * 4000 * 3600, rate=4000))
    yield Hostile("playlist", "list.mp3", b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.mp3\n")
    yield Hostile("concat script", "script.ogg", b"ffconcat version 1.0\nfile /etc/passwd\n")


def _films() -> Iterator[Hostile]:
    yield Hostile("empty film", "empty.mp4", b"")
    yield Hostile("random film", "random.mp4", RNG.bytes(4000))
    head = struct.pack(">I", 24) + b"ftypisom\0\0\2\0isomiso2"
    yield Hostile("film without index", "cut.mp4", head + struct.pack(">I", 5000) + b"mdat" + RNG.bytes(4992))
    yield Hostile(
        "stream list", "live.mp4", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n"
    )
    yield Hostile("session description", "sdp.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n")
    yield Hostile("sound as film", "sound.mp4", _wav(b"\0\0" * 16000), "video")
    yield Hostile("picture as film", "picture.mp4", _encode(_noise(), "PNG"), "video", refused=None)
    yield Hostile("broken Matroska", "cut.mkv", b"\x1a\x45\xdf\xa3" + RNG.bytes(3000))


def _npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def _sensors() -> Iterator[Hostile]:
    objects = np.array([{"a": 1}, None], dtype=object)
    yield Hostile("pickled objects", "objects.npy", _npy(objects, pickled=True))
    yield Hostile("pickled depth", "objects.npy", _npy(objects, pickled=True), "depth")
    huge = _npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2)", b"(9999999, 9999999)")
    yield Hostile("array that lies", "lies.npy", huge, "depth")
    yield Hostile("negative depth", "minus.npy", _npy(np.full((64, 64), -1, np.float32)), "depth")
    yield Hostile("NaN depth", "nan.npy", _npy(np.full((64, 64), np.nan, np.float32)), "depth")
    yield Hostile("color depth", "color.png", _encode(_noise(), "PNG"), "depth")
    yield Hostile("hot thermal", "hot.npy", _npy(np.full((64, 64), 300, np.float32)), "thermal")
    yield Hostile("five axes", "five.npy", _npy(np.zeros((5, 2000), np.float32)), "imu")
    yield Hostile("NaN motion", "nan.npy", _npy(np.full((6, 2000), np.nan, np.float32)), "imu")
    yield Hostile("words as motion", "words.csv", b"x,y,z\na,b,c\n" * 10, "imu")
    yield Hostile("endless line", "line.csv", b"1," * 200_000, "imu")
    yield Hostile("no .npy", "text.npy", b"\x93NUMPY" + b"\xff" * 40)


def _names() -> Iterator[Hostile]:
    good = _encode(_noise(), "PNG")
    yield Hostile("path upwards", "../../../etc/passwd.png", good, refused=False)
    yield Hostile("Windows path", "..\\..\\windows\\a.png", good, refused=False)
    yield Hostile("markup", "<img src=x onerror=alert(1)>.png", good, refused=False)
    yield Hostile("no ending", "picture", good, refused=None)
    yield Hostile("long name", "a" * 5000 + ".png", good, refused=False)
    yield Hostile("control characters", "a\u202egnp.\x00\x1b[2J.png", good, refused=False)
    yield Hostile("zip", "files.zip", _zip({"../../a.png": good}))
