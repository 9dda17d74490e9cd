"""An encoder on disk, whatever its kind: the one place that tells ImageBind from towers put together.

Nothing heavy is imported before something is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from anygen.modality import Modality
from anygen.parts import EncoderConfig

if TYPE_CHECKING:
    import torch

    from .base import Encoder, Processor
    from .imagebind import ImageBindConfig


class EncoderFolder:
    """Opens an encoder piece by piece.

    Args:
        folder: the encoder's folder.
        config: what the model's `config.json` says of it; None for an ImageBind, whose folder says it all.
        find: from a tower's name to its folder; None looks in the encoder's.
    """

    def __init__(
        self, folder: Path, config: EncoderConfig | None = None, find: Callable[[str], Path] | None = None
    ) -> None:
        self._folder = folder
        self._towers = config if config is not None and config.kind == "towers" else None
        self._find = find or (lambda name: folder / name)
        self._imagebind: ImageBindConfig | None = None

    @property
    def embed_dim(self) -> int:
        """Width of the vectors."""
        return self._sizes.embed_dim if self._towers is None else self._towers.embed_dim

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What can be encoded."""
        if self._towers is not None:
            return self._towers.modalities
        from .imagebind import TOWER

        return tuple(m for m in Modality if TOWER[m] in self._sizes.towers)

    def pieces(self, modalities: Iterable[Modality]) -> tuple[str, ...]:
        """Names of what is loaded for some modalities: ImageBind's towers, or halves of towers.

        Raises:
            MissingPart: nothing encodes one of them.
        """
        if self._towers is not None:
            return self._towers.half_names(modalities)
        return self._sizes.tower_names(modalities)

    def load(self, modalities: Iterable[Modality] | None = None, *, dtype: torch.dtype) -> Encoder:
        """Load what some modalities need, reading no other weights.

        Args:
            modalities: None loads everything.
            dtype: type of the weights in memory.

        Returns:
            A module in evaluation mode.

        Raises:
            MissingPart, WeightsMismatch, CheckpointCorrupt: as the kinds' own `load_encoder`.
        """
        if self._towers is None:
            from . import imagebind

            return imagebind.load_encoder(self._folder, modalities, dtype=dtype)
        from . import towers

        return towers.load_encoder(self._towers, self._find, modalities, dtype=dtype)

    def processor(self) -> Processor:
        """What prepares media and texts. Raises MissingPart or CheckpointCorrupt."""
        if self._towers is None:
            from . import imagebind

            return imagebind.load_processor(self._folder)
        from . import towers

        return towers.load_processor(self._towers, self._find)

    @property
    def _sizes(self) -> ImageBindConfig:
        if self._imagebind is None:
            from .imagebind import load_config

            self._imagebind = load_config(self._folder)
        return self._imagebind
