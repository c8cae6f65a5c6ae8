"""Closed-set search: who in the gallery does a query look most like."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, by_subject
from xzoo.evaluation.similarity import Embeddings, Labels, codes, each_block, labels, rows_of, sort_flat

if TYPE_CHECKING:
    import torch

__all__ = ["Retrieval", "Rule", "Searched", "means", "retrieval", "search"]

Rule = Literal["market", "llcm", "sysu", "regdb"]
Cameras = npt.NDArray[Any] | None

# Up to so many mates, counting costs less than sorting, even where NumPy sorts with AVX-512.
COUNTED = 70


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Figures of a search, means over the queries that have a mate.

    Attributes:
        cmc: ``[max_rank]``; entry k-1 is the rate of queries whose best mate is among the first k.
        mean_ap: Mean average precision over the whole gallery.
        mean_inp: Mean inverse negative penalty: mates divided by the rank of the last one.
        n_query: Queries with at least one mate left in the gallery.
        n_unmated: Queries without, left out of every mean.
        rank: ``[Q]`` rank of each query's best mate, counted as the CMC counts; 0 without mate.
        average_precision: ``[Q]``, NaN without mate.
        inverse_penalty: ``[Q]``, NaN without mate.
    """

    cmc: npt.NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    n_query: int
    n_unmated: int
    rank: npt.NDArray[np.int64]
    average_precision: npt.NDArray[np.float64]
    inverse_penalty: npt.NDArray[np.float64]
    _subject: npt.NDArray[np.intp] = field(repr=False)

    @cached_property
    def interval(self) -> dict[str, Interval]:
        """95 % intervals of ``rank1``, ``rank5`` ..., ``map`` and ``minp``.

        Query subjects are drawn again with replacement, 2,000 times, each with all
        its queries: images of one person fail together. The gallery stays as it is.
        Where no draw could differ, a rate gets Wilson's interval over subjects.
        """
        mated = self.rank > 0
        ranks = [rank for rank in (1, 5, 10, 20) if rank <= len(self.cmc)]
        values: dict[str, npt.NDArray[Any]] = {f"rank{rank}": self.rank[mated] <= rank for rank in ranks}
        values |= {"map": self.average_precision[mated], "minp": self.inverse_penalty[mated]}
        return by_subject(values, self._subject[mated])

    @cached_property
    def band(self) -> tuple[Interval, ...]:
        """95 % intervals of each entry of ``cmc``, drawn as those of :attr:`interval`."""
        mated = self.rank > 0
        values = {str(rank): self.rank[mated] <= rank for rank in range(1, len(self.cmc) + 1)}
        return tuple(by_subject(values, self._subject[mated]).values())


def retrieval(
    query: Embeddings,
    gallery: Embeddings,
    query_subject: Labels,
    gallery_subject: Labels,
    query_camera: Labels | None = None,
    gallery_camera: Labels | None = None,
    rule: Rule = "market",
    max_rank: int = 20,
    *,
    block_scores: int | None = None,
    device: str | None = None,
) -> Retrieval:
    """Rank the gallery for every query by cosine similarity, exactly.

    Ties count against the query: a mate stands behind every other subject's
    image of equal score, so that a network which gives one embedding to all
    has no success, and order never matters. Memory is one block of scores; a
    side of more than 256 MiB is read from where it lies, again for each block.

    Args:
        query: ``[Q, D]``, float16 or wider: an array, a memory map or a tensor.
        gallery: ``[G, D]``.
        query_subject: ``[Q]`` numbers or names.
        gallery_subject: ``[G]``.
        query_camera: ``[Q]``; without cameras nothing is left out.
        gallery_camera: ``[G]``.
        rule: What a query is not compared with, and what the CMC counts.

            ========  ==============================================  ==============
            rule      not compared                                    CMC ranks
            ========  ==============================================  ==============
            market    same subject seen by the same camera            images
            llcm      same subject seen by the same camera            subjects
            sysu      camera 3 with camera 2, whoever is on it        subjects
            regdb     --                                              images
            ========  ==============================================  ==============

            mAP and mINP always rank images. With the image's own number as its
            camera, ``market`` is leave-one-out. TinyFace is ``regdb`` with a label
            of their own for the distractors.
        max_rank: Length of the CMC; beyond the gallery it stays level.
        block_scores: Scores held at a time; results do not depend on it.
        device: Where to compute; by default where a tensor of the two lies.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without
            direction, an unknown rule, or no query with a mate.
    """
    if max_rank < 1:
        raise errors.EvaluationError(f"max_rank={max_rank}", why="A CMC has at least one rank.")
    found = search(
        query,
        gallery,
        query_subject,
        gallery_subject,
        query_camera,
        gallery_camera,
        rule,
        block_scores=block_scores,
        device=device,
    )
    return means(found, max_rank)


@dataclass(frozen=True, eq=False)
class Searched:
    """What each query met in the gallery, after what the rule leaves out.

    Attributes:
        subject: ``[Q]`` number of the query's subject.
        rank: ``[Q]`` rank of its best mate, counted as the CMC counts; 0 without mate.
        average_precision: ``[Q]``, NaN without mate.
        inverse_penalty: ``[Q]``, NaN without mate.
        mate: ``[Q]`` score of its best mate, minus infinity without.
        other: ``[Q]`` best score of anybody else, minus infinity if there is nobody; ``None``
            unless it was asked for.
        truncated: For each depth asked for ``[Q]`` average precision that counts only mates
            among so many first images, divided by all mates.
        n_gallery: Images, or templates, searched.
    """

    subject: npt.NDArray[np.intp]
    rank: npt.NDArray[np.int64]
    average_precision: npt.NDArray[np.float64]
    inverse_penalty: npt.NDArray[np.float64]
    mate: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64] | None
    truncated: dict[int, npt.NDArray[np.float64]]
    n_gallery: int

    @property
    def mated(self) -> npt.NDArray[np.bool_]:
        """``bool [Q]``: the query has a mate that it may be compared with."""
        return self.rank > 0


def search(
    query: Embeddings,
    gallery: Embeddings,
    query_subject: Labels,
    gallery_subject: Labels,
    query_camera: Labels | None = None,
    gallery_camera: Labels | None = None,
    rule: Rule = "market",
    *,
    others: bool = False,
    depths: Sequence[int] = (),
    sides: tuple[str, str] = ("query", "gallery"),
    block_scores: int | None = None,
    device: str | None = None,
) -> Searched:
    """Rank the gallery for every query, as :func:`retrieval`, and keep what each one met.

    Args:
        query: As for :func:`retrieval`, like all that is not named here.
        gallery: The same.
        query_subject: The same.
        gallery_subject: The same.
        query_camera: The same.
        gallery_camera: The same.
        rule: The same.
        others: Also keep the best score of anybody else.
        depths: Also keep average precisions cut at these ranks.
        sides: What the two are called in an error.
        block_scores: As for :func:`retrieval`.
        device: The same.

    Raises:
        EvaluationError: As :func:`retrieval`, but queries need not have a mate.
    """
    if rule not in get_args(Rule):
        raise errors.EvaluationError(f"rule {rule!r}", why="No such rule.", exists=", ".join(get_args(Rule)))
    q, g = rows_of(query, gallery, sides, device)
    q_subject, g_subject = codes(
        labels(query_subject, len(q), f"{sides[0]}_subject"), labels(gallery_subject, len(g), f"{sides[1]}_subject")
    )
    q_camera, g_camera = _cameras(rule, query_camera, gallery_camera, len(q), len(g))

    # With the gallery in order of subject, mates are one slice and a subject's best score is one reduction.
    order = np.argsort(g_subject, kind="stable")
    g.reorder(order)
    g_subject = g_subject[order]
    g_camera = None if g_camera is None else g_camera[order]
    first, last = np.searchsorted(g_subject, q_subject, "left"), np.searchsorted(g_subject, q_subject, "right")
    # Queries with equally many mates follow one another: they are counted together.
    turn = np.argsort(last - first - _left_out(rule, q_subject, g_subject, q_camera, g_camera), kind="stable")
    q.reorder(turn)
    plan = _Search(
        first=first[turn],
        last=last[turn],
        starts=np.flatnonzero(np.r_[True, g_subject[1:] != g_subject[:-1]]),
        rule=rule,
        q_camera=None if q_camera is None else q_camera[turn],
        g_camera=g_camera,
        others=others,
        depths=tuple(depths),
    )
    rank, table = np.zeros(len(q), np.int64), np.full((4 + len(depths), len(q)), np.nan)

    def work(rows: slice, _: int, scores: torch.Tensor) -> None:
        rank[turn[rows]], table[:, turn[rows]] = plan.ranks(rows, scores)

    for _ in each_block(q, g, work, block_scores):
        pass
    cut = dict(zip(depths, table[4:], strict=True))
    return Searched(q_subject, rank, table[0], table[1], table[2], table[3] if others else None, cut, len(g))


def means(found: Searched, max_rank: int) -> Retrieval:
    """Return the figures of a search.

    Raises:
        EvaluationError: No query has a mate.
    """
    n_query = int(np.count_nonzero(found.rank))
    if not n_query:
        raise errors.EvaluationError(
            f"a search by {len(found.rank)} queries in a gallery of {found.n_gallery}",
            why="No query has a mate in the gallery that it may be compared with.",
            do="check that both sides name subjects alike, and what the rule leaves out",
        )
    cmc = np.cumsum(np.bincount(found.rank, minlength=max_rank + 1)[1 : max_rank + 1]) / n_query
    return Retrieval(
        cmc,
        float(np.nansum(found.average_precision)) / n_query,
        float(np.nansum(found.inverse_penalty)) / n_query,
        n_query,
        len(found.rank) - n_query,
        found.rank,
        found.average_precision,
        found.inverse_penalty,
        found.subject,
    )


@dataclass(frozen=True)
class _Search:
    """What is known about a search before any score is."""

    first: npt.NDArray[np.intp]  # [Q] where a query's mates begin in the gallery
    last: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]  # [S] where each gallery subject begins
    rule: str
    q_camera: Cameras
    g_camera: Cameras
    others: bool
    depths: tuple[int, ...]

    def ranks(self, rows: slice, scores: torch.Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return best rank (0 without mate) and what :class:`Searched` keeps of some rows; the scores are used up.

        The second is ``[4 + depths, rows]``: AP, inverse penalty, best mate, best other, truncated APs.
        """
        import torch

        n = len(scores)
        many = self.last[rows] - self.first[rows]
        # The places of all mates, one row after the other.
        row = np.repeat(np.arange(n), many)
        place = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        column = place + np.repeat(self.first[rows], many)

        def at(*where: npt.NDArray[np.intp]) -> tuple[torch.Tensor, ...]:
            return tuple(torch.from_numpy(index).to(scores.device) for index in where)

        if self.q_camera is not None and self.g_camera is not None:
            if self.rule == "sysu":
                third, second = np.flatnonzero(self.q_camera[rows] == 3), np.flatnonzero(self.g_camera == 2)
                if len(third) and len(second):
                    scores[at(third[:, None], second[None])] = -torch.inf
            else:
                apart = self.g_camera[column] == self.q_camera[rows][row]
                scores[at(row[apart], column[apart])] = -torch.inf
        mates = torch.full((n, max(1, int(many.max(initial=0)))), -torch.inf, dtype=scores.dtype, device=scores.device)
        own = at(row, column)
        mates[at(row, place)] = scores[own]
        other = torch.full((n,), -torch.inf, dtype=scores.dtype, device=scores.device)
        if self.others:
            mine = scores[own]
            scores[own] = -torch.inf
            other = scores.max(1).values
            scores[own] = mine
        mates = mates.sort(dim=1).values

        best, width = mates[:, -1:].clone(), mates.shape[1]
        subjects = self._subjects(scores, best) if self.rule in ("llcm", "sysu") else None
        real = mates > -torch.inf
        count = real.sum(1)
        # Scores at least as good as each mate, less the mates among them, are the others that stand before it.
        before = _at_least(scores, mates, count.cpu().numpy()) - (width - torch.searchsorted(mates, mates))
        number = width - torch.arange(width, device=mates.device)
        rank = (number + before).double()
        worst = torch.where(real, rank, 0).max(1).values

        def precision(depth: float) -> torch.Tensor:
            # Summed in order, so that the padding, which differs from block to block, changes nothing.
            return torch.where(real & (rank <= depth), number / rank, 0).cumsum(1)[:, -1] / count

        first = rank[:, -1] if subjects is None else subjects
        first = torch.where(count > 0, first, 0)
        kept = [precision(torch.inf), count / worst, best[:, 0], other, *map(precision, self.depths)]
        return first.long().cpu().numpy(), np.stack([column.double().cpu().numpy() for column in kept])

    def _subjects(self, scores: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        """Return how many subjects have an image at least as good as the true subject's best, which is one of them."""
        import torch

        if scores.device.type == "cpu":
            each = torch.from_numpy(np.maximum.reduceat(scores.numpy(), self.starts, axis=1))
        else:
            sizes = np.diff(np.r_[self.starts, scores.shape[1]])
            lengths = torch.from_numpy(sizes).to(scores.device).expand(len(scores), -1).contiguous()
            each = torch.segment_reduce(scores, "max", lengths=lengths, axis=1)
        return (each >= best).sum(1)


def _at_least(scores: torch.Tensor, values: torch.Tensor, many: npt.NDArray[np.intp]) -> torch.Tensor:
    """Return ``int64 [N, M]``: how many of a row's scores are at least each of its values.

    Few values are counted one by one, which costs less than to sort the row; many
    are found in the sorted row. Both ways are exact.

    Args:
        scores: ``[N, G]``, used up.
        values: ``[N, M]``, ascending; the last ``many`` of a row are wanted.
        many: ``[N]``.
    """
    import torch

    if scores.device.type != "cpu" or many.mean() > COUNTED:
        return scores.shape[1] - torch.searchsorted(sort_flat(scores), values)
    found = torch.zeros(values.shape, dtype=torch.int64)
    _compiled()(scores.numpy(), values.numpy(), many, found.numpy())
    return found


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return :func:`_count` as machine code, kept on disk for the next process where a folder can be written to."""
    import numba

    try:
        made = numba.njit(nogil=True, cache=True)(_count)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(nogil=True)(_count)
    return cast("Callable[..., None]", made)


def _count(
    scores: npt.NDArray[Any], values: npt.NDArray[Any], many: npt.NDArray[np.intp], found: npt.NDArray[np.int64]
) -> None:
    """Fill the last ``many`` columns of ``found`` as :func:`_at_least` says, and perhaps some before them.

    Four values are compared at a time with a score that has been read. The sums
    are of 32 bits, as wide as a score, so that they fill a vector as it does.
    """
    one, none = np.int32(1), np.int32(0)
    last = values.shape[1] - 1
    for row in range(len(scores)):
        line, least, counts = scores[row], values[row], found[row]
        for end in range(last, last - many[row], -4):
            # Before the first column the first one is counted once more.
            b, c, d = max(end - 1, 0), max(end - 2, 0), max(end - 3, 0)
            t0, t1, t2, t3 = least[end], least[b], least[c], least[d]
            n0, n1, n2, n3 = none, none, none, none
            for at in range(len(line)):
                score = line[at]
                n0 = np.int32(n0 + (one if score >= t0 else none))
                n1 = np.int32(n1 + (one if score >= t1 else none))
                n2 = np.int32(n2 + (one if score >= t2 else none))
                n3 = np.int32(n3 + (one if score >= t3 else none))
            counts[end], counts[b], counts[c], counts[d] = n0, n1, n2, n3


def _left_out(
    rule: Rule, q_subject: npt.NDArray[np.intp], g_subject: npt.NDArray[np.intp], q_camera: Cameras, g_camera: Cameras
) -> npt.NDArray[np.intp]:
    """Return ``[Q]`` how many mates the rule keeps a query from, where cameras alone decide it; else zeros."""
    if rule == "sysu" or q_camera is None or g_camera is None:
        return np.zeros(len(q_subject), np.intp)
    q_seen, g_seen = codes(q_camera, g_camera)
    seen = int(max(q_seen.max(), g_seen.max())) + 1
    wanted, there = q_subject * seen + q_seen, np.sort(g_subject * seen + g_seen)
    return there.searchsorted(wanted, "right") - there.searchsorted(wanted, "left")


def _cameras(
    rule: Rule, query: Labels | None, gallery: Labels | None, n_query: int, n_gallery: int
) -> tuple[Cameras, Cameras]:
    """Return both camera vectors as the rule needs them: both, or neither."""
    if (query is None) != (gallery is None) or (rule == "sysu" and query is None):
        missing = "query_camera" if query is None else "gallery_camera"
        raise errors.EvaluationError(f"rule {rule!r} without {missing}", why="It compares the cameras of both sides.")
    if rule == "regdb" or query is None or gallery is None:
        return None, None
    return labels(query, n_query, "query_camera"), labels(gallery, n_gallery, "gallery_camera")
