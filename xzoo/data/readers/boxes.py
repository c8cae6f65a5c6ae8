"""Whose body is it: detected bodies given to annotated faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["OUTSIDE", "Assigned", "assign", "overlap", "within"]

Box = tuple[float, float, float, float]

OUTSIDE = "outside the frame"
"""Why a box is left out of which nothing lies in its frame."""


def within(box: Box, width: int | None = None, height: int | None = None) -> tuple[int, int, int, int] | None:
    """Return the part of a box that lies in its frame, in whole pixels; ``None`` where nothing does.

    Args:
        box: ``(x, y, width, height)``.
        width: Of the frame; where it is not known, only its left edge cuts.
        height: Of the frame; likewise, its upper edge.
    """
    x, y, wide, high = (round(number) for number in box)
    left, top = max(x, 0), max(y, 0)
    right, low = (
        min(x + wide, math.inf if width is None else width),
        min(y + high, math.inf if height is None else height),
    )
    return (left, top, int(right - left), int(low - top)) if right > left and low > top else None


@dataclass(frozen=True)
class Assigned:
    """What became of a body box.

    Attributes:
        face: Place of the face it was given to; ``None`` if it was rejected.
        overlap: With that face, or with the nearest one.
        why: ``""``, ``no face``, ``ambiguous`` or ``taken``.
    """

    face: int | None
    overlap: float
    why: Literal["", "no face", "ambiguous", "taken"]


def overlap(body: Box, face: Box, rule: Literal["face", "iou"] = "face") -> float:
    """Return the share of the face that lies in the body, or the intersection over union of both.

    Boxes are ``(x, y, width, height)``.
    """
    width = min(body[0] + body[2], face[0] + face[2]) - max(body[0], face[0])
    height = min(body[1] + body[3], face[1] + face[3]) - max(body[1], face[1])
    shared = max(width, 0.0) * max(height, 0.0)
    whole = face[2] * face[3] if rule == "face" else body[2] * body[3] + face[2] * face[3] - shared
    return shared / whole


def assign(
    bodies: Sequence[Box],
    scores: Sequence[float],
    faces: Sequence[Box],
    *,
    rule: Literal["face", "iou"] = "face",
    floor: float = 0.5,
    ambiguous: float = 0.75,
) -> list[Assigned]:
    """Give each body of a frame to the face that lies in it, if that is clear.

    A body is rejected where its best face lies in it by less than ``floor`` (our choice), or where two faces
    or more do so by more than ``ambiguous`` (Nanduri et al., arXiv 2503.10931). Of two bodies
    that claim one face the one with more overlap stays, then the surer detection, then the smaller box.

    Args:
        bodies: Detected boxes ``(x, y, width, height)``.
        scores: The detector's confidence of each.
        faces: Annotated faces of the same frame.
        rule: ``face`` measures the overlap as a share of the face. The paper writes intersection over union
            (``iou``), by which a face cannot fill three quarters of a body; the ambiguity rule then never applies,
            and neither does the floor, which would reject every body.
        floor: Least overlap.
        ambiguous: Overlap from which a second face makes the body ambiguous.
    """
    found: list[Assigned] = []
    for body in bodies:
        shares = [overlap(body, face, rule) for face in faces]
        best = max(range(len(faces)), key=lambda place: shares[place], default=None)
        if best is None or shares[best] <= 0 or (rule == "face" and shares[best] < floor):
            found.append(Assigned(None, 0.0 if best is None else shares[best], "no face"))
        elif sum(share > ambiguous for share in shares) >= 2:
            found.append(Assigned(None, shares[best], "ambiguous"))
        else:
            found.append(Assigned(best, shares[best], ""))
    for face in range(len(faces)):
        claims = [place for place, one in enumerate(found) if one.face == face]
        claims.sort(key=lambda place: (-found[place].overlap, -scores[place], bodies[place][2] * bodies[place][3]))
        for place in claims[1:]:
            found[place] = Assigned(None, found[place].overlap, "taken")
    return found
