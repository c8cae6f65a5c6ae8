"""From one convention of landmarks to another, and to the mirror image.

5: right eye, left eye, tip of the nose, right and left corner of the mouth (the subject's sides); 54: SF-TL54; 68: iBUG
300-W; 70: iBUG and both pupils (FaceSynthetics, T-FAKE); 478: MediaPipe's mesh, which is mapped to nothing here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xzoo.data.people.landmarks import FLIP54, FLIP68, POINTS54
from xzoo.errors import OptionError

__all__ = ["FLIPS", "convert", "mirror", "reachable"]

FLIPS: dict[int, tuple[int, ...]] = {5: (1, 0, 2, 4, 3), 54: FLIP54, 68: FLIP68, 70: (*FLIP68, 69, 68)}
"""Which point each becomes in a mirrored picture."""

_CORNERS = {54: (48, 50), 68: (48, 54), 70: (48, 54)}
"""Corners of the mouth."""


def reachable(count: int) -> tuple[int, ...]:
    """Return the conventions that points of one convention can be told in, itself included."""
    order = (5, 54, 68, 70)
    return tuple(other for other in order if other <= count) if count in order else (count,)


def convert(points: Tensor, to: int) -> Tensor:
    """Return landmarks in a smaller convention.

    Args:
        points: ``[..., L, D]`` of 5, 54, 68, 70 or 478 points. An eye of the five points is the mean of its six lid
            points, also where ``D`` holds more than coordinates.
        to: How many points are wanted.

    Returns:
        ``[..., to, D]``.

    Raises:
        OptionError: The points do not say where those of the other convention are.
    """
    count = points.shape[-2]
    if to == count:
        return points
    if to not in reachable(count):
        raise OptionError(
            f"{to} landmarks from {count}",
            why="The one convention does not contain the other.",
            exists=", ".join(map(str, reachable(count))),
        )
    if to == 5:
        eyes = [points[..., first : first + 6, :].mean(-2, keepdim=True) for first in (36, 42)]
        return torch.cat([*eyes, points[..., [30, *_CORNERS[count]], :]], dim=-2)
    return points[..., list(POINTS54) if to == 54 else list(range(68)), :]


def mirror(points: Tensor, width: float) -> Tensor:
    """Return landmarks of the mirrored picture.

    Args:
        points: ``[..., L, 2]`` in pixels, the middle of the first pixel at 0.
        width: Of the picture, in pixels: ``x' = width - 1 - x``.

    Raises:
        OptionError: It is not known which point is which in the mirror.
    """
    count = points.shape[-2]
    if count not in FLIPS:
        raise OptionError(
            f"the mirror image of {count} landmarks",
            why="Which becomes which is not known here.",
            exists="5, 54, 68, 70",
        )
    turned = points[..., list(FLIPS[count]), :]
    return torch.cat([width - 1 - turned[..., :1], turned[..., 1:]], dim=-1)
