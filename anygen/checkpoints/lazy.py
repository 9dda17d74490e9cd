"""Parts of a model that are read from disk when they are first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.config import AnyGenConfig
from anygen.errors import MissingPart
from anygen.modality import Modality

from . import manifest
from .resolve import part_folder


class LazyEncoder:
    """The encoder of a model folder; a tower is read from disk when it is first used.

    Args:
        folder: encoder folder.
        device: where the towers compute.
        dtype: what they compute in.
        before: called once, before anything is read; verifies the folder.
    """

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, before: Callable[[], None]
    ) -> None:
        self._folder, self._device, self._dtype, self._before = folder, device, dtype, before
        self._towers: dict[str, Any] = {}
        self._processor: Any = None
        self._lock = threading.RLock()

    def prepare(self, modality: Modality, items: list[Any]) -> Tensor:
        """Turn media into the inputs of their tower.

        Args:
            modality: what the items are.
            items: media objects.

        Returns:
            One tensor whose first dimension is the items.
        """
        from anygen.encoders.imagebind import load_processor

        with self._lock:
            if self._processor is None:
                self._before()
                self._processor = load_processor(self._folder)
        inputs: Tensor = self._processor(modality, items)
        return inputs

    def encode(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared inputs.

        Args:
            modality: what they are.
            inputs: from `prepare`.

        Returns:
            (N, embed_dim) float32 of unit norm.

        Raises:
            MissingPart: when the encoder has no such tower.
        """
        from anygen.encoders.imagebind import TOWER, load_encoder

        with self._lock, torch.inference_mode(False):
            if TOWER[modality] not in self._towers:
                tower = load_encoder(self._folder, [modality], dtype=self._dtype)
                self._towers[TOWER[modality]] = tower.to(self._device).requires_grad_(False)
        vectors: Tensor = self._towers[TOWER[modality]].encode(modality, inputs.to(self._device))
        return vectors

    def release(self, tower: str) -> None:
        """Forget a tower, by its name in the folder; it is read again when it is next used."""
        with self._lock:
            self._towers.pop(tower, None)


class Decoders:
    """The decoders of a model, each opened when it is first asked for.

    Args:
        config: which decoders there are.
        folder: model folder; None when all decoders are given.
        opened: decoders that are in memory already.
        device: where they compute.
        dtype: what they compute in.
        verify: compare a decoder's files with the manifest before it is opened.
    """

    def __init__(
        self,
        config: AnyGenConfig,
        folder: Path | None,
        opened: Mapping[Modality, Any] | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        verify: bool = True,
    ) -> None:
        self._config, self._folder, self._verify = config, folder, verify
        self._opened = dict(opened or {})
        self._device, self._dtype = device, dtype
        self.slicing = False
        self._lock = threading.RLock()

    def __getitem__(self, modality: Modality) -> Any:
        """Give the decoder of a modality. Raises MissingPart, or CheckpointCorrupt for damaged files."""
        with self._lock:
            if modality not in self._opened:
                self._opened[modality] = self._open(modality)
            return self._opened[modality]

    @property
    def dtype(self) -> torch.dtype:
        """What decoders compute in."""
        return self._dtype

    def release(self, modality: Modality) -> None:
        """Forget a decoder that was read from the folder; it is opened again when it is next asked for."""
        with self._lock:
            if self._folder is not None:
                self._opened.pop(modality, None)

    def _open(self, modality: Modality) -> Any:
        part, name = self._config.decoders.get(modality), f"decoders/{modality.value}"
        if part is None or self._folder is None:
            raise MissingPart(f"The model has no {modality.value} decoder; ask for other outputs.")
        from anygen.decoders import open_decoder

        folder = part_folder(self._folder, name, part)
        if self._verify and folder.is_relative_to(self._folder):
            manifest.verify(self._folder, [name])
        decoder = open_decoder(modality, folder, device=self._device, dtype=self._dtype)
        if self.slicing:
            decoder.parts.save_memory(slicing=True, tiling=modality is Modality.IMAGE)
        return decoder
