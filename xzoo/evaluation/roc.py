"""One-to-one verification: the exact ROC from every genuine and impostor score.

Accepted is a score at or above the threshold. Error rates change for genuine
pairs only at genuine scores, so the impostors need not be kept: counting them
between neighbouring genuine scores gives AUC and every TAR at FAR exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.similarity import BLOCK_SCORES, Embeddings, Labels, codes, labels, score_blocks, unit_rows

__all__ = ["FARS", "Verification", "from_scores", "verification"]

FARS = (1e-1, 1e-2, 1e-3)

Scores = npt.NDArray[Any]


@dataclass(frozen=True)
class Verification:
    """Figures of all comparisons of two sets. Rates are fractions.

    Attributes:
        auc: Chance that a genuine score exceeds an impostor score, a tie counting half.
        eer: Mean of false non-match and false match rate where the two are closest
            (of two such thresholds the higher one).
        eer_threshold: The threshold there.
        tar: For each FAR the largest true accept rate whose false accept rate is not
            above it; ``None`` where fewer than 1/FAR impostors cannot show such a rate.
        thresholds: For each FAR the score from which a pair is accepted: the lowest
            genuine score allowed, or infinity where none is.
        n_genuine: Comparisons of one subject with itself.
        n_impostor: Comparisons of two subjects.
    """

    auc: float
    eer: float
    eer_threshold: float
    tar: dict[float, float | None]
    thresholds: dict[float, float | None]
    n_genuine: int
    n_impostor: int


def verification(
    embeddings_a: Embeddings,
    embeddings_b: Embeddings,
    subject_a: Labels,
    subject_b: Labels,
    fars: Sequence[float] = FARS,
    same: bool = False,
    *,
    image_a: Labels | None = None,
    image_b: Labels | None = None,
    block_scores: int = BLOCK_SCORES,
) -> Verification:
    """Compare every row of one set with every row of the other, exactly.

    The products are made three times over rather than kept: once for the
    genuine scores, once to count the impostors, once for those near the EER.
    Memory is a block, the genuine scores, and the impostors between two of them.

    Args:
        embeddings_a: ``[A, D]``.
        embeddings_b: ``[B, D]``.
        subject_a: ``[A]`` numbers or names.
        subject_b: ``[B]``.
        fars: False accept rates to report, each above 0 and at most 1.
        same: Both are one set in one order: each pair counts once, no row meets itself.
        image_a: ``[A]`` what image a row shows, where the sets overlap in part: a
            pair of images counts once, and no image meets itself.
        image_b: ``[B]``.
        block_scores: Scores held at a time; results do not depend on it.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without
            direction, no genuine or no impostor pair, or a FAR out of range.
    """
    a, b = unit_rows(embeddings_a, "first"), unit_rows(embeddings_b, "second")
    if a.shape[1] != b.shape[1]:
        raise errors.EvaluationError(
            f"embeddings of {a.shape[1]} and of {b.shape[1]} numbers", why="One network makes both."
        )
    if same:
        if len(a) != len(b):
            raise errors.EvaluationError(f"same=True with {len(a)} and {len(b)} rows", why="One set has one length.")
        image_a = image_b = np.arange(len(a))
    numbers_a, numbers_b = codes(labels(subject_a, len(a), "subject_a"), labels(subject_b, len(b), "subject_b"))
    once = _once(image_a, image_b, len(a), len(b))

    def pairs(genuine: bool) -> Iterator[Scores]:
        for rows, scores in score_blocks(a, b, block_scores):
            wanted = (numbers_a[rows, None] == numbers_b[None]) == genuine
            if once is not None:
                wanted &= once(rows)
            yield scores[wanted]

    return from_scores(lambda: pairs(True), lambda: pairs(False), fars)


def from_scores(
    genuine: Callable[[], Iterator[Scores]], impostor: Callable[[], Iterator[Scores]], fars: Sequence[float] = FARS
) -> Verification:
    """Return the figures of two sources of scores, each a call that starts a pass over its blocks.

    ``impostor`` is called twice and must give the same scores both times.

    Raises:
        EvaluationError: No genuine or no impostor score, or a FAR out of range.
    """
    for far in fars:
        if not 0 < far <= 1:
            raise errors.EvaluationError(f"far={far!r}", why="A false accept rate is above 0 and at most 1.")
    # [m] ascending distinct genuine scores, and how many there are of each
    value, count = np.unique(np.concatenate(list(genuine()) or [np.empty(0)]), return_counts=True)
    n_genuine = int(count.sum())
    if not n_genuine:
        raise errors.EvaluationError("verification", why="No genuine pair: no subject is on both sides.")
    at_least, above, n_impostor = _count(impostor(), value)
    if not n_impostor:
        raise errors.EvaluationError(
            "verification", why=f"All {n_genuine} pairs are genuine: there is no impostor to keep out."
        )
    wins = (n_impostor - at_least) + 0.5 * (at_least - above)
    auc = float(np.dot(count, wins)) / (n_genuine * n_impostor)

    rejected = np.cumsum(count) - count  # genuine scores below each value
    tar: dict[float, float | None] = {}
    thresholds: dict[float, float | None] = {}
    for far in fars:
        # The factor keeps 0.29 of 100 impostors at 29, where float arithmetic says 28.999...
        allowed = int(far * n_impostor * (1 + 1e-12))
        if allowed < 1:
            tar[far] = thresholds[far] = None
            continue
        lowest = int(np.count_nonzero(at_least > allowed))
        accepts_some = lowest < len(value)
        tar[far] = (n_genuine - int(rejected[lowest])) / n_genuine if accepts_some else 0.0
        thresholds[far] = float(value[lowest]) if accepts_some else float("inf")

    eer, eer_threshold = _eer(value, rejected, n_genuine, at_least, n_impostor, impostor())
    return Verification(auc, eer, eer_threshold, tar, thresholds, n_genuine, n_impostor)


def _count(blocks: Iterator[Scores], value: Scores) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return how many scores are at least, and how many above, each ``value``; and how many there are."""
    at_least, above, total = np.zeros(len(value), np.int64), np.zeros(len(value), np.int64), 0
    for block in blocks:
        block.sort()
        at_least += len(block) - np.searchsorted(block, value, "left")
        above += len(block) - np.searchsorted(block, value, "right")
        total += len(block)
    return at_least, above, total


def _eer(
    value: Scores,
    rejected: npt.NDArray[np.int64],
    n_genuine: int,
    at_least: npt.NDArray[np.int64],
    n_impostor: int,
    impostors: Iterator[Scores],
) -> tuple[float, float]:
    """Return the EER and its threshold.

    FNMR - FMR only grows with the threshold, so it changes sign between two
    neighbouring genuine scores; only the impostors between these are looked at.
    """
    # Differences of rates in whole numbers, in units of 1 / (n_genuine * n_impostor).
    upper = int(np.count_nonzero(rejected * n_impostor < at_least * n_genuine))
    low = value[upper - 1] if upper else -np.inf
    high = value[upper] if upper < len(value) else np.inf
    between = [block[(block > low) & (block < high)] for block in impostors]
    steps, count = np.unique(np.concatenate(between), return_counts=True)

    # Candidates by rising threshold: the genuine score below, the impostors between, the genuine score above.
    accepted = int(at_least[upper]) if upper < len(value) else 0
    missed = int(rejected[upper]) if upper < len(value) else n_genuine
    thresholds, fnm, fm = list(steps), [missed] * len(steps), list(accepted + np.cumsum(count[::-1])[::-1])
    if upper:
        thresholds, fnm, fm = [low, *thresholds], [int(rejected[upper - 1]), *fnm], [int(at_least[upper - 1]), *fm]
    if upper < len(value):
        thresholds, fnm, fm = [*thresholds, high], [*fnm, missed], [*fm, accepted]
    apart = np.abs(np.array(fnm, np.int64) * n_impostor - np.array(fm, np.int64) * n_genuine)
    best = len(apart) - 1 - int(np.argmin(apart[::-1]))
    return (fnm[best] / n_genuine + int(fm[best]) / n_impostor) / 2, float(thresholds[best])


def _once(
    image_a: Labels | None, image_b: Labels | None, n_a: int, n_b: int
) -> Callable[[slice], npt.NDArray[np.bool_]] | None:
    """Return a mask over blocks of rows that keeps one comparison of each pair of images."""
    if image_a is None and image_b is None:
        return None
    if image_a is None or image_b is None:
        missing = "image_a" if image_a is None else "image_b"
        raise errors.EvaluationError(f"verification without {missing}", why="Images are told apart on both sides.")
    a, b = codes(labels(image_a, n_a, "image_a"), labels(image_b, n_b, "image_b"))
    a_in_b, b_in_a = np.isin(a, b), np.isin(b, a)
    # A pair comes twice only when both its images are on both sides.
    return lambda rows: ~((a_in_b[rows, None] & b_in_a[None]) & (a[rows, None] >= b[None]))
