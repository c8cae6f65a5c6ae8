"""Optimisers and schedules that a recipe may name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from xzoo.recipes.schema import Optimiser

__all__ = ["build", "rate"]


def build(plan: Optimiser, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of a stage.

    The fused form updates all tensors in one call: adapters are many small
    tensors, and a call for each of them costs more than the arithmetic.
    """
    return torch.optim.AdamW(parameters, lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay, fused=True)


def rate(plan: Optimiser, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` (from 0) out of ``steps``.

    It climbs in a line over ``warmup`` steps, then stays, or falls along half a
    cosine to 0 just after the last step.
    """
    if step < plan.warmup:
        return plan.lr * (step + 1) / plan.warmup
    if plan.schedule == "constant":
        return plan.lr
    done = (step - plan.warmup) / max(steps - plan.warmup, 1)
    return plan.lr * (1 + math.cos(math.pi * done)) / 2
