"""Fusion of several models, and groups at one threshold."""

from __future__ import annotations

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import by_group, fuse, join, retrieval, verification


def test_fusions_by_hand() -> None:
    one, two = np.array([0.0, 2.0]), np.array([10.0, 30.0])
    assert fuse([one, two]).tolist() == [5, 16]
    assert fuse([one, two], "max").tolist() == [10, 30]
    assert fuse([one, two], "z_norm").tolist() == [-1, 1]
    assert fuse([one, two], "z_norm", reference=[[0, 2], [0, 20]]).tolist() == [(-1 + 0) / 2, (1 + 2) / 2]


def test_joined_embeddings_score_the_mean_of_the_cosines() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(9, 4)), 7 * rng.normal(size=(9, 6))

    def cosine(x: np.ndarray) -> np.ndarray:
        return x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1))

    np.testing.assert_allclose(cosine(join([one, two])), fuse([cosine(one), cosine(two)]), atol=1e-6)
    weighted = (3 * cosine(one) + cosine(two)) / 4
    np.testing.assert_allclose(cosine(join([one, two], [3, 1])), weighted, atol=1e-6)
    assert retrieval(join([one, two]), join([one, two]), np.arange(9), np.arange(9)).cmc[0] == 1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: fuse([]), "same comparisons"),
        (lambda: fuse([np.ones(2), np.ones(3)]), "same comparisons"),
        (lambda: fuse([np.ones(2)], "sum"), "mean, z_norm, max"),  # type: ignore[arg-type]
        (lambda: fuse([np.ones(2)], "z_norm"), "model 0"),
        (lambda: join([np.ones((2, 3)), np.ones((3, 3))]), "same images"),
        (lambda: join([np.ones((2, 3))], [0]), "same images"),
    ],
)
def test_fusions_that_cannot_be_are_refused(call: object, word: str) -> None:
    with pytest.raises(EvaluationError, match=word):
        call()  # type: ignore[operator]


def test_groups_count_their_own_errors_at_the_threshold_of_all() -> None:
    rng = np.random.default_rng(1)
    x, subject = rng.normal(size=(60, 6)), np.arange(60) % 12
    group = np.where(subject < 5, "p", "q")
    threshold = verification(x, x, subject, subject, fars=(0.1,), same=True).thresholds[0.1]
    assert threshold is not None
    found = by_group(x, x, subject, subject, group, group, threshold, same=True)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = (unit @ unit.T)[np.triu_indices(60, 1)]
    i, j = np.triu_indices(60, 1)
    for name, size in (("p", 5), ("q", 7)):
        inside, mates = (group[i] == name) & (group[j] == name), subject[i] == subject[j]
        rates = found[name]
        assert rates.n_subjects == size
        assert (rates.n_genuine, rates.n_impostor) == ((inside & mates).sum(), (inside & ~mates).sum())
        assert rates.false_rejects == (inside & mates & (scores < threshold)).sum()
        assert rates.false_accepts == (inside & ~mates & (scores >= threshold)).sum()
        assert rates.fmr_interval is not None and rates.fmr is not None
        assert rates.fmr_interval[0] <= rates.fmr <= rates.fmr_interval[1]
    assert any("fewer than 30" in word for word in found["p"].warnings)
    with pytest.raises(EvaluationError, match="threshold=inf"):
        by_group(x, x, subject, subject, group, group, float("inf"))
