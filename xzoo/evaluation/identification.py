"""Open-set search: find who is enrolled, and nobody for who is not (ISO/IEC 19795-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, drawn_interval, draws
from xzoo.evaluation.ranking import Searched, search
from xzoo.evaluation.similarity import Embeddings, Labels

__all__ = ["OpenSet", "open_set", "open_set_of"]

FPIRS = (1e-1, 1e-2)


@dataclass(frozen=True, eq=False)
class OpenSet:
    """Figures of a search in which some probes have no mate. Rates are fractions.

    Attributes:
        tpir: For each FPIR the share of mated probes whose mate is among the first ``rank``
            with a score at or above the threshold; FNIR is 1 - TPIR. ``None`` where fewer
            than 1/FPIR probes without mate cannot show such a rate.
        thresholds: For each FPIR the score from which a candidate is returned: the lowest
            allowed score of a mate, or infinity where none is.
        false_positives: For each FPIR the probes without mate that return a candidate.
        n_mated: Probes of subjects in the gallery.
        n_unmated: Probes of others.
        mate: ``[M]`` score of each mated probe's best mate, minus infinity where it is not
            among the first ``rank``.
        other: ``[U]`` best score of each probe without mate.
    """

    tpir: dict[float, float | None]
    thresholds: dict[float, float | None]
    false_positives: dict[float, int | None]
    n_mated: int
    n_unmated: int
    mate: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    _subjects: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] = field(repr=False)

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """Return FPIR and FNIR at one threshold."""
        return float(np.mean(self.other >= threshold)), float(np.mean(self.mate < threshold))

    @cached_property
    def interval(self) -> dict[float, Interval | None]:
        """95 % intervals of each TPIR: probe subjects drawn again 2,000 times, the threshold found anew each time."""
        found: dict[float, Interval | None] = {}
        number = np.unique(np.concatenate(self._subjects), return_inverse=True)[1]
        mated, unmated = number[: self.n_mated], number[self.n_mated :]
        down_other, down_mate = np.argsort(-self.other, kind="stable"), np.argsort(-self.mate, kind="stable")
        mate = self.mate[down_mate]
        drawn: dict[float, list[float]] = {fpir: [] for fpir, rate in self.tpir.items() if rate is not None}
        for weights in draws(int(number.max()) + 1):
            others = np.cumsum(weights[:, unmated[down_other]], axis=1)
            mates = np.cumsum(weights[:, mated[down_mate]], axis=1)
            for fpir, rates in drawn.items():
                for other, own in zip(others, mates, strict=True):
                    if not (other[-1] and own[-1]):
                        continue
                    first = int(np.searchsorted(other, fpir * other[-1] * (1 + 1e-12), "right"))
                    bound = self.other[down_other[first]] if first < len(other) else -np.inf
                    accepted = int(np.searchsorted(-mate, -bound, "left"))  # mates above the first that is too many
                    rates.append(float(own[accepted - 1] / own[-1]) if accepted else 0.0)
        for fpir, rate in self.tpir.items():
            people = len(np.unique(mated))
            found[fpir] = None if rate is None else drawn_interval(np.array(drawn[fpir]), rate, people)
        return found

    @cached_property
    def auc(self) -> float:
        """Area under TPIR over FPIR, trapezoids between thresholds (QMUL-SurvFace): a mate's chance to stand above."""
        below, upto = self._beaten()
        return float((below + upto).mean() / 2 / self.n_unmated)

    @cached_property
    def auc_interval(self) -> Interval:
        """95 % interval of ``auc``: probe subjects drawn again 2,000 times."""
        number = np.unique(np.concatenate(self._subjects), return_inverse=True)[1]
        mated, unmated = number[: self.n_mated], number[self.n_mated :]
        up = np.argsort(self.other, kind="stable")
        below, upto = self._beaten()
        drawn: list[npt.NDArray[np.float64]] = []
        for weights in draws(int(number.max()) + 1):
            own, others = weights[:, mated], np.cumsum(weights[:, unmated[up]], axis=1)
            others = np.concatenate([np.zeros((len(others), 1)), others], axis=1)
            whole = own.sum(1) * others[:, -1]
            sums = (own * (others[:, below] + others[:, upto])).sum(1) / 2
            drawn.append(sums[whole > 0] / whole[whole > 0])
        return drawn_interval(np.concatenate(drawn), self.auc, len(np.unique(mated)))

    def _beaten(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return how many probes without mate score below each mate, and how many no more than it."""
        ranked = np.sort(self.other)
        return np.searchsorted(ranked, self.mate, "left"), np.searchsorted(ranked, self.mate, "right")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What these probes cannot tell, one sentence each."""
        found = []
        for fpir, rate in self.tpir.items():
            few = int(fpir * self.n_unmated * (1 + 1e-12))
            if rate is None:
                found.append(
                    f"TPIR at FPIR {fpir:g} is not reported: {self.n_unmated} probes without mate cannot show a rate "
                    "so small."
                )
            elif few < 30:
                found.append(f"FPIR {fpir:g} is decided by {few} probe{'s' if few > 1 else ''}, fewer than 30.")
        return tuple(found)


def open_set(
    probe: Embeddings,
    gallery: Embeddings,
    probe_subject: Labels,
    gallery_subject: Labels,
    fpirs: Sequence[float] = FPIRS,
    rank: int = 1,
    *,
    block_scores: int | None = None,
    device: str | None = None,
) -> OpenSet:
    """Search a gallery that does not hold everybody, by cosine similarity, exactly.

    The threshold comes from the best scores of probes without mate alone. Ties
    count against the system: a mate stands behind others of equal score.

    Args:
        probe: ``[P, D]``.
        gallery: ``[G, D]``, one row for each enrolled template or image.
        probe_subject: ``[P]``; whoever is not in ``gallery_subject`` has no mate.
        gallery_subject: ``[G]``.
        fpirs: False positive identification rates, each above 0 and at most 1.
        rank: A mate must be among so many best (QMUL-SurvFace: 20).
        block_scores: Scores held at a time; results do not depend on it.
        device: Where to compute; by default where a tensor of the two lies.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without direction,
            no probe with or none without mate, or a rate out of range.
    """
    found = search(
        probe,
        gallery,
        probe_subject,
        gallery_subject,
        rule="regdb",
        others=True,
        sides=("probe", "gallery"),
        block_scores=block_scores,
        device=device,
    )
    return open_set_of(found, fpirs, rank)


def open_set_of(found: Searched, fpirs: Sequence[float] = FPIRS, rank: int = 1) -> OpenSet:
    """Return the figures of a search that kept the best score of others.

    Raises:
        EvaluationError: No probe with or none without mate, or a rate or rank out of range.
    """
    for fpir in fpirs:
        if not 0 < fpir <= 1:
            raise errors.EvaluationError(f"fpir={fpir!r}", why="A rate is above 0 and at most 1.")
    if rank < 1:
        raise errors.EvaluationError(f"rank={rank}", why="Ranks begin at 1.")
    mated = found.mated
    if mated.all() or not mated.any():
        raise errors.EvaluationError(
            f"an open-set search by {len(mated)} probes",
            why=f"{int(mated.sum())} of them have a mate in the gallery: some must have one, and some must not.",
            do="retrieval() measures a search in which everybody is enrolled" if mated.all() else "",
        )
    assert found.other is not None
    mate, other = np.where(found.rank <= rank, found.mate, -np.inf)[mated], found.other[~mated]
    down = np.sort(other)[::-1]
    tpir: dict[float, float | None] = {}
    thresholds: dict[float, float | None] = {}
    false_positives: dict[float, int | None] = {}
    for fpir in fpirs:
        allowed = int(fpir * len(other) * (1 + 1e-12))
        if allowed < 1:
            tpir[fpir] = thresholds[fpir] = false_positives[fpir] = None
            continue
        bound = down[allowed] if allowed < len(down) else -np.inf
        accepted = mate[mate > bound]
        tpir[fpir] = len(accepted) / len(mate)
        threshold = float(accepted.min()) if len(accepted) else float("inf")
        thresholds[fpir] = threshold
        false_positives[fpir] = int(np.count_nonzero(other >= threshold))
    subjects = found.subject[mated], found.subject[~mated]
    return OpenSet(tpir, thresholds, false_positives, len(mate), len(other), mate, other, subjects)
