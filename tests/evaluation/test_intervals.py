"""The Wilson interval against printed values and its own definition."""

from __future__ import annotations

import pytest

from xzoo.errors import EvaluationError
from xzoo.evaluation import wilson


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
