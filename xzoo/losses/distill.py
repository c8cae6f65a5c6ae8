"""Losses that hold a student to its teacher's output, entry by entry or by its direction."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.adapt import match

__all__ = ["cosine", "gaussian", "mse"]


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Keep the student's embeddings in the teacher's directions.

    ``mean(1 - cos(student, teacher))`` row by row; no gradient reaches the
    teacher. The preservation term of xEdgeFace and PACT (George, Unal and
    Marcel, SynThermFace, 2026).

    Args:
        student: ``[B, D]``, any length.
        teacher: ``[B, D]``, any length.
    """
    return 1 - F.cosine_similarity(student, teacher.detach()).mean()


def mse(
    student: Tensor,
    teacher: Tensor,
    *,
    reduction: Literal["mean", "batchmean", "sum"] = "mean",
    space: Literal["raw", "unit"] = "raw",
) -> Tensor:
    """Hold every entry of the student's output to the teacher's.

    ``mean`` over all entries of ``(s - t)^2``; ``batchmean`` sums over the entries of
    an image and averages over images; ``sum`` is the form of the RAD baseline
    of Bridge Distillation. No gradient reaches the teacher.

    Args:
        student: ``[B, ...]``.
        teacher: The same shape.
        reduction: How entries and images are joined.
        space: ``unit`` compares directions, normalised over the second axis.
    """
    match("mse", student, teacher)
    if space == "unit":
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    squares = (student - teacher.detach()).square()
    if reduction == "mean":
        return squares.mean()
    return squares.sum() / (len(student) if reduction == "batchmean" else 1)


def gaussian(student: Tensor, teacher: Tensor) -> Tensor:
    """Give the teacher's points together with how sure it is of each.

    ``KL(N(m_t, v_t I) || N(m_s, v_s I)) = D ln(v_s / v_t) / 2 + (D v_t + |m_t - m_s|^2) /
    (2 v_s) - D / 2``, averaged over images and points; the distance between two
    Gaussian landmark heads. No gradient reaches the teacher.

    Args:
        student: ``[B, L, D + 1]``: ``D`` coordinates and the logarithm of the deviation.
        teacher: The same shape.
    """
    match("gaussian", student, teacher)
    size = student.shape[-1] - 1
    mean, log = student[..., :-1], student[..., -1]
    goal, sure = teacher.detach()[..., :-1], teacher.detach()[..., -1]
    distance = (goal - mean).square().sum(-1)
    ratio = size * (2 * (sure - log)).exp() + distance * (-2 * log).exp()
    return (size * (log - sure) + ratio / 2 - size / 2).mean()
