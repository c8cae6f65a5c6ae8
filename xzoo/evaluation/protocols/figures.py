"""Figures that protocols ask for beside those of ``retrieval`` and ``verification``.

Scores are similarities; a comparison is accepted at or above the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, bootstrap_ratio, wilson

__all__ = [
    "Outcomes",
    "Searches",
    "accuracy",
    "auc",
    "blocks",
    "eer",
    "folds",
    "intervals",
    "nearest_tar",
    "open_set",
    "pair_scores",
    "searches",
    "spread",
    "tar",
    "truncated_ap",
    "unit",
    "val",
]

Scores = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


def unit(rows: Scores, side: str) -> Scores:
    """Return rows of unit length.

    Raises:
        EvaluationError: A row is zero or not finite.
    """
    table = np.asarray(rows, np.float64 if rows.dtype == np.float64 else np.float32)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(length[:, 0]) | (length[:, 0] == 0))
    if len(bad):
        raise errors.EvaluationError(
            f"{side} embeddings, {len(bad)} of {len(table)} unusable (rows {', '.join(map(str, bad[:3]))})",
            why="A row of zeros, or with a value that is not finite, points nowhere: it has no cosine.",
            do="look at the images of these rows and at the weights",
        )
    return np.asarray(table / length)


def blocks(query: Scores, gallery: Scores, most: int = 1 << 22) -> Iterator[tuple[slice, Scores]]:
    """Yield cosines of unit rows, at most ``most`` at a time, with the query rows they belong to."""
    step = max(1, most // len(gallery))
    for start in range(0, len(query), step):
        rows = slice(start, min(start + step, len(query)))
        yield rows, query[rows] @ gallery.T


def _codes(first: Scores, second: Scores) -> tuple[Scores, Scores]:
    numbers = np.unique(np.concatenate([first, second]), return_inverse=True)[1]
    return numbers[: len(first)], numbers[len(first) :]


@dataclass(frozen=True, eq=False)
class Searches:
    """What each probe met in the gallery, after the exclusions.

    Attributes:
        rank: ``[Q]``; place of the best mate, ties counting against it; 0 without mate.
        best: ``[Q]``; score of the best mate; minus infinity without mate.
        top: ``[Q]``; highest score of anybody else; minus infinity if there is nobody.
        ap: ``[Q]``; average precision over the first ``depth`` ranks, divided by all mates.
    """

    rank: npt.NDArray[np.int64]
    best: npt.NDArray[np.float64]
    top: npt.NDArray[np.float64]
    ap: npt.NDArray[np.float64]

    @property
    def mated(self) -> Flags:
        """``bool [Q]``: the probe has a mate that it may be compared with."""
        return self.rank > 0


def searches(
    query: Scores,
    gallery: Scores,
    query_subject: Scores,
    gallery_subject: Scores,
    left_out: tuple[Scores, Scores] | None = None,
    *,
    whoever: bool = False,
    subjects: bool = False,
    depth: int | None = None,
) -> Searches:
    """Search the gallery for every probe and keep what each one met.

    Args:
        query: ``[Q, D]``.
        gallery: ``[G, D]``.
        query_subject: ``[Q]``.
        gallery_subject: ``[G]``.
        left_out: A label of each probe and of each gallery row: mates with equal labels are
            not compared.
        whoever: Leave out everybody with an equal label, not mates alone.
        subjects: A rank counts subjects by their best image, not images.
        depth: Ranks over which the average precision runs; all by default.
    """
    q, g = unit(query, "probe"), unit(gallery, "gallery")
    who, whose = _codes(query_subject, gallery_subject)
    order = np.argsort(whose, kind="stable")
    g, whose = g[order], whose[order]
    starts = np.flatnonzero(np.r_[True, whose[1:] != whose[:-1]])
    mine, theirs = _codes(left_out[0], left_out[1][order]) if left_out is not None else (None, None)
    rank = np.zeros(len(q), np.int64)
    best, top, ap = np.full(len(q), -np.inf), np.full(len(q), -np.inf), np.zeros(len(q))
    for rows, scores in blocks(q, g):
        for number, row in zip(range(rows.start, rows.stop), scores, strict=True):
            mates = whose == who[number]
            if mine is not None and theirs is not None:
                row[(theirs == mine[number]) & (whoever | mates)] = -np.inf
            own = np.sort(row[mates])[::-1]
            own = own[own > -np.inf]
            others = np.sort(row[~mates])
            if len(others):
                top[number] = others[-1]
            if not len(own):
                continue
            places = np.arange(1, len(own) + 1) + len(others) - np.searchsorted(others, own, "left")
            precision = np.arange(1, len(own) + 1) / places
            ap[number] = precision[places <= (depth or len(g))].sum() / len(own)
            best[number] = own[0]
            rank[number] = np.count_nonzero(np.maximum.reduceat(row, starts) >= own[0]) if subjects else places[0]
    return Searches(rank, best, top, ap)


def truncated_ap(found: Searches) -> float | None:
    """Return the mean average precision of mated probes, over the depth that was searched."""
    return float(found.ap[found.mated].mean()) if found.mated.any() else None


def open_set(found: Searches, rank: int, fpir: float) -> tuple[float | None, float | None]:
    """Return the largest TPIR within ``rank`` whose FPIR is at most ``fpir``, and its threshold.

    A probe without mate is falsely identified where anybody scores at or above the
    threshold; a mated one is identified where its mate does, among the first ``rank``. Rates are
    ``None`` where fewer than 1/fpir unmated probes cannot show such a rate.
    """
    alarms = found.top[~found.mated]
    if not found.mated.any() or len(alarms) * fpir < 1 - 1e-9:
        return None, None
    ranked = np.where(found.rank[found.mated] <= rank, found.best[found.mated], -np.inf)
    share, threshold = _accepted(ranked, alarms, fpir)
    return share, threshold


def pair_scores(vectors: Scores, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Scores:
    """Return the cosines of pairs of rows of ``vectors [N, D]``, in blocks.

    Args:
        vectors: Images or templates.
        first: ``[P]`` row of each pair.
        second: ``[P]`` the other one.
    """
    rows = unit(vectors, "listed")
    scores = np.empty(len(first), rows.dtype)
    step = max(1, (1 << 23) // rows.shape[1])
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        np.einsum("pd,pd->p", rows[first[part]], rows[second[part]], out=scores[part])
    return scores


def auc(genuine: Scores, impostor: Scores) -> float:
    """Return the chance that a genuine score exceeds an impostor score, a tie counting half."""
    order = np.sort(impostor)
    below = np.searchsorted(order, genuine, "left").sum(dtype=np.int64)
    ties = np.searchsorted(order, genuine, "right").sum(dtype=np.int64) - below
    return float((below + ties / 2) / (len(genuine) * len(impostor)))


def eer(genuine: Scores, impostor: Scores) -> float:
    """Return the mean of both error rates where they are closest; of equally close thresholds at the higher one."""
    good, bad = np.sort(genuine), np.sort(impostor)
    thresholds = np.unique(np.concatenate([good, bad]))[::-1]
    missed = np.searchsorted(good, thresholds, "left") / len(good)
    false = 1 - np.searchsorted(bad, thresholds, "left") / len(bad)
    place = int(np.argmin(np.abs(missed - false)))
    return float((missed[place] + false[place]) / 2)


def tar(genuine: Scores, impostor: Scores, far: float) -> float | None:
    """Return the largest true accept rate whose false accept rate is at most ``far``.

    ``None`` where fewer than 1/far impostors cannot show such a rate.
    """
    if len(impostor) * far < 1 - 1e-9:
        return None
    return _accepted(genuine, impostor, far)[0]


def _accepted(genuine: Scores, impostor: Scores, rate: float) -> tuple[float, float | None]:
    """Share of genuine scores above the highest impostor that may not be accepted, and the lowest of them."""
    place = len(impostor) - 1 - math.floor(rate * len(impostor) + 1e-9)
    floor = np.partition(impostor, place)[place] if place >= 0 else -np.inf
    passed = genuine[genuine > floor]
    return len(passed) / len(genuine), float(passed.min()) if len(passed) else None


def nearest_tar(genuine: Scores, impostor: Scores, fars: Sequence[float]) -> list[float]:
    """Return the true accept rate at the corner of the ROC whose false accept rate is nearest to each of ``fars``.

    The rule of the IJB and HFR scripts: corners as scikit-learn's ``roc_curve`` keeps
    them, of equally near ones the highest. It can lie above the rate; prefer :func:`tar`.
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


def accuracy(scores: Scores, same: Flags, fold: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and population standard deviation of the accuracy over folds, by the LFW rule.

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
    rates = []
    for place in range(len(numbers)):
        best = int(np.argmax(right.sum(0) - right[place]))
        rates.append(right[place, best] / sizes[place])
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

    Subjects are drawn again with replacement, each with all its probes in all repetitions, for
    these are not independent; the gallery stays as it is. Where each subject is one probe, and where no
    draw could differ because all probes agree, a rate gets Wilson's interval over subjects.
    """
    subject = np.concatenate([one.subject for one in repetitions])
    names = list(repetitions[0].values)
    if not len(subject) or not names:
        return {}
    table = np.stack([np.concatenate([one.values[name] for one in repetitions]) for name in names], 1).astype(
        np.float64
    )
    many = len(np.unique(subject))
    ends = dict(zip(names, bootstrap_ratio(table, np.ones(len(table)), subject), strict=True))
    for name, column in zip(names, table.T, strict=True):
        total = column.sum()
        if len(table) == many and np.isin(column, (0, 1)).all():
            ends[name] = wilson(round(total), many)
        elif total in (0, len(column)):
            ends[name] = wilson(many if total else 0, many)
    return ends


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
