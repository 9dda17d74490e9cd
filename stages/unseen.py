"""Keeps the answers' loss from teaching that the held-out pairs do not exist.

A pair of shape and color that no sample shows could only ever be a wrong answer, so a model that reads a
color and is in doubt about the shape would learn to rule out the shape that it never met with that color:
right on all that is trained, and wrong on every held-out pair. Such words do not compete (see also
`binding_data.unseen`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anygen.toybox.scene import HELD_OUT


class UnseenPairs:
    """Which tokens do not compete in an answer, by the canonical words it has.

    Args:
        tokenizer: Of the language model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._pairs = [
            (self._token(tokenizer, shape), self._token(tokenizer, color)) for shape, color in HELD_OUT
        ]
        self._vocabulary = len(tokenizer)

    @staticmethod
    def _token(tokenizer: Any, word: str) -> int:
        """The first token of a word inside a sentence."""
        return int(tokenizer.encode(f" {word}", add_special_tokens=False)[0])

    def __call__(self, labels: Tensor) -> Tensor:
        """Tokens that are out of the running, (B, vocabulary) bool, from labels (B, S)."""
        excluded = torch.zeros(len(labels), self._vocabulary, dtype=torch.bool, device=labels.device)
        for shape, color in self._pairs:
            has_shape, has_color = (labels == shape).any(dim=1), (labels == color).any(dim=1)
            excluded[:, color] |= has_shape & ~has_color
            excluded[:, shape] |= has_color & ~has_shape
        return excluded
