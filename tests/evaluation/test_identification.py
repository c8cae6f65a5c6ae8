"""Open-set search against cases done by hand and a slow plain version."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import open_set, wilson


def angles(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def test_a_case_done_by_hand() -> None:
    # Gallery a at 0, b at 90. Probes: a at 10 (0.985), a at 80 (b is nearer), b at 70 (0.940); strangers at 30, 100.
    probe = angles(10, 80, 70, 30, 100)
    found = open_set(probe, angles(0, 90), ["a", "a", "b", "x", "y"], ["a", "b"], fpirs=(0.5, 1.0, 0.1))
    assert (found.n_mated, found.n_unmated) == (3, 2)
    # One stranger of two may pass: the higher is at cos 10, and only scores above cos 30 are left.
    assert found.tpir == {0.5: pytest.approx(2 / 3), 1.0: pytest.approx(2 / 3), 0.1: None}
    assert found.thresholds[0.5] == pytest.approx(np.cos(np.radians(20)), abs=1e-6)
    assert any("not reported" in word for word in found.warnings)
    assert found.rates_at(0.95) == (0.5, pytest.approx(2 / 3))


def test_rank_widens_what_counts_as_found() -> None:
    sides = (angles(10, 80, 30), angles(0, 90), ["a", "a", "x"], ["a", "b"])
    assert open_set(*sides, fpirs=(1.0,)).tpir[1.0] == 0.5
    assert open_set(*sides, fpirs=(1.0,), rank=2).tpir[1.0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_ties_agree_with_the_slow_plain_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, g = rng.choice([-1.0, 1.0], (60, 4)), rng.choice([-1.0, 1.0], (20, 4))
    who, known = rng.integers(0, 14, 60), rng.integers(0, 8, 20)
    found = open_set(p, g, who, known, fpirs=(0.5, 0.1), rank=3, block_scores=41)
    scores, mates = p @ g.T / 4, who[:, None] == known[None]
    strangers = np.array([row.max() for row, own in zip(scores, mates, strict=True) if not own.any()])
    best = []
    for row, own in zip(scores, mates, strict=True):
        if own.any():
            rank = 1 + np.count_nonzero(row[~own] >= row[own].max())
            best.append(row[own].max() if rank <= 3 else -9)
    for fpir, rate in found.tpir.items():
        allowed = [t for t in [*np.unique(scores), 2] if np.mean(strangers >= t) <= fpir]
        assert rate == pytest.approx(max(np.mean(np.array(best) >= t) for t in allowed))


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_curve_is_the_chance_of_a_mate_to_stand_above_a_stranger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, g = rng.choice([-1.0, 1.0], (60, 4)), rng.choice([-1.0, 1.0], (20, 4))  # full of ties
    who, known = rng.integers(0, 14, 60), rng.integers(0, 8, 20)
    found = open_set(p, g, who, known, fpirs=(0.5,), rank=5)
    pairs = [(m > o) + (m == o) / 2 for m in found.mate for o in found.other]
    assert found.auc == pytest.approx(np.mean(pairs)) and 0 < found.auc < 1
    thresholds = [np.inf, *np.unique(np.r_[found.other, found.mate])[::-1], -np.inf]
    points = [(np.mean(found.other >= t), np.mean(found.mate >= t)) for t in thresholds if t > -np.inf]
    points.append((1.0, np.mean(found.mate > -np.inf)))  # mates out of rank are found at no threshold
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    assert found.auc == pytest.approx(area)
    low, high = found.auc_interval
    assert low < found.auc < high


def test_a_perfect_search_is_not_certain() -> None:
    found = open_set(np.eye(8), np.eye(8)[:4], list("abcdefgh"), list("abcd"), fpirs=(0.5,))
    assert found.tpir[0.5] == 1 and found.interval[0.5] == wilson(4, 4)


def test_interval_surrounds_the_rate_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(60, 16))
    who = np.repeat(np.arange(60), 5)
    probe = centre[who] + rng.normal(size=(300, 16))
    found = open_set(probe, centre[:30], who, np.arange(30), fpirs=(0.1,))
    ends = found.interval[0.1]
    assert ends is not None and ends[0] < found.tpir[0.1] < ends[1]
    assert open_set(probe, centre[:30], who, np.arange(30), fpirs=(0.1,)).interval == found.interval


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"probe_subject": ["a", "b"]}, "2 of them have a mate"),
        ({"probe_subject": ["x", "y"]}, "0 of them have a mate"),
        ({"fpirs": (0,)}, "fpir=0"),
        ({"rank": 0}, "rank=0"),
    ],
)
def test_searches_that_cannot_be_are_refused(change: dict[str, object], word: str) -> None:
    sides: dict[str, object] = {
        "probe": angles(10, 30),
        "gallery": angles(0, 90),
        "probe_subject": ["a", "x"],
        "gallery_subject": ["a", "b"],
    }
    with pytest.raises(EvaluationError, match=word):
        open_set(**(sides | change))  # type: ignore[arg-type]
