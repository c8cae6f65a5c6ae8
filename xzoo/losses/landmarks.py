"""Losses of landmark networks: how far points are from where they should be.

Student and truth are points ``[B, L, 2]`` or ``[B, L, 3]``, x and y in shares of the crop's side first; a third number,
the logarithm of a deviation, is read by ``gnll`` alone. A point of which a coordinate of the truth is NaN is left
out; where none is left the loss is zero. No gradient reaches the second argument.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.errors import OptionError
from xzoo.losses.adapt import match

__all__ = ["CONTOURS", "anisotropic", "gaussian_maps", "gnll", "heatmap", "smooth_l1", "wing"]

_FACE = (
    *((range(17), False), (range(17, 22), False), (range(22, 27), False), (range(27, 31), False)),
    *((range(31, 36), False), (range(36, 42), True), (range(42, 48), True)),
)
_LIPS = ((range(48, 60), True), (range(60, 68), True))
CONTOURS: dict[int, tuple[tuple[range, bool], ...]] = {54: _FACE, 68: (*_FACE, *_LIPS), 70: (*_FACE, *_LIPS)}
"""Contours of each convention, and whether each is closed; other points stand alone."""

CORNERS = {54: (36, 39, 42, 45), 68: (36, 39, 42, 45, 48, 54, 60, 64), 70: (36, 39, 42, 45, 48, 54, 60, 64)}
"""Corners of eyes and mouth, where a contour has no direction."""


def _difference(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinate differences ``[B, L, 2]``, zero where unknown, and which points are known ``[B, L]``."""
    match("a loss of landmarks", student[..., :2], teacher[..., :2])
    goal = teacher.detach()[..., :2]
    known = goal.isfinite().all(-1)
    return torch.where(known[..., None], student[..., :2] - goal.nan_to_num(), 0.0), known


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of ``values`` ``[B, L]`` or ``[B, L, 2]`` over known points."""
    each = values if values.ndim == 2 else values.mean(2)
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def _scale(units: str, side: float) -> float:
    return side if units == "px" else 1.0


def wing(
    student: Tensor,
    teacher: Tensor,
    *,
    width: float = 10.0,
    epsilon: float = 2.0,
    units: Literal["px", "unit"] = "px",
    side: float = 256.0,
) -> Tensor:
    """Weigh small errors by their logarithm and large ones by their size.

    ``w ln(1 + |u| / e)`` where ``|u| < w``, else ``|u| - w + w ln(1 + w / e)``, averaged over the coordinates of known
    points (Feng et al., *Wing Loss*, CVPR 2018). Numbers ``w = 10, e = 2`` mean pixels.

    Args:
        student: ``[B, L, 2]`` or more columns.
        teacher: The truth, ``[B, L, 2]`` or more columns.
        width: ``w``.
        epsilon: ``e``.
        units: ``px`` multiplies by ``side``; ``unit`` keeps shares of the side (the SF-TL54 code).
        side: Of the network's input, in pixels.
    """
    difference, known = _difference(student, teacher)
    size = difference.abs() * _scale(units, side)
    near = width * torch.log1p(size / epsilon)
    return _mean(torch.where(size < width, near, size - width + width * math.log1p(width / epsilon)), known)


def smooth_l1(student: Tensor, teacher: Tensor, *, units: Literal["px", "unit"] = "px", side: float = 256.0) -> Tensor:
    """Square small errors and take large ones as they are: ``u^2 / 2`` where ``|u| < 1``, else ``|u| - 1 / 2``.

    Averaged over the coordinates of known points (Girshick, *Fast R-CNN*, ICCV 2015).

    Args:
        student: ``[B, L, 2]`` or more columns.
        teacher: The truth, ``[B, L, 2]`` or more columns.
        units: ``px`` multiplies by ``side``; ``unit`` keeps shares of the side.
        side: Of the network's input, in pixels.
    """
    difference, known = _difference(student, teacher)
    scaled = difference * _scale(units, side)
    return _mean(F.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none"), known)


def gnll(student: Tensor, teacher: Tensor) -> Tensor:
    """Say where a point is and how sure that is: the negative log likelihood of a round Gaussian.

    ``ln s^2 + |m - y|^2 / (2 s^2)``, averaged over known points; the form used for dense landmarks (Wood et al., *3D
    Face Reconstruction with Dense Landmarks*, ECCV 2022).

    Args:
        student: ``[B, L, 3]``: x, y and ``ln s``.
        teacher: The truth, ``[B, L, 2]`` or more columns, which are not read.

    Raises:
        OptionError: The student says nothing of its deviation.
    """
    if student.shape[-1] != 3:
        raise OptionError(f"loss 'gnll' of points {list(student.shape)}", why="It needs x, y and ln s: [B, L, 3].")
    difference, known = _difference(student, teacher)
    log = student[..., 2]
    return _mean(2 * log + difference.square().sum(2) * (-2 * log).exp() / 2, known)


def anisotropic(
    student: Tensor, teacher: Tensor, *, along: float = 4.0, across: float = 2.0, chain: bool = False
) -> Tensor:
    """Forgive a point that slides along its contour more than one that leaves it.

    ``u' W u`` with ``W = t t' / a^2 + (I - t t') / b^2``, ``t`` the unit tangent of the true contour (next point less
    the one before, one-sided at its ends), summed over points and averaged over images; ``W = I`` at corners of eyes
    and mouth and for points of no contour (PyraMoT, FG 2024; tangents of the truth by contour are this project's).

    Args:
        student: ``[B, L, 2]`` or more columns.
        teacher: The truth, ``[B, L, 2]`` or more columns.
        along: ``a``.
        across: ``b``.
        chain: Take all points for one open contour, whatever their convention.
    """
    difference, known = _difference(student, teacher)
    goal = teacher.detach()[..., :2]
    count = goal.shape[1]
    contours = ((range(count), False),) if chain else CONTOURS.get(count, ())
    tangent = torch.zeros_like(goal)
    for places, closed in contours:
        line = goal[:, list(places)]
        if closed:
            step = line.roll(-1, 1) - line.roll(1, 1)
        else:
            ends = torch.cat([line[:, :1], line, line[:, -1:]], dim=1)
            step = ends[:, 2:] - ends[:, :-2]
        tangent[:, list(places)] = F.normalize(step, dim=2)
    if not chain:
        tangent[:, list(CORNERS.get(count, ()))] = 0.0
    tangent = tangent.nan_to_num()
    bound = tangent.square().sum(2) > 0
    squares, slide = difference.square().sum(2), (difference * tangent).sum(2).square()
    weighed = slide / along**2 + (squares - slide) / across**2
    return torch.where(known, torch.where(bound, weighed, squares), 0.0).sum(1).mean()


def heatmap(student: Tensor, teacher: Tensor) -> Tensor:
    """Hold maps of heat to those of the truth: the mean of ``(s - t)^2`` over maps that are known.

    Args:
        student: ``[B, L, h, w]``.
        teacher: The same shape, such as from ``gaussian_maps``; a map with a NaN is left out.
    """
    match("heatmap", student, teacher)
    goal = teacher.detach()
    known = goal.isfinite().flatten(2).all(2)
    squares = (student - goal.nan_to_num()).square().flatten(2).mean(2)
    return _mean(squares, known)


def gaussian_maps(points: Tensor, size: tuple[int, int], *, sigma: float = 1.5) -> Tensor:
    """Return maps with a Gaussian of height 1 about each point, ``[B, L, h, w]``.

    Args:
        points: ``[B, L, 2]``, x and y in cells of the map, the middle of the first cell at 0; NaN gives a map of NaN.
        size: Height and width of the maps.
        sigma: Deviation in cells.
    """
    x, y = points[..., 0, None], points[..., 1, None]
    across = torch.arange(size[1], device=points.device, dtype=points.dtype) - x
    down = torch.arange(size[0], device=points.device, dtype=points.dtype) - y
    across, down = ((-line.square() / (2 * sigma**2)).exp() for line in (across, down))
    return down[..., :, None] * across[..., None, :]
