"""Dual-injected distillation of landmarks: features of one network through the last layer of the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Features, Learned, adapter, levels
from xzoo.losses.distill import gaussian
from xzoo.losses.landmarks import anisotropic, gnll, smooth_l1, wing
from xzoo.losses.reuse import crosskd_align

__all__ = ["Dikd", "still_statistics"]

Head = Callable[[Tensor], Tensor]

Compare = Callable[[Tensor, Tensor], Tensor]


class _Projects(Protocol):
    def project(self, features: Tensor) -> Tensor: ...

    def modules(self) -> Any: ...


def still_statistics(network: _Projects) -> Head:
    """Return a network's last layer as a function that leaves running averages of batch norms as they are.

    A map of another band would mix its statistics into them; gradients pass as ever.
    """

    def run(features: Tensor) -> Tensor:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        try:
            for norm in norms:
                norm.momentum = 0.0  # x + 0 (batch - x) is x
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked = norm.num_batches_tracked.clone()
            return network.project(features)
        finally:
            for norm, (momentum, count) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count

    return run


class Dikd(Learned):
    """Teach a landmark network of another band by injecting features into heads, both ways.

    With maps ``F_t`` of the student and ``F_r`` of the frozen teacher (of a registered picture), the student's head
    ``H_t`` and the teacher's ``H_r``, ``P_t = H_t(F_t)``, ``P_r = H_r(F_r)``, the truth ``y``, a task loss ``l`` and a
    distance ``d``, all targets of ``d`` without gradient::

        alpha (a_gt l(H_t(F_r), y) + a_con d(P_t, H_t(F_r)))        forward injection
      + beta  (b_con d(H_r(A F_t), P_r) + b_gt l(H_r(A F_t), y))    reverse injection
      + gamma mean (A F_t - F_r)^2                                  features (baseline)
      + delta d(P_t, P_r)                                           response (baseline)

    Names and directions are those of MLCM-KD (Tong et al., arXiv 2510.11128), known to us by its abstract and
    secondary summaries; **both losses, every weight and the distances are this project's**, after SRRL and CrossKD.
    The fading of the whole is the schedule of the recipe's term. ``H_r`` must be frozen and in evaluation mode;
    gradients pass through it. Terms whose weight is 0 are not computed. ``parts`` holds the terms of the last call
    before weighting.

    ``loss(student, teacher, student_head=, teacher_head=, truth=)``: maps ``[B, C, h, w]``, heads from maps to points
    ``[B, L, 2]`` or ``[B, L, 3]`` in shares of the crop, truth ``[B, L, 2]`` with NaN where unknown. Without heads
    only the features are compared.

    Args:
        alpha: Of forward injection.
        beta: Of reverse injection.
        gamma: Of the features.
        delta: Of the response.
        a_gt: Share of the truth in forward injection: it teaches the student's head.
        a_con: Share of consistency in forward injection: it teaches the student's encoder, and its head through P_t.
        b_con: Share of the teacher's response in reverse injection.
        b_gt: Share of the truth in reverse injection.
        unknown: What stands for ``y`` in forward injection where it is unknown: ``skip``, nothing; ``response``,
            ``P_r``, so that pairs without landmarks teach the student's head, too.
        task: The task loss.
        distance: ``task``: of the family of the task loss (``gaussian`` for ``gnll``); or a loss by name.
        units: Of ``wing`` and ``smooth_l1``: ``px`` multiplies shares by ``side``.
        side: Of the network's input in pixels.
        align: ``A``: ``none``; ``channel_stats``, the teacher's mean and deviation of each channel (CrossKD);
            ``adapter``, a learned 1x1 convolution with batch norm and ReLU (SRRL). Where the widths differ an
            ``adapter`` also leads from the teacher's map to the student's, for forward injection.
        seed: Draws the adapters' starting values.

    Raises:
        OptionError: The maps differ in shape and ``align`` is not ``adapter``; or the heads tell nothing of what the
            distance compares.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 0.0,
        delta: float = 0.0,
        a_gt: float = 1.0,
        a_con: float = 1.0,
        b_con: float = 1.0,
        b_gt: float = 0.0,
        unknown: Literal["skip", "response"] = "skip",
        task: Literal["wing", "smooth_l1", "gnll", "anisotropic"] = "wing",
        distance: Literal["task", "wing", "smooth_l1", "gaussian", "anisotropic"] = "task",
        units: Literal["px", "unit"] = "px",
        side: float = 256.0,
        align: Literal["none", "channel_stats", "adapter"] = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        self.alpha, self.beta, self.gamma, self.delta = alpha, beta, gamma, delta
        self.a_gt, self.a_con, self.b_con, self.b_gt = a_gt, a_con, b_con, b_gt
        self.align, self.unknown = align, unknown
        known = _losses(units, side)
        self.task = known[task]
        self.distance = known[{"gnll": "gaussian"}.get(task, task) if distance == "task" else distance]
        self.parts: dict[str, Tensor] = {}

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the adapters, if there are any."""
        ours, theirs = levels(student)[0].shape, levels(student if teacher is None else teacher)[0].shape
        if ours[1:] != theirs[1:] and self.align != "adapter":
            raise errors.OptionError(
                f"dikd got maps of {list(ours)} and {list(theirs)} with align={self.align!r}.",
                why="A head reads maps of its own network's shape.",
                do="align: adapter, or networks of one kind",
            )
        learnt = self.align == "adapter"
        self.adapt = adapter(ours, theirs, relu=True, when="always") if learnt else nn.Identity()
        self.back = adapter(theirs, ours, relu=True, when="auto") if learnt else nn.Identity()

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        student_head: Head | None = None,
        teacher_head: Head | None = None,
        truth: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        theirs, parts = teacher.detach(), {}
        total = student.new_zeros(())

        def add(name: str, weight: float, value: Tensor) -> None:
            nonlocal total
            parts[name] = value.detach()
            total = total + weight * value

        injects = student_head is not None and teacher_head is not None
        aligned = self._aligned(student, theirs) if self.gamma or (self.beta and injects) else student
        if self.gamma:
            add("fd", self.gamma, F.mse_loss(aligned, theirs))
        if injects:
            assert student_head is not None and teacher_head is not None
            with torch.no_grad():
                answer = teacher_head(theirs)
            own = student_head(student) if self.delta or (self.alpha and self.a_con) else answer
            if self.alpha and (self.a_gt or self.a_con):
                there = student_head(self.back(theirs))
                goal = self._goal(truth, answer)
                if self.a_gt and goal is not None:
                    add("fi_gt", self.alpha * self.a_gt, self.task(there, goal))
                if self.a_con:
                    add("fi_con", self.alpha * self.a_con, self.distance(own, there.detach()))
            if self.beta and (self.b_con or self.b_gt):
                here = teacher_head(aligned)
                if self.b_con:
                    add("ri_con", self.beta * self.b_con, self.distance(here, answer))
                if self.b_gt and truth is not None:
                    add("ri_gt", self.beta * self.b_gt, self.task(here, truth))
            if self.delta:
                add("ld", self.delta, self.distance(own, answer))
        self.parts = parts
        return total if parts else student.flatten()[:0].sum()  # 0, and part of the graph

    def _goal(self, truth: Tensor | None, answer: Tensor) -> Tensor | None:
        """Return what forward injection is to find."""
        if self.unknown == "skip":
            return truth
        points = answer[..., :2]
        return points if truth is None else torch.where(truth.isnan(), points.to(truth.dtype), truth)

    def _aligned(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the student's map as the teacher's head is to read it."""
        if self.align == "channel_stats":
            return crosskd_align(student, teacher)
        mapped: Tensor = self.adapt(student)
        return mapped


def _losses(units: Literal["px", "unit"], side: float) -> dict[str, Compare]:
    """Return what points are compared by."""
    return {
        "wing": functools.partial(wing, units=units, side=side),
        "smooth_l1": functools.partial(smooth_l1, units=units, side=side),
        "gnll": gnll,
        "anisotropic": anisotropic,
        "gaussian": _as_gaussians,
    }


def _as_gaussians(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape[-1] != 3 or teacher.shape[-1] != 3:
        raise errors.OptionError(
            f"dikd compares points {list(student.shape)} and {list(teacher.shape)} as Gaussians.",
            why="Both need x, y and ln s: [B, L, 3].",
            do="head gaussian or heatmap, or distance: wing",
        )
    return gaussian(student, teacher)
