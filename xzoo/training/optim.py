"""Optimisers and schedules that a recipe may name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from xzoo.recipes.schema import Decay, Optimiser

__all__ = ["build", "rate", "share"]


def build(plan: Optimiser, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of a stage.

    The fused form updates all tensors in one call: adapters are many small
    tensors, and a call for each of them costs more than the arithmetic.
    """
    decay = plan.weight_decay
    if plan.name == "sgd":
        return torch.optim.SGD(parameters, lr=plan.lr, momentum=plan.momentum, weight_decay=decay, fused=True)
    if plan.name == "adam":
        return torch.optim.Adam(parameters, lr=plan.lr, betas=plan.betas, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameters, lr=plan.lr, betas=plan.betas, weight_decay=decay, fused=True)


def rate(plan: Optimiser, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` (from 0) out of ``steps``.

    It climbs in a line over ``warmup`` steps, then stays; or falls along half a
    cosine, or in a line, to 0 just after the last step; or is multiplied by ``decay``
    at each of the milestones, which are shares of all steps.
    """
    if step < plan.warmup:
        return plan.lr * (step + 1) / plan.warmup
    if plan.schedule == "constant":
        return plan.lr
    if plan.schedule == "steps":
        return plan.lr * plan.decay ** sum(step >= milestone * steps for milestone in plan.milestones)
    done = (step - plan.warmup) / max(steps - plan.warmup, 1)
    if plan.schedule == "linear":
        return plan.lr * (1 - done)
    return plan.lr * (1 + math.cos(math.pi * done)) / 2


def share(plan: Decay | None, step: int, steps: int) -> float:
    """Return the factor of a loss's weight at ``step`` (from 0) out of ``steps``."""
    if plan is None or plan.kind == "const":
        return 1.0
    if plan.kind == "exp":
        return float((plan.end or 0.05) ** (step / steps))
    if plan.kind == "warmup":
        return min(1.0, (step + 1) / max(plan.share * steps, 1.0))
    held = plan.share if plan.kind == "hold_cosine" else 0.0
    done = max(step / steps - held, 0.0) / max(1 - held, 1e-12)
    fallen = done if plan.kind == "linear" else (1 - math.cos(math.pi * done)) / 2
    return 1.0 - (1.0 - plan.end) * fallen
