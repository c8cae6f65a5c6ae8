"""Grey values, and histograms of edges, as embeddings: the baselines that a network has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.preprocess import Preprocess

__all__ = ["SIZES", "Pixels", "edge_histograms"]

SIZES = (6, 8, 10, 12, 16, 20, 24, 32)


class Pixels:
    """Embed an image as its own grey values, standardised; it learns nothing.

    On small sets from one session this is hard to beat, and a network that
    does not beat it has not recognised anybody.

    Args:
        size: Width and height, in pixels, to which images are resized.
    """

    def __init__(self, size: int) -> None:
        self.preprocess = Preprocess(size=(3, size, size))
        self.name = f"pixels {size}x{size}"

    def embed(
        self,
        images: Tensor,
        *,
        spectrum: str | Sequence[str | None] | None = None,
        batch_size: int = 64,
        normalise: bool = True,
    ) -> Tensor:
        """Return ``float32 [N, size * size]``; spectrum and batch size make no difference.

        Args:
            images: ``uint8 [N, 3, size, size]``, RGB.
            spectrum: Not used: every band is grey.
            batch_size: Not used: rows do not depend on each other.
            normalise: Scale every embedding to unit length.
        """
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        grey = (images.float() * luma).sum(1).flatten(1)
        grey = grey - grey.mean(1, keepdim=True)
        deviation = grey.std(1, keepdim=True, correction=0)
        # An image of one value has no pattern: leave it zero, so that the evaluation can name it.
        standard = torch.where(deviation > 1e-3, grey / deviation, torch.zeros_like(grey))
        return F.normalize(standard, dim=1) if normalise else standard


def edge_histograms(images: Tensor, cell: int = 8, bins: int = 9) -> Tensor:
    """Return histograms of edge directions without sign over overlapping cells (Dalal and Triggs, CVPR 2005).

    A feature that nothing was trained for. Weak cells are damped by the mean strength over all the given
    images, so compare images that were given together, or in sets alike; scale rows to unit length first.

    Args:
        images: ``[N, C, H, W]``, any range; channels are averaged, and each image is standardised.
        cell: Side of a cell in pixels; cells begin every four.
        bins: Directions within half a turn.

    Returns:
        ``float32 [N, K]``, not normalised.
    """
    grey = images.float().mean(1, keepdim=True)
    grey = (grey - grey.mean((2, 3), keepdim=True)) / grey.std((2, 3), keepdim=True)
    dx = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    dy = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    size, place = (dx * dx + dy * dy).sqrt(), (torch.atan2(dy, dx) % math.pi) / math.pi * bins
    low = place.floor()
    found = torch.zeros(len(images), bins, *size.shape[2:], device=size.device)
    found.scatter_add_(1, low.long() % bins, size * (1 - (place - low)))
    found.scatter_add_(1, (low.long() + 1) % bins, size * (place - low))
    found = F.avg_pool2d(found, cell, 4)
    norm = found.norm(dim=1, keepdim=True)
    damped: Tensor = found / (norm + 0.3 * norm.mean())
    return damped.flatten(1)
