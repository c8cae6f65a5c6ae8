"""How sure a rate is: counts taken for independent, or subjects drawn again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xzoo import errors

__all__ = ["Interval", "bootstrap_ratio", "by_subject", "drawn_interval", "draws", "percentiles", "wilson"]

Interval: TypeAlias = tuple[float, float]

SAMPLES = 2000
# Weights drawn at a time: 16 MiB of them, whatever the number of subjects.
CHUNK = 1 << 21


def wilson(hits: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a rate ``hits / trials``.

    It takes the trials for independent. Several probes of one person are not
    quite that, so read it as the narrowest honest interval.

    Raises:
        EvaluationError: Without trials, or with more hits than trials.
    """
    if trials < 1 or not 0 <= hits <= trials:
        raise errors.EvaluationError(
            f"an interval for {hits} hits in {trials} trials",
            why="A rate needs at least one trial, and from none to all of them as hits.",
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrink = hits / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # The ends are 0 and 1 exactly at no hits and at all hits; rounding must not move them.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return low, high


def draws(subjects: int, samples: int = SAMPLES, seed: int = 0) -> Iterator[npt.NDArray[np.float64]]:
    """Yield blocks ``[samples, subjects]`` of how often each subject is drawn.

    Each sample draws as many subjects as there are, with replacement (Efron's
    bootstrap with the subject as its unit).
    """
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // subjects)
    for start in range(0, samples, step):
        count = min(step, samples - start)
        drawn = rng.integers(0, subjects, (count, subjects)) + subjects * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * subjects).reshape(count, subjects).astype(np.float64)


def percentiles(values: npt.NDArray[Any], confidence: float = 0.95) -> Interval:
    """Return the ends between which the middle ``confidence`` of resampled values lie."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def drawn_interval(values: npt.NDArray[Any], figure: float, subjects: int) -> Interval:
    """Return the middle 95 % of the draws of a rate.

    Without any error in any draw it is Wilson's interval over subjects. Where a threshold rests on a
    few scores, all draws may lie on one side of the figure that they are draws of: the interval reaches to it.

    Args:
        values: The draws.
        figure: The rate that all the data give.
        subjects: How many were drawn from.
    """
    low, high = percentiles(np.clip(values, 0, 1))
    if low == high and figure in (0, 1):
        return wilson(subjects if figure else 0, subjects)
    return min(low, figure), max(high, figure)


def bootstrap_ratio(
    hits: npt.NDArray[Any],
    trials: npt.NDArray[Any],
    subject: npt.NDArray[Any],
    confidence: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Return intervals of ``sum(hits) / sum(trials)``, subjects drawn again with replacement.

    All results of a subject are drawn together, for they are not independent.
    With one subject there is nothing to draw from: the interval is 0 to 1.

    Args:
        hits: ``[N, K]``, one column for each rate.
        trials: ``[N]``.
        subject: ``[N]``, whose each result is.
        confidence: Share of the intervals that are to hold the truth.
        samples: How often to draw.
        seed: Of the draws.

    Raises:
        EvaluationError: Nothing to draw from.
    """
    if not len(hits):
        raise errors.EvaluationError("an interval of no result", why="A rate needs at least one trial.")
    number = np.unique(subject, return_inverse=True)[1]
    subjects = int(number.max()) + 1
    if subjects == 1:
        return [(0.0, 1.0)] * hits.shape[1]
    total = np.bincount(number, trials, subjects)
    each = np.stack([np.bincount(number, column, subjects) for column in hits.T], axis=1)
    rates = np.concatenate(
        [(weights @ each) / (weights @ total)[:, None] for weights in draws(subjects, samples, seed)]
    )
    return [percentiles(column, confidence) for column in rates.T]


def by_subject(values: Mapping[str, npt.NDArray[Any]], subject: npt.NDArray[Any]) -> dict[str, Interval]:
    """Return 95 % intervals of means over probes.

    Subjects are drawn again with replacement, each with all its probes, for these are
    not independent. Where each subject is one probe, and where no draw could differ
    because all probes agree, a rate gets Wilson's interval over subjects.

    Args:
        values: ``[N]`` for each figure.
        subject: ``[N]``, whose probe it is.
    """
    if not len(subject) or not values:
        return {}
    table = np.stack([np.asarray(column, np.float64) for column in values.values()], 1)
    many = len(np.unique(subject))
    ends = dict(zip(values, bootstrap_ratio(table, np.ones(len(table)), subject), strict=True))
    for name, column in zip(values, table.T, strict=True):
        total = column.sum()
        if len(table) == many and np.isin(column, (0, 1)).all():
            ends[name] = wilson(round(total), many)
        elif total in (0, len(column)):
            ends[name] = wilson(many if total else 0, many)
    return ends
