"""What one forward pass costs, counted."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xzoo.families.base import still

__all__ = ["Cost", "cost"]

_COUNTED = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class Cost(NamedTuple):
    """Size of a network, and the price of one image.

    Attributes:
        parameters: Numbers that training sets.
        activations: Numbers that one image's forward pass writes, its input among them.
        macs: Multiplications with an addition, in convolutions and linear layers.
    """

    parameters: int
    activations: int
    macs: int

    @property
    def activation_bytes(self) -> int:
        """Bytes of the activations in float32."""
        return 4 * self.activations


def cost(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Count one image's way through a network.

    The rule for activations is Caffe's: the input, and the output of every convolution, pooling and linear
    layer. Activation functions work in place, and batch norms are folded. Attention is not counted.

    Args:
        network: From ``[1, 3, H, W]``.
        size: Height and width.
    """
    found = {"activations": 3 * size[0] * size[1], "macs": 0}

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        found["activations"] += out.numel()
        if isinstance(module, nn.Conv2d | nn.Linear):
            found["macs"] += out.numel() * module.weight[0].numel()

    hooks = [part.register_forward_hook(count) for part in network.modules() if isinstance(part, _COUNTED)]
    where = next(network.parameters())
    try:
        with still(network):
            network(torch.zeros(1, 3, *size, device=where.device, dtype=where.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(sum(parameter.numel() for parameter in network.parameters()), found["activations"], found["macs"])
