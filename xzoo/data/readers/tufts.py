"""Tufts face database: 113 people in VIS, NIR and LWIR (Panetta et al., TPAMI 2020)."""

from __future__ import annotations

import re

from xzoo import errors
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_FOLDER = re.compile(r"TD_(?P<band>RGB|NIR|IR)_(?P<kind>[AE])(?:_Set(?P<set>\d+))?")
_SPECTRA = {"RGB": "VIS", "NIR": "NIR", "IR": "LWIR"}


def scan(listing: Listing, *, kinds: str = "AE") -> None:
    """List Tufts: every folder ``TD_<RGB|NIR|IR>_<A|E>[_Set<n>]``, with one folder for each subject in it.

    Args:
        listing: To be filled.
        kinds: ``A`` for poses around the subject, ``E`` for expressions; the kind becomes the camera.
    """
    if not kinds or set(kinds) - set("AE"):
        raise errors.OptionError(f"kinds={kinds!r} of reader 'tufts'", why="kinds are A and E", do="kinds='AE'")
    for folder in listing.folders():
        # The owner's archives hold TD_IR_E_Set1 directly, others put the four sets into TD_IR_E.
        inner = [f"{folder}/{name}" for name in listing.folders(folder) if _FOLDER.fullmatch(name)]
        for place in [folder, *inner]:
            named = _FOLDER.fullmatch(place.rpartition("/")[2])
            if named is None or named["kind"] not in kinds:
                continue
            for subject in listing.folders(place):
                for name in listing.images(f"{place}/{subject}") if not _FOLDER.fullmatch(subject) else ():
                    listing.add(
                        f"{place}/{subject}/{name}",
                        subject,
                        _SPECTRA[named["band"]],
                        camera=named["kind"],
                        session=named["set"],
                    )


READER = Reader(
    name="tufts",
    title="Tufts face database, 113 people in VIS, NIR and LWIR",
    source="Panetta et al., TPAMI 2020; tdface.ece.tufts.edu",
    scan=scan,
    published={"subjects": 113},
    layout="TD_{RGB,NIR,IR}_{A,E}_Set<1-4>/<subject>/*.jpg",
)
