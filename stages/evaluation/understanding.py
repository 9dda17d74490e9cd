"""Suites of the encoder: retrieval, zero-shot classification, few-shot linear probes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygen.errors import BadArgument
from anygen.modality import Modality
from anygen.toybox.captions import caption
from anygen.toybox.scene import ATTRIBUTES, is_held_out

from .items import CAPTION, Embedder, Item, embed_items
from .linear_probe import fit_probe
from .options import Graded, SuiteOptions, embeddable
from .report import make_report, mean_row, share_row
from .retrieval_metrics import first_right, retrieval_rows

COMPLETIONS = 24
"""Captions whose mean is the prompt of a value."""

RETRIEVAL_PROTOCOL = (
    "Query and gallery are the same items, one medium each, by cosine of the model's own encoder. Right is, "
    "in the toybox, what agrees with the query in every attribute that both media show, and in other data "
    "the item itself or one with the same caption. R@k counts queries with a right item among the k nearest "
    "(ties count against it); `chance` is that of a random order. Intervals: Wilson's at 95%, and a "
    "bootstrap over queries for the median rank."
)
ZERO_SHOT_PROTOCOL = (
    "Each medium is given the class whose prompt has the largest cosine. Prompts in the toybox: the "
    "renormalised mean of 24 canonical captions that complete the value at random; in other data each "
    "distinct caption is a class and its own prompt. Wilson's intervals at 95%."
)
FEW_SHOT_PROTOCOL = (
    "A linear classifier (multinomial logistic regression, L2 0.01 on unit-norm features times 10) on k "
    "items of each class, tested on items of their own; repeated with other training items, and the mean "
    "over repetitions with its interval (mean -+ 1.96 s / sqrt(n)), which covers the draw of shots. Zero "
    "shots are the text prompts of the zero-shot suite."
)


def run_retrieval(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Retrieval between every pair of modalities, text included.

    Args:
        model: What to grade.
        options: Count, seed, modalities, data.
    """
    started, rows = time.monotonic(), []
    known = (Modality.TEXT, *embeddable(model.embedder))
    for a, b in combinations(options.choose(known), 2):
        options.say(f"{a} and {b}")
        media = [m for m in (a, b) if m is not Modality.TEXT]
        items = options.items(media)
        vectors = {m: embed_items(model.embedder, m, items) for m in (a, b)}
        right = _right(items)
        for query, gallery in ((a, b), (b, a)):
            ranks = first_right(vectors[query], vectors[gallery], right)
            rows += retrieval_rows(f"{query}-to-{gallery}", ranks, right, seed=options.seed)
    return _report("retrieval", RETRIEVAL_PROTOCOL, rows, model, options, started)


def _right(items: Sequence[Item]) -> NDArray[np.bool_]:
    keys = [tuple(sorted(item.labels.items())) for item in items]
    return np.array([[a == b for b in keys] for a in keys])


def run_zero_shot(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Classification of media by text prompts.

    Args:
        model: What to grade.
        options: Count, seed, modalities, data.
    """
    started, rows = time.monotonic(), []
    prompts: dict[str, tuple[list[str], NDArray[np.float32]]] = {}
    for modality in options.choose(embeddable(model.embedder)):
        options.say(str(modality))
        items = options.items([modality])
        vectors = embed_items(model.embedder, modality, items)
        for name in _questions(items):
            if name not in prompts or name == CAPTION:
                prompts[name] = class_prompts(model.embedder, name, items, seed=options.seed)
            classes, centers = prompts[name]
            asked = [i for i, item in enumerate(items) if name in item.labels]
            answers = np.array([classes.index(items[i].labels[name]) for i in asked])
            order = np.argsort(-(vectors[asked] @ centers.T), axis=1, kind="stable")
            for k in (1, 5):
                if k < len(classes):
                    hits = (order[:, :k] == answers[:, None]).any(axis=1)
                    metric = f"{name} top-{k}"
                    rows.append(share_row(str(modality), metric, hits, chance=round(k / len(classes), 4)))
    return _report("zero-shot", ZERO_SHOT_PROTOCOL, rows, model, options, started)


def class_prompts(
    embedder: Embedder, name: str, items: Sequence[Item], *, seed: int
) -> tuple[list[str], NDArray[np.float32]]:
    """Classes of a question and a unit-norm vector for each, (classes, dim).

    Args:
        embedder: Embeds the prompts.
        name: An attribute of the toybox, or `CAPTION`.
        items: Whose captions are the classes of `CAPTION`.
        seed: Draws completions.
    """
    if name == CAPTION:
        classes = sorted({item.labels[CAPTION] for item in items})
        return classes, embedder.embed(text=classes)["text"]
    rng = np.random.default_rng((seed, 33))
    texts = [caption(_completed(name, v, rng)) for v in ATTRIBUTES[name] for _ in range(COMPLETIONS)]
    means = embedder.embed(text=texts)["text"].reshape(len(ATTRIBUTES[name]), COMPLETIONS, -1).mean(axis=1)
    return list(ATTRIBUTES[name]), means / np.linalg.norm(means, axis=1, keepdims=True)


def _completed(name: str, value: str, rng: np.random.Generator) -> dict[str, str]:
    while True:
        drawn = {n: v[rng.integers(len(v))] for n, v in ATTRIBUTES.items() if n != "motion" or name == n}
        drawn[name] = value
        if not is_held_out(drawn):
            return {n: drawn[n] for n in ATTRIBUTES if n in drawn}


def _questions(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(name for item in items for name in item.labels))


def run_few_shot(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Linear probes of the frozen encoder on few items of each class, as in ImageBind, section 4.3.

    Args:
        model: What to grade.
        options: Count (test items), shots, trials, seed, modalities, data.

    Raises:
        BadArgument: own data have no class with enough items.
    """
    started, rows = time.monotonic(), []
    most = max(options.shots)
    for modality in options.choose(embeddable(model.embedder)):
        options.say(str(modality))
        test, pool = _test_and_pool(options, modality, most)
        vectors = embed_items(model.embedder, modality, [*test, *pool])
        for name in _questions(test):
            prompts = class_prompts(model.embedder, name, [*test, *pool], seed=options.seed)
            rows += _probe_rows(name, modality, (test, pool), vectors, prompts, options)
    return _report("few-shot", FEW_SHOT_PROTOCOL, rows, model, options, started)


def _test_and_pool(options: SuiteOptions, modality: Modality, most: int) -> tuple[list[Item], list[Item]]:
    """Test items, and items to draw shots from; of one's own data, every second one."""
    if options.data is None:
        # About three times as many of the rarest class (one in eight) as the largest number of shots.
        return options.items([modality]), options.items([modality], stream=1, count=24 * most)
    items = options.items([modality])
    return items[::2], items[1::2]


def _probe_rows(
    name: str,
    modality: Modality,
    sets: tuple[Sequence[Item], Sequence[Item]],
    vectors: NDArray[np.float32],
    prompts: tuple[list[str], NDArray[np.float32]],
    options: SuiteOptions,
) -> list[dict[str, Any]]:
    classes, centers = prompts
    test, pool = sets
    answers = np.array([_class(item, name, classes) for item in test])
    known = np.array([_class(item, name, classes) for item in pool])
    test_vectors, pool_vectors = vectors[: len(test)], vectors[len(test) :]
    asked = answers >= 0
    zero = ((test_vectors @ centers.T).argmax(axis=1) == answers)[asked]
    chance = round(1 / len(classes), 4)
    rows = [share_row(str(modality), f"{name} 0-shot (text)", zero, chance=chance)]
    for shots in options.shots:
        there = [c for c in range(len(classes)) if (known == c).sum() >= shots]
        if len(there) < 2:
            raise BadArgument(
                f"Found {len(there)} classes of {modality} {name} with {shots} items to learn from; "
                "expected 2. Ask for fewer shots, or bring more items of a class."
            )
        found = []
        for trial in range(options.trials):
            rng = np.random.default_rng((options.seed, 34, shots, trial))
            chosen = np.concatenate([rng.permutation(np.flatnonzero(known == c))[:shots] for c in there])
            predict = fit_probe(pool_vectors[chosen], known[chosen], len(classes))
            found.append(float((predict(test_vectors[asked]) == answers[asked]).mean()))
        rows.append(mean_row(str(modality), f"{name} {shots}-shot", found, items=int(asked.sum())))
    return rows


def _class(item: Item, name: str, classes: Sequence[str]) -> int:
    return classes.index(item.labels[name]) if name in item.labels else -1


def _report(
    suite: str,
    protocol: str,
    rows: Sequence[Mapping[str, Any]],
    model: Graded,
    options: SuiteOptions,
    started: float,
) -> dict[str, Any]:
    return make_report(
        suite,
        protocol,
        rows,
        model=model.name,
        data=options.data_name,
        seed=options.seed,
        started=started,
        count=options.count,
    )
