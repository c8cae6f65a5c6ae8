"""Batch norms folded into the layers before them."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

__all__ = ["fold"]

Module = TypeVar("Module", bound=nn.Module)


def fold(network: Module) -> Module:
    """Return a copy in evaluation mode in which a batch norm that follows a layer is part of that layer.

    Takes convolutions and linear layers directly before a batch norm of an ``nn.Sequential``; norms elsewhere
    stay. The outputs are equal to rounding. The copy is for serving: its norms can be trained no more.
    """
    folded = copy.deepcopy(network).eval()
    for parent in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        names = list(parent._modules)
        for first, second in zip(names, names[1:], strict=False):
            layer, norm = parent._modules[first], parent._modules[second]
            fits = isinstance(layer, nn.Conv2d | nn.Linear) and not isinstance(layer, nn.ConvTranspose2d)
            if fits and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.track_running_stats:
                _into(layer, norm)  # type: ignore[arg-type]
                setattr(parent, second, nn.Identity())
    return folded


@torch.no_grad()
def _into(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Scale the weights and shift the bias: ``g (W x + b - m) / sqrt(v + eps) + o``, in double precision."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101  (it tracks statistics)
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = bias * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    shape = (-1, *(1 for _ in layer.weight.shape[1:]))
    layer.weight.copy_(layer.weight.double() * scale.view(shape))
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
