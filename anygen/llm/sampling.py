"""From logits to an id, and from ids to text that can be shown while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def sample(
    scores: Tensor, generator: torch.Generator, *, temperature: float = 1.0, top_p: float = 1.0
) -> int:
    """Draw one id by nucleus sampling (Holtzman et al., arXiv 1904.09751).

    One uniform number a draw, from the caller's generator: rows and devices do not disturb each other.

    Args:
        scores: (V,) logits on the CPU, -inf for what cannot be drawn.
        generator: CPU generator of this row.
        temperature: scores are divided by it, more than 0.
        top_p: the smallest set of most probable ids with at least this mass is drawn from.

    Returns:
        The id.
    """
    uniform = torch.rand((), generator=generator, dtype=torch.float64)
    probabilities, ids = (scores.double() / temperature).softmax(-1).sort(descending=True, stable=True)
    cumulative = probabilities.cumsum(-1)
    inside = max(1, int((cumulative - probabilities < top_p).sum()))
    total = cumulative[inside - 1]
    place = int(torch.searchsorted(cumulative[:inside], uniform * total, right=True))
    return int(ids[min(place, inside - 1)])


class TextPiece:
    """A piece of text that is being written, shown as far as it is certain."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        """Begin a piece.

        Args:
            tokenizer: a `transformers` tokenizer.
            stop: texts that end the answer; they are never shown.
        """
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        self.shown = ""
        """What was shown so far; the whole piece after `end`."""
        self.stopped = False
        """Whether a stop text came."""

    def add(self, ids: Sequence[int]) -> str:
        """Add ids. Returns what can be shown now: no half characters, no space at the end, no stop text."""
        self._ids += ids
        text = self._decode()
        hits = [text.find(stop) for stop in self._stop if stop in text]
        if hits:
            self.stopped = True
            return self._show(text[: min(hits)].rstrip())
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        return self._show(text[: len(text) - held].rstrip("\ufffd").rstrip())

    def end(self) -> str:
        """Finish the piece. Returns what was held back."""
        return "" if self.stopped else self._show(self._decode().rstrip())

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return text.lstrip()

    def _show(self, text: str) -> str:
        if not text.startswith(self.shown):
            return ""  # the tokenizer changed its mind about the last character; the rest follows later
        delta, self.shown = text[len(self.shown) :], text
        return delta


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return max((n for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
