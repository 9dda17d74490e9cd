"""The captioning suite: what a model says of media, against reference captions."""

from __future__ import annotations

import time
from typing import Any

from anygen.errors import AnyGenError
from anygen.modality import MEDIA_INPUTS

from .caption_metrics import LIBRARY, TOKENS, caption_scores, has_meteor
from .options import Graded, SuiteOptions
from .report import bootstrap_interval, make_report, value_row
from .requests import answer, describing_requests

PROTOCOL = (
    "The model is asked to describe a medium; its words are scored against one or more reference captions. "
    "In the toybox requests are of the evaluation split, and references are the regular answer and four "
    "wordings of the same attributes; other data are asked by one fixed sentence. BLEU-4 (with the closest "
    "reference length) and METEOR are of the whole set, from summed counts, and have no interval. ROUGE-L "
    "and CIDEr-D (10 times a cosine; n-grams weighed within this set) are means over items, with 95% "
    "intervals by a bootstrap over items. An error counts as an empty caption. "
) + TOKENS
"""How the figures come about."""

OF_THE_SET = ("BLEU-4", "METEOR")
"""Metrics that are no mean over items."""


def run_captioning(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Grade captions.

    Args:
        model: Its pipeline answers.
        options: Count, seed, modalities, batch size, data.

    Raises:
        MissingPart: `pycocoevalcap` is not installed.
        BadArgument: fewer than two items.
    """
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    errors: dict[str, int] = {}
    samples: dict[str, Any] = {}
    for modality in options.choose(MEDIA_INPUTS):
        requests = describing_requests(modality, options)
        said: list[str] = []
        for start in range(0, len(requests), options.batch_size):
            options.say(f"{modality} {start}/{len(requests)}")
            chunk = requests[start : start + options.batch_size]
            replies = answer(model, [r[0] for r in chunk], [r[1] for r in chunk])
            for reply in replies:
                failed = isinstance(reply, AnyGenError)
                errors[str(modality)] = errors.get(str(modality), 0) + failed
                said.append("" if failed else reply.text)
        references = [r[2] for r in requests]
        for metric, (corpus, items) in caption_scores(said, references).items():
            interval = None if metric in OF_THE_SET else bootstrap_interval(items, seed=options.seed)
            rows.append(value_row(f"{modality}-to-text", metric, corpus, interval, len(said)))
        samples[str(modality)] = {"said": said[0], "references": list(references[0])}
    notes = [] if has_meteor() else ["METEOR is left out: it needs Java"]
    return make_report(
        "captioning", PROTOCOL, rows, model=model.name, data=options.data_name, seed=options.seed,
        started=started, libraries=[LIBRARY], count=options.count, errors=errors, samples=samples,
        notes=notes,
    )  # fmt: skip
