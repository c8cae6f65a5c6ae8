"""IJB-MDF, in the layout that this zoo reads: the owner's could not be read.

Each frame shows people of one video side by side; the face is the upper part of the body's box.
"""

from __future__ import annotations

import random

from xzoo.data.people.layouts.core import Page, Piece
from xzoo.errors import OptionError

__all__ = ["lay"]

_DOMAINS = (("VIS", "500m"), ("SWIR", "30m"), ("MWIR", "30m"), ("LWIR", "30m"))


def lay(
    page: Page, *, frames: int = 3, together: int = 2, size: tuple[int, int] = (384, 128), crowded: bool = True
) -> None:
    """Lay IJB-MDF out: odd subjects are of gallery 1, even ones of gallery 2, counted from 1.

    Args:
        page: To be filled.
        frames: Frames of each video.
        together: People in a video.
        size: Height and width of a body; a face takes the middle of its top eighth.
        crowded: Add, in the first frame of each video, what a detector also finds: a box around
            two people at once, a second box around the first, and one around nobody.
    """
    if frames < 1 or together < 1:
        raise OptionError(f"frames={frames}, together={together} of layout 'ijb_mdf'", why="at least one of each")
    height, width = size
    gap = width // 4
    canvas = (height + 2 * gap, gap + together * (width + gap))
    names = [f"{subject + 1:04d}" for subject in range(page.subjects)]
    page.text("galleries.csv", ["SUBJECT,GALLERY", *(f"{name},{1 + place % 2}" for place, name in enumerate(names))])
    videos, faces = ["VIDEO,SPECTRUM,DISTANCE"], ["VIDEO,FRAME,SUBJECT,X,Y,WIDTH,HEIGHT"]
    bodies = ["VIDEO,FRAME,X,Y,WIDTH,HEIGHT,CONFIDENCE"]
    lot = random.Random(page.seed)
    for place, (spectrum, distance) in enumerate(_DOMAINS):
        for number, start in enumerate(range(0, page.subjects, together)):
            video = f"{spectrum}-{distance}-{number:03d}"
            videos.append(f"{video},{spectrum},{distance}")
            group = range(start, min(start + together, page.subjects))
            for frame in range(frames):
                pieces = []
                for column, subject in enumerate(group):
                    x, y = gap + column * (width + gap), gap
                    moment = 1000 * place + frame
                    pieces.append(Piece("body", subject, moment, spectrum, size, (x, y)))
                    face = (x + 3 * width // 8, y, width // 4, height // 8)
                    faces.append(f"{video},{frame},{names[subject]},{','.join(map(str, face))}")
                    confidence = 0.6 + 0.4 * lot.random()
                    bodies.append(f"{video},{frame},{x},{y},{width},{height},{confidence:.3f}")
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
