"""Variational information distillation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.losses.adapt import Features, Learned, Resize, levels

__all__ = ["Vid", "vid"]

FLOOR = 1e-5


def vid(mean: Tensor, teacher: Tensor, alpha: Tensor) -> Tensor:
    """Return ``mean((mean - t)^2 / v + ln v) / 2`` with ``v = softplus(alpha) + 1e-5`` per channel.

    Args:
        mean: ``[B, C, ...]``, what the student makes of the teacher's feature.
        teacher: ``[B, C, ...]``; no gradient reaches it.
        alpha: ``[C]``.
    """
    variance = (F.softplus(alpha) + FLOOR).view(1, -1, *[1] * (teacher.ndim - 2))
    return ((mean - teacher.detach()).square() / variance + variance.log()).mean() / 2


class Vid(Learned):
    """Raise a lower bound of the information that the student holds about the teacher.

    ``vid`` with a regressor of three 1x1 convolutions and ReLUs as ``mean`` and one
    learned variance per channel (Ahn et al., Variational Information
    Distillation, CVPR 2019, eq. 4 and 5). ``loss(student, teacher)``: maps ``[B, C, H,
    W]``, resized to the teacher's grid where it differs, or embeddings ``[B, D]``.

    Args:
        variance: Starting variance.
        seed: Draws the starting values.
    """

    def __init__(self, *, variance: float = 5.0, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.variance = variance

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the regressor and the variances."""
        ours, theirs = levels(student)[0].shape, levels(student if teacher is None else teacher)[0].shape
        parts: list[nn.Module] = [Resize(tuple(theirs[2:]))] if ours[2:] != theirs[2:] else []
        for i, width in enumerate((ours[1], theirs[1], theirs[1])):
            parts += [nn.ReLU()] if i else []
            if len(ours) == 2:
                parts.append(nn.Linear(width, theirs[1]))
            else:
                parts.append(nn.Conv2d(width, theirs[1], 1, bias=False))
        self.regressor = nn.Sequential(*parts)
        start = math.log(math.expm1(self.variance - FLOOR))
        self.alpha = nn.Parameter(torch.full((theirs[1],), start))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        return vid(self.regressor(student), teacher, self.alpha)
