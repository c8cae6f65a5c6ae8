"""Builders of Acme's networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ThermalNet(nn.Module):
    """Oriented edges at one scale, pooled on a grid and projected."""

    def __init__(self, filters: int, grid: int, embedding: int) -> None:
        super().__init__()
        self.grid = grid
        self.edges = nn.Conv2d(1, filters, 9, stride=2, padding=4, bias=False)
        self.project = nn.Linear(filters * grid * grid, embedding, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings ``[B, D]`` of normalised images ``[B, 3, H, W]``."""
        grey = images.mean(dim=1, keepdim=True)  # heat has no colour
        energy = F.adaptive_avg_pool2d(self.edges(grey).abs(), self.grid)
        return self.project(torch.sqrt(energy + 1e-6).flatten(1))


def build_thermal(*, filters: int = 8, grid: int = 7, embedding: int = 64) -> nn.Module:
    """Build the network with random weights.

    Args:
        filters: Oriented filters of the first layer.
        grid: Cells along each side that the face is divided into.
        embedding: Length of the embedding.
    """
    return ThermalNet(filters, grid, embedding)
