"""What one answer of a batch has so far, and what it may still do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from anygen.modality import Modality

from .answers import FinishReason, SignalGroup
from .sampling import TextPiece


@dataclass(kw_only=True)
class AnswerRow:
    """One answer in the making."""

    index: int
    """Which prompt of the batch."""
    length: int
    """Tokens in the cache, padding excepted."""
    room: int
    """New tokens that still fit; never less than `needed`."""
    sizes: Mapping[Modality, int]
    """Tokens of every group."""
    max_media_parts: int
    """Most groups of an answer."""
    allowed: frozenset[Modality]
    """Modalities whose groups the model may start."""
    missing: list[Modality]
    """Modalities that the answer must still have, in the order in which they are forced."""
    needs_text: bool
    """Whether the answer must still have some text."""
    guaranteed: bool
    """Whether the caller named the outputs."""
    generator: torch.Generator
    """Source of chance for sampling."""
    text: TextPiece
    """The piece being written."""
    ids: list[int] = field(default_factory=list)
    """All chosen ids."""
    parts: list[str | SignalGroup] = field(default_factory=list)
    """Finished parts."""
    num_groups: int = 0
    """Groups so far."""
    pending: list[int] = field(default_factory=list)
    """Chosen ids that are not in the cache yet."""
    group: tuple[Modality, bool] | None = None
    """The group in `pending`: modality, and whether it is forced."""
    reason: FinishReason | None = None
    """Why the answer ended; None while it goes on."""

    @property
    def needed(self) -> int:
        """Tokens of all groups that must still come."""
        return sum(self.sizes[modality] for modality in self.missing)

    @property
    def is_full(self) -> bool:
        """Whether one more text token would take the room of a group that must come."""
        return self.room <= self.needed

    def may_start(self, modality: Modality) -> bool:
        """Whether the model may choose to begin a group of `modality` now."""
        if modality not in self.allowed:
            return False
        if modality in self.missing:
            return True
        if self.num_groups + len(self.missing) >= self.max_media_parts:
            return False
        # in a free answer a group that does not fit is an error, said when it starts, not a silent omission
        return not self.guaranteed or self.room - self.sizes[modality] >= self.needed
