"""Verification figures against a slow plain version and small cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import verification
from xzoo.evaluation.roc import FARS, Verification, verification_from_scores


def figures(genuine: list[float], impostor: list[float], fars: tuple[float, ...] = FARS) -> Verification:
    return verification_from_scores(np.array(genuine, float), np.array(impostor, float), fars)


def plain(
    genuine: np.ndarray, impostor: np.ndarray, fars: tuple[float, ...]
) -> tuple[float, float, list[float | None]]:
    """AUC, EER and TAR by trying every score as a threshold."""
    auc = np.mean([[(g > i) + 0.5 * (g == i) for i in impostor] for g in genuine])
    thresholds = [np.inf, *sorted({*genuine, *impostor}, reverse=True)]
    roc = [((genuine < t).mean(), (impostor >= t).mean()) for t in thresholds]
    fnm, fm = min(roc, key=lambda point: round(abs(point[0] - point[1]), 12))  # the first, so the highest
    tar = [
        max(1 - fnm for fnm, fm in roc if fm <= far + 1e-12) if len(impostor) * far >= 1 - 1e-12 else None
        for far in fars
    ]
    return float(auc), float((fnm + fm) / 2), tar


@pytest.mark.parametrize("seed", range(30))
def test_every_figure_agrees_with_the_slow_plain_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_genuine, n_impostor = rng.integers(1, 40), rng.integers(1, 300)
    # few distinct values: ties within and between the two sides
    genuine = rng.integers(0, 12, n_genuine) + rng.integers(-9, 12)
    impostor = rng.integers(0, 9, n_impostor)
    fars = (1.0, 0.3, 0.1, 0.01)
    found = figures(list(genuine), list(impostor), fars)
    auc, eer, tar = plain(genuine, impostor, fars)
    assert (found.auc, found.eer) == pytest.approx((auc, eer), abs=1e-12)
    assert list(found.tar.values()) == pytest.approx(tar, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_scores_without_ties_agree_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(1, 1, 60), rng.normal(0, 1, 500)
    found = figures(list(genuine), list(impostor), (0.1, 0.01, 0.002))
    auc, eer, tar = plain(genuine, impostor, (0.1, 0.01, 0.002))
    assert (found.auc, found.eer) == pytest.approx((auc, eer), abs=1e-12)
    assert list(found.tar.values()) == pytest.approx(tar, abs=1e-12)


def test_a_case_done_by_hand() -> None:
    found = figures([0.9, 0.8, 0.4], [0.8, 0.5, 0.3, 0.2, 0.1, 0.0, -0.1, -0.2, -0.3, -0.4])
    # 0.9 beats 10, 0.8 beats 9 and ties once, 0.4 beats 8
    assert found.auc == pytest.approx((10 + 9.5 + 8) / 30)
    # one impostor in ten may pass: from 0.8 on only the one at 0.8 does
    assert (found.tar[0.1], found.thresholds[0.1]) == (pytest.approx(2 / 3), 0.8)
    # FNMR 1/3 against FMR 2/10 at 0.5; 0 against 2/10 at 0.4; 1/3 against 1/10 at 0.8
    assert (found.eer, found.eer_threshold) == (pytest.approx((1 / 3 + 2 / 10) / 2), 0.5)
    assert (found.n_genuine, found.n_impostor) == (3, 10)


def test_separated_scores_have_no_error_and_mixed_up_ones_nothing_else() -> None:
    good, bad = figures([3, 4], [1, 2], (0.5,)), figures([1, 2], [3, 4], (0.5,))
    assert (good.auc, good.eer, good.tar[0.5]) == (1, 0, 1)
    assert (bad.auc, bad.eer, bad.tar[0.5], bad.thresholds[0.5]) == (0, 1, 0, float("inf"))


def test_a_rate_finer_than_one_impostor_is_not_reported() -> None:
    found = figures([1.0], list(np.linspace(0, 0.5, 99)))
    assert found.tar == {0.1: 1.0, 0.01: None, 0.001: None}
    assert figures([1.0], list(np.linspace(0, 0.5, 100))).tar[0.01] == 1.0


def test_the_number_allowed_is_not_lost_to_rounding() -> None:
    impostor = list(range(100))
    assert figures([71.5, 70.5], impostor, (0.29,)).tar[0.29] == 1.0  # 29 scores are 71 and above
    assert 0.29 * 100 < 29


def test_one_set_against_itself_counts_each_pair_once() -> None:
    rng = np.random.default_rng(0)
    x, subject = rng.normal(size=(40, 6)), rng.integers(0, 6, 40)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    i, j = np.triu_indices(40, 1)
    scores, mates = (unit @ unit.T)[i, j], subject[i] == subject[j]
    found = verification(x, x, subject, subject, same=True)
    auc, eer, tar = plain(scores[mates], scores[~mates], FARS)
    assert (found.n_genuine, found.n_impostor) == (mates.sum(), (~mates).sum())
    assert (found.auc, found.eer) == pytest.approx((auc, eer), abs=1e-9)


def test_sets_that_overlap_in_part_count_each_pair_of_images_once() -> None:
    rng = np.random.default_rng(1)
    x, subject = rng.normal(size=(20, 6)), np.arange(20) % 4
    a, b = np.arange(0, 14), np.array([17, 9, 13, 10, 11, 12, 19])
    pairs = {frozenset((int(i), int(j))) for i in a for j in b if i != j}
    found = verification(x[a], x[b], subject[a], subject[b], image_a=a, image_b=b)
    genuine = sum(subject[min(pair)] == subject[max(pair)] for pair in pairs)
    assert (found.n_genuine, found.n_impostor) == (genuine, len(pairs) - genuine)


def test_block_size_and_order_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    x, subject = rng.choice([-1.0, 1.0], (60, 4)), rng.integers(0, 6, 60)
    turned = rng.permutation(60)
    whole = verification(x, x, subject, subject, same=True)
    assert verification(x, x, subject, subject, same=True, block_scores=7) == whole
    assert verification(x[turned], x[turned], subject[turned], subject[turned], same=True) == whole


def test_memory_is_not_that_of_the_whole_matrix() -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    x, subject = rng.normal(size=(1500, 8)).astype(np.float32), rng.integers(0, 300, 1500)
    tracemalloc.start()
    verification(x, x, subject, subject, same=True, block_scores=30_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1500 * 1500 * 4 / 4


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subject_b": ["x", "y"]}, "No genuine pair"),
        ({"subject_a": ["a", "a"], "subject_b": ["a", "a"]}, "no impostor"),
        ({"fars": (0.0,)}, "far=0.0"),
        ({"fars": (2,)}, "far=2"),
        ({"embeddings_b": np.ones((2, 3))}, "numbers"),
        ({"embeddings_b": np.ones((3, 2)), "subject_b": list("abc"), "same": True}, "same=True"),
        ({"image_a": [1, 2]}, "without image_b"),
        ({"subject_a": ["a"]}, "subject_a"),
    ],
)
def test_sets_that_do_not_fit_are_refused(change: dict[str, object], word: str) -> None:
    sides: dict[str, object] = {
        "embeddings_a": np.eye(2),
        "embeddings_b": np.ones((2, 2)),
        "subject_a": ["a", "b"],
        "subject_b": ["a", "b"],
    }
    with pytest.raises(EvaluationError, match=word):
        verification(**(sides | change))  # type: ignore[arg-type]


def test_an_interval_is_told_where_no_false_accept_lies_at_the_threshold() -> None:
    subject = np.repeat(np.arange(4), 5)
    found = verification(np.eye(4)[subject], np.eye(4), subject, np.arange(4), (0.1,))
    low, high = found.interval[0.1] or (0.0, 0.0)
    assert found.tar[0.1] == 1.0 and 0.3 < low < 1.0 and high == 1.0
