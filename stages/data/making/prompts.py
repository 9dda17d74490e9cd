"""System prompts and worked examples, as text files: those of the package, or one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from anygen.errors import BadArgument, MissingPart

from .kinds import Kind
from .subjects import Subject

SYSTEM, SOURCE, ANSWER = "system.txt", ".source.txt", ".answer.txt"
"""Names of the files of a kind: `system.txt`, and pairs such as `1.source.txt` and `1.answer.txt`."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What a model is told of one kind."""

    system: str
    """What it is to do, and how its answer must look."""
    examples: tuple[tuple[str, str], ...]
    """Sources and what was made of them."""
    sha256: str
    """Of all files, names included."""


def shipped() -> Path:
    """The package's folder of prompts, one folder for each kind."""
    return Path(str(files("anygen.stages.data.making") / "prompts"))


def load_prompts(folder: Path, kind: Kind) -> Prompts:
    """Read what a model is told of a kind.

    Args:
        folder: Holds a folder named after each kind.
        kind: Which.

    Raises:
        MissingPart: No `system.txt`, or an example without its other half.
        BadArgument: A file is no UTF-8, or empty.
    """
    place = folder / kind
    if not (place / SYSTEM).is_file():
        raise MissingPart(f"found no {kind}/{SYSTEM} in {folder}, expected what the model is to do; write it")
    digest = hashlib.sha256()
    texts = {}
    for path in sorted(place.glob("*.txt")):
        content = path.read_bytes()
        digest.update(path.name.encode() + b"\0" + content + b"\0")
        try:
            texts[path.name] = content.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise BadArgument(f"{kind}/{path.name}: found no UTF-8, expected text; save it anew") from None
        if not texts[path.name]:
            raise BadArgument(f"{kind}/{path.name} is empty, expected words; write them or remove the file")
    names = sorted(n.removesuffix(SOURCE) for n in texts if n.endswith(SOURCE))
    halves = sorted(n.removesuffix(ANSWER) for n in texts if n.endswith(ANSWER))
    if names != halves:
        lone = sorted(set(names) ^ set(halves))[0]
        raise MissingPart(
            f"{kind}: example {lone} has one half only; expected {lone}{SOURCE} and {lone}{ANSWER}"
        )
    examples = tuple((texts[n + SOURCE], texts[n + ANSWER]) for n in names)
    return Prompts(system=texts[SYSTEM], examples=examples, sha256=digest.hexdigest())


def source_text(subject: Subject, modalities: Sequence[str]) -> str:
    """A subject as the prompts' sources are written.

    Args:
        subject: What it is about.
        modalities: Its media that the sample may use.
    """
    lines = []
    for modality in modalities:
        lines.append(f"Captions of the {modality}:")
        lines += [f"- {text}" for m, texts in subject.captions.items() if m == modality for text in texts]
    if subject.boxes and "image" in modalities:
        lines.append("Boxes (left, top, right, bottom):")
        lines += [f"- {box}" for box in subject.boxes]
    return "\n".join(lines)
