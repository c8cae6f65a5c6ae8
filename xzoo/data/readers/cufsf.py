"""CUFSF: photographs of FERET and sketches drawn after them (Zhang et al., CVPR 2011)."""

from __future__ import annotations

import re

from xzoo import errors
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_SUBJECT = re.compile(r"(?P<subject>\d{5})")


def scan(listing: Listing, *, photos: str = "photo", sketches: str = "sketch", train: int = 250) -> None:
    """List CUFSF: a subject is the first five digits of a file's name.

    Both are VIS; ``role`` tells a photograph (gallery) from a sketch (probe).

    Args:
        listing: To be filled.
        photos: Folder of the photographs, which FERET ships.
        sketches: Folder of the sketches.
        train: Subjects of the training part, the first in order of number. The published figures are
            consistent with 250 to 944; which 250 is not published, so this choice is ours.
    """
    if isinstance(train, bool) or not isinstance(train, int) or train < 0:
        raise errors.OptionError(f"train={train!r} of reader 'cufsf'", why="must be a whole number from 0")
    found: list[tuple[str, str, str]] = []
    for folder, role in ((photos, "gallery"), (sketches, "probe")):
        for name in listing.images(folder):
            named = _SUBJECT.match(name)
            if named is None:
                listing.faults.append(f"{folder}/{name}: the name does not start with the five digits of a subject")
            else:
                found.append((f"{folder}/{name}", named["subject"], role))
    sides = {role: {subject for _, subject, other in found if other == role} for role in ("gallery", "probe")}
    listing.missing += [f"sketch of subject {subject}" for subject in sorted(sides["gallery"] - sides["probe"])]
    listing.missing += [f"photograph of subject {subject}" for subject in sorted(sides["probe"] - sides["gallery"])]
    first = set(sorted(sides["gallery"] | sides["probe"])[:train])
    for path, subject, role in found:
        listing.add(path, subject, "VIS", role=role, split="train" if subject in first else "test")


READER = Reader(
    name="cufsf",
    title="CUFSF, photographs and sketches of 1194 people",
    source="Zhang et al., CVPR 2011",
    scan=scan,
    published={"subjects": 1_194, "images": 2_388},
    layout="photo/<5 digits>*.jpg; sketch/<5 digits>*.jpg",
)
