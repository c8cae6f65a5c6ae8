"""RegDB: bodies in VIS and LWIR (Nguyen et al., Sensors 2017).

Ten trials are ten divisions into train and test subjects: a model belongs to one
trial, and meets people it was trained on in every other. Each image has one row for each trial.
"""

from __future__ import annotations

from typing import Literal

from xzoo import errors
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_SPECTRA = {"visible": "VIS", "thermal": "LWIR"}


def scan(listing: Listing, *, trials: int = 10, subject: Literal["folder", "label"] = "folder") -> None:
    """List RegDB.

    Args:
        listing: To be filled.
        trials: How many of the ten divisions to read.
        subject: Who is in an image: the folder it lies in, alike for both bands, or the label of
            the list, which names other people in every trial.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= 10:
        raise errors.OptionError(f"trials={trials!r} of reader 'regdb'", why="there are ten", do="trials=10")
    if subject not in ("folder", "label"):
        raise errors.OptionError(f"subject={subject!r} of reader 'regdb'", why="no such rule", exists="folder, label")
    for trial in range(1, trials + 1):
        for split in ("train", "test"):
            owner: dict[str, tuple[str, str]] = {}
            for word, spectrum in _SPECTRA.items():
                for where, line in listing.text(f"idx/{split}_{word}_{trial}.txt"):
                    path, _, label = line.rpartition(" ")
                    path = path.strip().replace("\\", "/")
                    if path.count("/") < 1 or not label:
                        listing.faults.append(f"{where}: {line!r} is not 'Visible/<id>/<file> <label>'")
                        continue
                    folder = path.split("/")[-2]
                    first, there = owner.setdefault(label, (folder, where))
                    if subject == "folder" and first != folder:
                        listing.faults.append(
                            f"{where}: label {label} is folder {folder} here and {first} at {there}; "
                            "with subject='label' the label counts"
                        )
                    listing.add(
                        path,
                        folder if subject == "folder" else f"{split}-{trial}-{label}",
                        spectrum,
                        listed=where,
                        split=split,
                        fold=str(trial),
                    )
    if subject == "label":
        listing.published.pop("subjects", None)


READER = Reader(
    name="regdb",
    title="RegDB, bodies in VIS and LWIR",
    source="Nguyen et al., Sensors 17(3):605, 2017; lists of github.com/mangye16/Cross-Modal-Re-ID-baseline",
    scan=scan,
    published={
        "images": 8_240,
        "subjects": 412,
        "fold:1 train subjects": 206,
        "fold:1 test subjects": 206,
        "fold:1 test VIS images": 2_060,
        "fold:1 test LWIR images": 2_060,
    },
    layout="idx/{train,test}_{visible,thermal}_<1-10>.txt; Visible/<id>/*.bmp; Thermal/<id>/*.bmp",
)
