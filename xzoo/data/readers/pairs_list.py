"""Any list of pairs to be compared, as a csv."""

from __future__ import annotations

import numpy as np

from xzoo import errors
from xzoo.catalog.names import SPECTRA
from xzoo.data.manifest import Pairs
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_SAME = {"1": True, "true": True, "0": False, "false": False, "-1": False}


def scan(
    listing: Listing, *, pairs: str = "pairs.csv", first_spectrum: str = "VIS", second_spectrum: str = "LWIR"
) -> None:
    """List the pairs of a csv with the columns FIRST, SECOND and SAME, and FOLD where there are folds.

    An image needs no subject here: its own path stands for it.

    Args:
        listing: To be filled.
        pairs: The csv, under the root; its paths are relative to the root.
        first_spectrum: Band of the images named FIRST.
        second_spectrum: Band of those named SECOND.
    """
    for name, band in (("first_spectrum", first_spectrum), ("second_spectrum", second_spectrum)):
        if band not in SPECTRA:
            raise errors.OptionError(f"{name}={band!r}", why="no such band", exists=", ".join(SPECTRA))
    place: dict[str, int | None] = {}
    sides: list[tuple[int, int]] = []
    same: list[bool] = []
    folds: list[int] = []
    for where, cells in listing.table(pairs, ("FIRST", "SECOND", "SAME")):
        if cells["SAME"].lower() not in _SAME:
            listing.faults.append(f"{where}: SAME is {cells['SAME']!r}, not 0 or 1")
            continue
        fold = cells.get("FOLD", "")
        if fold and not fold.isdigit():
            listing.faults.append(f"{where}: FOLD is {fold!r}, no whole number")
            continue
        for column, band in (("FIRST", first_spectrum), ("SECOND", second_spectrum)):
            path = cells[column].replace("\\", "/")
            if path not in place:
                before = len(listing.rows)
                listing.add(path, path, band, listed=where)
                place[path] = before if len(listing.rows) > before else None
        ends = [place[cells[column].replace("\\", "/")] for column in ("FIRST", "SECOND")]
        if ends[0] is not None and ends[1] is not None:
            sides.append((ends[0], ends[1]))
            same.append(_SAME[cells["SAME"].lower()])
            folds.append(int(fold) if fold else 0)
    first = np.array(sides, np.int64).reshape(-1, 2)
    numbered = np.array(folds, np.int64)
    listing.pairs = Pairs(first[:, 0], first[:, 1], np.array(same, bool), numbered if numbered.any() else None)


READER = Reader(
    name="pairs_list",
    title="any set with a list of pairs",
    source="a csv of your own",
    scan=scan,
    layout="pairs.csv with the columns FIRST,SECOND,SAME[,FOLD]",
)
