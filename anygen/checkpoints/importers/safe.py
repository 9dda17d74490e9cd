"""Reading other projects' checkpoints without trusting them: the one place where a pickle is opened.

A PyTorch checkpoint is a zip archive with a pickle inside, and a pickle is a program. Before it is opened
its archive is checked (plain members that lie side by side, nothing compressed, every checksum right) and its
program is read, not run: only what builds dictionaries of plain tensors is allowed in it. Then
`torch.load(weights_only=True, mmap=True)` reads it; there is no second, less careful try. Tensors stay on
disk until they are used.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from anygen.errors import CheckpointCorrupt, MissingPart, WeightsMismatch

from .. import manifest

MAX_PICKLE_BYTES = 64 * 2**20
"""Largest pickle that is read; the program alone, without the numbers."""
MAX_MEMBERS = 100_000
"""Most members of an archive."""

ALLOWED_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        *(
            f"torch {kind}Storage"
            for kind in (
                "Half",
                "BFloat16",
                "Float",
                "Double",
                "Long",
                "Int",
                "Short",
                "Char",
                "Byte",
                "Bool",
            )
        ),
    }
)
"""Names that a checkpoint of plain tensors needs."""
ALLOWED_OPCODES = frozenset(
    {
        "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
        "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "EMPTY_DICT", "EMPTY_LIST",
        "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "SETITEM", "SETITEMS", "APPEND",
        "APPENDS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "BINPERSID",
        "REDUCE", "BUILD",
    }
)  # fmt: skip
"""Pickle instructions that `torch.save` writes for them."""

_MEMBER = re.compile(
    r"[^/\\]+/(data\.pkl|version|byteorder|data/\d+|\.data/serialization_id|\.format_version"
    r"|\.storage_alignment)"
)
_PLAIN_FLAGS = 0x0008 | 0x0800  # sizes behind the data, names in UTF-8: what torch writes
_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint file whose tensors are mapped, not loaded."""

    path: Path
    """The file."""
    sha256: str
    """Of its bytes."""
    tensors: Mapping[str, Tensor]
    """All tensors by name; their pages are read when they are used."""


def open_source(path: Path, *, sha256: str | None = None) -> Source:
    """Open a checkpoint: a PyTorch archive, or safetensors.

    Args:
        path: the file.
        sha256: what its hash must be; None takes any.

    Returns:
        Its tensors, mapped.

    Raises:
        MissingPart: when there is no such file.
        CheckpointCorrupt: for another hash, a damaged archive, or one that is not plain tensors.
        WeightsMismatch: when it holds something else than dense tensors by name.
    """
    if not path.is_file():
        raise MissingPart(f"found no file {path.name}, expected a checkpoint; check the path")
    found = manifest.sha256(path)
    if sha256 is not None and found != sha256.strip().lower():
        raise CheckpointCorrupt(
            f"{path.name} has the SHA-256 {found}, expected {sha256.strip().lower()}; fetch the file again"
        )
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        tensors = _map_safetensors(path)
    elif start.startswith(b"PK\x03\x04"):
        check_archive(path)
        tensors = _map_pickle(path)
    else:
        raise CheckpointCorrupt(
            f"{path.name} is neither a zip archive of torch.save nor safetensors (the format before "
            "PyTorch 1.6 is not read); save it again with a newer PyTorch"
        )
    for name, tensor in tensors.items():
        _check_plain(path.name, name, tensor)
    return Source(path=path, sha256=found, tensors=tensors)


def _map_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), "pt") as file:
            return {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, ValueError):
        raise CheckpointCorrupt(f"{path.name} is no whole safetensors file; fetch it again") from None


def _map_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever torch's reader makes of a damaged file; never tried again with less care
        raise CheckpointCorrupt(f"{path.name} cannot be read as plain tensors; fetch it again") from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsMismatch(f"{path.name} holds no dictionary of tensors, expected a state dict")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsMismatch(
                f"{path.name} holds a {type(value).__name__} under {str(name)[:80]!r}, expected tensors by "
                "name; give the weights alone"
            )
    return {name: value.detach() for name, value in loaded.items()}


def _check_plain(file: str, name: str, tensor: Tensor) -> None:
    """Refuse views that are larger than what lies in the file, such as one number expanded to gigabytes."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise WeightsMismatch(f"{file}: {name} is no dense real tensor, expected plain weights")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsMismatch(
            f"{file}: {name} of shape {tuple(tensor.shape)} has fewer numbers behind it; fetch the file again"
        )


def check_archive(path: Path) -> None:
    """Check a PyTorch archive without opening its tensors.

    Args:
        path: the file.

    Raises:
        CheckpointCorrupt: for compressed, encrypted, overlapping, foreign or damaged members, and for a
            pickle with anything but plain tensors in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            for member in members:
                with archive.open(member) as file:
                    while file.read(_CHUNK):  # zipfile compares the checksum at the end
                        pass
            (program,) = (member for member in members if member.filename.endswith("/data.pkl"))
            code = archive.read(program)
            orders = [archive.read(m) for m in members if m.filename.endswith("/byteorder")]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        damaged = "a checksum is wrong" if "CRC" in str(error) else "the archive is cut or damaged"
        raise CheckpointCorrupt(f"{path.name}: {damaged}; fetch the file again") from None
    if any(order != b"little" for order in orders):
        raise CheckpointCorrupt(f"{path.name} has another byte order than little endian; save it again")
    check_program(code, path.name)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    def refuse(reason: str) -> None:
        raise CheckpointCorrupt(
            f"{path.name}: {reason}, expected what torch.save writes; fetch the file again"
        )

    names = [member.filename for member in members]
    if len(names) > MAX_MEMBERS:
        refuse(f"{len(names)} members")
    if len(set(names)) < len(names):
        refuse("two members of one name")
    if sum(name.endswith("/data.pkl") for name in names) != 1 or len({n.split("/")[0] for n in names}) != 1:
        refuse("not one data.pkl in one folder")
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        shown = member.filename[:80]
        if not _MEMBER.fullmatch(member.filename):
            refuse(f"a member {shown!r}")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            refuse(f"{shown} is compressed ({member.file_size} bytes out of {member.compress_size})")
        if member.flag_bits & ~_PLAIN_FLAGS:
            refuse(f"{shown} is encrypted or has unknown flags")
        if member.header_offset < end:
            refuse(f"{shown} overlaps another member")
        end = member.header_offset + member.compress_size
        if member.filename.endswith(("/data.pkl", "/version", "/byteorder")):
            limit = MAX_PICKLE_BYTES if member.filename.endswith(".pkl") else 64
            if member.file_size > limit:
                refuse(f"{shown} has {member.file_size} bytes, more than {limit}")
    if end > path.stat().st_size:
        refuse("members that reach behind the end of the file")


def check_program(code: bytes, name: str) -> None:
    """Read a pickle's instructions without running them.

    Args:
        code: the pickle.
        name: name of the file, for the message.

    Raises:
        CheckpointCorrupt: for an instruction or a name that plain tensors do not need.
    """
    ends = 0

    def refuse(what: str) -> None:
        raise CheckpointCorrupt(
            f"{name} is a pickle with {what}, expected plain tensors alone; nothing of it was run. Do not "
            "use the file unless you know where it comes from"
        )

    try:
        for opcode, argument, position in pickletools.genops(code):
            if opcode.name == "GLOBAL" and argument not in ALLOWED_GLOBALS:
                refuse(f"the name {str(argument).replace(' ', '.')[:120]}")
            if opcode.name not in ALLOWED_OPCODES:
                refuse(f"the instruction {opcode.name}")
            ends = (position or 0) + 1
    except CheckpointCorrupt:
        raise
    except Exception:  # pickletools raises several kinds for a program that is cut or garbled
        raise CheckpointCorrupt(f"{name}: its pickle is cut or damaged; fetch the file again") from None
    if ends != len(code):
        refuse("more behind its end")
