"""Verification figures against a slow plain version and small cases done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import roc, verification, wilson
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


def curve_by_definition(genuine: np.ndarray, impostor: np.ndarray) -> tuple[list[float], list[float]]:
    """FPR and TPR as scikit-learn's ``roc_curve(drop_intermediate=False)`` tells them: one point for each score."""
    thresholds = sorted({*genuine.tolist(), *impostor.tolist()}, reverse=True)
    fpr = [0.0, *(sum(score >= t for score in impostor) / len(impostor) for t in thresholds)]
    tpr = [0.0, *(sum(score >= t for score in genuine) / len(genuine) for t in thresholds)]
    return fpr, tpr


@pytest.mark.parametrize("step", [0.0, 0.05, 0.5], ids=["no ties", "some ties", "many ties"])
@pytest.mark.parametrize("seed", range(3))
def test_random_scores_give_what_the_plain_curve_gives(seed: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    genuine, impostor = rng.normal(1, 1, 90), rng.normal(0, 1, 400)
    if step:
        genuine, impostor = (np.round(scores / step) * step for scores in (genuine, impostor))
    fpr, tpr = curve_by_definition(genuine, impostor)
    fars = (0.5, 0.1, 0.01, 0.0025)
    found = verification_from_scores(genuine, impostor, fars)
    trapezoids = sum((fpr[i] - fpr[i - 1]) * (tpr[i] + tpr[i - 1]) / 2 for i in range(1, len(fpr)))
    pairs = np.mean([(g > i) + (g == i) / 2 for g in genuine for i in impostor])
    assert found.auc == pytest.approx(trapezoids, abs=1e-12) and found.auc == pytest.approx(pairs, abs=1e-12)
    nearest = min(range(1, len(fpr)), key=lambda i: abs(1 - tpr[i] - fpr[i]))
    assert found.eer == pytest.approx((1 - tpr[nearest] + fpr[nearest]) / 2, abs=1e-12)
    for far in fars:
        assert found.tar[far] == pytest.approx(max(t for f, t in zip(fpr, tpr, strict=True) if f <= far + 1e-12))
    points = set(zip(np.round(fpr, 12), np.round(tpr, 12), strict=True))
    curve = found.curve
    assert {*zip(np.round(curve.fmr, 12), np.round(1 - curve.fnmr, 12), strict=True)} <= points


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


@pytest.mark.parametrize("seed", range(6))
def test_little_memory_gives_the_same_figures(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    draw = (lambda low, n: rng.integers(low, low + 9, n)) if seed % 2 else (lambda low, n: rng.normal(low / 4, 1, n))
    genuine, impostor = draw(4, 150).astype(float), draw(0, 600).astype(float)
    whole = figures(list(genuine), list(impostor))
    monkeypatch.setattr(roc, "HELD_PLAIN", 3)
    monkeypatch.setattr(roc, "KEYS", 4)
    monkeypatch.setattr(roc, "BLOCK_PLAIN", 64)
    monkeypatch.setattr(roc._Vectors, "held", 7)
    parts = figures(list(genuine), list(impostor))
    assert (parts.auc, parts.eer) == pytest.approx((whole.auc, whole.eer), abs=1e-12)
    assert (parts.tar, parts.thresholds, parts.false_accepts) == (whole.tar, whole.thresholds, whole.false_accepts)


def test_a_few_genuine_scores_among_many_impostors_are_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = [0.31], rng.normal(0, 1, 3000)
    monkeypatch.setattr(roc, "HELD_PLAIN", 10)
    auc, eer, _ = plain(np.array(genuine), impostor, ())
    found = figures(genuine, list(impostor))
    assert (found.auc, found.eer) == pytest.approx((auc, eer), abs=1e-12)


def test_every_point_of_the_curve_is_exact() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(1, 1, 300), rng.normal(0, 1, 500)
    curve = figures(list(genuine), list(impostor)).curve
    assert len(curve.threshold) == 300 and (np.diff(curve.threshold) < 0).all()
    for threshold, fmr, fnmr in zip(curve.threshold, curve.fmr, curve.fnmr, strict=True):
        assert fmr == pytest.approx(np.mean(impostor >= threshold))
        assert fnmr == pytest.approx(np.mean(genuine < threshold))


def test_curves_of_many_scores_have_few_points() -> None:
    rng = np.random.default_rng(0)
    curve = verification_from_scores(rng.normal(1, 1, 20_000), rng.normal(0, 1, 50_000)).curve
    assert 2000 <= len(curve.threshold) <= 4000
    assert curve.fnmr[-1] == 0 and curve.fmr[0] < 1e-3


def test_embeddings_on_disk_and_tensors_give_the_same_figures(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, subject = rng.normal(size=(80, 8)).astype(np.float16), rng.integers(0, 9, 80)
    np.save(tmp_path / "x.npy", x)
    disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = verification(x, x, subject, subject, same=True)
    assert verification(disk, disk, subject, subject, same=True) == expected
    tensor, who = torch.from_numpy(x).float(), torch.from_numpy(subject)
    assert verification(tensor, tensor, who, who, same=True) == expected


def test_rates_never_exceed_what_was_asked_for_even_with_ties() -> None:
    # The nearest rate, as several scripts take it, may lie above; interpolation fails on equal rates.
    impostor = [0.5] * 20 + [0.1] * 80
    found = figures([0.5, 0.6, 0.2], impostor, (0.19, 0.1, 0.2))
    assert found.false_accepts == {0.19: 0, 0.1: 0, 0.2: 20}
    assert found.tar == {0.19: pytest.approx(1 / 3), 0.1: pytest.approx(1 / 3), 0.2: 1.0}


def test_interval_surrounds_the_figures_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(60, 8))
    who = np.repeat(np.arange(60), 4)
    x = centre[who] + 0.9 * rng.normal(size=(240, 8))
    found = verification(x, x, who, who, (0.1, 0.01, 1e-6), same=True)
    for name, figure in (("auc", found.auc), ("eer", found.eer), (0.1, found.tar[0.1]), (0.01, found.tar[0.01])):
        low, high = found.interval[name]  # type: ignore[misc]
        assert low < figure < high, name  # type: ignore[operator]
    assert found.interval[1e-6] is None
    again = verification(x, x, who, who, (0.1, 0.01, 1e-6), same=True, block_scores=999)
    for name, ends in again.interval.items():
        assert ends == (None if found.interval[name] is None else pytest.approx(found.interval[name], abs=1e-6))


def test_plain_scores_have_intervals_of_their_counts() -> None:
    found = figures([1.0] * 30 + [0.0] * 10, list(np.linspace(-1, 0.5, 100)), (0.1,))
    assert found.interval[0.1] == wilson(30, 40)
    assert found.interval["auc"] is None


def test_what_the_scores_cannot_support_is_said() -> None:
    words = figures([1.0] * 50, list(np.linspace(0, 0.5, 200)), (0.1, 0.001)).warnings
    assert any("0.001 is not reported: 200 impostor" in word for word in words)
    assert any("decided by 20 impostor comparisons" in word for word in words)
    assert any("0 false rejects, fewer than 30" in word for word in words)


@pytest.mark.parametrize(
    ("genuine", "impostor", "word"),
    [
        ([0.5, np.nan], [0.1], "NaN"),
        ([0.5], [0.1, np.nan], "NaN"),
        ([], [0.1], "No genuine"),
        ([0.5], [], "no impostor"),
        ([[0.5]], [0.1], "one vector"),
        (["a"], [0.1], "real numbers"),
    ],
)
def test_scores_that_cannot_be_ordered_are_refused(genuine: list[object], impostor: list[object], word: str) -> None:
    with pytest.raises(EvaluationError, match=word):
        verification_from_scores(np.array(genuine), np.array(impostor))
