"""From a model folder to the system that the stages train, and back into a whole model folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anygen.checkpoints.folder import load_model, replacing
from anygen.checkpoints.lazy import Decoders
from anygen.checkpoints.resolve import CONFIG, resolve
from anygen.checkpoints.weights import save_weights
from anygen.config import AnyGenConfig, Part, dumps
from anygen.errors import BadArgument, MissingPart
from anygen.llm import save_adapter
from anygen.modality import Modality
from anygen.model import AnyGenModel
from anygen.prompting import PromptBuilder

from ..system import Media, System, SystemConfig, build_system, save_trained
from .media import LoadedEncoder, RecordMedia
from .own import DataConfig, OwnData

P = TypeVar("P", bound=Part)

TRAINED = ("input_projection", "output_projections", "adapter")
"""Folders of a model that the stages write; all others are copied as they are."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """Where a model came from, and what its folder says."""

    folder: Path
    """Its folder."""
    config: AnyGenConfig
    """Its configuration."""
    decoders: Decoders
    """Its decoders, opened on first use."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a stage works with."""

    system: System
    """Model, prompts, media and targets."""
    data: OwnData | None = None
    """Its own data; None for the toybox."""
    origin: ModelFolder | None = None
    """The model folder that the parts came from; None where they came one by one."""

    @property
    def lead_ins(self) -> Mapping[Modality, str]:
        """What the model says before it shows a modality."""
        return self.origin.config.lead_ins if self.origin is not None else {}

    def save(self, stage: str, folder: Path) -> None:
        """Write a whole model folder, or only what was trained where the parts came one by one."""
        if self.origin is None:
            save_trained(self.system.model, folder)
        else:
            save_folder(self.origin, self.system.model, stage, folder)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a stage's configuration says of model and data."""

    system: SystemConfig | None
    """Parts, one by one."""
    model: str | None
    """A model folder, or a bundled name."""
    data: DataConfig | None
    """Own data; None for the toybox."""

    def __post_init__(self) -> None:
        if (self.system is None) == (self.model is None):
            found = "neither" if self.system is None else "both"
            raise BadArgument(f"found {found} of `system` and `model`, expected one of them")
        if self.model is not None and self.data is None:
            raise BadArgument("found `model` without `data`, expected the data to train it on; add `data`")

    def open(self, *, stored: Media | None = None, **use: Any) -> Opened:
        """Load everything.

        Args:
            stored: Stands for all media where they come out of a cache; then no data are read.
            use: What `OwnData` takes: which records the stage has a use for, and what it makes of them.

        Raises:
            BadArgument: A bad entry of the data.
            MissingPart: The model lacks a part.
        """
        if stored is not None:
            if self.model is not None:
                return open_folder(self.model, None, stored)
            assert self.system is not None
            return Opened(system=build_system(self.system, lambda e, p: stored, toybox=self.data is None))
        data = OwnData(self.data, **use) if self.data is not None else None
        if self.model is not None:
            return open_folder(self.model, data)
        assert self.system is not None
        if data is None:
            return Opened(system=build_system(self.system))
        capacity = data.config.cached_items
        system = build_system(self.system, lambda e, p: RecordMedia(LoadedEncoder(e, p), capacity=capacity))
        return Opened(system=system, data=data)


def open_folder(name: str, data: OwnData | None, stored: Media | None = None) -> Opened:
    """The system of a model folder, with a data set's media.

    Args:
        name: Bundled name, folder or hub id.
        data: What it will be trained on; None where `stored` stands for it.
        stored: Media out of a cache.

    Raises:
        MissingPart: The model lacks a part.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = resolve(name)
    loaded = load_model(folder, device=device)
    decoders = Decoders(loaded.config, folder, device=device)

    logging.getLogger("anygen.decoders.text").addFilter(_Once())

    def targets(modality: Modality, captions: list[str]) -> Tensor:
        with torch.no_grad():
            found: Tensor = decoders[modality].encode_text(captions)
        return found

    builder = PromptBuilder(
        loaded.tokenizer,
        loaded.model.tokens,
        template=loaded.config.chat_template,
        num_slot_tokens=loaded.config.input_projection.num_tokens,
        context_length=loaded.config.llm.context_length,
    )
    media = stored
    if media is None:
        if loaded.model.encoder is None:
            raise MissingPart(f"the model {name} has no encoder, expected one; use a whole model folder")
        assert data is not None
        capacity, tokens = data.config.cached_items, loaded.model.takes_tokens
        media = RecordMedia(loaded.model.encoder, capacity=capacity, tokens=tokens)
    system = System(model=loaded.model, builder=builder, media=media, text_targets=targets)
    origin = ModelFolder(folder=folder, config=loaded.config, decoders=decoders)
    return Opened(system=system, data=data, origin=origin)


class _Once(logging.Filter):
    """Lets a message through once: a caption that is cut is cut again in every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        new = record.getMessage() not in self._seen
        self._seen.add(record.getMessage())
        return new


def save_folder(origin: ModelFolder, model: AnyGenModel, stage: str, folder: Path) -> None:
    """Write a whole model folder: what was not trained is copied file by file, so it stays what it was.

    Args:
        origin: The model that training began with.
        model: The model now.
        stage: Which stage trained it.
        folder: Where to.

    Raises:
        BadArgument: Something else lies at `folder`.
    """
    config = _described(origin.config, model, stage)
    with replacing(folder) as draft:
        for part in sorted(origin.folder.iterdir()):
            if part.is_dir() and part.name not in TRAINED:
                shutil.copytree(part, draft / part.name)
        (draft / CONFIG).write_text(dumps(config), encoding="utf-8")
        card = origin.folder / "README.md"
        before = card.read_text(encoding="utf-8") if card.is_file() else f"# {config.name}\n"
        note = f"\nTrained further, on other data, by `anygen train {stage}`: scores above are not its own.\n"
        (draft / "README.md").write_text(before + note, encoding="utf-8")
        save_weights(model.input_projection, draft / "input_projection", dtype=torch.float32)
        for modality, projection in model.output_projections.items():
            save_weights(projection, draft / "output_projections" / modality, dtype=torch.float32)
        save_adapter(model.llm, draft / "adapter")


def _described(config: AnyGenConfig, model: AnyGenModel, stage: str) -> AnyGenConfig:
    """The configuration of a model that was trained further: its name and the sources of its parts say so."""

    def told(part: P, module: nn.Module) -> P:
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return part
        return replace(part, source=f"{part.source}; then `anygen train {stage}` on other data")

    return replace(
        config,
        name=config.name if config.name.endswith("-tuned") else f"{config.name}-tuned",
        input_projection=told(config.input_projection, model.input_projection),
        adapter=told(config.adapter, model.llm),
        output_projections={
            m: told(part, model.output_projections[m]) for m, part in config.output_projections.items()
        },
    )
