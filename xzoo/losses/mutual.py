"""Masked mutual learning between two spectra."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.adapt import match

__all__ = ["masked_mutual", "reliability"]


def reliability(first: Tensor, second: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each network can be trusted at each place.

    ``M = softmax_over_networks(-[ce1, ce2]) * 2 (1 - sigmoid([ce1, ce2]))`` with
    the cross entropies against the labels; detached.

    Args:
        first: Logits ``[B, K, ...]``.
        second: The same shape.
        labels: ``[B, ...]``.
    """
    both = torch.stack([F.cross_entropy(p.detach(), labels.long(), reduction="none") for p in (first, second)])
    trust = F.softmax(-both, 0) * 2 * (1 - both.sigmoid())
    return trust[0], trust[1]


def masked_mutual(student: Tensor, teacher: Tensor, *, labels: Tensor, both: bool = False) -> Tensor:
    """Learn from the other spectrum's network where that one is reliable.

    ``KL(softmax(sg(p2 M2)) || softmax(p1 M2))``, averaged over rows and places: the mask of
    ``reliability`` multiplies the logits, so it is a temperature per place
    (Kwon et al., cross-spectral domain adaptation, ICRA 2025, released code).

    Args:
        student: Logits ``p1``, ``[B, K]`` or ``[B, K, ...]``.
        teacher: Logits ``p2`` of the same shape; the other network, not necessarily frozen.
        labels: ``[B]`` or ``[B, ...]``: classes or pseudo-labels.
        both: Add the opposite direction, with ``M1``.
    """
    match("masked_mutual", student, teacher)
    own, other = reliability(student, teacher, labels)
    value = _masked_kl(student, teacher, other)
    return value + _masked_kl(teacher, student, own) if both else value


def _masked_kl(learner: Tensor, guide: Tensor, trust: Tensor) -> Tensor:
    mask = trust[:, None]
    goal, ours = F.softmax(guide.detach() * mask, 1), F.log_softmax(learner * mask, 1)
    return F.kl_div(ours, goal, reduction="sum") / trust.numel()
