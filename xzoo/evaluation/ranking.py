"""Closed-set search: who in the gallery does a query look most like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.similarity import BLOCK_SCORES, Embeddings, Labels, codes, labels, score_blocks, unit_rows

__all__ = ["Retrieval", "Rule", "retrieval"]

Rule = Literal["market", "llcm", "sysu", "regdb"]
Cameras = npt.NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Figures of a search, means over the queries that have a mate.

    Attributes:
        cmc: ``[max_rank]``; entry k-1 is the rate of queries whose best mate is among the first k.
        mean_ap: Mean average precision over the whole gallery.
        mean_inp: Mean inverse negative penalty: mates divided by the rank of the last one.
        n_query: Queries with at least one mate left in the gallery.
        n_unmated: Queries without, left out of every mean.
    """

    cmc: npt.NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    n_query: int
    n_unmated: int


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
    block_scores: int = BLOCK_SCORES,
) -> Retrieval:
    """Rank the gallery for every query by cosine similarity, exactly.

    Ties count against the query: a mate stands behind every other subject's
    image of equal score, so that a network which gives one embedding to all
    has no success, and order never matters.

    Args:
        query: ``[Q, D]``.
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
            camera, ``market`` is leave-one-out.
        max_rank: Length of the CMC.
        block_scores: Scores held at a time; results do not depend on it.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without
            direction, an unknown rule, or no query with a mate.
    """
    if rule not in get_args(Rule):
        raise errors.EvaluationError(f"rule {rule!r}", why="No such rule.", exists=", ".join(get_args(Rule)))
    if max_rank < 1:
        raise errors.EvaluationError(f"max_rank={max_rank}", why="A CMC has at least one rank.")
    q, g = unit_rows(query, "query"), unit_rows(gallery, "gallery")
    if q.shape[1] != g.shape[1]:
        raise errors.EvaluationError(
            f"query embeddings of {q.shape[1]} numbers, gallery of {g.shape[1]}", why="One network makes both."
        )
    q_subject, g_subject = codes(
        labels(query_subject, len(q), "query_subject"), labels(gallery_subject, len(g), "gallery_subject")
    )
    q_camera, g_camera = _cameras(rule, query_camera, gallery_camera, len(q), len(g))

    # With the gallery in order of subject, mates are one slice and a subject's best score is one reduction.
    order = np.argsort(g_subject, kind="stable")
    g, g_subject = g[order], g_subject[order]
    g_camera = None if g_camera is None else g_camera[order]
    starts = np.flatnonzero(np.r_[True, g_subject[1:] != g_subject[:-1]])
    first, last = np.searchsorted(g_subject, q_subject, "left"), np.searchsorted(g_subject, q_subject, "right")

    hits = np.zeros(max_rank + 1)
    sum_ap = sum_inp = 0.0
    n_query = 0
    for rows, scores in score_blocks(q, g, block_scores):
        for number, row in zip(range(rows.start, rows.stop), scores, strict=True):
            own = slice(first[number], last[number])
            if q_camera is not None and g_camera is not None:
                if rule == "sysu":
                    row[(q_camera[number] == 3) & (g_camera == 2)] = -np.inf
                else:
                    row[own][g_camera[own] == q_camera[number]] = -np.inf
            mates = row[own]
            mates = np.sort(mates[mates > -np.inf])[::-1]
            if not len(mates):
                continue
            others = np.sort(np.concatenate([row[: own.start], row[own.stop :]]))
            rank = np.arange(1, len(mates) + 1) + len(others) - np.searchsorted(others, mates, "left")
            if rule in ("llcm", "sysu"):
                # The true subject's own best is one of those counted, so this is already its rank.
                found = int(np.count_nonzero(np.maximum.reduceat(row, starts) >= mates[0]))
            else:
                found = int(rank[0])
            hits[min(found, max_rank + 1) - 1] += 1
            sum_ap += float(np.mean(np.arange(1, len(mates) + 1) / rank))
            sum_inp += len(mates) / int(rank[-1])
            n_query += 1
    if not n_query:
        raise errors.EvaluationError(
            f"a search by {len(q)} queries in a gallery of {len(g)}",
            why="No query has a mate in the gallery that it may be compared with.",
            do="check that both sides name subjects alike, and what the rule leaves out",
        )
    cmc = np.cumsum(hits[:max_rank]) / n_query
    return Retrieval(cmc, sum_ap / n_query, sum_inp / n_query, n_query, len(q) - n_query)


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
