"""Reading a whole data set before anything is trained on it: every bad entry by file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from anygen.errors import AnyGenError, BadArgument, LimitExceeded
from anygen.media import MediaLimits

from .readers import Entry, SourceConfig, detect, read
from .records import Kind, Place, Problem, Record
from .sources import load


@dataclass(kw_only=True)
class Report:
    """What a data set has, and what is wrong with it."""

    path: str
    """Which one."""
    format: str
    """How it is written."""
    entries: int = 0
    """Lines, rows or samples."""
    bad: int = 0
    """Entries with at least one problem."""
    turns: int = 0
    """Turns of all good entries."""
    captions: int = 0
    """Good entries that are a medium and its caption."""
    inputs: Counter[str] = field(default_factory=Counter)
    """Media that come in, by modality."""
    outputs: Counter[str] = field(default_factory=Counter)
    """Media that go out, by modality."""
    files: int = 0
    """Different media that are there."""
    decoded: int = 0
    """How many of them were decoded."""
    problems: list[Problem] = field(default_factory=list)
    """Everything that is wrong, in the order of the data set."""

    def to_json(self) -> dict[str, Any]:
        """As one object."""
        kinds = Counter(problem.kind for problem in self.problems)
        return {
            "path": self.path,
            "format": self.format,
            "entries": self.entries,
            "bad_entries": self.bad,
            "captioned": self.captions,
            "turns": self.turns,
            "input_media": dict(self.inputs),
            "output_media": dict(self.outputs),
            "files": self.files,
            "decoded": self.decoded,
            "problems_by_kind": dict(kinds),
            "problems": [
                {
                    "file": p.place.file,
                    "line": p.place.line,
                    "key": p.place.key,
                    "kind": p.kind,
                    "message": p.message,
                }
                for p in self.problems
            ],
        }


def problems_of(config: SourceConfig) -> Iterator[tuple[Entry, list[Problem]]]:
    """Every entry with what is wrong with it, media unopened: structure, missing files, ids seen before."""
    seen: dict[str, Place] = {}
    for entry in read(config):
        if isinstance(entry, Problem):
            yield entry, [entry]
            continue
        found = [
            Problem(entry.place, "missing-file", f"{medium.modality}: found {reason}")
            for medium in entry.media
            if (reason := medium.source.missing()) is not None
        ]
        if entry.identity:
            first = seen.setdefault(entry.identity, entry.place)
            if first is not entry.place:
                said = f"found id {entry.identity!r} again, first at {first}; give every entry its own"
                found.append(Problem(entry.place, "duplicate-id", said))
        yield entry, found


def check(
    config: SourceConfig,
    *,
    decode: bool = True,
    limits: MediaLimits | None = None,
    on_entry: Callable[[int], None] | None = None,
) -> Report:
    """Read a whole data set and say what is wrong with it.

    Args:
        config: The data set.
        decode: Decode every medium once; without it, files are only looked for.
        limits: What media may be at most.
        on_entry: Called with the number of entries read so far.

    Returns:
        The report.

    Raises:
        BadArgument: There is no data set, or no reader for it.
    """
    report = Report(path=config.path, format=detect(config))
    verdicts: dict[tuple[str, str], tuple[Kind, str] | None] = {}
    for entry, found in problems_of(config):
        report.entries += 1
        if isinstance(entry, Record):
            found = found + _media(entry, verdicts, limits, decode)
            if not found:
                _count(report, entry)
        report.bad += bool(found)
        report.problems += found
        if on_entry is not None:
            on_entry(report.entries)
    report.files = len(verdicts)
    report.decoded = len(verdicts) if decode else 0
    return report


def _media(
    record: Record,
    verdicts: dict[tuple[str, str], tuple[Kind, str] | None],
    limits: MediaLimits | None,
    decode: bool,
) -> list[Problem]:
    """What is wrong with a record's media; each is decoded once, however often it is named."""
    found = []
    for medium in record.media:
        if medium.source.missing() is not None:
            continue  # told already
        key = (str(medium.modality), medium.source.key)
        if key not in verdicts:
            verdicts[key] = None
            if decode:
                try:
                    load(medium.modality, medium.source, limits, rate=medium.rate)
                except LimitExceeded as error:
                    verdicts[key] = ("over-limits", str(error))
                except AnyGenError as error:
                    verdicts[key] = ("undecodable", str(error))
        verdict = verdicts[key]
        if verdict is not None:
            found.append(Problem(record.place, *verdict))
    return found


def _count(report: Report, record: Record) -> None:
    report.turns += len(record.turns)
    report.captions += record.caption is not None
    report.inputs.update(str(medium.modality) for medium in record.inputs)
    report.outputs.update(str(medium.modality) for medium in record.outputs)


def load_records(sources: Sequence[SourceConfig]) -> list[Record]:
    """All records of data sets that training may use.

    Args:
        sources: The data sets, read one after another.

    Returns:
        Their records, in order; media are read when they are asked for.

    Raises:
        BadArgument: An entry is bad (the first is named, all are counted), or there are none.
    """
    return [record for records in load_by_source(sources) for record in records]


def load_by_source(sources: Sequence[SourceConfig]) -> list[list[Record]]:
    """As `load_records`, the records of each data set apart."""
    apart: list[list[Record]] = []
    problems: list[Problem] = []
    for source in sources:
        apart.append([])
        for entry, found in problems_of(source):
            problems += found
            if not found and isinstance(entry, Record):
                apart[-1].append(entry)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadArgument(f"{problems[0]}{more}; `anygen data check` lists all of them")
    if not any(apart):
        raise BadArgument("found no entries, expected some; check the paths of the data")
    return apart
