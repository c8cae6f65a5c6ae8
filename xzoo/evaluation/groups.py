"""Differential performance: every group at one global threshold (ISO/IEC 19795-10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, wilson
from xzoo.evaluation.similarity import Embeddings, Labels, codes, each_block, images_of, labels, rows_of, twice

if TYPE_CHECKING:
    import torch

__all__ = ["Differential", "Group", "by_group", "differential"]


@dataclass(frozen=True)
class Group:
    """Error counts of the comparisons within one group. Rates are fractions.

    Attributes:
        n_subjects: Subjects of the group.
        n_genuine: Comparisons of one subject with itself.
        n_impostor: Comparisons of two subjects of the group.
        false_rejects: Genuine scores below the threshold.
        false_accepts: Impostor scores at or above it.
    """

    n_subjects: int
    n_genuine: int
    n_impostor: int
    false_rejects: int
    false_accepts: int

    @property
    def fnmr(self) -> float | None:
        """False non-match rate; ``None`` without genuine comparisons."""
        return self.false_rejects / self.n_genuine if self.n_genuine else None

    @property
    def fmr(self) -> float | None:
        """False match rate; ``None`` without impostor comparisons."""
        return self.false_accepts / self.n_impostor if self.n_impostor else None

    @property
    def fnmr_interval(self) -> Interval | None:
        """95 % Wilson interval, comparisons taken for independent."""
        return wilson(self.false_rejects, self.n_genuine) if self.n_genuine else None

    @property
    def fmr_interval(self) -> Interval | None:
        """95 % Wilson interval, comparisons taken for independent."""
        return wilson(self.false_accepts, self.n_impostor) if self.n_impostor else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the group's counts cannot tell, one sentence each."""
        few = [("false rejects", self.false_rejects), ("false accepts", self.false_accepts)]
        return tuple(f"The rate rests on {count} {what}, fewer than 30." for what, count in few if count < 30)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, rates and intervals."""
        rates = {"fnmr": self.fnmr, "fmr": self.fmr}
        ends = {"fnmr_interval": self.fnmr_interval, "fmr_interval": self.fmr_interval}
        return {**asdict(self), **rates, **{key: None if pair is None else list(pair) for key, pair in ends.items()}}


@dataclass(frozen=True)
class Differential:
    """Every group at the one threshold of all comparisons.

    Attributes:
        far: The false accept rate over all comparisons that the threshold keeps.
        threshold: The score from which a pair is accepted, in every group.
        groups: By attribute and value, ``gender=f``.
    """

    far: float
    threshold: float
    groups: Mapping[str, Group]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        groups = {name: group.to_dict() for name, group in self.groups.items()}
        return {"far": self.far, "threshold": self.threshold, "groups": groups}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Differential:
        """Build it from what ``to_dict`` returned; rates and intervals follow from the counts."""
        counts = Group.__dataclass_fields__
        groups = {name: Group(**{key: group[key] for key in counts}) for name, group in facts["groups"].items()}
        return cls(facts["far"], facts["threshold"], groups)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the counts cannot tell: groups whose rates rest on fewer than 30 errors."""
        few = [name for name, group in self.groups.items() if group.warnings]
        return (f"Of groups, rates rest on fewer than 30 errors: {', '.join(few)}.",) if few else ()


def differential(
    embeddings_a: Embeddings,
    embeddings_b: Embeddings,
    subject_a: Labels,
    subject_b: Labels,
    attributes_a: Sequence[str | None],
    attributes_b: Sequence[str | None],
    far: float,
    threshold: float | None,
    *,
    image_a: Labels | None = None,
    image_b: Labels | None = None,
) -> Differential | None:
    """Count the errors of every group that a manifest names, at one threshold for all.

    Args:
        embeddings_a: As for :func:`by_group`, like all that is not named here.
        embeddings_b: The same.
        subject_a: The same.
        subject_b: The same.
        attributes_a: ``[A]`` as ``Row.group`` has them: ``gender=f age=30-39``, or ``None``. A row that does
            not tell an attribute takes no part in its comparisons.
        attributes_b: ``[B]``.
        far: The false accept rate that the threshold keeps over everybody.
        threshold: That of :func:`verification` of everybody, at ``far``.
        image_a: The same.
        image_b: The same.

    Returns:
        ``None`` where nobody's attributes are told, or there is no threshold.
    """
    told_a, told_b = (
        [dict(part.partition("=")[::2] for part in (words or "").split()) for words in side]
        for side in (attributes_a, attributes_b)
    )
    names = sorted({name for words in (*told_a, *told_b) for name in words})
    if not names or threshold is None or not np.isfinite(threshold):
        return None
    groups: dict[str, Group] = {}
    for name in names:
        a, b = (np.array([words.get(name, "") for words in side]) for side in (told_a, told_b))
        found = by_group(
            embeddings_a,
            embeddings_b,
            subject_a,
            subject_b,
            a,
            b,
            threshold,
            image_a=image_a,
            image_b=image_b,
        )
        groups |= {f"{name}={value}" if value else name: found[value] for value in found if value}
    return Differential(far, float(threshold), groups)


def by_group(
    embeddings_a: Embeddings,
    embeddings_b: Embeddings,
    subject_a: Labels,
    subject_b: Labels,
    group_a: Labels,
    group_b: Labels,
    threshold: float,
    same: bool = False,
    *,
    image_a: Labels | None = None,
    image_b: Labels | None = None,
    device: str | None = None,
) -> dict[str, Group]:
    """Count the errors within each group at one threshold for all.

    Take the threshold from :func:`verification` of everybody: a threshold of its
    own for each group hides the differences that are looked for.

    Args:
        embeddings_a: ``[A, D]``.
        embeddings_b: ``[B, D]``.
        subject_a: ``[A]``.
        subject_b: ``[B]``.
        group_a: ``[A]`` names of groups; comparisons across groups are left out.
        group_b: ``[B]``.
        threshold: The score from which a pair is accepted, of the whole.
        same: Both are one set in one order: each pair counts once, no row meets itself.
        image_a: ``[A]`` what image a row shows, where the sets overlap in part: a pair of images counts once,
            and no image meets itself.
        image_b: ``[B]``.
        device: Where to compute.

    Raises:
        EvaluationError: Arrays that do not fit together, embeddings without direction,
            or a threshold that is no number.
    """
    if not np.isfinite(threshold):
        raise errors.EvaluationError(f"threshold={threshold}", why="Groups are compared at a score.")
    a, b = rows_of(embeddings_a, embeddings_b, ("first", "second"), device)
    if same and len(a) != len(b):
        raise errors.EvaluationError(f"same=True with {len(a)} and {len(b)} rows", why="One set has one length.")
    who_a, who_b = codes(labels(subject_a, len(a), "subject_a"), labels(subject_b, len(b), "subject_b"))
    names_a, names_b = labels(group_a, len(a), "group_a"), labels(group_b, len(b), "group_b")
    in_a, in_b = codes(names_a, names_b)
    names: list[Any] = np.unique(np.concatenate([names_a, names_b])).tolist()
    counts = np.zeros((len(names), 4), np.int64)
    images = None if same else images_of(image_a, image_b, len(a), len(b))
    again = None if images is None else twice(*images)

    def work(rows: slice, first: int, scores: torch.Tensor) -> npt.NDArray[np.int64]:
        hit = (scores >= threshold).cpu().numpy()
        wanted = in_a[rows, None] == in_b[None, first:]
        if same:
            wanted &= np.arange(len(hit))[:, None] < np.arange(hit.shape[1])[None]
        if again is not None:
            wanted &= ~again(rows, first)
        mates = who_a[rows, None] == who_b[None, first:]
        found = np.zeros((len(names), 4), np.int64)
        for column, cells in enumerate((mates, ~mates, mates & ~hit, ~mates & hit)):
            found[:, column] = np.bincount(in_a[rows], (cells & wanted).sum(1), len(names))
        return found

    for found in each_block(a, b, work, above=same):
        counts += found
    subjects = [len(np.unique(np.r_[who_a[in_a == place], who_b[in_b == place]])) for place in range(len(names))]
    return {str(name): Group(size, *map(int, row)) for name, size, row in zip(names, subjects, counts, strict=True)}
