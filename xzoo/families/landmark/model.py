"""Landmark networks: a backbone of timm, a head, and points in the pixels of the picture that was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import timm
import torch
from torch import Tensor, nn

from xzoo import errors
from xzoo.data.images import read_image, resize
from xzoo.families.base import Embedder, check_batch_size, still
from xzoo.families.landmark.options import Options
from xzoo.families.landmark.points import convert

if TYPE_CHECKING:
    from xzoo.data.images import Box, ImageLike

__all__ = ["Found", "Heatmaps", "LandmarkNet", "Pooled", "build", "square"]

UNUSED = {
    "MobileNetV3": ("conv_head", "norm_head", "act2"),
    "EdgeNeXt": ("head",),
}
"""What timm builds after the last map, by class; the map is all that is used."""

MARGIN = 1.25
"""Side of the crop over the larger side of a detector's box (the rule of the T-FAKE landmarker)."""

SMALLEST = 1e-6
"""Variance, in squares of the crop's side, that a map of heat has at least."""

WIDTH = 48
"""Channels between the two steps that enlarge a map."""


class Found(NamedTuple):
    """Landmarks of ``N`` pictures. Pixels: the middle of the first pixel is at 0 in both directions."""

    points: Tensor
    """Float ``[N, L, 2]``, x and y in pixels of each given picture."""
    deviation: Tensor | None
    """Float ``[N, L]``: how far off the network takes each point to be, in pixels (one standard deviation along one
    axis); None for a ``coord`` head."""
    inside: Tensor
    """Bool ``[N, L]``: whether the point is within the picture. What covers a point is not told."""


class Pooled(nn.Module):
    """Average the last map and apply one linear layer: ``[B, C, h, w]`` to ``[B, L, 2]`` or ``[B, L, 3]``."""

    def __init__(self, width: int, points: int, numbers: int) -> None:
        super().__init__()
        self.points, self.numbers = points, numbers
        self.fc = nn.Linear(width, points * numbers)
        # A face in the middle of the crop; the deviation begins at a tenth of its side.
        start = torch.tensor([0.5, 0.5, -2.3][:numbers]).repeat(points)
        nn.init.normal_(self.fc.weight, std=0.01)
        self.fc.bias = nn.Parameter(start)

    def forward(self, last: Tensor) -> Tensor:
        """Return x, y (and the logarithm of the deviation) in shares of the crop's side."""
        out: Tensor = self.fc(last.mean((2, 3)))
        return out.view(-1, self.points, self.numbers)


class Heatmaps(nn.Module):
    """Enlarge the last map four times and take the mean place of each point's heat: soft arg-max.

    Nothing is cut off when the map is enlarged, so it reaches beyond the picture, by 3 / (4 n) of the side where the
    last map is ``n`` wide: points outside the picture can be told. The deviation is that of the heat.
    """

    def __init__(self, width: int, points: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(width, WIDTH, 4, 2, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.maps = nn.Conv2d(WIDTH, points, 1)

    def forward(self, last: Tensor) -> Tensor:
        """Return ``[B, L, 3]``: x, y and the logarithm of the deviation, in shares of the crop's side."""
        maps = self.maps(self.enlarge(last))
        return soft_argmax(maps, last.shape[2:])


def soft_argmax(maps: Tensor, before: Sequence[int]) -> Tensor:
    """Return mean and spread of heat.

    Args:
        maps: Logits ``[B, L, 4 h + 6, 4 w + 6]``.
        before: ``h, w`` of the map that was enlarged, which covers the crop.

    Returns:
        ``[B, L, 3]``: x, y, and half the logarithm of the mean variance along both axes.
    """
    heat = maps.float().flatten(2).softmax(2).view(maps.shape)
    places = [
        (torch.arange(size, device=maps.device) - 2.5) / (4 * cells)
        for size, cells in zip(maps.shape[2:], before, strict=True)
    ]
    down, across = heat.sum(3), heat.sum(2)
    mean = torch.stack([across @ places[1], down @ places[0]], dim=2)
    squares = torch.stack([across @ places[1].square(), down @ places[0].square()], dim=2)
    variance = (squares - mean.square()).mean(2).clamp(min=0) + SMALLEST
    return torch.cat([mean, variance.log()[..., None] / 2], dim=2)


class LandmarkNet(Embedder):
    """A landmark network; input ``[B, 3, r, r]``, output ``[B, L, 2]`` or ``[B, L, 3]`` in shares of the crop's side.

    A share of 0 is the left or upper edge of the first pixel, 1 the right or lower edge of the last.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, points: int, size: int) -> None:
        super().__init__()
        self.backbone, self.head, self.points = backbone, head, points
        self.input_size = (size, size)

    def trunk(self, images: Tensor) -> Tensor:
        """Return the last map before any pooling, ``[B, C, h, w]``."""
        net: Any = self.backbone
        out: Tensor = net.forward_features(images)
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return what the head says of a map, ``[B, L, 2]`` or ``[B, L, 3]``."""
        out: Tensor = self.head(features)
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``map`` ``[B, C, h, w]`` and ``points`` ``[B, L, 2 or 3]``."""
        last = self.trunk(images)
        return {"map": last, "points": self.project(last)}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``backbone`` and ``head``."""
        names = [name for name, _ in self.named_parameters()]
        return {group: [name for name in names if name.startswith(group)] for group in ("backbone", "head")}

    def embed(self, images: Any, **_: Any) -> Tensor:
        """Refuse: landmarks are no embedding.

        Raises:
            OptionError: Always.
        """
        raise errors.OptionError(
            f"embeddings from {self.card.name}",
            why="It finds landmarks and knows nobody.",
            do="model.landmarks(images)",
        )

    def landmarks(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        boxes: Sequence[Box | None] | None = None,
        points: int | None = None,
        batch_size: int = 64,
    ) -> Found:
        """Find the landmarks of one face in each picture.

        Args:
            images: One or many paths, PIL images or arrays.
            boxes: A detector's box ``(x, y, width, height)`` of each picture in pixels, or None where the picture
                is a face crop already: then all of it is taken, made square by black bars.
            points: The convention wanted; the network's own if None (see ``xzoo.families.landmark.points``).
            batch_size: Pictures per forward pass.

        Returns:
            Points in pixels of each given picture, on the CPU.

        Raises:
            OptionError: Boxes that do not fit the pictures, or a convention that the network's does not contain.
            ImageError: A picture cannot be read.
        """
        check_batch_size(batch_size)
        many: Sequence[Any] = _many(images)
        if not many:
            raise errors.OptionError("landmarks() of no images", why="There is nowhere to look.")
        if boxes is not None and len(boxes) != len(many):
            raise errors.OptionError(
                f"{len(boxes)} boxes for {len(many)} images", why="There is one for each, or None."
            )
        if points is not None:
            convert(torch.zeros(self.points, 2), points)  # refused before anything is computed
        where, size = next(self.parameters()), self.preprocess.size[1]
        told, frames, shapes = [], [], []
        with still(self):
            for start in range(0, len(many), batch_size):
                crops = []
                for index in range(start, min(start + batch_size, len(many))):
                    pixels = read_image(many[index])
                    crop, frame = square(pixels, None if boxes is None else boxes[index])
                    crops.append(resize(crop, (size, size), self.preprocess.interpolation))
                    frames.append(frame)
                    shapes.append((pixels.shape[1], pixels.shape[0]))
                batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().to(where.device)
                told.append(self(self.preprocess.normalise(batch).to(where.dtype)).float().cpu())
        shares = torch.cat(told).clone()
        left_top, side = torch.tensor([frame[:2] for frame in frames]), torch.tensor([frame[2] for frame in frames])
        found = left_top[:, None] + shares[..., :2] * side[:, None, None] - 0.5
        deviation = shares[..., 2:].exp() * side[:, None, None] if shares.shape[2] == 3 else None
        if points is not None:
            found = convert(found, points)
            deviation = None if deviation is None else convert(deviation, points)
        edge = torch.tensor(shapes)[:, None] - 0.5
        inside = ((found >= -0.5) & (found < edge)).all(2)
        return Found(found, None if deviation is None else deviation[..., 0], inside)


def square(pixels: Any, box: Box | None = None) -> tuple[Any, tuple[float, float, float]]:
    """Cut a square face crop, black outside the picture.

    Args:
        pixels: ``uint8 [H, W, 3]``.
        box: A detector's ``(x, y, width, height)``: the side is ``MARGIN`` times its larger side, about its middle.
            None takes the whole picture.

    Returns:
        The crop ``uint8 [S, S, 3]``, and its left edge, upper edge and side in pixels of the picture.

    Raises:
        OptionError: A box without size or outside the picture.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = (0, 0, width, height) if box is None else box
    if min(w, h) <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise errors.OptionError(
            f"box {x},{y},{w},{h} in a picture of {width} x {height}", why="There is no picture in it."
        )
    side = max(1, round((1.0 if box is None else MARGIN) * max(w, h)))
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    crop = np.zeros((side, side, 3), np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return crop, (float(left), float(top), float(side))


def _many(images: Any) -> Sequence[Any]:
    if isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4):
        return images  # type: ignore[return-value]
    return [images]


def build(options: Options) -> LandmarkNet:
    """Build the network with random weights on torch's default device."""
    backbone: Any = timm.create_model(options.backbone, num_classes=0)
    for name in UNUSED.get(type(backbone).__name__, ()):
        setattr(backbone, name, nn.Identity())
    width = int(backbone.num_features)
    head: nn.Module
    if options.head == "heatmap":
        head = Heatmaps(width, options.points)
    else:
        head = Pooled(width, options.points, 3 if options.head == "gaussian" else 2)
    return LandmarkNet(backbone, head, options.points, options.input_size)
