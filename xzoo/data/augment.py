"""Small random changes of whole batches, cheap enough to hide behind a step.

Every image draws its own values, from a generator on the CPU, so that the
same seed gives the same picture on every device. The same number of values
is drawn whatever is switched on: an ablation of one change leaves the others
as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from xzoo.errors import ImageError, OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["DRAWN", "Augment", "generator"]

DRAWN = 7
"""Random numbers that decide how one image is changed."""

PLACE = 4
"""The first of them decide where things lie: flip and crop. The others decide how light they are."""


@dataclass(frozen=True)
class Augment:
    """Flip, crop and re-light images; each switched off by its neutral value.

    Nothing spectral is done: values change in all channels alike, because
    the channels of a thermal image are one.

    Args:
        flip: Probability of a horizontal flip.
        crop: Smallest and largest share of the image's area that a random
            crop of the image's shape keeps; it is resized back. ``(1, 1)`` keeps all.
        brightness: Largest shift, as a share of the full scale.
        contrast: Largest relative change of contrast, about mid-grey.
        gamma: Largest relative change of the exponent, up or down.
    """

    flip: float = 0.5
    crop: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that no image can follow."""
        if not 0 <= self.flip <= 1:
            raise OptionError(f"flip={self.flip!r}", why="a probability lies in 0..1")
        if len(self.crop) != 2 or not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise OptionError(f"crop={self.crop!r}", why="a crop keeps (smallest, largest) shares of the area in 0..1")
        for name in ("brightness", "contrast", "gamma"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)!r}", why=f"{name} lies in 0..1, 1 excluded")

    def __call__(self, pixels: Tensor, random: torch.Generator) -> Tensor:
        """Return changed copies of ``uint8 [B, 3, H, W]``, same type and device.

        Args:
            pixels: A raw batch, as ``Preprocess.raw`` gives it.
            random: A generator on the CPU; see ``generator``.

        Raises:
            ImageError: If ``pixels`` is of another type or shape.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise ImageError(
                f"cannot augment a {str(pixels.dtype).removeprefix('torch.')} tensor {list(pixels.shape)}",
                why="augmentation takes raw uint8 [B, 3, H, W]",
            )
        return self.apply(pixels, torch.rand(DRAWN, len(pixels), generator=random))

    def apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Return copies of ``uint8 [B, 3, H, W]`` changed as ``drawn`` says: ``[DRAWN, B]`` in 0..1, on the CPU."""
        # Looked up on the CPU: a mask on the device would make the host wait for it.
        flipped = torch.nonzero(drawn[0] < self.flip)[:, 0]
        drawn = drawn.to(pixels.device)
        if self.brightness or self.contrast or self.gamma:
            pixels = self._relight(pixels, drawn[4:])
        pixels = pixels.clone() if self.crop == (1.0, 1.0) else self._cut(pixels, drawn[1:4])
        pixels[flipped] = pixels[flipped].flip(3)
        return pixels

    def moved(self, points: Tensor, drawn: Tensor, mirror: Sequence[int] | None = None) -> Tensor:
        """Return where points of pictures lie after ``apply`` with the same ``drawn``.

        Args:
            points: ``[B, L, 2]``, x and y in shares of the picture's width and height (0 and 1 are its edges).
            drawn: ``[DRAWN, B]``, as for ``apply``.
            mirror: Which point each becomes in the mirror image; none where nothing is flipped.

        Raises:
            OptionError: Pictures may be flipped, and ``mirror`` is not known.
        """
        if self.flip and mirror is None:
            raise OptionError(
                f"mirror images of {points.shape[1]} landmarks",
                why="Which point becomes which is not known.",
                exists="5, 54, 68 and 70 points",
                do="views: {flip: 0.0}",
            )
        drawn = drawn.to(points.device)
        if self.crop != (1.0, 1.0):
            low, high = self.crop
            side = (low + (high - low) * drawn[1]).sqrt()
            middle = (2 * drawn[2:4] - 1) * (1 - side)
            points = ((2 * points - 1 - middle.T[:, None]) / side[:, None, None] + 1) / 2
        if self.flip and mirror is not None:
            turned = points[:, list(mirror)] * points.new_tensor([-1.0, 1.0]) + points.new_tensor([1.0, 0.0])
            points = torch.where((drawn[0] < self.flip)[:, None, None], turned, points)
        return points

    def _relight(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Send every grey value through a table of 256 entries, one table per image."""
        brightness, contrast, gamma = (2 * drawn - 1).unsqueeze(2)
        levels = torch.linspace(0, 1, 256, device=pixels.device)
        table: Tensor = levels ** (1 + self.gamma) ** gamma
        table = (table - 0.5) * (1 + self.contrast * contrast) + 0.5 + self.brightness * brightness
        table = table.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return table.gather(1, pixels.flatten(1).long()).view(pixels.shape)

    def _cut(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Sample a window of each image, of the image's own shape."""
        low, high = self.crop
        side = (low + (high - low) * drawn[0]).sqrt()
        # In grid_sample's coordinates an image spans -1..1: the window's centre may move by 1 - side.
        x, y = (2 * drawn[1:] - 1) * (1 - side)
        height, width = pixels.shape[2:]
        across = x.unsqueeze(1) + side.unsqueeze(1) * _centres(width, pixels.device)
        down = y.unsqueeze(1) + side.unsqueeze(1) * _centres(height, pixels.device)
        # Written out because affine_grid alone takes three times as long as the sampling.
        grid = pixels.new_empty(len(pixels), height, width, 2, dtype=torch.float32)
        grid[..., 0] = across.unsqueeze(1)
        grid[..., 1] = down.unsqueeze(2)
        cut = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return cut.round_().to(torch.uint8)


def _centres(pixels: int, device: torch.device) -> Tensor:
    """Return the centres of ``pixels`` cells that fill -1..1."""
    return (2 * torch.arange(pixels, device=device) + 1) / pixels - 1


def generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Return a CPU generator that depends on nothing but its arguments.

    Args:
        seed: The run's seed.
        step: The training step.
        stream: Tells apart the views of one step (source, target, ...).
    """
    from numpy.random import SeedSequence

    # A sequence mixes its numbers; seed + step would repeat (1, 2) as (2, 1).
    mixed = SeedSequence([seed, step, stream]).generate_state(1, "uint64")[0]
    return torch.Generator().manual_seed(int(mixed) >> 1)
