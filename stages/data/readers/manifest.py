"""JSONL, CSV and JSON manifests of files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..records import Place, Problem
from .base import Entry, FileFinder, SourceConfig, existing, kind_of, reading
from .fields import record_from_fields

_MAX_LINE = 4 * 2**20


def read_manifest(config: SourceConfig) -> Iterator[Entry]:
    """Read one line after another (JSONL), one row after another (CSV), or the objects of a JSON list."""
    path, find = existing(config), FileFinder(config)
    for place, found in ROWS[path.suffix.lower()](path, config.path):
        if isinstance(found, Problem):
            yield found
        elif not isinstance(found, dict):
            yield Problem(place, "structure", f"found {kind_of(found)}, expected an object with fields")
        else:
            yield reading(place, partial(record_from_fields, found, place, config, find))


def jsonl_rows(path: Path, shown: str) -> Iterator[tuple[Place, Any]]:
    """(place, parsed line) of every line that is not blank; a `Problem` where it is no JSON."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            place = Place(shown, number)
            if len(line) > _MAX_LINE:
                yield (
                    place,
                    Problem(place, "syntax", f"found a line of over {_MAX_LINE >> 20} MiB, expected JSONL"),
                )
                return
            if line.strip():
                yield place, _parsed(line, place)


def _parsed(line: bytes, place: Place) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig" if place.line == 1 else "utf-8"))
    except (ValueError, RecursionError):
        return Problem(place, "syntax", "found no JSON in UTF-8, expected one object a line; mend the line")


def csv_rows(path: Path, shown: str) -> Iterator[tuple[Place, Any]]:
    """(place, fields) of every row; cells that begin with `[` are JSON lists."""
    with path.open(newline="", encoding="utf-8-sig", errors="strict") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names: list[str] | None = None
        begin = 1
        try:
            for cells in rows:
                place, begin = Place(shown, begin), rows.line_num + 1
                if not cells:
                    continue
                if names is None:
                    names = [name.strip() for name in cells]
                    continue
                yield place, _row(names, cells, place)
        except (csv.Error, UnicodeDecodeError):
            place = Place(shown, begin)
            yield place, Problem(place, "syntax", "found no CSV in UTF-8, expected comma-separated values")


def _row(names: list[str], cells: list[str], place: Place) -> Any:
    if len(cells) != len(names):
        counts = f"found {len(cells)} cells, expected {len(names)}, one for each column"
        return Problem(place, "syntax", f"{counts}; put cells with commas into quotes")
    values: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        values[name] = cell
        if cell.startswith("["):
            try:
                values[name] = json.loads(cell)
            except (ValueError, RecursionError):
                continue
        elif name == "imu_rate":
            values[name] = float(cell) if cell.replace(".", "", 1).isdigit() else cell
    return {name: value for name, value in values.items() if value != ""}


def json_rows(path: Path, shown: str) -> Iterator[tuple[Place, Any]]:
    """(place, element) of every element of a JSON list, with the line where it begins."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        place = Place(shown, 1)
        yield place, Problem(place, "syntax", "found no UTF-8, expected JSON in UTF-8; save the file anew")
        return
    decoder = json.JSONDecoder()
    position, line = _skip(text, 0, " \t\r\n"), 1
    line += text.count("\n", 0, position)
    if text[position : position + 1] != "[":
        place = Place(shown, line)
        yield place, Problem(place, "syntax", "found no JSON list, expected [ ... ] with one object a sample")
        return
    counted = position
    position = _skip(text, position + 1, " \t\r\n")
    number = 0
    while position < len(text) and text[position] != "]":
        line += text.count("\n", counted, position)
        number += 1
        counted, place = position, Place(shown, line, f"entry {number}")
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            yield place, Problem(place, "syntax", "found broken JSON from here on; mend the file")
            return
        yield place, value
        position = _skip(text, position, " \t\r\n")
        if text[position : position + 1] not in (",", "]"):
            line += text.count("\n", counted, position)
            place = Place(shown, line)
            yield place, Problem(place, "syntax", "found the list cut or a comma missing; mend the file")
            return
        position = _skip(text, position, " \t\r\n,")


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


ROWS = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".json": json_rows,
}
"""How a manifest's lines are read, by its suffix."""
