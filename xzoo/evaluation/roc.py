"""One-to-one verification: the exact ROC from every genuine and impostor score.

Accepted is a score at or above the threshold. Error rates change for genuine
pairs only at genuine scores, so the impostors need not be kept: counting them
between neighbouring genuine scores gives AUC and every TAR at FAR exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, drawn_interval, draws, wilson
from xzoo.evaluation.similarity import (
    Embeddings,
    Labels,
    Rows,
    ahead,
    codes,
    each_block,
    images_of,
    labels,
    rows_of,
    sort_flat,
    tensor_of,
    twice,
)

if TYPE_CHECKING:
    import torch

__all__ = ["FARS", "Curve", "Verification", "every_score", "verification", "verification_from_scores"]

FARS = (1e-1, 1e-2, 1e-3)

Scores = npt.NDArray[Any]
Result = TypeVar("Result")

# Distinct genuine scores held at a time; where there are more, the scores are gone through once for each so many.
HELD = 1 << 23
# The same for plain vectors of scores, and their block: together less than 100 MiB on two cores.
HELD_PLAIN, BLOCK_PLAIN = 1 << 19, 1 << 22
# Genuine scores looked for at a time in a sorted block.
KEYS = 1 << 14
# Points of a curve: enough for any plot.
POINTS = 2000
FEW = 30
# Subjects between whom the spread of single pairs of subjects is measured, at most; more are represented by these.
PAIRED = 1024


@dataclass(frozen=True)
class Curve:
    """Error rates at falling thresholds, each of them exact.

    Attributes:
        threshold: ``[P]``, genuine scores from the highest down.
        fmr: ``[P]`` false match rate: impostor scores at or above the threshold.
        fnmr: ``[P]`` false non-match rate: genuine scores below it. ROC is 1 - fnmr
            over fmr, DET is fnmr over fmr.
    """

    threshold: npt.NDArray[np.float64]
    fmr: npt.NDArray[np.float64]
    fnmr: npt.NDArray[np.float64]


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
        false_accepts: For each FAR the impostor scores at or above the threshold.
        false_rejects: For each FAR the genuine scores below it.
        curve: ROC and DET in at most a few thousand exact points.
    """

    auc: float
    eer: float
    eer_threshold: float
    tar: dict[float, float | None]
    thresholds: dict[float, float | None]
    n_genuine: int
    n_impostor: int
    false_accepts: dict[float, int | None]
    false_rejects: dict[float, int | None]
    curve: Curve = field(compare=False, repr=False)
    _intervals: Callable[[Verification], dict[str | float, Interval | None]] = field(compare=False, repr=False)

    @cached_property
    def interval(self) -> dict[str | float, Interval | None]:
        """95 % intervals of ``"auc"``, ``"eer"`` and, under each FAR, of its TAR.

        From embeddings, subjects are drawn again with replacement 2,000 times; one
        who is drawn twice counts twice in each comparison that he is in, and the
        threshold follows the false accepts (first order in the weights, so it needs
        one more pass over the pairs and no table of them). Chance within a single pair
        of subjects, which is in the sums of both, is taken out once. From plain scores nobody knows whose they
        are: TARs get Wilson's interval, the others ``None``.

        It is worked out when first asked for, from the embeddings: they must still
        be what they were.
        """
        return self._intervals(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What these comparisons cannot tell, one sentence each."""
        unsupported = [
            f"TAR at FAR {far:g} is not reported: {self.n_impostor} impostor comparisons cannot show a rate so small."
            for far, rate in self.tar.items()
            if rate is None
        ]
        return (*unsupported, *self.few)

    @property
    def few(self) -> tuple[str, ...]:
        """Those of the warnings that are about fewer than 30 errors."""
        found = []
        for far, rate in self.tar.items():
            accepted, rejected = int(far * self.n_impostor * (1 + 1e-12)), self.false_rejects[far]
            if rate is not None and accepted < FEW:
                found.append(f"FAR {far:g} is decided by {accepted} impostor comparisons, fewer than {FEW}.")
            if rejected is not None and rejected < FEW:
                found.append(f"TAR at FAR {far:g} rests on {rejected} false rejects, fewer than {FEW}.")
        return tuple(found)


class _Source(Protocol):
    """Scores that can be gone through again and again, a block at a time."""

    held: int

    def each(self, genuine: bool, work: Callable[[torch.Tensor, int], Result]) -> Iterator[Result]:
        """Yield ``work(scores, unwanted)`` of each block: a flat tensor that may be overwritten.

        ``unwanted`` of its scores are minus infinity and stand for no comparison.
        """


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
    block_scores: int | None = None,
    device: str | None = None,
) -> Verification:
    """Compare every row of one set with every row of the other, exactly.

    The products are made three times over rather than kept: once for the
    genuine scores, once to count the impostors, once for those near the EER.
    Memory is a block, and at most eight million genuine scores; where there are
    more distinct ones, the first two passes are repeated for each so many.

    Args:
        embeddings_a: ``[A, D]``, float16 or wider: an array, a memory map or a tensor.
        embeddings_b: ``[B, D]``.
        subject_a: ``[A]`` numbers or names.
        subject_b: ``[B]``.
        fars: False accept rates to report, each above 0 and at most 1.
        same: Both are one set in one order: each pair counts once, no row meets itself.
        image_a: ``[A]`` what image a row shows, where the sets overlap in part: a
            pair of images counts once, and no image meets itself.
        image_b: ``[B]``.
        block_scores: Scores held at a time; results do not depend on it.
        device: Where to compute; by default where a tensor of the two lies.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without
            direction, no genuine or no impostor pair, or a FAR out of range.
    """
    pairs = _pairs(
        embeddings_a,
        embeddings_b,
        subject_a,
        subject_b,
        same,
        image_a,
        image_b,
        block_scores=block_scores,
        device=device,
    )
    return _figures(pairs, fars, pairs.intervals)


def verification_from_scores(genuine: Embeddings, impostor: Embeddings, fars: Sequence[float] = FARS) -> Verification:
    """Return the figures of two vectors of scores: every one counts, none is sampled.

    A block is sorted at a time, so 100 million scores need less than 100 MiB
    beside them. Intervals of the TARs take genuine scores for independent.

    Args:
        genuine: ``[N]`` scores of comparisons of one subject, higher for more alike: an
            array, a memory map or a tensor.
        impostor: ``[M]`` scores of comparisons of two subjects.
        fars: False accept rates to report, each above 0 and at most 1.

    Raises:
        EvaluationError: No genuine or no impostor score, NaN, or a FAR out of range.

    Example:
        >>> found = verification_from_scores(np.array([0.9, 0.4]), np.array([0.5, 0.1]), fars=(0.5,))
        >>> found.auc, found.tar[0.5]
        (0.75, 1.0)
    """

    def intervals(found: Verification) -> dict[str | float, Interval | None]:
        rates: dict[str | float, Interval | None] = {
            far: None if missed is None else wilson(found.n_genuine - missed, found.n_genuine)
            for far, missed in found.false_rejects.items()
        }
        return {"auc": None, "eer": None, **rates}

    return _figures(_Vectors(_vector(genuine, "genuine"), _vector(impostor, "impostor")), fars, intervals)


def _pairs(
    embeddings_a: Embeddings,
    embeddings_b: Embeddings,
    subject_a: Labels,
    subject_b: Labels,
    same: bool,
    image_a: Labels | None,
    image_b: Labels | None,
    *,
    block_scores: int | None = None,
    device: str | None = None,
) -> _Pairs:
    a, b = rows_of(embeddings_a, embeddings_b, ("first", "second"), device)
    if same:
        if len(a) != len(b):
            raise errors.EvaluationError(f"same=True with {len(a)} and {len(b)} rows", why="One set has one length.")
        image_a = image_b = None
    numbers_a, numbers_b = codes(labels(subject_a, len(a), "subject_a"), labels(subject_b, len(b), "subject_b"))
    if same and not np.array_equal(numbers_a, numbers_b):
        raise errors.EvaluationError("same=True with other subjects on each side", why="One set has one order.")
    return _Pairs(a, b, numbers_a, numbers_b, same, images_of(image_a, image_b, len(a), len(b)), block_scores)


def every_score(
    embeddings_a: Embeddings,
    embeddings_b: Embeddings,
    subject_a: Labels,
    subject_b: Labels,
    *,
    image_a: Labels | None = None,
    image_b: Labels | None = None,
) -> tuple[Scores, Scores]:
    """Return all genuine and all impostor scores, for a figure that needs them side by side.

    Args:
        embeddings_a: As for :func:`verification`, like all the others.
        embeddings_b: The same.
        subject_a: The same.
        subject_b: The same.
        image_a: The same.
        image_b: The same.
    """
    pairs = _pairs(embeddings_a, embeddings_b, subject_a, subject_b, False, image_a, image_b)

    def kept(scores: torch.Tensor, _: int) -> Scores:
        return np.asarray(scores[scores > -np.inf].cpu().numpy())

    return np.concatenate(list(pairs.each(True, kept))), np.concatenate(list(pairs.each(False, kept)))


class _Vectors:
    """Scores that lie in two vectors."""

    held = HELD_PLAIN

    def __init__(self, genuine: torch.Tensor, impostor: torch.Tensor) -> None:
        self.genuine, self.impostor = genuine, impostor

    def each(self, genuine: bool, work: Callable[[torch.Tensor, int], Result]) -> Iterator[Result]:
        import torch

        scores = self.genuine if genuine else self.impostor
        workers = torch.get_num_threads() if scores.device.type == "cpu" else 1
        step = max(1, min(BLOCK_PLAIN // workers, len(scores)))
        # Made here and handed around: memory that a thread makes is not all given back when it ends.
        buffers: SimpleQueue[torch.Tensor] = SimpleQueue()
        for _ in range(workers):
            buffers.put(torch.empty(step, dtype=scores.dtype, device=scores.device))

        def block(start: int) -> Result:
            buffer = buffers.get()
            try:
                part = scores[start : start + step]
                return work(buffer[: len(part)].copy_(part), 0)
            finally:
                buffers.put(buffer)

        yield from ahead(block, range(0, len(scores), step), workers)


class _Pairs:
    """Scores of all pairs of rows, made again for each pass."""

    held = HELD

    def __init__(
        self,
        a: Rows,
        b: Rows,
        subject_a: npt.NDArray[np.intp],
        subject_b: npt.NDArray[np.intp],
        same: bool,
        images: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None,
        block_scores: int | None,
    ) -> None:
        # In order of subject, genuine pairs are one slice of each row.
        order_a, order_b = np.argsort(subject_a, kind="stable"), np.argsort(subject_b, kind="stable")
        a.reorder(order_a)
        b.reorder(order_b)
        self.a, self.b, self.same, self.block_scores = a, b, same, block_scores
        self.subject_a, self.subject_b = subject_a[order_a], subject_b[order_b]
        self.first = np.searchsorted(self.subject_b, self.subject_a, "left")
        self.last = np.searchsorted(self.subject_b, self.subject_a, "right")
        self.images = None
        if images is not None:
            self.images = twice(images[0][order_a], images[1][order_b])

    def each(self, genuine: bool, work: Callable[[torch.Tensor, int], Result]) -> Iterator[Result]:
        import torch

        def block(rows: slice, first: int, scores: torch.Tensor) -> Result:
            own = self._own(rows, first, scores)
            if genuine:
                mates = scores[own]
                return work(mates[mates > -torch.inf], 0)
            scores[own] = -torch.inf
            flat = scores.view(-1)
            whole = not self.same and self.images is None
            return work(flat, len(own[0]) if whole else int((flat == -torch.inf).sum()))

        return each_block(self.a, self.b, block, self.block_scores, above=self.same)

    def _own(self, rows: slice, first: int, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the genuine pairs of a block are, and strike out what is not compared."""
        import torch

        begin, end = np.maximum(self.first[rows], first), np.maximum(self.last[rows], first)
        many = end - begin
        row = np.repeat(np.arange(len(many)), many)
        column = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many) + np.repeat(begin - first, many)
        if self.same:  # the block begins on the diagonal
            n = len(scores)
            below = torch.ones((n, n), dtype=torch.bool, device=scores.device).tril()
            scores[:, :n].masked_fill_(below, -torch.inf)
        if self.images is not None:
            scores.masked_fill_(torch.from_numpy(self.images(rows, first)).to(scores.device), -torch.inf)
        return torch.from_numpy(row).to(scores.device), torch.from_numpy(column).to(scores.device)

    def intervals(self, found: Verification) -> dict[str | float, Interval | None]:
        """Draw subjects again; see :attr:`Verification.interval`."""
        import torch

        subjects = int(max(self.subject_a[-1], self.subject_b[-1])) + 1
        curve = found.curve
        used = {far: t for far, t in found.thresholds.items() if t is not None and np.isfinite(t)}
        limits = [*used.values(), found.eer_threshold]
        # Around each threshold, those at which the false match rate is up to four times higher or lower.
        factors = 2.0 ** np.linspace(-2, 2, 17)
        grid = [
            np.interp(np.log(np.maximum(far * factors, 1e-300)), np.log(np.maximum(curve.fmr, 1e-300)), curve.threshold)
            for far in used
        ]
        for points, far in zip(grid, used, strict=True):
            points[8] = used[far]
        steps = np.concatenate([*grid, [found.eer_threshold]])
        # Chance that a genuine score exceeds an impostor's, by the impostor's score, in fine steps.
        places = np.linspace(-1.001, 1.001, 4097)
        rising = curve.threshold[::-1]
        beaten = torch.from_numpy(1 - np.interp(places, rising, curve.fnmr[::-1], left=0, right=1)).float()
        # [S, K + 2] of genuine pairs by subject: accepted at each step, impostors beaten, number
        mates = np.zeros((subjects, len(steps) + 2))
        # [S, L + 2] of impostor pairs by each of their two subjects: accepted at each limit, AUC share, number;
        # and the same for each pair of the sampled subjects.
        others = np.zeros((subjects, len(limits) + 2))
        total = np.zeros(len(limits) + 2)
        sampled = np.arange(subjects)
        if subjects > PAIRED:
            sampled = np.sort(np.random.default_rng(0).choice(subjects, PAIRED, replace=False))
        position = np.full(subjects, -1)
        position[sampled] = np.arange(len(sampled))
        both = np.zeros((len(limits) + 2, len(sampled), len(sampled)))
        edges = np.flatnonzero(np.diff(self.subject_b)) + 1

        def block(rows: slice, first: int, scores: torch.Tensor) -> tuple[Any, ...]:
            own = self._own(rows, first, scores)
            value = scores[own].double().cpu().numpy()
            who = self.subject_a[rows][own[0].cpu().numpy()]
            real = value > -np.inf
            value, who = value[real], who[real]
            columns = [value >= step for step in steps]
            columns += [1 - np.interp(value, rising, curve.fmr[::-1]), np.ones(len(value))]
            scores[own] = -torch.inf
            down = np.flatnonzero(np.r_[True, np.diff(self.subject_a[rows]) != 0])
            across = np.r_[0, edges[edges > first] - first]
            lines, stacks = self.subject_a[rows][down], self.subject_b[first + across]
            near = np.ix_(position[lines] >= 0, position[stacks] >= 0)
            sums = []
            for k in range(len(limits) + 2):
                part = scores >= limits[k] if k < len(limits) else scores > -torch.inf
                kind: type[np.generic] = np.int32
                if k == len(limits):
                    part = part * beaten.to(scores.device)[((scores.clamp(-1, 1) + 1.001) * (4096 / 2.002)).int()]
                    kind = np.float32
                table = part.cpu().numpy()
                table = np.add.reduceat(np.add.reduceat(table, across, axis=1, dtype=kind), down, axis=0)
                sums.append((table.sum(1, dtype=float), table.sum(0, dtype=float), table[near]))
            return who, np.stack(columns, 1).astype(float), lines, stacks, sums

        for who, values, lines, stacks, sums in each_block(self.a, self.b, block, self.block_scores, above=self.same):
            for k in range(mates.shape[1]):
                mates[:, k] += np.bincount(who, values[:, k], subjects)
            here = np.ix_(*(place[place >= 0] for place in (position[lines], position[stacks])))
            for k, (by_line, by_stack, near) in enumerate(sums):
                others[lines, k] += by_line
                others[stacks, k] += by_stack
                both[k][here] += near
                total[k] += by_line.sum()

        # What one pair of subjects adds is in the sums of both, so draws of subjects vary by it twice (Fafchamps and
        # Gubert, "The formation of risk sharing networks", 2007, section 4): this much variance is one too many.
        table = both + both.transpose(0, 2, 1)
        apart = table[:-1] - (total[:-1] / total[-1])[:, None, None] * table[-1]
        apart[:, range(len(sampled)), range(len(sampled))] = 0
        more = subjects * (subjects - 1) / max(1, len(sampled) * (len(sampled) - 1))
        twice = more * np.square(apart).sum((1, 2)) / 2 / total[-1] ** 2

        rates: list[Scores] = []
        far_rates: list[Scores] = []
        for weights in draws(subjects):
            drawn = weights @ mates
            weighted = weights @ others - total  # each pair counts once, though both its subjects are drawn
            with np.errstate(divide="ignore", invalid="ignore"):
                rates.append(drawn[:, :-1] / drawn[:, -1:])
                far_rates.append(np.maximum(weighted[:, :-1], 0) / weighted[:, -1:])
        genuine, impostor = np.concatenate(rates), np.concatenate(far_rates)
        kept = np.isfinite(genuine).all(1) & np.isfinite(impostor).all(1)
        genuine, impostor = genuine[kept], impostor[kept]
        if subjects == 1 or not len(genuine):
            return {"auc": (0.0, 1.0), "eer": (0.0, 1.0), **dict.fromkeys(found.tar, (0.0, 1.0))}

        beside = [*(17 * k + 8 for k in range(len(used))), genuine.shape[1] - 2, genuine.shape[1] - 1]
        for k, column in enumerate(beside):
            impostor[:, k] = _narrowed(impostor[:, k], genuine[:, column], twice[k])

        result: dict[str | float, Interval | None] = {}
        auc = genuine[:, -1] + impostor[:, -1] - found.auc
        result["auc"] = drawn_interval(auc, found.auc, subjects)
        eer = _eer_drawn(found, 1 - genuine[:, -2], impostor[:, -2])
        result["eer"] = drawn_interval(eer, found.eer, subjects)
        for far, rate in found.tar.items():
            if far not in used:
                result[far] = None if rate is None else wilson(0, subjects)
                continue
            k = list(used).index(far)
            base = total[k] / total[-1]
            # Where the drawn false accepts are r times as many, the threshold is that of a rate r times lower.
            # Without any false accept there is nothing to follow: the threshold stays.
            times = base / np.maximum(impostor[:, k], base / 64) if base else np.ones(len(impostor))
            shift = np.log2(np.clip(times, 1 / 4, 4))
            at = genuine[:, 17 * k : 17 * k + 17]
            position = (shift + 2) * 4
            low = np.minimum(position.astype(int), 15)
            part = position - low
            line = np.arange(len(at))
            drawn_tar = at[line, low] * (1 - part) + at[line, low + 1] * part
            result[far] = drawn_interval(drawn_tar, float(rate or 0), subjects)
        return result


def _narrowed(values: Scores, other: Scores, variance: float) -> Scores:
    """Return draws with so much less variance, of what does not go along with the other draws."""
    mean, away = values.mean(), other - other.mean()
    along = away * (np.dot(values - mean, away) / np.dot(away, away)) if away.any() else np.zeros(len(values))
    alone = values - mean - along
    spread = float(alone.var())
    return np.asarray(mean + along + alone * np.sqrt(max(0.0, 1 - variance / spread)) if spread else values)


def _eer_drawn(found: Verification, missed: Scores, accepted: Scores) -> Scores:
    """Return the EER of draws from their two error rates at the threshold of the whole."""
    curve = found.curve
    # A window of a few dozen misses, or the slopes would be those of single scores.
    width = max(found.eer / 2, 10 / found.n_genuine)
    near = np.abs(curve.fnmr - found.eer) <= width
    threshold, fmr, fnmr = curve.threshold[near], curve.fmr[near], curve.fnmr[near]
    rise = float(fmr[-1] - fmr[0]) if len(threshold) > 1 else 1.0
    fall = float(fnmr[0] - fnmr[-1]) if len(threshold) > 1 else 1.0
    if rise + fall <= 0:
        rise = fall = 1.0
    # Both rates are straight lines near their crossing: where they cross is the mean, weighted by the other's slope.
    return np.asarray((rise * missed + fall * accepted) / (rise + fall))


def _figures(
    source: _Source,
    fars: Sequence[float],
    intervals: Callable[[Verification], dict[str | float, Interval | None]],
) -> Verification:
    """Return every figure of a source of scores, going through its genuine scores from the highest down."""
    for far in fars:
        if isinstance(far, bool) or not 0 < far <= 1:
            raise errors.EvaluationError(f"far={far!r}", why="A false accept rate is above 0 and at most 1.")
    ceiling: float | None = None
    n_genuine = n_impostor = 0
    wins, accepted = 0.0, 0  # accepted: genuine scores in the parts that are done
    lowest: dict[float, tuple[float, int, int]] = {}  # threshold, false accepts, false rejects
    above: _Point | None = None  # lowest genuine score yet at which FNMR >= FMR
    below: _Point | None = None  # the genuine score under it
    points: list[tuple[Scores, Scores, Scores]] = []
    while True:
        top = _Distinct(source.held, ceiling)
        for scores in source.each(True, lambda scores, _: _checked(scores).cpu().numpy().copy()):
            top.add(scores)
        value, count, seen = top.result()
        n_genuine = n_genuine or seen
        if not n_genuine:
            raise errors.EvaluationError("verification", why="No genuine pair: no subject is on both sides.")
        if not len(value):
            break
        at_least, ties, n_impostor = _count(source, value)
        if not n_impostor:
            raise errors.EvaluationError(
                "verification", why=f"All {n_genuine} pairs are genuine: there is no impostor to keep out."
            )
        wins += float(np.dot(count, n_impostor - at_least)) + 0.5 * float(np.dot(count, ties))
        rejected = n_genuine - accepted - np.cumsum(count[::-1])[::-1]  # genuine scores below each value
        for far in fars:
            # The factor keeps 0.29 of 100 impostors at 29, where float arithmetic says 28.999...
            place = int(np.count_nonzero(at_least > int(far * n_impostor * (1 + 1e-12))))
            if place < len(value):
                lowest[far] = float(value[place]), int(at_least[place]), int(rejected[place])
        if below is None:
            # Differences of rates in whole numbers, in units of 1 / (n_genuine * n_impostor).
            place = int(np.count_nonzero(rejected * n_impostor < at_least * n_genuine))
            if place < len(value):
                above = _Point(float(value[place]), int(rejected[place]), int(at_least[place]))
            if place:
                below = _Point(float(value[place - 1]), int(rejected[place - 1]), int(at_least[place - 1]))
        shown = _shown(at_least)
        points.append((value[shown][::-1], at_least[shown][::-1], rejected[shown][::-1]))
        accepted += int(count.sum())
        if accepted == n_genuine:
            break
        ceiling = float(value[0])

    tar: dict[float, float | None] = {}
    thresholds: dict[float, float | None] = {}
    false_accepts: dict[float, int | None] = {}
    false_rejects: dict[float, int | None] = {}
    for far in fars:
        if int(far * n_impostor * (1 + 1e-12)) < 1:
            tar[far] = thresholds[far] = false_accepts[far] = false_rejects[far] = None
            continue
        thresholds[far], false_accepts[far], missed = lowest.get(far, (float("inf"), 0, n_genuine))
        tar[far], false_rejects[far] = (n_genuine - missed) / n_genuine, missed
    eer, eer_threshold = _eer(source, below, above, n_genuine, n_impostor)
    threshold, match, miss = (np.concatenate(column).astype(np.float64) for column in zip(*points, strict=True))
    return Verification(
        auc=wins / (n_genuine * n_impostor),
        eer=eer,
        eer_threshold=eer_threshold,
        tar=tar,
        thresholds=thresholds,
        n_genuine=n_genuine,
        n_impostor=n_impostor,
        false_accepts=false_accepts,
        false_rejects=false_rejects,
        curve=Curve(threshold, match / n_impostor, miss / n_genuine),
        _intervals=intervals,
    )


@dataclass(frozen=True)
class _Point:
    """A threshold, the genuine scores below it and the impostor scores at or above it."""

    threshold: float
    rejected: int
    accepted: int


class _Distinct:
    """The highest distinct scores below a ceiling, with how many there are of each."""

    def __init__(self, held: float, ceiling: float | None = None) -> None:
        self.held, self.ceiling = held, ceiling
        self.floor: float | None = None
        self.seen = 0
        self.value: Scores | None = None
        self.count = np.empty(0, np.int64)
        self.pending: list[Scores] = []

    def add(self, scores: Scores) -> None:
        self.seen += len(scores)
        if self.ceiling is not None:
            scores = scores[scores < self.ceiling]
        if self.floor is not None:
            scores = scores[scores >= self.floor]
        self.pending.append(scores)
        if sum(map(len, self.pending)) > min(self.held, HELD):
            self._merge()

    def result(self) -> tuple[Scores, npt.NDArray[np.int64], int]:
        """Return values (ascending), their counts, and how many scores were seen in all."""
        self._merge()
        return (np.empty(0) if self.value is None else self.value), self.count, self.seen

    def _merge(self) -> None:
        if not self.pending:
            return
        fresh = np.concatenate(self.pending)
        self.pending = []
        fresh.sort()
        value, count = _runs(fresh, None)
        if self.value is not None:
            both = np.concatenate([self.value, value])
            order = np.argsort(both, kind="stable")
            value, count = _runs(both[order], np.concatenate([self.count, count])[order])
        if len(value) > self.held:
            cut = len(value) - int(self.held)
            value, count = value[cut:].copy(), count[cut:].copy()
            self.floor = float(value[0])
        self.value, self.count = value, count


def _runs(ordered: Scores, count: npt.NDArray[np.int64] | None) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Return the distinct values of a sorted vector and how many there are of each."""
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.intp)
    if count is None:
        return ordered[starts], np.diff(np.r_[starts, len(ordered)]).astype(np.int64)
    return ordered[starts], np.add.reduceat(count, starts) if len(starts) else count[:0]


def _count(source: _Source, value: Scores) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return how many impostor scores are at least each value, how many equal it, and how many there are."""
    import torch

    at_least, ties = np.zeros(len(value), np.int64), np.zeros(len(value), np.int64)
    lock = Lock()

    def work(scores: torch.Tensor, unwanted: int) -> int:
        ordered = sort_flat(scores)
        _checked(ordered[-1:])
        for start in range(0, len(value), KEYS):
            part = slice(start, start + KEYS)
            values = torch.from_numpy(value[part]).to(ordered.device, ordered.dtype)
            # Only this stretch of the block lies between the first and the last of these values.
            begin, end = torch.searchsorted(ordered, values[[0, -1]]).tolist()
            near = ordered[begin : end + 1]
            left = torch.searchsorted(near, values)
            found = (len(ordered) - begin - left).cpu().numpy()
            tied = torch.nonzero(near[left.clamp(max=len(near) - 1)] == values).flatten() if len(near) else left[:0]
            right = torch.searchsorted(ordered, values[tied], right=True)
            equal = (right - begin - left[tied]).cpu().numpy()
            with lock:  # whole numbers: the order of blocks makes no difference
                at_least[part] += found
                ties[part][tied.cpu().numpy()] += equal
        return len(ordered) - unwanted

    return at_least, ties, sum(source.each(False, work))


def _eer(
    source: _Source, below: _Point | None, above: _Point | None, n_genuine: int, n_impostor: int
) -> tuple[float, float]:
    """Return the EER and its threshold.

    FNMR - FMR only grows with the threshold, so it changes sign between two
    neighbouring genuine scores; only the impostors between these are looked at.
    """
    low, high = below.threshold if below else -np.inf, above.threshold if above else np.inf
    accepted, missed = (above.accepted, above.rejected) if above else (0, n_genuine)
    inside = (below.accepted if below else n_impostor) - accepted
    candidates = [above] if above else []
    for _ in range(3):
        if inside <= HELD_PLAIN:
            break
        # Too many to keep: look only between those two of a few thousand steps between which the rates cross.
        ends = list(source.each(False, lambda scores, _, low=low, high=high: _ends(_within(scores, low, high))))  # type: ignore[misc]
        least, most = min(end[0] for end in ends), max(end[1] for end in ends)
        if not least < most:
            break
        edges = np.unique(np.linspace(least, most, 4097).astype(ends[0][2]))
        at_least, _, _ = _count(source, edges)
        place = int(np.flatnonzero(at_least * n_genuine >= missed * n_impostor)[-1:].max(initial=0))
        low = float(np.nextafter(edges[place], -np.inf))
        inside = int(at_least[place])
        if place + 1 < len(edges):
            high, accepted = float(edges[place + 1]), int(at_least[place + 1])
            # The same rates as at the next score above it.
            candidates.append(_Point(high, missed, accepted))
        inside -= accepted

    between = _Distinct(np.inf)
    for scores in source.each(False, lambda scores, _: _within(scores, low, high)):
        between.add(scores)
    steps, count, _ = between.result()
    after = accepted + np.cumsum(count[::-1])[::-1]
    candidates += [_Point(float(step), missed, int(at)) for step, at in zip(steps, after, strict=True)]
    candidates += [below] if below else []
    candidates.sort(key=lambda point: -point.threshold)
    best = min(candidates, key=lambda point: abs(point.rejected * n_impostor - point.accepted * n_genuine))
    return (best.rejected / n_genuine + best.accepted / n_impostor) / 2, best.threshold


def _within(scores: torch.Tensor, low: float, high: float) -> Scores:
    if scores.device.type != "cpu":
        return np.asarray(scores[(scores > low) & (scores < high)].cpu().numpy())
    table = scores.numpy()
    inside = table > low
    inside &= table < high
    return np.asarray(table[inside])


def _ends(scores: Scores) -> tuple[float, float, np.dtype[Any]]:
    return float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf)), scores.dtype


def _shown(at_least: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return which of many thresholds to draw: evenly by rank, and evenly by the logarithm of the false matches."""
    last = len(at_least) - 1
    even = np.linspace(0, last, min(POINTS, last + 1)).round().astype(np.intp)
    wanted = np.geomspace(max(1, at_least[-1]), max(1, at_least[0]), POINTS)
    spaced = np.searchsorted(-at_least, -wanted).clip(0, last)
    return np.unique(np.concatenate([even, spaced]))


def _checked(scores: torch.Tensor) -> torch.Tensor:
    if bool(scores.isnan().any()):
        raise errors.EvaluationError("scores with NaN", why="NaN is neither above a threshold nor below it.")
    return scores


def _vector(values: Embeddings, what: str) -> torch.Tensor:
    """Return a flat tensor over the same memory."""
    scores = tensor_of(values, f"{what} scores")
    if scores.ndim != 1:
        raise errors.EvaluationError(f"{what} scores of shape {list(scores.shape)}", why="Scores are one vector.")
    import torch

    if scores.dtype in (torch.float32, torch.float64):
        return scores
    return scores.to(torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else torch.float64)
