"""Suites of what a model makes: distances of sets, likeness to the words, coherence within an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygen.errors import BadArgument
from anygen.modality import GENERATED, Modality

from .distances import frechet_distance, jackknife_interval, kernel_distance
from .extractors import Extractor, make_extractors
from .items import Embedder, embed_items
from .options import Graded, SuiteOptions
from .report import make_report, mean_row, share_row, value_row
from .requests import Made, make_media
from .retrieval_metrics import first_right, retrieval_rows

DISTANCE_PROTOCOL = (
    "Media that the model made on request against as many real ones of the same requests, by the features "
    "that the row names; none of them is Inception, so nothing here is FID, KID, FAD or FVD. Frechet "
    "distance of fitted normal distributions, biased upward by small counts; kernel distance: unbiased "
    "squared MMD with the kernel (x.y/d + 1)^3, times 1000. `floor`: the same between two halves of the "
    "real media. 95% intervals by a jackknife over ten folds."
)
SIMILARITY_PROTOCOL = (
    "100 times the cosine of what was made and the words that asked for it, by the encoder that the row "
    "names (CLIP's score is another encoder's). Videos: mean over frames, each taken as an image. "
    "`shuffled`: with the words of another request; `real`: of real media of the same requests. Mean -+ "
    "1.96 s / sqrt(n). A medium that is missing counts in `present` alone."
)
COHERENCE_PROTOCOL = (
    "Each request asks for an image, a sound and a video at once. Among the media of all answers, the rank "
    "of the right partner by cosine of the encoder that the row names: query and partner come from one "
    "answer. `rank score` is 100 (1 - (rank - 1) / (n - 1)): 100 is always first, 50 is chance. `real` is "
    "the same of real media of the same requests: requests that ask for alike things keep it below 100. "
    "Answers that lack a medium are left out of the ranks and counted in `present`."
)


def run_distance(
    model: Graded, options: SuiteOptions, extractors: Sequence[Extractor] | None = None
) -> dict[str, Any]:
    """Frechet and kernel distance between made and real media.

    Args:
        model: What to grade.
        options: Count, seed, modalities, data; names of extractors.
        extractors: Instead of the named ones.

    Raises:
        BadArgument: fewer than four media were made.
    """
    started = time.monotonic()
    rows, notes = [], []
    chosen = list(extractors) if extractors is not None else make_extractors(options.extractors, model)
    for modality in options.choose(GENERATED):
        takers = [extractor for extractor in chosen if modality in extractor.modalities]
        if not takers:
            continue
        made, items = make_media(model, [modality], options)
        there = [m.media[modality] for m in made if modality in m.media]
        rows.append(_present(modality, made))
        if len(there) < 4:
            raise BadArgument(f"Found {len(there)} media of {modality}; expected four. Raise the count.")
        real = [item.media[modality]() for item in items]
        for extractor in takers:
            features = [np.asarray(extractor(modality, media), np.float64) for media in (there, real)]
            rows += _distance_rows(f"{modality} by {extractor.name}", features[0], features[1])
            if features[0].shape[1] >= len(there):
                notes.append(
                    f"{extractor.name}: {len(there)} {modality} media, {features[0].shape[1]} features; the "
                    "Frechet distance wants several times as many media"
                )
    if not rows:
        raise BadArgument("Found no extractor for these modalities; expected one for each. Name another.")
    return _report("distance", DISTANCE_PROTOCOL, rows, model, options, started, notes)


def _distance_rows(what: str, made: NDArray[np.float64], real: NDArray[np.float64]) -> list[dict[str, Any]]:
    def kernel(a: NDArray[Any], b: NDArray[Any]) -> float:
        return 1000 * kernel_distance(a, b)

    rows = []
    for metric, distance in (("Frechet distance", frechet_distance), ("kernel distance x1000", kernel)):
        interval = jackknife_interval(made, real, distance)
        floor = float(f"{distance(real[::2], real[1::2]):.4g}")
        rows.append(value_row(what, metric, distance(made, real), interval, len(made), floor=floor))
    return rows


def run_similarity(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Cosine of images and frames to the words that asked for them.

    Args:
        model: What to grade.
        options: Count, seed, modalities, data.
    """
    started, rows = time.monotonic(), []
    for modality in options.choose((Modality.IMAGE, Modality.VIDEO)):
        made, items = make_media(model, [modality], options)
        rows.append(_present(modality, made))
        kept = [i for i, m in enumerate(made) if modality in m.media]
        if not kept:
            continue
        texts = model.embedder.embed(text=[made[i].caption for i in kept])["text"]
        vectors = [_frames(model.embedder, made[i].media[modality]) for i in kept]
        real = [_frames(model.embedder, items[i].media[modality]()) for i in kept]
        what = f"{modality} by {model.name} encoder"
        rows.append(mean_row(what, "similarity", _cosines(vectors, texts)))
        rows.append(mean_row(what, "similarity, shuffled", _cosines(vectors, np.roll(texts, 1, axis=0))))
        rows.append(mean_row(what, "similarity, real", _cosines(real, texts)))
    return _report("similarity", SIMILARITY_PROTOCOL, rows, model, options, started)


def _frames(embedder: Embedder, medium: Any) -> NDArray[np.float32]:
    """Vectors (frames, dim) of a video's frames, or (1, dim) of an image."""
    if isinstance(medium, Image.Image):
        return embedder.embed(image=[medium])["image"]
    return embedder.embed(image=[Image.fromarray(frame) for frame in medium.frames])["image"]


def _cosines(frames: Sequence[NDArray[np.float32]], texts: NDArray[np.float32]) -> list[float]:
    return [100 * float((f @ t).mean()) for f, t in zip(frames, texts, strict=True)]


def run_coherence(model: Graded, options: SuiteOptions) -> dict[str, Any]:
    """Whether media of one answer find each other among those of all answers.

    Args:
        model: What to grade.
        options: Count, seed, data; modalities, two of `GENERATED` at least.

    Raises:
        BadArgument: fewer than two modalities, or fewer than two answers have all media.
    """
    started = time.monotonic()
    modalities = options.choose(GENERATED)
    if len(modalities) < 2:
        raise BadArgument(f"Found modality {modalities[0]} alone; expected two for coherence. Name another.")
    made, items = make_media(model, GENERATED if options.data is None else modalities, options)
    rows = [_present(m, made) for m in modalities]
    whole = [i for i, m in enumerate(made) if set(modalities) <= set(m.media)]
    if len(whole) < 2:
        raise BadArgument(f"Found {len(whole)} answers with all media; expected two. Raise the count.")
    vectors = {
        m: model.embedder.embed(**{str(m): [made[i].media[m] for i in whole]})[str(m)] for m in modalities
    }
    real = {m: embed_items(model.embedder, m, [items[i] for i in whole]) for m in modalities}
    right = np.eye(len(whole), dtype=bool)
    for a, b in permutations(modalities, 2):
        what = f"{a}-to-{b} by {model.name} encoder"
        ranks = first_right(vectors[a], vectors[b], right)
        rows += retrieval_rows(what, ranks, right, seed=options.seed, cuts=(1,))
        rows.append(mean_row(what, "rank score", _rank_scores(ranks)))
        rows.append(mean_row(what, "rank score, real", _rank_scores(first_right(real[a], real[b], right))))
    return _report("coherence", COHERENCE_PROTOCOL, rows, model, options, started)


def _rank_scores(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = 100 * (1 - (ranks - 1) / (len(ranks) - 1))
    return scores


def _present(modality: Modality, made: Sequence[Made]) -> dict[str, Any]:
    errors = sum(m.error is not None for m in made)
    return share_row(str(modality), "present", [modality in m.media for m in made], errors=errors or None)


def _report(
    suite: str,
    protocol: str,
    rows: Sequence[Mapping[str, Any]],
    model: Graded,
    options: SuiteOptions,
    started: float,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    return make_report(
        suite, protocol, rows, model=model.name, data=options.data_name, seed=options.seed, started=started,
        libraries=["scipy", "pillow"], count=options.count, notes=list(notes),
    )  # fmt: skip
