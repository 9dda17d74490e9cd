from __future__ import annotations

import torch
from transformers import AutoTokenizer

from anygen.checkpoints.resolve import resolve
from anygen.stages.unseen import UnseenPairs


def test_the_missing_half_of_a_held_out_pair_does_not_compete() -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve("toybox-tiny") / "tokenizer")

    def token(word: str) -> int:
        return int(tokenizer.encode(f" {word}", add_special_tokens=False)[0])

    answers = ["a small cyan square", "a large red circle", "a cyan circle", "two sounds"]
    rows = [tokenizer.encode(f" {answer}", add_special_tokens=False) for answer in answers]
    labels = torch.full((4, max(map(len, rows)) + 1), -100)
    for row, ids in zip(labels, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    excluded = UnseenPairs(tokenizer)(labels)
    assert excluded.shape == (4, len(tokenizer))
    found = [set(row.nonzero()[:, 0].tolist()) for row in excluded]
    # a cyan square: neither a circle (cyan) nor purple (square) competes; a red circle: cyan does not
    assert found == [{token("circle"), token("purple")}, {token("cyan")}, set(), set()]
