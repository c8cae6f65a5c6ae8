"""Losses between intermediate features: hints, attention, neurons and levels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Adapted, Features, When, adapter, levels, match

__all__ = ["Fitnets", "FpnMimic", "SimKd", "at", "attention", "nst"]


def _paired(student: Features, teacher: Features) -> list[tuple[Tensor, Tensor]]:
    return list(zip(levels(student), levels(teacher), strict=True))


def _same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the larger of two maps to the grid of the smaller."""
    for maps in (student, teacher):
        if maps.ndim != 4:
            raise errors.OptionError(
                f"a loss of maps got a tensor of shape {list(maps.shape)}.",
                why="It looks at places, so it needs [B, C, H, W].",
                do="choose a module before the pooling, or a loss of embeddings",
            )
    (a, b), (c, d) = student.shape[-2:], teacher.shape[-2:]
    if a > c:
        return F.adaptive_avg_pool2d(student, (c, d)), teacher
    if a < c:
        return student, F.adaptive_avg_pool2d(teacher, (a, b))
    return student, teacher


def hint_regressor(student: torch.Size, teacher: torch.Size, *, when: When = "auto") -> nn.Module:
    """Make the regressor of FitNets between two maps, chosen by their grids.

    Half the grid: a 3x3 convolution of stride 2. Twice: a 4x4 transposed one.
    Smaller otherwise: an unpadded convolution that just covers the difference.
    Then batch normalisation and ReLU. Other features, and grids that none of
    these fits, get the plain ``adapter``.
    """
    (s, t) = (int(student[-1]), int(teacher[-1]))
    square = len(student) == 4 and student[-1] == student[-2] and teacher[-1] == teacher[-2]
    if not square or when == "never" or (student[1:] == teacher[1:] and when != "always"):
        return adapter(student, teacher, relu=True, when=when)
    if s == 2 * t:
        layer: nn.Module = nn.Conv2d(student[1], teacher[1], 3, stride=2, padding=1)
    elif 2 * s == t:
        layer = nn.ConvTranspose2d(student[1], teacher[1], 4, stride=2, padding=1)
    elif s >= t:
        layer = nn.Conv2d(student[1], teacher[1], 1 + s - t)
    else:
        return adapter(student, teacher, relu=True, when=when)
    return nn.Sequential(layer, nn.BatchNorm2d(teacher[1]), nn.ReLU())


class Fitnets(Adapted):
    """Hold a hidden feature of the student to one of the teacher.

    ``mean (Reg(f_s) - f_t)^2`` (Romero et al., FitNets, ICLR 2015, eq. 3), with
    ``hint_regressor`` as ``Reg``. ``loss(student, teacher)``: ``[B, C, H, W]``,
    ``[B, N, C]`` or ``[B, D]``. No gradient reaches the teacher.

    Args:
        adapter: ``auto`` learns ``Reg`` where the shapes differ, ``always`` also where they agree.
        seed: Draws its starting values.
    """

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the regressor."""
        ours, theirs = levels(student)[0], levels(student if teacher is None else teacher)[0]
        self.adapt = hint_regressor(ours.shape, theirs.shape, when=self.when)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        return F.mse_loss(self.adapt(student), teacher.detach())


def attention(maps: Tensor, power: float = 2.0) -> Tensor:
    """Return where a map is active: ``unit(flatten(mean_c |f|^power))``, ``[B, H W]``."""
    return F.normalize(maps.abs().pow(power).mean(1).flatten(1), dim=1)


def at(student: Features, teacher: Features, *, power: float = 2.0, form: Literal["code", "paper"] = "code") -> Tensor:
    """Look where the teacher looks.

    With ``a`` of ``attention``: ``mean (a_s - a_t)^2`` over images and places, the
    form of the released code; or ``sum_b |a_s - a_t|_2 / B``, the paper's
    (Zagoruyko and Komodakis, Attention Transfer, ICLR 2017, eq. 2). The larger map
    is pooled to the smaller grid; channels may differ; lists of levels are
    summed. No gradient reaches the teacher.

    Args:
        student: ``[B, C, H, W]``, or a list of levels.
        teacher: ``[B, D, h, w]``, or as many levels.
        power: Exponent of the activations.
        form: Which of the two.
    """
    total = torch.zeros(())
    for level, (ours, theirs) in enumerate(_paired(student, teacher)):
        ours, theirs = _same_grid(ours, theirs.detach())
        difference = attention(ours, power) - attention(theirs, power)
        value = difference.square().mean() if form == "code" else difference.norm(dim=1).mean()
        total = value if level == 0 else total + value
    return total


def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Keep the distribution of single neurons' activation patterns.

    ``mean k(t, t') + mean k(s, s') - 2 mean k(s, t)`` over the channels of an image, with
    ``k(a, b) = (a . b)^2`` of maps flattened to unit length: the squared maximum mean
    discrepancy with a polynomial kernel (Huang and Wang, Neuron Selectivity
    Transfer, arXiv 1707.01219, eq. 4 and 7). The larger map is pooled to the
    smaller grid. No gradient reaches the teacher.

    Args:
        student: ``[B, C, H, W]``.
        teacher: ``[B, D, h, w]``.
    """
    ours, theirs = _same_grid(student, teacher.detach())
    ours, theirs = (F.normalize(x.flatten(2), dim=2) for x in (ours, theirs))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.transpose(1, 2)).square().mean()

    return kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)


class SimKd(Adapted):
    """Bring the student's last map to the teacher's, so that its classifier can be reused.

    ``mean (P(f_s) - f_t)^2`` with ``P`` a bottleneck of 1x1, 3x3 and 1x1 convolutions
    (Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR
    2022, eq. 2). The larger of two grids is pooled to the smaller. After training
    the deployed student is ``head(loss.adapt(f_s))`` with the teacher's own head.
    ``loss(student, teacher)``: ``[B, C, H, W]``, or ``[B, D]`` with a linear ``P``.

    Args:
        factor: The bottleneck's width is the teacher's divided by this.
        adapter: ``auto`` leaves ``P`` out where the shapes agree.
        seed: Draws its starting values.
    """

    def __init__(self, *, factor: int = 2, adapter: When = "auto", seed: int = 0) -> None:
        super().__init__(adapter=adapter, seed=seed)
        self.factor = factor

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the projector."""
        ours, theirs = levels(student)[0], levels(student if teacher is None else teacher)[0]
        if ours.ndim != 4 or self.when == "never" or (ours.shape == theirs.shape and self.when != "always"):
            super().build(student, teacher)
            return
        wide = theirs.shape[1]
        middle = max(wide // self.factor, 1)
        self.adapt = nn.Sequential(
            *(nn.Conv2d(ours.shape[1], middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
            *(nn.Conv2d(middle, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        goal = teacher.detach()
        if student.ndim == 4:
            student, goal = _same_grid(student, goal)
        mapped = self.adapt(student)
        match("simkd", mapped, goal)
        return F.mse_loss(mapped, goal)


class FpnMimic(Adapted):
    """Hold several levels of the student to the teacher's, by direction at every place.

    ``sum_levels mean (unit_c(A_l(f_s)) - unit_c(f_t))^2``: the multi-level mimic of
    contrast-guided thermal detection (Kim and An, arXiv 2511.01435); its exact
    form is not public and this one is our default. ``loss(student, teacher)``: a
    list of ``[B, C, H, W]`` each, or one.

    Args:
        adapter: ``auto`` learns an adapter per level where shapes differ.
        seed: Draws their starting values.
    """

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make one adapter per level."""
        pairs = _paired(student, student if teacher is None else teacher)
        self.adapters = nn.ModuleList(adapter(s.shape, t.shape, when=self.when) for s, t in pairs)

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        pairs = zip(self.adapters, levels(student), levels(teacher), strict=True)
        parts = [F.mse_loss(F.normalize(a(s), dim=1), F.normalize(t.detach(), dim=1)) for a, s, t in pairs]
        return torch.stack(parts).sum()
