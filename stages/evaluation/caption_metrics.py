"""BLEU-4, ROUGE-L, CIDEr-D and METEOR, computed by `pycocoevalcap`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from anygen.errors import BadArgument, MissingPart

LIBRARY = "pycocoevalcap"
WORD = re.compile(r"\w+(?:'\w+)?")

TOKENS = (
    "Texts are lower-cased and cut into words by one pattern, punctuation left out, instead of by the PTB "
)
TOKENS += "tokenizer of the COCO server."
"""Part of the protocol."""


def words(text: str) -> str:
    """A text as the metrics take it: lower-case words joined by single spaces."""
    return " ".join(WORD.findall(text.lower()))


def has_meteor() -> bool:
    """Whether METEOR can run: its data ship with the library, its program needs Java."""
    return shutil.which("java") is not None


def caption_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, meteor: bool | None = None
) -> dict[str, Any]:
    """Score captions against references.

    Args:
        candidates: One caption for each item.
        references: One or more for each item.
        meteor: Whether to run METEOR; None where Java is there.

    Returns:
        Metric to (corpus score, per-item scores): "BLEU-4", "ROUGE-L", "CIDEr-D", perhaps "METEOR".
        CIDEr-D weighs n-grams by how rare they are among the references of this very set, times 10.

    Raises:
        BadArgument: fewer than two items, or an item without a reference that has a word.
        MissingPart: the library is not installed.
    """
    if len(candidates) != len(references) or len(candidates) < 2:
        raise BadArgument(
            f"Found {len(candidates)} captions and {len(references)} sets of references; expected as many, "
            "two at least."
        )
    cut = [[w for text in texts if (w := words(text))] for texts in references]
    for number, texts in enumerate(cut):
        if not texts:
            raise BadArgument(f"Found no words in the references of item {number}; expected a caption.")
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        raise MissingPart(
            "Found no pycocoevalcap; caption metrics need it. Install anygen-multimodal[eval]."
        ) from None
    gts = dict(enumerate(cut))
    # An empty caption becomes a sign that no reference has: the libraries cannot take nothing.
    res = {number: [words(text) or "."] for number, text in enumerate(candidates)}
    bleu, each = Bleu(4).compute_score(gts, res, verbose=0)
    scores: dict[str, Any] = {"BLEU-4": (float(bleu[3]), np.array(each[3]))}
    for name, metric in (("ROUGE-L", Rouge()), ("CIDEr-D", Cider())):
        corpus, items = metric.compute_score(gts, res)
        scores[name] = (float(corpus), np.asarray(items))
    if meteor or (meteor is None and has_meteor()):
        corpus, items = Meteor().compute_score(gts, res)
        scores["METEOR"] = (float(corpus), np.asarray(items))
    return scores
