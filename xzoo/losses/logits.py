"""Losses between the class scores of a student and a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.adapt import match

__all__ = ["ce", "dist", "dkd", "kd", "kd_logit_std"]


def ce(student: Tensor, teacher: Tensor | None = None, *, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Say the class of each image: plain cross entropy.

    Args:
        student: Logits ``[B, K]``.
        teacher: Not looked at.
        labels: ``[B]``, the class of each row; -1 is left out.
        label_smoothing: Share of the target spread over all classes.
    """
    return F.cross_entropy(student, labels.long(), ignore_index=-1, label_smoothing=label_smoothing)


def kd(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Give the teacher's softened class probabilities.

    ``T^2 / B sum_b KL(softmax(t_b / T) || softmax(s_b / T))`` (Hinton, Vinyals
    and Dean, arXiv 1503.02531, section 2). No gradient reaches the teacher.

    Args:
        student: Logits ``[B, K]``, or ``[B, K, ...]`` where every place is a row.
        teacher: Logits of the same shape.
        temperature: Softens both; the square keeps the gradient's size.
    """
    match("kd", student, teacher)
    ours = F.log_softmax(student / temperature, 1)
    theirs = F.softmax(teacher.detach() / temperature, 1)
    rows = student.numel() // student.shape[1]
    return F.kl_div(ours, theirs, reduction="sum") * temperature**2 / rows


def kd_logit_std(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Give the teacher's probabilities after both rows are brought to one scale.

    ``kd`` on ``(z - mean z) / (std z + 1e-7)`` row by row, unbiased deviation
    (Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024).

    Args:
        student: Logits ``[B, K]``.
        teacher: Logits ``[B, K]``.
        temperature: As in ``kd``.
    """
    ours, theirs = ((z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7) for z in (student, teacher))
    return kd(ours, theirs, temperature=temperature)


def dkd(
    student: Tensor, teacher: Tensor, *, labels: Tensor, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0
) -> Tensor:
    """Give the teacher's opinion of the right class and of the others separately.

    ``T^2 / B sum_b (alpha TCKD_b + beta NCKD_b)`` with ``TCKD`` the KL divergence of
    ``(p_y, 1 - p_y)`` and ``NCKD`` that of the softmax over the classes other than
    ``y`` (Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, eq. 7). Both
    are computed from differences of ``logsumexp``, so no logit overflows.

    Args:
        student: Logits ``[B, K]``, ``K`` at least 2.
        teacher: Logits ``[B, K]``.
        labels: ``[B]``, the right class of each row.
        alpha: Weight of the target class part.
        beta: Weight of the part of the other classes.
        temperature: Softens both.
    """
    match("dkd", student, teacher)
    target = labels.long()[:, None]
    places = torch.arange(student.shape[1] - 1, device=student.device)[None]
    others = places + (places >= target).long()
    binary, rest = [], []
    for logits in (student / temperature, teacher.detach() / temperature):
        total, without = logits.logsumexp(1, keepdim=True), logits.gather(1, others)
        binary.append(torch.cat([logits.gather(1, target), without.logsumexp(1, keepdim=True)], 1) - total)
        rest.append(F.log_softmax(without, 1))
    tckd = F.kl_div(binary[0], binary[1], reduction="batchmean", log_target=True)
    nckd = F.kl_div(rest[0], rest[1], reduction="batchmean", log_target=True)
    return (alpha * tckd + beta * nckd) * temperature**2


def dist(
    student: Tensor, teacher: Tensor, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """Keep the teacher's order of classes for an image and of images for a class.

    ``T^2 (beta mean_b (1 - rho(s_b, t_b)) + gamma mean_k (1 - rho(s_:k, t_:k)))`` with
    Pearson's ``rho`` of softened probabilities (Huang et al., DIST, NeurIPS 2022).

    Args:
        student: Logits ``[B, K]``.
        teacher: Logits ``[B, K]``.
        beta: Weight of the correlation over classes.
        gamma: Weight of the correlation over the images of the batch.
        temperature: Softens both.
    """
    match("dist", student, teacher)
    ours, theirs = F.softmax(student / temperature, 1), F.softmax(teacher.detach() / temperature, 1)
    inter, intra = 1 - _pearson(ours, theirs).mean(), 1 - _pearson(ours.T, theirs.T).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1, eps=1e-8)
