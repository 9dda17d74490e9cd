"""Media that a run shows at an evaluation: `samples/step-N/` with an index, for people and for the report."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from anygen.media.registry import save_media
from anygen.modality import Modality

INDEX = "index.json"
SUFFIXES = {Modality.IMAGE: ".png", Modality.AUDIO: ".wav", Modality.VIDEO: ".mp4"}
KEPT_PER_GROUP = 8
"""Samples that one group of an evaluation shows."""


@runtime_checkable
class Shows(Protocol):
    """A stage with samples to show; the trainer gives it a folder while it evaluates, and None otherwise."""

    samples: SampleFolder | None


class SampleFolder:
    """Collects samples; they appear as a whole when the evaluation is done."""

    def __init__(self, folder: Path) -> None:
        """Name the place.

        Args:
            folder: `samples/step-N` of a run; replaced where it exists.
        """
        self._folder = folder
        self._draft = folder.with_name(f".{folder.name}.tmp")
        self._entries: list[dict[str, str]] = []

    def __enter__(self) -> SampleFolder:
        """Start with an empty draft."""
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        return self

    def add(self, group: str, modality: Modality, media: Any, text: str) -> None:
        """Save one sample.

        Args:
            group: samples of one group are shown side by side, such as "held_out".
            modality: image, audio or video.
            media: what a decoder made.
            text: what was asked for.
        """
        if sum(entry["group"] == group for entry in self._entries) >= KEPT_PER_GROUP:
            return
        name = f"{len(self._entries):03d}{SUFFIXES[modality]}"
        save_media(media, self._draft / name)
        self._entries.append({"group": group, "modality": str(modality), "file": name, "text": text})

    def add_all(self, group: str, modality: Modality, media: Sequence[Any], texts: Sequence[str]) -> None:
        """Save the first samples of a batch."""
        for item, text in zip(media, texts, strict=True):
            self.add(group, modality, item, text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the index and put the folder in place, unless the evaluation failed."""
        if kind is None and self._entries:
            (self._draft / INDEX).write_text(json.dumps(self._entries, indent=1))
            shutil.rmtree(self._folder, ignore_errors=True)
            self._draft.rename(self._folder)
        shutil.rmtree(self._draft, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.parent.rmdir()  # only when nothing was shown at all


def read_samples(run_folder: Path) -> dict[int, list[dict[str, str]]]:
    """Samples of a run by step, each with `group`, `modality`, `text` and `path`.

    Folders without a readable index are left out.
    """
    found: dict[int, list[dict[str, str]]] = {}
    for folder in sorted((run_folder / "samples").glob("step-*")):
        try:
            step = int(folder.name.removeprefix("step-"))
            entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            found[step] = [{**entry, "path": str(folder / Path(entry["file"]).name)} for entry in entries]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
