"""Losses between the distributions of two batches, by their moments or a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import match

__all__ = ["coral", "coral_mean", "mkmmd", "mmd", "vicreg", "wkd_f"]


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / max(len(rows) - 1, 1)


def coral(student: Tensor, teacher: Tensor) -> Tensor:
    """Give two batches the same covariance.

    ``|C_s - C_t|_F^2 / (4 d^2)``, unbiased (Sun and Saenko, Deep CORAL, ECCV 2016,
    eq. 1). Gradients reach both sides.

    Args:
        student: ``[B, D]``, ``B`` at least 2.
        teacher: ``[M, D]``; rows need not be partners.
    """
    return (_covariance(student) - _covariance(teacher)).square().sum() / (4 * student.shape[1] ** 2)


def coral_mean(student: Tensor, teacher: Tensor) -> Tensor:
    """Give two batches the same mean and covariance.

    ``mean_d (m_s - m_t)^2 + mean_de (C_s - C_t)^2``: the form of the Transfer Learning
    Library, which adds the means and does not divide by ``4 d^2``.

    Args:
        student: ``[B, D]``, ``B`` at least 2.
        teacher: ``[M, D]``.
    """
    means = (student.mean(0) - teacher.mean(0)).square().mean()
    return means + (_covariance(student) - _covariance(teacher)).square().mean()


def _squared_distances(rows: Tensor) -> Tensor:
    lengths = rows.square().sum(1)
    return (lengths[:, None] + lengths[None] - 2 * rows @ rows.T).clamp(min=0)


def mmd(student: Tensor, teacher: Tensor, *, kernels: int = 5, factor: float = 2.0) -> Tensor:
    """Let no kernel tell two batches apart: biased maximum mean discrepancy.

    ``mean k(s, s') + mean k(t, t') - 2 mean k(s, t)`` with ``k`` the sum of ``exp(-d^2 / bw)``
    over bandwidths ``sigma^2 factor^(i - kernels // 2)``, ``sigma^2`` the mean squared distance
    over all pairs of both batches, taken anew from each batch and detached
    (Gretton et al., JMLR 2012; the form of DeepDA). Gradients reach both sides.

    Args:
        student: ``[B, D]``.
        teacher: ``[M, D]``; rows need not be partners.
        kernels: How many bandwidths.
        factor: Ratio of neighbouring bandwidths.
    """
    rows = torch.cat([student, teacher])
    squares, count = _squared_distances(rows), len(rows)
    base = squares.detach().sum() / (count**2 - count) / factor ** (kernels // 2)
    values = torch.stack([(-squares / (base * factor**i)).exp() for i in range(kernels)]).sum(0)
    n = len(student)
    return values[:n, :n].mean() + values[n:, n:].mean() - values[:n, n:].mean() - values[n:, :n].mean()


def mkmmd(student: Tensor, teacher: Tensor, *, alphas: Sequence[float] = (0.5, 1.0, 2.0)) -> Tensor:
    """Let no kernel tell two batches apart: unbiased multi-kernel discrepancy.

    As ``mmd`` without the diagonals, plus ``2 / (B - 1)``, with kernels ``exp(-d^2 / (2
    alpha mean d^2))`` (Long et al., DAN, ICML 2015; the form of the Transfer Learning
    Library). Gradients reach both sides.

    Args:
        student: ``[B, D]``, ``B`` at least 2.
        teacher: ``[B, D]``.
        alphas: Bandwidths relative to the mean squared distance.
    """
    squares, n = _squared_distances(torch.cat([student, teacher])), len(student)
    mean = squares.detach().mean()
    values = torch.stack([(-squares / (2 * alpha * mean)).exp() for alpha in alphas]).sum(0)
    off = 1 - torch.eye(n, dtype=values.dtype, device=values.device)
    within = ((values[:n, :n] + values[n:, n:]) * off).sum() / (n * (n - 1))
    return within - (values[:n, n:] + values[n:, :n]).mean() + 2 / (n - 1)


def vicreg(
    student: Tensor,
    teacher: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    epsilon: float = 1e-4,
) -> Tensor:
    """Bring partners together while every entry keeps varying and none repeats another.

    ``i mean (s - t)^2 + v/2 sum_z mean_d max(0, 1 - sqrt(var_d z + e)) + c sum_z sum_{d != e}
    C_de^2 / D`` over both sides ``z`` (Bardes, Ponce and LeCun, VICReg, ICLR 2022, eq. 1
    to 6). Gradients reach both sides.

    Args:
        student: ``[B, D]``, ``B`` at least 2.
        teacher: ``[B, D]``, partners row by row.
        invariance_weight: ``i``.
        variance_weight: ``v``.
        covariance_weight: ``c``.
        epsilon: Added to variances.
    """
    match("vicreg", student, teacher)
    total = invariance_weight * F.mse_loss(student, teacher)
    for rows in (student, teacher):
        spread = F.relu(1 - (rows.var(0) + epsilon).sqrt()).mean() / 2
        covariance = _covariance(rows)
        repeated = (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]
        total = total + variance_weight * spread + covariance_weight * repeated
    return total


def wkd_f(
    student: Tensor, teacher: Tensor, *, mean_weight: float = 8.0, grid: int = 1, epsilon: float = 1e-5
) -> Tensor:
    """Give the student the teacher's mean and deviation over places, channel by channel.

    ``mean_weight sum_c (m_s - m_t)^2 + sum_c (d_s - d_t)^2``, averaged over images: the squared
    Wasserstein distance of diagonal Gaussians, the means weighted, unbiased deviations (Lv et al., WKD,
    NeurIPS 2024, released code). No gradient reaches the teacher.

    Args:
        student: ``[B, C, H, W]``.
        teacher: The same shape.
        mean_weight: Weight of the means; the deviations have weight 1.
        grid: Statistics of each cell of a ``grid x grid`` division, averaged over cells.
        epsilon: Added to variances.
    """
    means, deviations = wkd_terms(student, teacher, grid=grid, epsilon=epsilon)
    return mean_weight * means + deviations


def wkd_terms(student: Tensor, teacher: Tensor, *, grid: int = 1, epsilon: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Return the part of the means and that of the deviations of ``wkd_f``."""
    match("wkd_f", student, teacher)
    height, width = student.shape[2:]
    if height % grid or width % grid:
        raise errors.OptionError(
            f"a grid of {grid} was asked for on maps of {height}x{width}.",
            why="Its cells should be of one size.",
            do=f"a divisor of {math.gcd(height, width)}",
        )
    count, parts = height * width // grid**2, []
    for maps in (student, teacher.detach()):
        mean = F.adaptive_avg_pool2d(maps, grid)
        spread = F.adaptive_avg_pool2d((maps - F.interpolate(mean, (height, width))).square(), grid)
        parts.append((mean, (spread * count / max(count - 1, 1) + epsilon).sqrt()))
    (m, d), (n, e) = parts
    cells = len(student) * grid**2
    return (m - n).square().sum() / cells, (d - e).square().sum() / cells
