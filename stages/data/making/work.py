"""Making a data set: every subject in turn, kind by kind, written whole or not at all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anygen.checkpoints.manifest import write_atomic
from anygen.config import unknown_name
from anygen.errors import BadArgument

from ..readers import SourceConfig
from ..records import Problem
from .kinds import KINDS, Kind, write
from .subjects import Subject, read_subjects
from .trace import Generator, Rejected, trace


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """What is made."""

    kinds: tuple[Kind, ...] = KINDS
    """Which kinds."""
    count: int | None = None
    """Samples of each kind that are tried; None for one a subject."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise BadArgument(unknown_name(kind, KINDS, "a kind of sample"))
        if not self.kinds or (self.count is not None and self.count < 1):
            raise BadArgument(
                f"found {len(self.kinds)} kinds and count={self.count}, expected at least 1 each"
            )


@dataclass(kw_only=True)
class MakeReport:
    """What became of the subjects."""

    subjects: int
    """Subjects that could be used."""
    written: Counter[str] = field(default_factory=Counter)
    """Samples, by kind."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Samples that were not written, by `kind/reason`."""
    problems: list[Problem] = field(default_factory=list)
    """Entries of the source that cannot be used."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    """Every rejected sample: its trace, the reason, and what the model wrote."""

    def to_json(self) -> dict[str, Any]:
        """As one object."""
        return {
            "subjects": self.subjects,
            "written": dict(self.written),
            "rejected": dict(self.rejected),
            "problems": [str(problem) for problem in self.problems],
        }


def make(
    source: SourceConfig,
    generator: Generator,
    out: Path,
    options: MakeOptions,
    on_sample: Callable[[int, int], None] = lambda done, total: None,
) -> MakeReport:
    """Make instruction data and write them as JSON lines that `anygen data check` and the stages read.

    Args:
        source: Captioned media.
        generator: Makes the samples.
        out: File to write, `.jsonl`; it names media relative to its folder.
        options: What is made.
        on_sample: Told how many samples of how many were tried.

    Returns:
        Counts, and what was rejected; where that is everything, no file is written.

    Raises:
        BadArgument: Another suffix, or nothing in the source can be used.
    """
    if out.suffix != ".jsonl":
        raise BadArgument(f"found {out.name}, expected a file that ends with .jsonl; rename it")
    entries = list(read_subjects(source))
    subjects = [entry for entry in entries if isinstance(entry, Subject)]
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    if not subjects:
        first = f" ({problems[0]})" if problems else ""
        raise BadArgument(
            f"found no captioned picture, sound or film in {source.path}{first}; check the file"
        )
    report = MakeReport(subjects=len(subjects), problems=problems)
    tries = list(_tries(subjects, options))
    lines = []
    for done, (kind, subject, number) in enumerate(tries, 1):
        made = _made(kind, subject, number, generator, out.parent, report)
        if made is not None:
            lines.append(json.dumps(made, ensure_ascii=False))
        on_sample(done, len(tries))
    if lines:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, "".join(f"{line}\n" for line in lines).encode())
    return report


def _tries(subjects: Sequence[Subject], options: MakeOptions) -> Iterator[tuple[Kind, Subject, int]]:
    for kind in options.kinds:
        for number in range(options.count or len(subjects)):
            yield kind, subjects[number % len(subjects)], number


def _made(
    kind: Kind, subject: Subject, number: int, generator: Generator, folder: Path, report: MakeReport
) -> dict[str, Any] | None:
    """An entry with its trace; None for one that is rejected, and counted."""
    try:
        sample = generator.make(kind, subject, number)
    except Rejected as rejected:
        report.rejected[f"{kind}/{rejected.reason}"] += 1
        where = {"file": subject.place.file, "line": subject.place.line, "kind": kind, "number": number}
        why = {"reason": rejected.reason, "found": rejected.message, "text": rejected.text}
        report.rejects.append(where | why)
        return None
    report.written[kind] += 1
    fields = write(kind, sample.turns, folder)
    return {
        "id": f"{kind}-{number:06d}",
        **fields,
        "source_data": trace(kind, subject, number, generator, sample),
    }
