"""Losses that pull one person's spectra together and push people apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.metric import together

__all__ = ["bicross_nce", "contrastive_cosine", "contrastive_cosine_all", "infonce", "infonce_x", "ntxent", "supcon"]


def contrastive_cosine(source: Tensor, target: Tensor, *, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Align labelled pairs by their cosine.

    ``mean(y (1 - c) + (1 - y) max(0, c - margin))`` with ``c = cos(source,
    target)`` row by row and ``y`` = 1 for the same subject. The alignment term
    of xEdgeFace (George and Marcel, arXiv 2504.19646), equal to torch's cosine
    embedding loss with targets ``2y - 1``.

    Args:
        source: ``[B, D]``, any length; only directions count.
        target: ``[B, D]``, row by row the partner of ``source``.
        labels: ``[B]``, 1 or true for the same subject, else 0.
        margin: Cosine that a pair of different subjects may keep.
    """
    return F.cosine_embedding_loss(source, target, 2 * labels.to(source.dtype) - 1, margin=margin)


def contrastive_cosine_all(
    source: Tensor,
    target: Tensor,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    margin: float = 0.0,
    positive: float = 0.5,
) -> Tensor:
    """Align all pairs across a batch by their cosine.

    ``positive * mean over same (1 - c_ij) + (1 - positive) * mean over others max(0, c_ij - margin)`` with
    ``c_ij = cos(source_i, target_j)``: what ``contrastive_cosine`` is on average over labelled pairs of which the share
    ``positive`` shows one subject. All cross pairs with a mask of subjects are how the institute of xEdgeFace's authors
    draws pairs in a later release (there by Euclidean distance); the balance of the two means is this project's.

    Args:
        source: ``[N, D]``, any length; only directions count.
        target: ``[M, D]``.
        labels: ``[N]``, the subject of each source row; equal numbers are partners.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        margin: Cosine that a pair of different subjects may keep.
        positive: Share that pairs of one subject have in the sum, 0 to 1.
    """
    others = labels if target_labels is None else target_labels
    same = labels[:, None] == others[None, :]
    cosines = F.normalize(source, dim=1) @ F.normalize(target, dim=1).T
    pulled = (1 - cosines).masked_fill(~same, 0).sum() / same.sum().clamp(min=1)
    pushed = (cosines - margin).clamp(min=0).masked_fill(same, 0).sum() / (~same).sum().clamp(min=1)
    return positive * pulled + (1 - positive) * pushed


def infonce(
    source: Tensor, target: Tensor, *, labels: Tensor, target_labels: Tensor | None = None, temperature: float = 0.07
) -> Tensor:
    """Pick a row's partners out of the batch, in both directions.

    With unit vectors and ``s_ij = cos(target_i, source_j) / temperature``:
    ``L_i = -log(sum over j of the same subject of exp s_ij / sum over all j of
    exp s_ij)``, averaged over rows, then over the two directions. The symmetric
    multi-positive InfoNCE of PACT (George, Unal and Marcel, SynThermFace, 2026).

    Args:
        source: ``[N, D]``, any length; only directions count.
        target: ``[M, D]``; every row has a partner in ``source``, and the reverse.
        labels: ``[N]``, the subject of each source row; equal numbers are partners.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        temperature: Divides the cosines; smaller looks harder at the nearest.
    """
    others = labels if target_labels is None else target_labels
    scores = F.normalize(target, dim=1) @ F.normalize(source, dim=1).T / temperature
    partners = scores.masked_fill(others[:, None] != labels[None, :], -torch.inf)
    across = scores.logsumexp(1) - partners.logsumexp(1)
    down = scores.logsumexp(0) - partners.logsumexp(0)
    return (across.mean() + down.mean()) / 2


def infonce_x(student: Tensor, teacher: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Pick each row's one partner out of the batch, in both directions.

    ``(CE(S, I) + CE(S^T, I)) / 2`` with ``S = cos(s_i, t_j) / temperature``: ``infonce`` where
    every row is a subject of its own (van den Oord et al., arXiv 1807.03748).
    Gradients reach both sides.

    Args:
        student: ``[B, D]``; only directions count.
        teacher: ``[B, D]``, partners row by row.
        temperature: Divides the cosines.
    """
    return infonce(student, teacher, labels=torch.arange(len(student), device=student.device), temperature=temperature)


def bicross_nce(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Pick the student's row that belongs to each teacher row, by inner products.

    ``CE(T S^T / temperature, I)``, one direction, no normalisation: the contrast of
    BiCross' first hop (arXiv 2208.12527, released code). Gradients reach both sides.

    Args:
        student: ``[B, D]``.
        teacher: ``[B, D]``, partners row by row.
        temperature: Divides the inner products.
    """
    scores = teacher @ student.T / temperature
    return F.cross_entropy(scores, torch.arange(len(student), device=student.device))


def supcon(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """Gather each subject's images of every spectrum, away from all others.

    ``mean_i -mean_{p in P(i)} ln(exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t))`` over rows
    that have a partner (Khosla et al., Supervised Contrastive Learning, NeurIPS
    2020, eq. 2). Gradients reach both sides.

    Args:
        student: ``[B, D]``; only directions count.
        teacher: ``[M, D]``: further rows of the batch, such as another spectrum; the
            same tensor given twice counts once.
        labels: ``[B]``, subjects.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        temperature: ``t``.
    """
    rows, subjects = together(student, teacher, labels, target_labels)
    scores, positive, itself = _alike(rows, subjects, temperature)
    chance = scores - scores.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    count = positive.sum(1)
    values = -(chance * positive).sum(1) / count.clamp(min=1)
    return values.sum() / (count > 0).sum().clamp(min=1)


def ntxent(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    temperature: float = 0.07,
) -> Tensor:
    """Tell each pair of a subject from the anchor's strangers.

    ``mean over positive pairs (i, p) of -ln(exp(z_i.z_p / t) / (exp(z_i.z_p / t) + sum_n
    exp(z_i.z_n / t)))`` (Sohn, NIPS 2016; Chen et al., SimCLR, ICML 2020, for any number of
    positives). Gradients reach both sides.

    Args:
        student: ``[B, D]``; only directions count.
        teacher: ``[M, D]``: further rows of the batch; the same tensor given twice counts once.
        labels: ``[B]``, subjects.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        temperature: ``t``.
    """
    rows, subjects = together(student, teacher, labels, target_labels)
    scores, positive, itself = _alike(rows, subjects, temperature)
    strangers = scores.masked_fill(positive | itself, -torch.inf).logsumexp(1, keepdim=True)
    values = torch.logaddexp(scores, strangers.expand_as(scores)) - scores
    return (values * positive).sum() / positive.sum().clamp(min=1)


def _alike(rows: Tensor, subjects: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, which pairs share a subject, and the diagonal."""
    unit = F.normalize(rows, dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return unit @ unit.T / temperature, (subjects[:, None] == subjects[None]) & ~itself, itself
