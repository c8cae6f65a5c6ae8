"""Faces moved to where a network learned to expect them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from xzoo.errors import ImageError, OptionError

if TYPE_CHECKING:
    from xzoo.data.images import Box, ImageLike, Pixels
    from xzoo.data.manifest import Manifest, Points
    from xzoo.data.preprocess import Preprocess
    from xzoo.families.base import Embedder

__all__ = ["ARCFACE", "EYES", "TEMPLATES", "aligned", "finder", "locate", "located", "points_of"]

ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Five points ``(x, y)`` of a face in 112 x 112 pixels: both eyes, nose, both corners of the mouth, each pair from
left to right in the picture (insightface, ``face_align.py``)."""

EYES = ((40.0, 55.0), (72.0, 55.0))
"""Centres of both eyes in 112 x 112 pixels, from left to right: where the software of EdgeFace's and xEdgeFace's
institute puts them (``bob.bio.face``, row 55, columns 40 and 72). Its data sets of other bands come with eye centres.
That xEdgeFace itself was trained so is inferred, not stated."""

TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {"arcface_112_5pt": ARCFACE, "eyes_112_2pt": EYES}
"""Where points of a face belong in 112 x 112 pixels, by the name that cards use."""


def points_of(landmarks: Sequence[tuple[float, float]] | None, template: str) -> Sequence[tuple[float, float]] | None:
    """Return the landmarks that a template fits: all of as many, the eyes of five; None where it does not fit them."""
    count = len(TEMPLATES[template])
    return None if landmarks is None or len(landmarks) not in (count, len(ARCFACE)) else landmarks[:count]


def aligned(
    pixels: Pixels,
    points: Sequence[tuple[float, float]],
    size: tuple[int, int],
    template: str = "arcface_112_5pt",
) -> Pixels:
    """Return the face moved, turned and scaled so that its points fit a template best.

    A similarity in the least squares sense, sampled bilinearly, black outside the picture, as
    insightface does it. In a narrower picture the template keeps its scale and its middle.

    Args:
        pixels: ``uint8 [H, W, 3]``.
        points: As many as the template has, in pixels; the middle of the first pixel is at 0.
        size: Height and width to return.
        template: One of ``TEMPLATES``.

    Raises:
        ImageError: Another number of points, or all of them in one place.

    Example:
        >>> picture = np.zeros((112, 112, 3), np.uint8)
        >>> aligned(picture, ARCFACE, (112, 112)).shape
        (112, 112, 3)
    """
    # A similarity of the plane is z -> a z + b in complex numbers; its least squares fit has a closed form.
    source = np.array([complex(*point) for point in points])
    height, width = size
    target = np.array([complex(*point) for point in TEMPLATES[template]]) * (height / 112) - (height - width) / 2
    if len(source) != len(target) or not np.isfinite(source).all() or np.ptp(source.real) + np.ptp(source.imag) <= 0:
        raise ImageError(
            f"cannot align a face by {len(source)} points",
            why=f"{'five' if len(target) == 5 else 'two'} points are needed that do not all lie in one place",
            do="give both eyes, the nose and both corners of the mouth, from left to right"
            if len(target) == 5
            else "give both eyes, from left to right",
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


def finder(align: str | Embedder, preprocess: Preprocess) -> Any:
    """Return the landmark network that finds the five points by which faces are aligned.

    Args:
        align: A landmark network, or the name of one, whose published weights are taken.
        preprocess: Of the network that is to have aligned faces.

    Raises:
        OptionError: It is no landmark network, its points are none of a face's conventions, or the other network
            takes pictures as they are.
        NotFound: No such network, or it has no published weights.
    """
    from xzoo.families.landmark.model import LandmarkNet
    from xzoo.families.landmark.points import reachable

    if preprocess.alignment is None:
        raise OptionError(
            f"align={_named(align)} for a network that takes pictures as they are",
            why="Faces are moved for networks whose card says alignment: arcface_112_5pt.",
            do="leave align out",
        )
    if isinstance(align, str):
        from xzoo.models import create

        found: Any = create(align, pretrained=True)
    else:
        found = align
    if not isinstance(found, LandmarkNet):
        raise OptionError(
            f"align={_named(align)}", why="It is no landmark network.", do="xzoo ls --task face-landmarks"
        )
    if 5 not in reachable(found.points):
        raise OptionError(
            f"align={_named(align)}", why=f"Five points cannot be told from its {found.points}.", exists="5, 54, 68, 70"
        )
    return found


def locate(
    images: Sequence[ImageLike], network: Any, *, boxes: Sequence[Box | None] | None = None, batch_size: int = 64
) -> list[Points]:
    """Return the five points of the face in each picture, as :func:`aligned` takes them.

    The landmark network looks twice (``passes=2``), since raw crops are framed in many ways, and into the mirror
    (``mirrored=True``), which brings its points nearer: four passes through it for each picture.

    Args:
        images: Pictures of one face each.
        network: From :func:`finder`.
        boxes: Where a detector saw each face; None takes the whole picture.
        batch_size: Pictures per forward pass.
    """
    passes = 2 if network.points >= 54 else 1
    points = network.landmarks(images, boxes=boxes, points=5, passes=passes, mirrored=True, batch_size=batch_size)
    return [tuple((float(x), float(y)) for x, y in row) for row in points.tolist()]


def located(manifest: Manifest, network: Any, *, batch_size: int = 64) -> Manifest:
    """Return a manifest whose rows all know five points: their own, or those that the network finds in their box.

    Args:
        manifest: What is to be aligned.
        network: From :func:`finder`.
        batch_size: Pictures per forward pass.
    """
    lacking = [place for place, row in enumerate(manifest.rows) if row.landmarks is None or len(row.landmarks) != 5]
    rows = list(manifest.rows)
    if lacking:
        pictures, boxes = [manifest.paths[place] for place in lacking], [rows[place].box for place in lacking]
        for place, points in zip(lacking, locate(pictures, network, boxes=boxes, batch_size=batch_size), strict=True):
            rows[place] = replace(rows[place], landmarks=points)
    return type(manifest)(tuple(rows), manifest.root)


def _named(align: object) -> str:
    return repr(align) if isinstance(align, str) else type(align).__name__
