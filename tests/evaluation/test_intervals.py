"""Intervals against printed values, their own definition, and simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import retrieval, roc, verification, wilson
from xzoo.evaluation.intervals import bootstrap_ratio, drawn_interval, draws
from xzoo.evaluation.roc import _narrowed


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_printed_values_are_reproduced(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


def test_each_end_is_the_rate_that_the_score_test_just_accepts() -> None:
    for end in wilson(7, 50):
        assert abs(7 / 50 - end) / (end * (1 - end) / 50) ** 0.5 == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(EvaluationError, match="trials"):
        wilson(hits, trials)


def test_images_of_one_subject_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(40), 25)
    hits = (rng.random(40) < 0.5)[subject]  # all of a subject's images fail together
    ends = bootstrap_ratio(hits[:, None].astype(float), np.ones(1000), subject)[0]
    naive = wilson(int(hits.sum()), 1000)
    assert ends[1] - ends[0] > 3 * (naive[1] - naive[0])


def test_one_subject_says_nothing() -> None:
    assert bootstrap_ratio(np.ones((5, 1)), np.ones(5), np.zeros(5)) == [(0.0, 1.0)]


def test_draws_are_as_many_as_there_are_subjects_and_repeat_themselves() -> None:
    first, second = (np.concatenate(list(draws(7, 50))) for _ in range(2))
    assert (first.sum(1) == 7).all() and first.shape == (50, 7)
    assert (first == second).all()


def people(rng: np.random.Generator, subjects: int, images: int, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Draw embeddings of random people, some of whom vary more than others."""
    centre = rng.normal(size=(subjects, width))
    spread = rng.uniform(0.5, 1.3, subjects)
    who = np.repeat(np.arange(subjects), images)
    return (centre[who] + spread[who, None] * rng.normal(size=(len(who), width))).astype(np.float32), who


@pytest.mark.slow
def test_intervals_of_a_search_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(40, 8)).astype(np.float32)  # a gallery that stays as it is
    gallery_who = np.arange(40)

    def probes(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People who look more or less like an enrolled one: a random shift for each."""
        target = rng.integers(0, 40, count)
        shift = 0.8 * rng.normal(size=(count, 1, 8))
        rows = centre[target][:, None] + shift + 0.6 * rng.normal(size=(count, 4, 8))
        return rows.reshape(-1, 8).astype(np.float32), np.repeat(target, 4), np.repeat(np.arange(count), 4)

    rows, target, _ = probes(20_000)
    many = retrieval(rows, centre, target, gallery_who)
    truth = {"rank1": many.cmc[0], "map": many.mean_ap}
    inside = dict.fromkeys(truth, 0)
    for _ in range(600):
        rows, target, person = probes(120)
        found = retrieval(rows, centre, target, gallery_who)
        columns = np.stack([found.rank <= 1, found.average_precision], 1).astype(float)
        for (name, true), (low, high) in zip(
            truth.items(), bootstrap_ratio(columns, np.ones(len(rows)), person, samples=1000), strict=True
        ):
            inside[name] += low <= true <= high
    assert all(0.93 <= hits / 600 <= 0.97 for hits in inside.values()), inside


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_intervals_of_a_verification_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    runs, figures, ends = 1200, [], []
    for _ in range(runs):
        x, who = people(rng, 150, 4)
        found = verification(x, x, who, who, (0.01, 0.1), same=True)
        figures.append([found.auc, found.eer, *found.tar.values()])
        ends.append(list(found.interval.values()))
    # The mean over 180,000 people is the truth to a twentieth of an interval's half width.
    truth = np.mean(np.array(figures, float), axis=0)
    low, high = np.moveaxis(np.array(ends, float), 2, 0)
    inside = ((low <= truth) & (truth <= high)).mean(0)
    assert ((inside >= 0.93) & (inside <= 0.97)).all(), inside


def test_an_interval_reaches_to_the_figure_that_it_stands_beside() -> None:
    assert drawn_interval(np.array([0.1, 0.2]), 0.3, 9) == (pytest.approx(0.1025), 0.3)
    assert drawn_interval(np.array([0.4, 0.5]), 0.3, 9) == (0.3, pytest.approx(0.4975))
    assert drawn_interval(np.ones(5), 1.0, 9) == wilson(9, 9)
    rng = np.random.default_rng(5)
    for _ in range(40):  # few images, many ties: thresholds on single scores
        x, who = people(rng, 8, 3, width=3)
        found = verification(x, x, who, who, (0.1, 0.02), same=True)
        for name, figure in (("auc", found.auc), ("eer", found.eer), *found.tar.items()):
            if figure is not None:
                low, high = found.interval[name]  # type: ignore[misc]
                assert low <= figure <= high, (name, low, figure, high)


def test_chance_within_a_pair_of_subjects_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    # Draws that vary by 3 on their own and by 4 along with others.
    other = rng.normal(size=20_000)
    alone = rng.normal(size=20_000)
    alone -= other * (alone @ other) / (other @ other)
    found = _narrowed(2 * other + np.sqrt(3) * alone, other, 3 * 3 / 4)
    assert found.var() == pytest.approx(4 + 3 / 4, rel=0.03)
    assert _narrowed(2 * other + alone, other, 9.0) == pytest.approx(2 * other, abs=0.05)
    assert (_narrowed(np.ones(5), np.ones(5), 1.0) == 1).all()


def test_intervals_do_not_need_the_table_of_all_pairs_of_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    x, who = people(rng, 90, 3)
    whole = verification(x, x, who, who, (0.01, 0.1), same=True).interval
    blocks = verification(x, x, who, who, (0.01, 0.1), same=True, block_scores=1000).interval
    monkeypatch.setattr(roc, "PAIRED", 30)
    some = verification(x, x, who, who, (0.01, 0.1), same=True).interval
    for name, ends in whole.items():
        assert ends == pytest.approx(blocks[name], abs=1e-6)
        assert ends == pytest.approx(some[name], abs=0.01)
