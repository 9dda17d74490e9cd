"""Parts of a model that are read from disk when they are first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.config import AnyGenConfig
from anygen.encoders.opening import EncoderFolder
from anygen.errors import MissingPart
from anygen.modality import Modality

from . import manifest
from .resolve import part_folder


class LazyEncoder:
    """The encoder of a model folder; what a modality needs is read from disk when it first comes.

    Args:
        source: the encoder on disk.
        device: where the towers compute.
        dtype: what they compute in.
        before: called once, before anything is read; verifies the folder.
    """

    def __init__(
        self,
        source: EncoderFolder,
        *,
        device: torch.device,
        dtype: torch.dtype,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._device, self._dtype, self._before = source, device, dtype, before
        self._loaded: dict[tuple[str, ...], Any] = {}
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
        with self._lock:
            if self._processor is None:
                self._before()
                self._processor = self._source.processor()
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
        vectors: Tensor = self._tower(modality).encode(modality, inputs.to(self._device))
        return vectors

    def encode_tokens(self, modality: Modality, inputs: Tensor) -> Tensor:
        """Encode prepared media to patch tokens (N, L, embed_dim) of unit norm; as `encode` else."""
        tokens: Tensor = self._tower(modality).encode_tokens(modality, inputs.to(self._device))
        return tokens

    def pieces(self, modality: Modality) -> tuple[str, ...]:
        """Names of what a modality needs in memory; `release` takes them."""
        return self._source.pieces([modality])

    def release(self, piece: str) -> None:
        """Forget a piece; it is read again when it is next used."""
        with self._lock:
            for key in [key for key in self._loaded if piece in key]:
                del self._loaded[key]

    def _tower(self, modality: Modality) -> Any:
        key = self.pieces(modality)
        with self._lock, torch.inference_mode(False):
            if key not in self._loaded:
                tower: Any = self._source.load([modality], dtype=self._dtype)
                self._loaded[key] = tower.to(self._device).requires_grad_(False)
            return self._loaded[key]


class Decoders:
    """The decoders of a model, each opened when it is first asked for.

    Args:
        config: which decoders there are.
        folder: model folder; None when all decoders are given.
        opened: decoders that are in memory already.
        device: where they compute.
        dtype: what they compute in.
        verify: compare a decoder's files with the manifest before it is opened.
        compiled: modalities whose denoiser is compiled by `torch.compile`.
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
        compiled: Collection[Modality] = (),
    ) -> None:
        self._config, self._folder, self._verify = config, folder, verify
        self._compiled = frozenset(compiled)
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
        compile = ("denoiser",) if modality in self._compiled else ()
        decoder = open_decoder(modality, folder, device=self._device, dtype=self._dtype, compile=compile)
        if self.slicing:
            decoder.parts.save_memory(slicing=True, tiling=modality is Modality.IMAGE)
        return decoder
