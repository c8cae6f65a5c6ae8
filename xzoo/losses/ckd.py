"""Coupled distillation: two spectra share their style, each keeps its content."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.adapt import Features, levels, match

__all__ = ["ckd", "content", "style"]


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features


def style(x: Tensor, y: Tensor) -> Tensor:
    """Return ``mean_bc [(mean_n x - mean_n y)^2 + (std_n x - std_n y)^2]`` of ``[B, N, C]``, unbiased deviation."""
    return (x.mean(1) - y.mean(1)).square().mean() + (x.std(1) - y.std(1)).square().mean()


def content(x: Tensor, y: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Return the mean squared difference of ``[B, N, C]`` after both lose mean and deviation over ``n``.

    Instance normalisation per image and channel, biased variance, no affine part.
    """
    a, b = (F.instance_norm(z.transpose(1, 2), eps=epsilon) for z in (x, y))
    return F.mse_loss(a, b)


def ckd(student: Features, teacher: Features, *, style_weight: float = 0.01, content_weight: float = 0.1) -> Tensor:
    """Take the style gap out of two features and keep the teacher's content.

    ``sum_blocks [style_weight style(s, t) + content_weight content(sg t, s)]`` (Lu et
    al., Coupled Knowledge Distillation for RGB-T tracking, ACM MM 2024). The style
    term sends gradients to both sides, the content term to the student alone.
    The paper's four networks are this loss named twice: with ``content_weight``
    0 between the two students, with ``style_weight`` 0 from each one's teacher.

    Args:
        student: Tokens ``[B, N, C]``, maps ``[B, C, H, W]``, or a list of blocks.
        teacher: The same shapes.
        style_weight: Weight of the channel statistics.
        content_weight: Weight of what is left when they are removed.
    """
    parts = []
    for ours, theirs in zip(levels(student), levels(teacher), strict=True):
        match("ckd", ours, theirs)
        x, y = _tokens(ours), _tokens(theirs)
        value = x.new_zeros(())
        if style_weight:
            value = value + style_weight * style(x, y)
        if content_weight:
            value = value + content_weight * content(x, y.detach())
        parts.append(value)
    return torch.stack(parts).sum()
