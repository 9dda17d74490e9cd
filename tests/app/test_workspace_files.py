"""Uploads and files of a workspace."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anygen.app.engine.workspace import Workspace
from anygen.errors import AnyGenError, BadArgument, BadMedia, LimitExceeded
from anygen.media import Depth, load_media


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    place = Workspace(tmp_path_factory.mktemp("workspace"))
    yield place
    place.close()


def png(size: tuple[int, int] = (32, 24), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG", **options)
    return buffer.getvalue()


def files(workspace: Workspace, session: str) -> list[str]:
    return [path.name for path in (workspace.root / session).rglob("*") if path.is_file()]


def test_an_upload_is_copied_clean(workspace: Workspace) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    stored = workspace.attach("a", png(exif=exif), "../../etc/holiday.PNG")
    assert stored.modality == "image" and stored.mime == "image/png"
    assert b"where I live" not in stored.path.read_bytes()
    assert stored.path.parent == workspace.root / "a" / "temporary"
    assert files(workspace, "a") == [stored.path.name]
    kept = workspace.keep("a", stored.id)
    assert kept.path.parent == workspace.root / "a" / "media"
    assert workspace.keep("a", stored.id) == workspace.find("a", stored.id) == kept
    workspace.delete("a", stored.id)
    workspace.delete("a", stored.id)
    assert files(workspace, "a") == []


def test_large_pictures_are_made_smaller(workspace: Workspace) -> None:
    assert Image.open(workspace.attach("a", png((3000, 1000)), "x.png").path).size == (1536, 512)


def test_arrays(workspace: Workspace) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.full((16, 16), 2.0, np.float32))
    stored = workspace.attach("a", buffer.getvalue(), "x.npy", modality="depth")
    assert load_media("depth", stored.path).meters.max() == 2
    with pytest.raises(BadArgument, match="may be depth or thermal"):
        workspace.attach("a", buffer.getvalue(), "x.npy")
    table = "\n".join("1,2,3,4,5,6" for _ in range(50)).encode()
    assert workspace.attach("a", table, "walk.csv").modality == "imu"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((6, 50), np.float32))
    assert workspace.attach("a", buffer.getvalue(), "x.npy").modality == "imu"


@pytest.mark.parametrize(
    ("data", "name", "modality", "error", "message"),
    [
        (b"", "x.png", None, BadMedia, "0 bytes"),
        (b"hello", "x.png", None, BadMedia, "image"),
        (b"hello", "x.exe", None, BadArgument, "found a file of type '.exe'"),
        (b"hello", "x", None, BadArgument, "of type 'unknown'"),
        (b"hello", "x.npy", None, BadMedia, "cannot be read as one array"),
        (b"hello", "x.png", "smell", BadMedia, "expected one of image"),
        (png((9000, 9000)), "x.png", None, LimitExceeded, "pixels"),
    ],
)  # fmt: skip
def test_bad_uploads(
    workspace: Workspace, data: bytes, name: str, modality: str | None, error: type[AnyGenError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        workspace.attach("bad", data, name, modality=modality)
    assert str(workspace.root) not in str(caught.value)
    assert files(workspace, "bad") == []
    assert workspace.attach("bad", png(), "x.png").path.exists()
    workspace.clear("bad")


def test_a_reader_that_dies_is_replaced(workspace: Workspace) -> None:
    workspace.attach("a", png(), "x.png")
    child = workspace._reader._child
    assert child is not None
    child.kill()
    with pytest.raises(BadMedia, match="cannot be read, it is damaged"):
        workspace.attach("a", png(), "x.png")
    assert workspace.attach("a", png(), "x.png").path.exists()


def test_strange_files_in_our_format(workspace: Workspace) -> None:
    data = png()
    assert workspace.take_over("a", data, "image").path.read_bytes() == data
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "JPEG")
    with pytest.raises(BadMedia, match="found another file type, expected .png"):
        workspace.take_over("a", buffer.getvalue(), "image")
    with pytest.raises(BadArgument, match="expected one of image"):
        workspace.add_file("a", data, "text")


@pytest.mark.parametrize("session", ["", "..", "a/b", "a" * 65, "a\0", 5])
def test_session_names_never_leave_the_folder(workspace: Workspace, session: str) -> None:
    with pytest.raises(BadArgument, match="session name"):
        workspace.folder(session, "media")


@pytest.mark.parametrize(
    "media_id", ["", "image-1", "../x", "image-" + "0" * 20, 5, "image-" + "0" * 20 + "\n"]
)
def test_media_ids_never_leave_the_folder(workspace: Workspace, media_id: str) -> None:
    with pytest.raises(BadArgument, match="not \\(or no longer\\) here"):
        workspace.find("a", media_id)


def test_clearing(workspace: Workspace) -> None:
    kept = workspace.add("b", Depth(np.ones((8, 8), np.float32)))
    gone = workspace.attach("b", png(), "x.png")
    workspace.clear_temporary()
    assert kept.path.exists() and not gone.path.exists()
    workspace.clear("b", media=True)
    assert not (workspace.root / "b").exists()


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadArgument, match="cannot make the workspace"):
        Workspace(tmp_path / "file" / "place")
