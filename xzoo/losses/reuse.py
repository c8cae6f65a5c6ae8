"""Losses that send the student's feature through the teacher's own head.

The head is frozen and in evaluation mode, but gradients pass through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Adapted, Features, When, adapter, levels
from xzoo.losses.logits import kd

__all__ = ["CrossKd", "Head", "Srrl", "crosskd_align"]

Head = Callable[[Tensor], Tensor]


def pooled(features: Tensor) -> Tensor:
    """Return the mean over places of maps ``[B, C, H, W]``; embeddings as they are."""
    return features.flatten(2).mean(2) if features.ndim == 4 else features


class Srrl(Adapted):
    """Match the teacher's mean feature, and its answer when its head reads the student's.

    ``mean (m(A f_s) - m(f_t))^2 + head_weight mean (h(A f_s) - h(f_t))^2`` with ``m`` the mean
    over places, ``h`` the teacher's head and ``A`` a 1x1 convolution, batch
    normalisation and ReLU (Yang et al., Softmax Regression Representation
    Learning, ICLR 2021, eq. 4 and 8, in the released form). ``loss(student,
    teacher, head=h)``: ``[B, C, H, W]`` or ``[B, D]``; ``h`` takes pooled features ``[B,
    D]``; without it only the first term is left.

    Args:
        head_weight: Weight of the answers.
        adapter: ``always`` is the paper's; ``auto`` leaves ``A`` out where the shapes agree.
        seed: Draws its starting values.
    """

    def __init__(self, *, head_weight: float = 1.0, adapter: When = "auto", seed: int = 0) -> None:
        super().__init__(adapter=adapter, seed=seed)
        self.head_weight = head_weight

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the connector."""
        ours, theirs = levels(student)[0], levels(student if teacher is None else teacher)[0]
        self.adapt = adapter(ours.shape, theirs.shape, relu=True, when=self.when)

    def forward(self, student: Tensor, teacher: Tensor, *, head: Head | None = None) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        ours, theirs = pooled(self.adapt(student)), pooled(teacher.detach())
        value = F.mse_loss(ours, theirs)
        if head is not None and self.head_weight:
            with torch.no_grad():
                goal = head(theirs)
            value = value + self.head_weight * F.mse_loss(head(ours), goal)
        return value


def crosskd_align(student: Tensor, teacher: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Give the student's map the mean and deviation of the teacher's, channel by channel.

    ``(f_s - mean f_s) / (std f_s + e) * std f_t + mean f_t`` with statistics over
    images and places, unbiased (Wang et al., CrossKD, CVPR 2024, released code).

    Args:
        student: ``[B, C, H, W]`` or ``[B, C]``.
        teacher: The same number of channels; no gradient reaches it.
        epsilon: Added to the student's deviation only.
    """
    if student.shape[1] != teacher.shape[1]:
        raise errors.OptionError(
            f"crosskd got {student.shape[1]} and {teacher.shape[1]} channels.",
            why="Statistics are given from channel to channel.",
            do="adapter='auto', or modules of one width",
        )
    axes = [axis for axis in range(student.ndim) if axis != 1]
    goal = teacher.detach()
    mean, std = (f(student, dim=axes, keepdim=True) for f in (torch.mean, torch.std))
    return (student - mean) / (std + epsilon) * goal.std(axes, keepdim=True) + goal.mean(axes, keepdim=True)


class CrossKd(Adapted):
    """Let the teacher's head answer from the student's aligned feature, and match its own answer.

    ``distance(h(align(f_s)), h(f_t))``, ``align`` = ``crosskd_align``, ``h`` the
    teacher's head (Wang et al., CrossKD, CVPR 2024, eq. 4). ``loss(student,
    teacher, head=h)``: ``[B, C, H, W]`` or ``[B, C]``; without a head the aligned
    features themselves are compared.

    Args:
        distance: ``mse``, or ``kd`` for a head that gives logits.
        temperature: Of ``kd``.
        adapter: ``auto`` learns an adapter where the shapes differ.
        seed: Draws its starting values.
    """

    def __init__(
        self,
        *,
        distance: Literal["mse", "kd"] = "mse",
        temperature: float = 1.0,
        adapter: When = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(adapter=adapter, seed=seed)
        self.distance, self.temperature = distance, temperature

    def forward(self, student: Tensor, teacher: Tensor, *, head: Head | None = None) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        ours, goal = crosskd_align(self.adapt(student), teacher), teacher.detach()
        if head is not None:
            ours = head(ours)
            with torch.no_grad():
                goal = head(goal)
        return F.mse_loss(ours, goal) if self.distance == "mse" else kd(ours, goal, temperature=self.temperature)
