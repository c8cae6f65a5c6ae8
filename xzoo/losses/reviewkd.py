"""Knowledge review: shallow teacher levels taught by fused deeper ones of the student."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.losses.adapt import Features, Learned, When, levels, match

__all__ = ["Fuse", "ReviewKd", "hcl"]


def hcl(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the hierarchical context loss of one level.

    ``[MSE + sum_i 2^-i MSE(pool_l)] / (1 + sum_i 2^-i)`` over those of the grids
    4, 2 and 1 that are smaller than the map; ``i`` counts the grids used (Chen et
    al., Distilling Knowledge via Knowledge Review, CVPR 2021, section 3.3).

    Args:
        student: ``[B, C, H, W]``.
        teacher: The same shape; no gradient reaches it.
    """
    match("reviewkd", student, teacher)
    goal = teacher.detach()
    total, share, shares = F.mse_loss(student, goal), 1.0, 1.0
    for grid in (4, 2, 1):
        if grid >= student.shape[2]:
            continue
        share /= 2
        total = total + share * F.mse_loss(F.adaptive_avg_pool2d(student, grid), F.adaptive_avg_pool2d(goal, grid))
        shares += share
    return total / shares


class Fuse(nn.Module):
    """Attention-based fusion of one level with what came from the deeper ones.

    Args:
        width: Channels of the student's level.
        middle: Channels that travel from level to level.
        out: Channels of the teacher's level.
        deepest: Whether nothing comes from below.
    """

    def __init__(self, width: int, middle: int, out: int, *, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(width, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.leave = nn.Sequential(nn.Conv2d(middle, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))
        self.attend = None if deepest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        for part in (self.enter, self.leave):
            first = part[0]
            if isinstance(first, nn.Conv2d):
                nn.init.kaiming_uniform_(first.weight, a=1)

    def forward(self, x: Tensor, below: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the teacher-shaped level, and what travels to the next shallower one."""
        x = self.enter(x)
        if self.attend is not None and below is not None:
            below = F.interpolate(below, x.shape[-2:], mode="nearest")
            weights = self.attend(torch.cat([x, below], 1))
            x = x * weights[:, :1] + below * weights[:, 1:]
        if x.shape[-2:] != grid:
            x = F.interpolate(x, grid, mode="nearest")
        return self.leave(x), x


class ReviewKd(Learned):
    """Let the student's deeper levels help its shallow ones to match the teacher's.

    ``sum_levels hcl(fused_l(f_s), f_t)``, fusion from the deepest level upwards (Chen et
    al., CVPR 2021, eq. 7). ``loss(student, teacher)``: lists of ``[B, C, H, W]``,
    shallow to deep, teacher levels before their activation; or one map each.

    Args:
        middle: Channels that travel between levels; fewer where the deepest level has fewer.
        adapter: ``auto`` leaves the fusion out for one level of equal shapes, which is then plain ``hcl``.
        seed: Draws the starting values.
    """

    def __init__(self, *, middle: int = 512, adapter: When = "auto", seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.middle, self.when = middle, adapter

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make one fusion per level, deepest first."""
        ours, theirs = levels(student), levels(student if teacher is None else teacher)
        plain = len(ours) == 1 and ours[0].shape == theirs[0].shape
        self.fusions = nn.ModuleList()
        if self.when == "never" or (plain and self.when == "auto"):
            return
        middle = min(self.middle, ours[-1].shape[1])
        for depth, (s, t) in enumerate(reversed(list(zip(ours, theirs, strict=True)))):
            self.fusions.append(Fuse(s.shape[1], middle, t.shape[1], deepest=depth == 0))

    def forward(self, student: Features, teacher: Features) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        pairs = list(zip(levels(student), levels(teacher), strict=True))
        if not self.fusions:
            return torch.stack([hcl(s, t) for s, t in pairs]).sum()
        parts, below = [], None
        for fuse, (ours, theirs) in zip(self.fusions, reversed(pairs), strict=True):
            level, below = fuse(ours, below, tuple(theirs.shape[-2:]))
            parts.append(hcl(level, theirs))
        return torch.stack(parts).sum()
