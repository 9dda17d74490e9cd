"""Metrics against closed forms, against brute force, and against what can be counted by hand."""

from __future__ import annotations

import math
import shutil
from collections import Counter

import numpy as np
import pytest
from scipy.linalg import sqrtm

from anygen.errors import BadArgument
from anygen.stages.evaluation.caption_metrics import caption_scores, words
from anygen.stages.evaluation.distances import (
    KERNELS,
    frechet_distance,
    jackknife_interval,
    kernel_distance,
    linear_kernel,
)
from anygen.stages.evaluation.linear_probe import fit_probe
from anygen.stages.evaluation.report import (
    bootstrap_interval,
    format_rows,
    make_report,
    mean_row,
    share_row,
    value_row,
    versions,
)
from anygen.stages.evaluation.retrieval_metrics import chance_recall, first_right, retrieval_rows


def gaussian(rng: np.random.Generator, mean: np.ndarray, covariance: np.ndarray, count: int) -> np.ndarray:
    """A sample whose mean and covariance are exactly the given ones."""
    x = rng.standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False)).T)
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((4, 4)) for _ in range(2))
    s1, s2 = a @ a.T + np.eye(4), b @ b.T + np.eye(4)
    m1, m2 = rng.standard_normal(4), rng.standard_normal(4)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    found = frechet_distance(gaussian(rng, m1, s1, 60), gaussian(rng, m2, s2, 50))
    assert found == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_in_one_dimension_is_of_means_and_deviations() -> None:
    x, y = np.array([[1.0], [3.0]]), np.array([[0.0], [6.0], [3.0]])
    expected = (2 - 3) ** 2 + (math.sqrt(2) - 3) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_of_fewer_items_than_features() -> None:
    x = np.random.default_rng(0).standard_normal((5, 40))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 1) == pytest.approx(40)


def test_kernel_distance_is_the_double_sum() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)) + 1

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 3 + 1) ** 3)

    expected = np.mean([k(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    expected += np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    expected -= 2 * np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_kernel_distance_with_the_linear_kernel_is_that_of_means_without_bias() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((30, 3)), rng.standard_normal((20, 3)) + 2
    biased = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    noise = a.var(axis=0, ddof=1).sum() / 30 + b.var(axis=0, ddof=1).sum() / 20
    assert kernel_distance(a, b, kernel=linear_kernel) == pytest.approx(biased - noise)
    assert set(KERNELS) == {"polynomial", "linear"}


def test_distances_name_bad_features() -> None:
    with pytest.raises(BadArgument, match=r"Found features of shapes \(1, 3\) and \(5, 3\); expected"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(BadArgument, match="Found a NaN or infinity among the features"):
        kernel_distance(np.full((3, 3), np.nan), np.zeros((5, 3)))


def test_jackknife_interval_of_a_mean_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 1))
    low, high = jackknife_interval(x, np.zeros((40, 1)), lambda a, b: float(a.mean()), folds=20)
    error = x.reshape(2, 20).mean(axis=0).std(ddof=1) / math.sqrt(20)
    assert (low + high) / 2 == pytest.approx(x.mean())
    assert (high - low) / 2 == pytest.approx(1.959964 * error, rel=1e-6)
    assert jackknife_interval(x[:3], x[:3], lambda a, b: 0.0) == (-np.inf, np.inf)


def test_ranks_by_hand() -> None:
    gallery = np.eye(4)
    query = np.array([[0.9, 0.5, 0.1, 0.0], [0.9, 0.5, 0.1, 0.0], [1.0, 1.0, 1.0, 1.0]])
    right = np.zeros((3, 4), bool)
    right[0, 0] = right[1, 2] = right[1, 3] = right[2, 1] = True
    ranks = first_right(query, gallery, right)
    assert ranks.tolist() == [1, 3, 4]  # ties count against the query
    rows = {row["metric"]: row for row in retrieval_rows("a-to-b", ranks, right, seed=0)}
    assert rows["R@1"]["value"] == pytest.approx(1 / 3, abs=1e-5) and rows["R@5"]["value"] == 1
    assert rows["median rank"]["value"] == 3 and rows["median rank"]["low"] == 1
    assert rows["R@1"]["chance"] == pytest.approx((1 / 4 + 2 / 4 + 1 / 4) / 3, abs=1e-4)
    with pytest.raises(BadArgument, match="Found a query without a right item"):
        first_right(query, gallery, np.zeros((3, 4), bool))
    with pytest.raises(BadArgument, match=r"Found right items of shape \(2, 2\); expected \(3, 4\)"):
        first_right(query, gallery, np.zeros((2, 2), bool))


def test_chance_is_what_random_orders_have() -> None:
    rng = np.random.default_rng(0)
    right = np.zeros((1, 10), bool)
    right[0, :2] = True
    hits = np.mean([right[0, rng.permutation(10)[:3]].any() for _ in range(20_000)])
    assert chance_recall(right, 3) == pytest.approx(hits, abs=0.02)
    assert chance_recall(right, 3) == pytest.approx(1 - (8 * 7 * 6) / (10 * 9 * 8))
    assert chance_recall(right, 50) == 1


def cider_d(candidates: list[str], references: list[list[str]], sigma: float = 6.0) -> list[float]:
    """CIDEr-D by its definition (Vedantam et al., arXiv 1411.5726, section 7)."""

    def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
        tokens = text.split()
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    scores = []
    for candidate, texts in zip(candidates, references, strict=True):
        total = 0.0
        for n in range(1, 5):
            seen = Counter(g for r in references for g in set().union(*(grams(t, n) for t in r)))

            def vector(text: str, n: int = n, seen: Counter = seen) -> dict[tuple[str, ...], float]:
                weight = {g: math.log(len(references) / max(seen[g], 1)) for g in grams(text, n)}
                return {g: c * weight[g] for g, c in grams(text, n).items()}

            c = vector(candidate)
            for text in texts:
                r = vector(text)
                dot = sum(min(c.get(g, 0.0), v) * v for g, v in r.items())
                norms = math.sqrt(sum(v * v for v in c.values()) * sum(v * v for v in r.values()))
                gap = len(candidate.split()) - len(text.split())
                total += (dot / norms if norms else 0.0) * math.exp(-gap * gap / (2 * sigma**2)) / len(texts)
        scores.append(10 * total / 4)
    return scores


SAID = ["A small red star on black.", "the large blue ring moves", "nothing like it"]
REFERENCES = [
    ["a small red star on a black background", "a tiny red star on black"],
    ["a large blue ring moving left", "the large blue ring moves left"],
    ["a yellow cross", "one yellow cross on brown"],
]


def test_caption_metrics_are_the_published_ones() -> None:
    scores = caption_scores(SAID, REFERENCES, meteor=False)
    assert list(scores) == ["BLEU-4", "ROUGE-L", "CIDEr-D"]
    cut = [[words(t) for t in texts] for texts in REFERENCES]
    expected = cider_d([words(t) for t in SAID], cut)
    assert scores["CIDEr-D"][1] == pytest.approx(expected, abs=1e-6)
    # "a small red star on black": all 6 words in order are among the 8 of the first reference.
    precision, recall = 1.0, max(6 / 8, 5 / 6)
    assert scores["ROUGE-L"][1][0] == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))
    assert scores["ROUGE-L"][1][2] == 0


def test_bleu_of_the_whole_set() -> None:
    same = ["a small red star on black", "a large blue ring moving left"]
    assert caption_scores(same, [[t] for t in same], meteor=False)["BLEU-4"][0] == pytest.approx(1, abs=1e-6)
    # 5 words of 6: 5/5, 4/4, 3/3, 2/2 n-grams, brevity exp(1 - 6/5), in both items.
    short = [" ".join(t.split()[:5]) for t in same]
    found = caption_scores(short, [[t] for t in same], meteor=False)["BLEU-4"][0]
    assert found == pytest.approx(math.exp(1 - 6 / 5), abs=1e-6)


def test_empty_captions_and_references() -> None:
    scores = caption_scores(["", "!"], [["a star"], ["a ring"]], meteor=False)
    assert all(corpus == pytest.approx(0, abs=1e-6) for corpus, _ in scores.values())
    with pytest.raises(BadArgument, match="Found no words in the references of item 1"):
        caption_scores(["a", "b"], [["a"], ["..."]])
    with pytest.raises(BadArgument, match="Found 1 captions and 1 sets of references"):
        caption_scores(["a"], [["a"]])
    assert words("It's a Star -- on Black!") == "it's a star on black"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_knows_a_perfect_caption() -> None:
    scores = caption_scores(["a small red star", "a ring"], [["a small red star"], ["the cross"]])
    assert scores["METEOR"][1][0] > 0.9 > 0.3 > scores["METEOR"][1][1]


def test_a_probe_learns_from_one_item_a_class() -> None:
    rng = np.random.default_rng(0)
    centers = np.linalg.qr(rng.standard_normal((8, 8)))[0][:3]
    noisy = centers[np.arange(30) % 3] + 0.1 * rng.standard_normal((30, 8))
    unit = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    predict = fit_probe(centers.astype(np.float32), np.arange(3), 4)
    assert (predict(unit) == np.arange(30) % 3).all()


def test_rows_have_intervals_and_go_into_json() -> None:
    share = share_row("a-to-b", "R@1", [True] * 5 + [False] * 5, chance=0.1)
    assert (
        share["value"] == 0.5 and share["low"] == pytest.approx(0.2366, abs=1e-4) and share["chance"] == 0.1
    )
    mean = mean_row("a", "cosine", [1.0, 2.0, 3.0])
    assert mean["value"] == 2 and mean["high"] - 2 == pytest.approx(1.959964 / math.sqrt(3), rel=1e-5)
    assert mean_row("a", "cosine", [1.0])["high"] is None
    assert value_row("a", "x", math.nan, None, 0)["value"] is None
    low, high = bootstrap_interval(np.arange(100.0), seed=0)
    assert 40 < low < 49.5 < high < 60
    report = make_report("s", "p", [share, mean], model="m", data="d", seed=1, started=0.0, notes=["n"])
    assert "R@1" in format_rows(report) and "note: n" in format_rows(report)
    assert report["versions"]["torch"] == versions()["torch"]
    assert versions(["no-such-distribution"])["no-such-distribution"] == "not installed"
