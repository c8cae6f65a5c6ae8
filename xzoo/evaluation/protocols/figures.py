"""Figures that protocols ask for beside those of ``search``, ``open_set_of`` and ``verification``.

Scores are similarities; a comparison is accepted at or above the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, by_subject
from xzoo.evaluation.similarity import Rows

__all__ = [
    "Outcomes",
    "accuracy",
    "fold_accuracies",
    "folds",
    "intervals",
    "nearest_tar",
    "pair_scores",
    "spread",
    "val",
]

Scores = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


def pair_scores(vectors: Scores, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Scores:
    """Return the cosines of pairs of rows of ``vectors [N, D]``, in blocks.

    Args:
        vectors: Images or templates.
        first: ``[P]`` row of each pair.
        second: ``[P]`` the other one.
    """
    one, other = Rows(vectors, "listed"), Rows(vectors, "listed")
    one.reorder(first)
    other.reorder(second)
    step = max(1, (1 << 23) // one.width)
    scores = [
        np.einsum("pd,pd->p", one.unit(start, start + step, one.dtype), other.unit(start, start + step, one.dtype))
        for start in range(0, len(first), step)
    ]
    return np.concatenate(scores)


def nearest_tar(genuine: Scores, impostor: Scores, fars: Sequence[float]) -> list[float]:
    """Return the true accept rate at the corner of the ROC whose false accept rate is nearest to each of ``fars``.

    The rule of the IJB and HFR scripts: corners as scikit-learn's ``roc_curve`` keeps
    them, of equally near ones the highest. It can lie above the rate; ``tar`` never does.
    """
    scores = np.concatenate([genuine, impostor])
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    hits = np.cumsum(order < len(genuine))[last]
    falses = last + 1 - hits
    if len(hits) > 2:
        corner = np.r_[True, (np.diff(falses, 2) != 0) | (np.diff(hits, 2) != 0), True]
        hits, falses = hits[corner], falses[corner]
    rates, found = np.r_[0, falses] / len(impostor), np.r_[0, hits] / len(genuine)
    nearest = []
    for far in fars:
        away = np.abs(rates - far)
        nearest.append(float(found[away == away.min()].max()))
    return nearest


def folds(count: int, number: int = 10) -> npt.NDArray[np.int64]:
    """Divide ``count`` pairs, in order, into folds from 1; where it does not divide, the first are longer by one."""
    sizes = [count // number + (place < count % number) for place in range(number)]
    return np.repeat(np.arange(1, number + 1), sizes)


def fold_accuracies(scores: Scores, same: Flags, fold: npt.NDArray[np.int64]) -> list[float]:
    """Return the accuracy of each fold, in the order of their numbers, by the LFW rule.

    Squared Euclidean distances of unit vectors, thresholds 0, 0.01 ... 3.99, "same" strictly
    below; of the thresholds best on the other folds the first (insightface, ``verification.py``).
    """
    distance = 2 - 2 * scores.astype(np.float64)
    thresholds = np.arange(0, 4, 0.01)
    numbers = _numbers(fold)
    right = np.zeros((len(numbers), len(thresholds)))
    sizes = np.array([np.count_nonzero(fold == number) for number in numbers])
    for place, number in enumerate(numbers):
        inside = fold == number
        # Accepted below t: the count of smaller distances.
        good = np.searchsorted(np.sort(distance[inside & same]), thresholds, "left")
        bad = np.searchsorted(np.sort(distance[inside & ~same]), thresholds, "left")
        right[place] = good + np.count_nonzero(inside & ~same) - bad
    return [
        float(right[place, int(np.argmax(right.sum(0) - right[place]))] / sizes[place]) for place in range(len(numbers))
    ]


def accuracy(scores: Scores, same: Flags, fold: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and population standard deviation of :func:`fold_accuracies`."""
    rates = fold_accuracies(scores, same, fold)
    return float(np.mean(rates)), float(np.std(rates))


def val(scores: Scores, same: Flags, fold: npt.NDArray[np.int64], far: float) -> tuple[float, float]:
    """Return mean and population standard deviation over folds of the true accept rate at a false accept rate.

    The threshold is the last of 0, 0.001 ... 3.999 whose false accept rate on the other folds is at
    most ``far``. The published script interpolates between thresholds and fails where rates
    repeat; this rule is ours.
    """
    distance = 2 - 2 * scores.astype(np.float64)
    thresholds = np.arange(0, 4, 0.001)
    rates = []
    for number in _numbers(fold):
        test = fold == number
        impostor = np.sort(distance[~test & ~same])
        fars = np.searchsorted(impostor, thresholds, "left") / max(len(impostor), 1)
        threshold = thresholds[np.flatnonzero(fars <= far)[-1]]
        genuine = distance[test & same]
        if len(genuine):
            rates.append(float(np.mean(genuine < threshold)))
    return float(np.mean(rates)), float(np.std(rates))


def _numbers(fold: npt.NDArray[np.int64]) -> Sequence[int]:
    numbers: list[int] = np.unique(fold).tolist()
    if len(numbers) < 2:
        raise errors.EvaluationError(
            f"accuracy over {len(numbers)} fold", why="The threshold of a fold comes from the other ones."
        )
    return numbers


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of each mated probe of one repetition.

    Attributes:
        subject: ``[N]``, whose probe it is.
        values: ``[N]`` for each figure that is a mean over probes.
    """

    subject: Scores
    values: Mapping[str, Scores]


def intervals(repetitions: Sequence[Outcomes]) -> dict[str, Interval]:
    """Return 95 % intervals of means over probes.

    Subjects are drawn as :func:`xzoo.evaluation.intervals.by_subject` says, each with all its probes in
    all repetitions; the gallery stays as it is.
    """
    subject = np.concatenate([one.subject for one in repetitions])
    return by_subject(
        {name: np.concatenate([one.values[name] for one in repetitions]) for name in repetitions[0].values}, subject
    )


def spread(values: Sequence[Mapping[str, float | None]]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return mean and population standard deviation of each figure over repetitions; ``None`` where one is unknown."""
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for key in values[0]:
        known = [value for one in values if (value := one[key]) is not None]
        whole = len(known) == len(values)
        means[key] = float(np.mean(known)) if whole else None
        deviations[key] = float(np.std(known)) if whole and len(values) > 1 else None
    return means, deviations
