"""What an answer is made of, and the events that it arrives in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from anygen.modality import Modality

FinishReason = Literal["eos", "stop", "length"]
"""Why an answer ended: the model said so, it wrote a stop text, or there was no room left."""


@dataclass(frozen=True, kw_only=True)
class TextDelta:
    """Text that was added to an answer."""

    row: int
    """Which prompt of the batch."""
    text: str
    """What was added; the deltas of a piece join to the piece."""


@dataclass(frozen=True, kw_only=True)
class SignalGroup:
    """A signal group that went through the model; both an event and a part of the answer."""

    row: int
    """Which prompt of the batch."""
    modality: Modality
    """What it stands for."""
    signal_states: Tensor
    """(K, D) last hidden states at the group's own positions."""
    signal_embeds: Tensor
    """(K, D) input embeddings of the group."""
    forced: bool
    """Whether `outputs` asked for it rather than the language model."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row's answer."""

    parts: tuple[str | SignalGroup, ...]
    """Texts (stripped, never blank) and signal groups, in order."""
    token_ids: tuple[int, ...]
    """All new ids, without eos."""
    finish_reason: FinishReason
    """Why it ended."""

    @property
    def text(self) -> str:
        """All texts, joined by spaces."""
        return " ".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, kw_only=True)
class AnswerFinished:
    """A row's last event."""

    row: int
    """Which prompt of the batch."""
    answer: Answer
    """All of it."""


Event = TextDelta | SignalGroup | AnswerFinished
"""What `stream` yields."""
