"""Faces moved to where a network learned to expect them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xzoo.errors import ImageError

if TYPE_CHECKING:
    from xzoo.data.images import Pixels

__all__ = ["ARCFACE", "aligned"]

ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Five points ``(x, y)`` of a face in 112 x 112 pixels: both eyes, nose, both corners of the mouth, each pair from
left to right in the picture (insightface, ``face_align.py``)."""


def aligned(pixels: Pixels, points: Sequence[tuple[float, float]], size: tuple[int, int]) -> Pixels:
    """Return the face moved, turned and scaled so that its five points fit the ArcFace template best.

    A similarity in the least squares sense, sampled bilinearly, black outside the picture, as
    insightface does it. In a narrower picture the template keeps its scale and its middle.

    Args:
        pixels: ``uint8 [H, W, 3]``.
        points: Five, in pixels; the middle of the first pixel is at 0.
        size: Height and width to return.

    Raises:
        ImageError: Not five points, or all of them in one place.

    Example:
        >>> picture = np.zeros((112, 112, 3), np.uint8)
        >>> aligned(picture, ARCFACE, (112, 112)).shape
        (112, 112, 3)
    """
    # A similarity of the plane is z -> a z + b in complex numbers; its least squares fit has a closed form.
    source = np.array([complex(*point) for point in points])
    height, width = size
    target = np.array([complex(*point) for point in ARCFACE]) * (height / 112) - (height - width) / 2
    if len(source) != 5 or not np.isfinite(source).all() or np.ptp(source.real) + np.ptp(source.imag) <= 0:
        raise ImageError(
            f"cannot align a face by {len(source)} points",
            why="five points are needed that do not all lie in one place",
            do="give both eyes, the nose and both corners of the mouth, from left to right",
        )
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real
    if abs(turn) < 1e-6:
        raise ImageError("cannot align a face by its points", why="they have nothing of a face's shape")
    back = 1 / turn
    start = source.mean() - back * target.mean()
    # Pillow puts the middle of the first pixel at a half.
    start += complex(0.5, 0.5) - back * complex(0.5, 0.5)
    affine = (back.real, -back.imag, start.real, back.imag, back.real, start.imag)
    moved = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )
    return np.asarray(moved)
