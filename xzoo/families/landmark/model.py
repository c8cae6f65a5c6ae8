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
from xzoo.data.preprocess import as_sequence
from xzoo.families.base import Embedder, check_batch_size, still
from xzoo.families.landmark.options import Options
from xzoo.families.landmark.points import FLIPS, convert, mirror

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
    axis); None for a ``coord`` head. What a network is taught to be unsure of, it tells by a large deviation; there is
    no separate sign of visibility."""
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
    """Enlarge the last map and take the mean place of each point's heat: soft arg-max.

    A map of stride 32 is enlarged four times, one of stride 16 twice: a cell of heat is eight pixels wide. Nothing is
    cut off when a map is enlarged, so it reaches beyond the picture, by 3 / (4 n) of the side where the last map is
    ``n`` wide and enlarged four times, by 1 / (2 n) where it is enlarged twice: points outside the picture can be
    told. The deviation is that of the heat.
    """

    def __init__(self, width: int, points: int, stride: int = 32) -> None:
        super().__init__()
        self.times = stride // 8
        steps: list[nn.Module] = []
        for before in (width, WIDTH)[: self.times // 2]:
            steps += [nn.ConvTranspose2d(before, WIDTH, 4, 2, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.enlarge = nn.Sequential(*steps)
        self.maps = nn.Conv2d(WIDTH, points, 1)

    def forward(self, last: Tensor) -> Tensor:
        """Return ``[B, L, 3]``: x, y and the logarithm of the deviation, in shares of the crop's side."""
        maps = self.maps(self.enlarge(last))
        return soft_argmax(maps, last.shape[2:], self.times)


def soft_argmax(maps: Tensor, before: Sequence[int], times: int = 4) -> Tensor:
    """Return mean and spread of heat.

    Args:
        maps: Logits ``[B, L, H, W]``, with ``times h`` of the ``H`` rows and ``times w`` of the ``W`` columns in their
            middle on the crop, the others beyond it.
        before: ``h, w`` of the map that was enlarged, which covers the crop.
        times: How often it was enlarged.

    Returns:
        ``[B, L, 3]``: x, y, and half the logarithm of the mean variance along both axes.
    """
    heat = maps.float().flatten(2).softmax(2).view(maps.shape)
    places = []
    for size, cells in zip(maps.shape[2:], before, strict=True):
        beyond = (size - times * cells) / 2
        places.append((torch.arange(size, device=maps.device) + 0.5 - beyond) / (times * cells))
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
        passes: int = 1,
        mirrored: bool = False,
        batch_size: int = 64,
    ) -> Tensor:
        """Find the landmarks of one face in each picture: the points of :meth:`find`, ``float32 [N, L, 2]``.

        Arguments and errors are those of :meth:`find`, which also tells how sure the network is.
        """
        return self.find(
            images, boxes=boxes, points=points, passes=passes, mirrored=mirrored, batch_size=batch_size
        ).points

    def find(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        boxes: Sequence[Box | None] | None = None,
        points: int | None = None,
        passes: int = 1,
        mirrored: bool = False,
        batch_size: int = 64,
    ) -> Found:
        """Find the landmarks of one face in each picture, how sure each is, and which lie outside the picture.

        Args:
            images: One or many paths, PIL images or arrays.
            boxes: A detector's box ``(x, y, width, height)`` of each picture in pixels, or None where the picture
                is a face crop already: then all of it is taken, made square by black bars.
            points: The convention wanted; the network's own if None (see ``xzoo.families.landmark.points``).
            passes: How often to look. After the first time, what encloses the points found is taken for the
                detector's box: a second look forgives a loose crop and costs as much again.
            mirrored: Look at the mirror image of each crop too, and tell the mean of both; twice the cost.
            batch_size: Pictures per forward pass.

        Returns:
            Points in pixels of each given picture, on the CPU.

        Raises:
            OptionError: Boxes that do not fit the pictures, a convention that the network's does not contain, or
                more passes than one by points that do not enclose a face.
            ImageError: There is no picture, or one cannot be read.
        """
        check_batch_size(batch_size)
        many = as_sequence(images)
        if boxes is not None and len(boxes) != len(many):
            raise errors.OptionError(
                f"{len(boxes)} boxes for {len(many)} images", why="There is one for each, or None."
            )
        self._check_looks(points, passes, mirrored)
        parts = []
        for start in range(0, len(many), batch_size):
            pictures = [read_image(image) for image in many[start : start + batch_size]]
            around = [None] * len(pictures) if boxes is None else boxes[start : start + batch_size]
            told = self._look(pictures, around, mirrored)
            for _ in range(passes - 1):
                told = self._look(pictures, _enclosing(told[..., :2], pictures), mirrored)
            parts.append((told, torch.tensor([[p.shape[1], p.shape[0]] for p in pictures])))
        found, shapes = (torch.cat(column) for column in zip(*parts, strict=True))
        if points is not None:
            found = convert(found, points)
        places = found[..., :2].clone()
        inside = ((places >= -0.5) & (places < shapes[:, None] - 0.5)).all(2)
        return Found(places, found[..., 2].clone() if found.shape[2] == 3 else None, inside)

    def _check_looks(self, points: int | None, passes: int, mirrored: bool) -> None:
        """Refuse what cannot be looked for before anything is computed."""
        if points is not None:
            convert(torch.zeros(self.points, 2), points)
        if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
            raise errors.OptionError(f"passes={passes!r}", why="It is a whole number of looks, from 1.")
        if passes > 1 and self.points < 54:
            raise errors.OptionError(
                f"passes={passes} of a network of {self.points} points",
                why="They do not reach the outline, so they do not say how large the face is.",
                do="passes=1, and boxes from a detector",
            )
        if mirrored:
            mirror(torch.zeros(self.points, 2), 1.0)

    def _look(self, pictures: Sequence[Any], boxes: Sequence[Box | None], mirrored: bool) -> Tensor:
        """Return points and deviations in pixels of the pictures, ``[B, L, 2 or 3]`` on the CPU."""
        where, size = next(self.parameters()), self.preprocess.size[1]
        crops, frames = zip(*map(square, pictures, boxes), strict=True)
        small = np.stack([resize(crop, (size, size), self.preprocess.interpolation) for crop in crops])
        batch = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous().to(where.device)
        with still(self):
            ready = self.preprocess.normalise(batch).to(where.dtype)
            shares = self(ready).float().cpu()
            if mirrored:
                other = self(ready.flip(3)).float().cpu()[:, list(FLIPS[self.points])]
                shares = (shares + torch.cat([1 - other[..., :1], other[..., 1:]], 2)) / 2
        frame = torch.tensor(frames)[:, None]
        told = frame[..., :2] + shares[..., :2] * frame[..., 2:] - 0.5
        return torch.cat([told, shares[..., 2:].exp() * frame[..., 2:]], 2)


def _enclosing(points: Tensor, pictures: Sequence[Any]) -> list[Box | None]:
    """Return what encloses the points of each picture, in whole pixels; None where it lies outside the picture."""
    boxes: list[Box | None] = []
    for place, picture in zip(points, pictures, strict=True):
        low, high = place.amin(0).round().int().tolist(), place.amax(0).round().int().tolist()
        width, height = max(1, high[0] - low[0] + 1), max(1, high[1] - low[1] + 1)
        outside = low[0] >= picture.shape[1] or low[1] >= picture.shape[0] or high[0] < 0 or high[1] < 0
        boxes.append(None if outside else (low[0], low[1], width, height))
    return boxes


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


def _finer(name: str, backbone: Any) -> None:
    """Let the last step that halves the map halve it no more, so that a cell of the last map is 16 pixels wide."""
    halves = [part for part in getattr(backbone, "blocks", nn.Identity()).modules() if _halves(part)]
    if not halves:
        raise errors.OptionError(
            f"stride=16 of backbone {name!r}",
            why="Which of its layers halve the map last is known of MobileNets and LCNets only.",
            do="stride=32",
        )
    halves[-1].stride = (1, 1)


def _halves(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and part.stride == (2, 2)


def build(options: Options) -> LandmarkNet:
    """Build the network with random weights on torch's default device."""
    backbone: Any = timm.create_model(options.backbone, num_classes=0)
    if options.stride == 16:
        _finer(options.backbone, backbone)
    for name in UNUSED.get(type(backbone).__name__, ()):
        setattr(backbone, name, nn.Identity())
    width = int(backbone.num_features)
    head: nn.Module
    if options.head == "heatmap":
        head = Heatmaps(width, options.points, options.stride)
    else:
        head = Pooled(width, options.points, 3 if options.head == "gaussian" else 2)
    return LandmarkNet(backbone, head, options.points, options.input_size)
