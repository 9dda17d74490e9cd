"""What every importer takes and gives."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from anygen.errors import MissingPart

from .published import published_name, require_published
from .safe import Source, open_source

DESCRIPTIONS = (".json", ".txt", ".jinja", ".model", ".md")
"""Suffixes of the small files of an official folder that are copied; code and pickles never are."""
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz",
)  # fmt: skip
"""Files that a tokenizer can consist of."""


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """One import as the user asks for it."""

    source: Path
    """A checkpoint file, or the folder that it lies in."""
    destination: Path
    """Folder to make."""
    sha256: str | None = None
    """What the hash of the checkpoint must be; None takes any."""
    published: bool = False
    """Refuse a checkpoint that is not one of the published files."""
    tokenizer: Path | None = None
    """Folder or file of the tokenizer; None looks beside the checkpoint."""
    encoder: Path | None = None
    """Imported encoder folder to put into the model folder."""
    llm: Path | None = None
    """Folder of the language model in safetensors to put into the model folder."""

    def open(self, *names: str) -> Source:
        """Open the checkpoint.

        Args:
            names: file names to look for when the source is a folder, in this order.

        Returns:
            Its mapped tensors.

        Raises:
            MissingPart: when there is no such file.
            CheckpointCorrupt: when it is damaged, is not plain tensors or has another hash.
        """
        source = open_source(self.find(*names), sha256=self.sha256)
        if self.published:
            require_published(source)
        return source

    def find(self, *names: str) -> Path:
        """Find the checkpoint file.

        Args:
            names: file names to look for when the source is a folder, in this order.

        Returns:
            The file.

        Raises:
            MissingPart: when the folder has none of them.
        """
        if not self.source.is_dir():
            return self.source
        for name in names:
            if (self.source / name).is_file():
                return self.source / name
        raise MissingPart(
            f"the folder {self.source.name} has no {' or '.join(names)}; give the checkpoint's own"
        )

    @property
    def folder(self) -> Path:
        """The folder that the checkpoint lies in."""
        return self.source if self.source.is_dir() else self.source.parent


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did."""

    kind: str
    """What was recognised."""
    tensors: int
    """Tensors that were taken over."""
    parameters: int
    """Numbers in them."""
    sha256: str
    """Of the checkpoint."""
    published: str | None
    """Which published file it is; None when its hash is not known."""
    notes: tuple[str, ...] = ()
    """What the user should know: what was left out, what is still missing."""


def report(
    kind: str, source: Source, tensors: Mapping[str, Tensor], notes: tuple[str, ...] = ()
) -> ImportReport:
    """Make the report of an import.

    Args:
        kind: what was recognised.
        source: the checkpoint.
        tensors: those that were taken over.
        notes: what the user should know.

    Returns:
        The report.
    """
    return ImportReport(
        kind=kind,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        sha256=source.sha256,
        published=published_name(source),
        notes=notes,
    )


def copy_files(source: Path, destination: Path, names: tuple[str, ...]) -> list[str]:
    """Copy small files that exist.

    Args:
        source: a folder, or one of the files.
        destination: folder; made when something is copied.
        names: files to copy.

    Returns:
        The names that were copied.
    """
    found = [source] if source.is_file() else [source / name for name in names if (source / name).is_file()]
    for path in found:
        destination.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination / path.name)
    return [path.name for path in found]


def peft_config(rank: int, alpha: int, dropout: float, targets: tuple[str, ...]) -> dict[str, Any]:
    """The `adapter_config.json` that peft reads.

    Args:
        rank: inner width.
        alpha: the update is scaled by alpha / rank.
        dropout: share of the input dropped in training.
        targets: names of the linear layers that have an adapter.

    Returns:
        Its contents.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(targets),
    }
