"""Metric losses over one batch: triplets and their weighted form.

Given two tensors, the rows of both form the batch (two spectra, or a student
and its teacher); the same tensor given twice counts once. ``[B, K, D]`` are K
features of each image, which count as K images of its subject.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Mined", "adaptive_triplet", "distances", "looks", "mined", "together", "triplet", "triplet_wrt"]


def looks(rows: Tensor, *labels: Tensor) -> tuple[Tensor, ...]:
    """Return K features of each image ``[B, K, D]`` as rows ``[B K, D]``, its labels K times; ``[B, D]`` as it is.

    Args:
        rows: ``[B, D]`` or ``[B, K, D]``.
        labels: ``[B]`` each.
    """
    if rows.ndim < 3:
        return rows, *labels
    return rows.flatten(0, 1), *(each.repeat_interleave(rows.shape[1]) for each in labels)


def together(
    student: Tensor, teacher: Tensor | None, labels: Tensor, target_labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the rows of both sides as one batch, with their labels.

    Args:
        student: ``[B, D]``, or ``[B, K, D]`` with K features of each image.
        teacher: ``[M, D]`` or ``[M, K, D]``, or nothing, or the same tensor.
        labels: ``[B]``.
        target_labels: ``[M]``; the same as ``labels`` if not given.
    """
    rows, subjects = looks(student, labels)
    if teacher is None or teacher is student:
        return rows, subjects
    others, theirs = looks(teacher, labels if target_labels is None else target_labels)
    return torch.cat([rows, others]), torch.cat([subjects, theirs])


def distances(rows: Tensor, others: Tensor | None = None) -> Tensor:
    """Return Euclidean distances ``[N, M]``; squares are clamped at 1e-12 before the root."""
    others = rows if others is None else others
    squares = rows.square().sum(1)[:, None] + others.square().sum(1)[None] - 2 * rows @ others.T
    return squares.clamp(min=1e-12).sqrt()


def triplet(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    margin: float = 0.3,
    soft: bool = False,
) -> Tensor:
    """Bring the farthest image of each subject nearer than the nearest stranger.

    ``mean_i max(0, margin + max_p d_ip - min_n d_in)`` over the batch, Euclidean
    distances of rows as they are; ``soft``: ``mean_i ln(1 + exp(max_p d_ip - min_n d_in))``
    (Hermans, Beyer and Leibe, In Defense of the Triplet Loss, arXiv 1703.07737,
    eq. 5). Gradients reach both sides.

    Args:
        student: ``[B, D]``.
        teacher: ``[M, D]``: further rows of the batch.
        labels: ``[B]``, subjects.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        margin: Distance by which strangers should be farther.
        soft: Use the form without margin.
    """
    rows, subjects = together(student, teacher, labels, target_labels)
    apart, same = distances(rows), subjects[:, None] == subjects[None]
    farthest = apart.masked_fill(~same, -torch.inf).amax(1)
    nearest = apart.masked_fill(same, torch.inf).amin(1)
    if soft:
        return F.softplus(farthest - nearest).mean()
    return F.relu(margin + farthest - nearest).mean()


def triplet_wrt(
    student: Tensor, teacher: Tensor | None = None, *, labels: Tensor, target_labels: Tensor | None = None
) -> Tensor:
    """Weigh every pair of an anchor by how hard it is.

    ``mean_i ln(1 + exp(sum_p w_ip d_ip - sum_n w_in d_in))``, ``w_ip`` the softmax of ``d`` over
    rows of the same subject (the anchor among them), ``w_in`` that of ``-d`` over the
    others: the weighted regularised triplet of AGW (Ye et al., TPAMI 2021, eq. 4).
    As in its code ``1e-6`` is added to the sum of weights before division, where
    the largest exponent is taken over ``d`` with zeros in place of other pairs.
    Gradients reach both sides.

    Args:
        student: ``[B, D]``.
        teacher: ``[M, D]``: further rows of the batch.
        labels: ``[B]``, subjects.
        target_labels: ``[M]``; the same as ``labels`` if not given.
    """
    rows, subjects = together(student, teacher, labels, target_labels)
    apart, same = distances(rows), subjects[:, None] == subjects[None]
    positive = (_softmax(apart, same) * apart).sum(1)
    negative = (_softmax(-apart, ~same) * apart).sum(1)
    return F.softplus(positive - negative).mean()


def _softmax(values: Tensor, mask: Tensor) -> Tensor:
    top = (values * mask).amax(1, keepdim=True)
    weights = torch.where(mask, values - top, -torch.inf).exp()
    return weights / (weights.sum(1, keepdim=True) + 1e-6)


def adaptive_triplet(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    labels: Tensor,
    similarity: Tensor | None = None,
    margin: float = 0.3,
    order_weight: float = 0.1,
) -> Tensor:
    """Rank a subject's images by how alike their instructions are.

    With the two farthest positives ``p1, p2`` of an anchor, their instruction similarities
    ``a1, a2``, its nearest negative ``n`` and ``y = -1`` where ``a1 < a2``, else 1: ``mean
    [d_p1 + m (a1 - 1) - d_n + m]_+ + order_weight mean 1[a1 != a2] [-y (d_p2 - d_p1 - m (a1 -
    a2 - y)) + m]_+`` (He et al., Instruct-ReID, CVPR 2024, released code). With
    equal instructions it is the batch-hard ``triplet``.

    Args:
        student: ``[B, D]``, every subject with at least two rows.
        teacher: ``[B, D]``: further rows of the batch.
        labels: ``[B]``, subjects.
        similarity: ``[N, N]`` of the whole batch's instructions; ones if not given.
        margin: ``m``.
        order_weight: Weight of the order of the two positives.
    """
    rows, subjects = together(student, teacher, labels)
    apart, same = distances(rows), subjects[:, None] == subjects[None]
    alike = torch.ones_like(apart) if similarity is None else similarity
    far, which = apart.masked_fill(~same, -torch.inf).topk(2, 1)
    a1, a2 = alike.gather(1, which).unbind(1)
    d1, d2 = far.unbind(1)
    nearest = apart.masked_fill(same, torch.inf).amin(1)
    value = F.relu(d1 + margin * (a1 - 1) - nearest + margin).mean()
    y = torch.where(a1 < a2, -1.0, 1.0).to(rows.dtype)
    order = F.relu(-y * (d2 - d1 - margin * (a1 - a2 - y)) + margin)
    return value + order_weight * torch.where(a1 != a2, order, 0).mean()


class Mined(NamedTuple):
    """Where the hardest partners of a batch come from, as shares of the anchors that have one.

    A share is None where no anchor has such a partner. The chance level is what a partner drawn at random
    among those of its anchor would give: with K images of each subject in each of D domains ``(D - 1) K / (D K - 1)``
    of the positives and ``1 / D`` of the negatives.

    Attributes:
        cross_positive: Anchors whose farthest image of the same subject is of another domain.
        cross_positive_chance: The same for a random one.
        same_negative: Anchors whose nearest image of another subject is of their own domain.
        same_negative_chance: The same for a random one.
    """

    cross_positive: float | None
    cross_positive_chance: float | None
    same_negative: float | None
    same_negative_chance: float | None


@torch.no_grad()
def mined(rows: Tensor, subjects: Tensor, domains: Tensor) -> Mined:
    """Tell of which domain the partners are that batch-hard mining takes (Nanduri et al., arXiv 2503.10931).

    Euclidean distances of rows as they are, as in ``triplet``; an anchor is no partner of itself. The chance level is
    this project's addition: the paper's 92 and 88 % of cross-domain positives have none beside them.

    Args:
        rows: ``[B, D]`` or ``[B, K, D]``.
        subjects: ``[B]``.
        domains: ``[B]``, the spectral band of each row as a number.
    """
    rows, subjects, domains = looks(rows, subjects, domains)
    apart = distances(rows)
    same, near = subjects[:, None] == subjects[None], domains[:, None] == domains[None]
    positive = same & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    hardest = apart.masked_fill(~positive, -torch.inf).argmax(1), apart.masked_fill(same, torch.inf).argmin(1)
    found: list[float | None] = []
    for partner, allowed, wanted in ((hardest[0], positive, ~near), (hardest[1], ~same, near)):
        some = allowed.any(1)
        if not some.any():
            found += [None, None]
            continue
        taken = wanted.gather(1, partner[:, None])[some, 0].double()
        chance = ((allowed & wanted).sum(1).double() / allowed.sum(1))[some]
        found += [taken.mean().item(), chance.mean().item()]
    return Mined(*found)
