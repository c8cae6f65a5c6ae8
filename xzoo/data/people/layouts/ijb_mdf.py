"""IJB-MDF, in the layout that this zoo reads: the owner's could not be read.

Each frame shows people of one video side by side, as their distance lets them be
seen. All bands see them in one session, so in the clothes of that day.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from xzoo.data.people.layouts.core import Page, Piece
from xzoo.errors import OptionError

__all__ = ["lay"]

_DOMAINS = (("VIS", 500), ("SWIR", 30), ("MWIR", 30), ("LWIR", 30))
_SESSION = 8
"""Moments of one session of the generator."""


def lay(
    page: Page, *, frames: int = 3, together: int = 2, size: tuple[int, int] = (384, 128), crowded: bool = True
) -> None:
    """Lay IJB-MDF out: odd subjects are of gallery 1, even ones of gallery 2, counted from 1.

    Args:
        page: To be filled.
        frames: Frames of each video.
        together: People in a video.
        size: Height and width of a body. Where the generator does not draw, the face is taken for the middle
            of the top eighth.
        crowded: Add, in the first frame of each video, what a detector also finds: a box around
            two people at once, a second box around the first, and one around nobody.
    """
    if frames < 1 or together < 1:
        raise OptionError(f"frames={frames}, together={together} of layout 'ijb_mdf'", why="at least one of each")
    if page.generated and not (32 <= size[0] <= 1024 and 32 <= size[1] <= 1024):
        raise OptionError(f"size={size!r} of layout 'ijb_mdf'", why="the generator draws sides of 32 to 1024 pixels")
    height, width = size
    gap = width // 4
    canvas = (height + 2 * gap, gap + together * (width + gap))
    names = [f"{subject + 1:04d}" for subject in range(page.subjects)]
    page.text("galleries.csv", ["SUBJECT,GALLERY", *(f"{name},{1 + place % 2}" for place, name in enumerate(names))])
    videos, faces = ["VIDEO,SPECTRUM,DISTANCE"], ["VIDEO,FRAME,SUBJECT,X,Y,WIDTH,HEIGHT"]
    bodies = ["VIDEO,FRAME,X,Y,WIDTH,HEIGHT,CONFIDENCE"]
    lot = random.Random(page.seed)
    for place, (spectrum, metres) in enumerate(_DOMAINS):
        for number, start in enumerate(range(0, page.subjects, together)):
            video = f"{spectrum}-{metres}m-{number:03d}"
            videos.append(f"{video},{spectrum},{metres}m")
            group = range(start, min(start + together, page.subjects))
            for frame in range(frames):
                # No two bands see one moment, for as long as a session lasts.
                moment = (2 * place + frame) % _SESSION + _SESSION * (frame // _SESSION)
                pieces = [
                    Piece("body", subject, moment, spectrum, size, (gap + column * (width + gap), gap), metres)
                    for column, subject in enumerate(group)
                ]
                for piece, (x, y, wide, high) in zip(pieces, _faces(page, pieces), strict=True):
                    faces.append(f"{video},{frame},{names[piece.subject]},{x},{y},{wide},{high}")
                    confidence = 0.6 + 0.4 * lot.random()
                    box = f"{piece.at[0]},{piece.at[1]},{width},{height}"
                    bodies.append(f"{video},{frame},{box},{confidence:.3f}")
                if crowded and frame == 0:
                    span = len(group) * (width + gap) - gap
                    if len(group) > 1:
                        bodies.append(f"{video},{frame},{gap},{gap},{span},{height},0.500")
                    bodies.append(f"{video},{frame},{gap},{gap},{width},{height},0.300")
                    bodies.append(f"{video},{frame},0,{gap},{gap},{height},0.400")
                page.scene(f"frames/{video}/{frame:06d}.png", canvas, pieces)
    page.text("videos.csv", videos)
    page.text("faces.csv", faces)
    page.text("bodies.csv", bodies)


def _faces(page: Page, pieces: Sequence[Piece]) -> list[tuple[int, int, int, int]]:
    """Return the box of each person's face in the picture: left, top, width, height."""
    if not page.generated:
        return [
            (piece.at[0] + 3 * piece.size[1] // 8, piece.at[1], piece.size[1] // 4, piece.size[0] // 8)
            for piece in pieces
        ]
    import torch

    from xzoo.data.people.body import body_boxes

    first = pieces[0]
    boxes = body_boxes(
        torch.tensor([piece.subject for piece in pieces]),
        torch.tensor([piece.sample for piece in pieces]),
        size=first.size,
        seed=page.seed,
    )
    found = []
    for piece, ends in zip(pieces, boxes["face_box"].round().int().tolist(), strict=True):
        left, top, right, low = ends
        found.append((piece.at[0] + left, piece.at[1] + top, max(right - left + 1, 1), max(low - top + 1, 1)))
    return found
