"""Hugging Face `datasets` on disk: what `save_to_disk` wrote, parquet files, image and audio folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from anygen.config import unknown_name
from anygen.errors import BadArgument, BadMedia, MissingPart
from anygen.modality import MEDIA_INPUTS, Modality

from ..records import Place
from ..sources import CellSource, MediaSource
from .base import Entry, FileFinder, SourceConfig, existing, kind_of, reading
from .fields import OUTPUTS, record_from_fields

MEDIA_FIELDS = {str(m) for m in MEDIA_INPUTS} | set(OUTPUTS)
"""Fields whose cells hold media."""


def open_dataset(config: SourceConfig) -> Any:
    """Open a data set with its media undecoded.

    Args:
        config: Its folder or file.

    Returns:
        A `datasets.Dataset`.

    Raises:
        MissingPart: The `datasets` library is not installed.
        BadArgument: It is no data set, or has several splits and none is named.
    """
    path = existing(config)
    try:
        import datasets
    except ImportError:
        raise MissingPart(
            "the library datasets is not installed; pip install 'anygen-multimodal[datasets]'"
        ) from None
    datasets.disable_progress_bars()
    try:
        found = _load(datasets, path)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        name = type(error).__name__
        raise BadArgument(
            f"found no data set at {config.path} ({name}), expected one of `datasets`"
        ) from None
    if isinstance(found, dict):
        found = _split(found, config)
    for column, feature in list(found.features.items()):
        inner = getattr(feature, "feature", feature)  # of a list: what it is a list of
        if hasattr(inner, "decode"):
            inner.decode = False
            found = found.cast_column(column, feature)
    return found


def _load(datasets: Any, path: Path) -> Any:
    if path.is_file():
        return datasets.load_dataset("parquet", data_files=str(path))
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return datasets.load_from_disk(str(path))
    tables = sorted(str(p) for p in path.rglob("*.parquet"))
    if tables:
        return datasets.load_dataset("parquet", data_files=tables)
    suffixes = {p.suffix.lower() for p in path.rglob("*")}
    builder = "audiofolder" if suffixes & {".wav", ".flac", ".mp3", ".ogg"} else "imagefolder"
    return datasets.load_dataset(builder, data_dir=str(path))


def _split(found: dict[str, Any], config: SourceConfig) -> Any:
    names = list(found)
    if config.split is None:
        if len(names) > 1:
            raise BadArgument(f"found the splits {', '.join(names)}; name one with `split`")
        return found[names[0]]
    if config.split not in found:
        raise BadArgument(unknown_name(config.split, names, "a split of this data set"))
    return found[config.split]


def read_huggingface(config: SourceConfig) -> Iterator[Entry]:
    """Read the rows; media stay in the table until they are asked for."""
    table = open_dataset(config)
    names = [n for n in table.column_names if config.columns.get(n, n) in MEDIA_FIELDS]
    media = {name: table.select_columns([name]) for name in names}
    words = table.remove_columns(names)

    find = FileFinder(config)

    def resolve(modality: Modality, value: Any) -> MediaSource:
        return value if isinstance(value, CellSource) else find(modality, value)

    def read(row: int, column: str, item: int) -> str | bytes:
        cell = media[column][row][column]
        return _content(cell[item] if isinstance(cell, list) else cell)

    for row in range(len(table)):
        place = Place(config.path, row + 1)
        fields: dict[str, Any] = dict(words[row]) if words.column_names else {}
        for name, column in media.items():
            fields[name] = _cells(column[row][name], row, name, config, read)
        yield reading(place, partial(record_from_fields, fields, place, config, resolve))


def _cells(cell: Any, row: int, name: str, config: SourceConfig, read: Any) -> Any:
    if cell is None:
        return None
    items = cell if isinstance(cell, list) else [cell]
    return [
        item if isinstance(item, str) else CellSource(config.path, row, name, number, read)
        for number, item in enumerate(items)
    ]


def _content(cell: Any) -> str | bytes:
    """Bytes or path of one undecoded cell; raises BadMedia."""
    if isinstance(cell, dict):
        inner, path = cell.get("bytes"), cell.get("path")
        if isinstance(inner, bytes):
            return inner
        cell = path
    if isinstance(cell, bytes) or (isinstance(cell, str) and os.path.isfile(cell)):
        return cell
    raise BadMedia(f"found {kind_of(cell)} in the table, expected a medium or the path of a file")
