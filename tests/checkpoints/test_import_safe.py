"""What is not plain tensors is refused before anything of it runs."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from import_files import rewrite_zip, save_program
from safetensors.torch import load_file, save_file

from anygen.checkpoints import manifest
from anygen.checkpoints.importers import IMPORTERS, ImportRequest, import_checkpoint
from anygen.checkpoints.importers.layout import Entry, check_layout, check_one_type
from anygen.checkpoints.importers.published import PUBLISHED, require_published
from anygen.checkpoints.importers.safe import Source, check_program, open_source
from anygen.checkpoints.importers.writing import Planned, importing, write_tensors
from anygen.errors import BadArgument, CheckpointCorrupt, MissingPart, WeightsMismatch

MARK = "pwned"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(path: Path) -> Path:
    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.float16)}, path)
    return path


def test_plain_tensors_are_mapped(place: Path) -> None:
    source = open_source(saved(place / "w.pt"))
    assert source.tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert source.sha256 == manifest.sha256(place / "w.pt")
    assert open_source(place / "w.pt", sha256=f" {source.sha256.upper()} ").sha256 == source.sha256
    torch.save({"state_dict": {"a": torch.nn.Parameter(torch.ones(2))}, "epoch": 3}, place / "n.ckpt")
    assert list(open_source(place / "n.ckpt").tensors) == ["a"]
    save_file({"a": torch.ones(2)}, place / "w.safetensors")
    assert open_source(place / "w.safetensors").tensors["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "payload",
    [
        Payload(os.system, f"touch {MARK}"),
        Payload(eval, f"open('{MARK}', 'w')"),
        Payload(exec, f"open('{MARK}', 'w')"),
        Payload(open, MARK, "w"),
        Payload(getattr, os, "system"),
        Payload(torch.load, MARK),
    ],
    ids=["system", "eval", "exec", "open", "getattr", "torch.load"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_programs_are_refused_and_nothing_runs(place: Path, payload: Payload, protocol: int) -> None:
    data = {"a": payload}
    try:
        code = pickle.dumps(data, protocol=protocol)
    except TypeError:  # a module cannot be pickled
        code = b"\x80\x02}q\x00X\x01\x00\x00\x00acbuiltins\ngetattr\n)Rs."
    path = save_program(place / "bad.pt", code)
    with pytest.raises(
        CheckpointCorrupt, match="is a pickle with the (name|instruction) .*nothing of it was run"
    ):
        open_source(path)
    assert not (place / MARK).exists()


def test_instructions_that_plain_tensors_do_not_need(place: Path) -> None:
    for code, what in [
        (b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.", "the name os.system"),
        (b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.", "the instruction INST"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the instruction STACK_GLOBAL"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"\x80\x02}.more", "more behind its end"),
        (b"Pid\n.", "the instruction PERSID"),
    ]:
        with pytest.raises(CheckpointCorrupt, match=f"w.pt is a pickle with {what}"):
            check_program(code, "w.pt")
    with pytest.raises(CheckpointCorrupt, match="its pickle is cut or damaged"):
        check_program(b"\x80\x02}q\x00X\xff\xff\xff\x7fa", "w.pt")
    torch.save({"a": torch.zeros(2)}, place / "good.pt")
    with zipfile.ZipFile(place / "good.pt") as archive:
        check_program(archive.read("good/data.pkl"), "good.pt")


def test_bombs_and_foreign_archives(place: Path) -> None:
    path = place / "bomb.pt"
    torch.save({"a": torch.zeros(4 << 20)}, path)
    rewrite_zip(path, lambda name, data: data, compress=True)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointCorrupt, match=r"is compressed \(\d+ bytes out of \d+\)"):
        open_source(path)
    saved(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bomb/code/evil.py", "1")
    with pytest.raises(
        CheckpointCorrupt, match="a member 'bomb/code/evil.py', expected what torch.save writes"
    ):
        open_source(path)
    saved(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", "1")
    with pytest.raises(CheckpointCorrupt, match="not one data.pkl in one folder"):
        open_source(path)
    saved(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("bomb/data/0", "1")
    with pytest.raises(CheckpointCorrupt, match="two members of one name"):
        open_source(path)
    saved(path)
    rewrite_zip(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(CheckpointCorrupt, match="another byte order than little endian"):
        open_source(path)
    rewrite_zip(saved(path), lambda name, data: data * 99 if name.endswith("version") else data)
    with pytest.raises(CheckpointCorrupt, match="version has 198 bytes, more than 64"):
        open_source(path)


def test_damage_is_found_in_every_place(place: Path) -> None:
    path = saved(place / "w.pt")
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        offsets = [info.header_offset for info in archive.infolist() if info.filename.endswith("data/0")]
    at = whole.index(struct.pack("<f", 1.0), offsets[0])
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(CheckpointCorrupt, match="w.pt: a checksum is wrong; fetch the file again"):
        open_source(path)
    for length in (0, 3, 40, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointCorrupt, match="(cut or damaged|neither a zip archive)"):
            open_source(path)
    path.write_bytes(b"GIF89a" + whole)
    with pytest.raises(CheckpointCorrupt, match="neither a zip archive of torch.save nor safetensors"):
        open_source(path)
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointCorrupt, match="the format before PyTorch 1.6 is not read"):
        open_source(path)
    with pytest.raises(MissingPart, match="found no file gone.pt, expected a checkpoint"):
        open_source(place / "gone.pt")


def test_an_archive_that_torch_cannot_read_is_not_tried_again(place: Path) -> None:
    path = saved(place / "w.pt")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if not name.endswith("data/1"):
                archive.writestr(name, data)
    with pytest.raises(CheckpointCorrupt, match="w.pt cannot be read as plain tensors"):
        open_source(path)


def test_safetensors_damage(place: Path) -> None:
    path = place / "w.safetensors"
    save_file({"a": torch.ones(4)}, path)
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"x", whole[:40], whole[:8] + b"{" * 20):
        path.write_bytes(data)
        with pytest.raises(CheckpointCorrupt, match="w.safetensors is no whole safetensors file"):
            open_source(path)


def test_what_is_in_the_dictionary(place: Path) -> None:
    path = place / "w.pt"
    for value, message in [
        ([1, 2], "holds no dictionary of tensors"),
        ({}, "holds no dictionary of tensors"),
        ({"a": 3}, "holds a int under 'a', expected tensors by name"),
        ({"a": {"b": torch.ones(1)}}, "holds a dict under 'a'"),
        ({1: torch.ones(1)}, "holds a Tensor under '1'"),
        ({"a": torch.ones(1, dtype=torch.float32).expand(1000, 1000)}, "has fewer numbers behind it"),
    ]:
        torch.save(value, path)
        with pytest.raises(WeightsMismatch, match=message):
            open_source(path)
    torch.save({"a": torch.eye(3).to_sparse()}, path)
    with pytest.raises(CheckpointCorrupt, match="is a pickle with the name torch"):
        open_source(path)
    save_file({"a": torch.ones(2, dtype=torch.complex64)}, place / "c.safetensors")
    with pytest.raises(WeightsMismatch, match="a is no dense real tensor"):
        open_source(place / "c.safetensors")


def test_hashes(place: Path) -> None:
    path = saved(place / "w.pt")
    with pytest.raises(CheckpointCorrupt, match="has the SHA-256 .*, expected 00; fetch the file again"):
        open_source(path, sha256="00")
    with pytest.raises(CheckpointCorrupt, match="which is none of the published files'"):
        require_published(open_source(path))
    (known,) = (h for h, name in PUBLISHED.items() if name == "imagebind_huge.pth")
    require_published(Source(path=path, sha256=known, tensors={}))
    with pytest.raises(BadArgument, match="`lava` is not a kind of checkpoint; did you mean `llava`"):
        import_checkpoint("lava", ImportRequest(source=path, destination=place / "out"))
    for kind in IMPORTERS:
        given = place if kind == "folder" else path
        with pytest.raises((CheckpointCorrupt, MissingPart)):
            request = ImportRequest(source=given, destination=place / "out", published=True)
            import_checkpoint(kind, request)
    assert not (place / "out").exists()


def test_layouts_name_all_that_is_wrong_at_once() -> None:
    layout = {name: Entry((2, 3)) for name in ("a", "b", "c", "d")}
    found = {"a": torch.ones(2, 3), "b": torch.ones(3, 2), "c": torch.ones(2, 3).half(), "e": torch.ones(1)}
    with pytest.raises(WeightsMismatch) as caught:
        check_layout(found, layout, "it")
    assert str(caught.value) == (
        "it: 1 missing: d; 1 unexpected: e; 1 other shape: b is (3, 2), expected (2, 3) (transposed); "
        "1 other type: c is float16, expected float32. "
        "Nothing was imported; give a checkpoint of exactly this kind."
    )
    many = {str(i): torch.ones(1) for i in range(103)}
    with pytest.raises(WeightsMismatch, match="103 unexpected: 0, 1, .* and 3 more"):
        check_layout(many, {}, "it")
    assert check_layout(many, {}, "it", ignored=[str(i) for i in range(10)]) == {}
    with pytest.raises(WeightsMismatch, match="it: found types float16, float32, expected one for all"):
        check_one_type({"a": found["a"], "c": found["c"]}, "it")


def test_tensors_are_written_as_safetensors_reads_them(place: Path) -> None:
    tensors = {
        "half": torch.randn(3, 5).half(), "brain": torch.randn(7).bfloat16(), "full": torch.randn(4)[::2],
        "one": torch.tensor(2.0), "none": torch.zeros(0, 3), "mask": torch.full((2, 2), float("-inf")),
        "ids": torch.arange(5), "flag": torch.tensor([True, False]),
    }  # fmt: skip
    planned = Planned(shape=(2, 2), dtype=torch.float32, make=lambda: torch.eye(2))
    write_tensors(place / "w.safetensors", {**tensors, "eye": planned})
    back = load_file(place / "w.safetensors")
    assert back.keys() == {*tensors, "eye"}
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    for value in (float("nan"), float("inf")):
        with pytest.raises(WeightsMismatch, match="w has a value that is no finite number"):
            write_tensors(place / "bad.safetensors", {"w": torch.tensor([1.0, value])})


def test_a_destination_appears_whole_or_not_at_all(place: Path) -> None:
    source = open_source(saved(place / "in" / "w.pt") if (place / "in").mkdir() is None else place)
    inside = pytest.raises(BadArgument, match="found the source inside the destination")
    with inside, importing(place / "in", "test", source):
        pass
    with pytest.raises(RuntimeError), importing(place / "out", "test", source) as draft:
        (draft / "half").write_text("x")
        raise RuntimeError
    assert [path.name for path in place.iterdir()] == ["in"]
    (place / "out").mkdir()
    (place / "out" / "mine").write_text("x")
    occupied = pytest.raises(BadArgument, match="holds other files and no model")
    with occupied, importing(place / "out", "test", source):
        pass
