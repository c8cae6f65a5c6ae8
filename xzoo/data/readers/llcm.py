"""LLCM: bodies in VIS and NIR at night, nine cameras (Zhang and Wang, CVPR 2023).

Test images lie twice in the set: in ``vis`` and ``nir``, listed in
``idx/test_*.txt``, and by camera in ``test_vis`` and ``test_nir``. Protocols A and B
walk the second copy, protocol C the lists, protocol D lists of its own.
"""

from __future__ import annotations

import re
from typing import Literal

from xzoo import errors
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_CAMERA = re.compile(r"_c(?P<camera>\d+)_")
_SPECTRA = {"vis": "VIS", "nir": "NIR"}
_LISTS = ("tree", "idx", "v2")


def scan(listing: Listing, *, lists: Literal["tree", "idx", "v2"] = "tree") -> None:
    """List LLCM.

    Args:
        listing: To be filled.
        lists: Where the test images come from: the tree by camera (protocols A and B), ``idx/test_*.txt``
            (protocol C), or ``query_v2.txt`` and ``gallery_v2.txt`` (protocol D, lines ``path subject [camera]``).
    """
    if lists not in _LISTS:
        raise errors.OptionError(f"lists={lists!r} of reader 'llcm'", why="no such lists", exists=", ".join(_LISTS))
    for short in _SPECTRA:
        _listed(listing, f"idx/train_{short}.txt", short, "train")
    if lists == "tree":
        _tree(listing)
    elif lists == "idx":
        for short in _SPECTRA:
            _listed(listing, f"idx/test_{short}.txt", short, "test")
    else:
        _explicit(listing)


def _listed(listing: Listing, file: str, short: str, split: str) -> None:
    labels: dict[str, str] = {}
    for where, line in listing.text(file):
        path, _, label = line.rpartition(" ")
        path = path.strip().replace("\\", "/")
        parts = path.split("/")
        if len(parts) < 3:
            listing.faults.append(f"{where}: {line!r} is not 'vis/<id>/<file> <label>'")
            continue
        subject = parts[-2]
        if labels.setdefault(subject, label) != label:
            listing.faults.append(f"{where}: subject {subject} has label {label} here and {labels[subject]} above")
        listing.add(path, subject, _SPECTRA[short], listed=where, camera=_camera(parts[-1]), split=split)


def _camera(name: str) -> str | None:
    # From the file name alone: a folder above the data set may be called "cam" too.
    found = _CAMERA.search(name)
    return found["camera"] if found else None


def _tree(listing: Listing) -> None:
    wanted: set[str] = set()
    for where, line in listing.text("idx/test_id.txt"):
        for word in line.split(","):
            if not word.strip().isdigit():
                listing.faults.append(f"{where}: {word.strip()!r} is no number of a subject")
            else:
                wanted.add(f"{int(word):04d}")
    seen: set[str] = set()
    for short, spectrum in _SPECTRA.items():
        cameras = [name for name in listing.folders(f"test_{short}") if re.fullmatch(r"cam\d+", name)]
        for camera in cameras:
            for subject in listing.folders(f"test_{short}/{camera}"):
                folder = f"test_{short}/{camera}/{subject}"
                if subject not in wanted:
                    listing.notes.append(f"{folder}: left out, not in idx/test_id.txt")
                    continue
                seen.add(subject)
                for name in listing.images(folder):
                    listing.add(f"{folder}/{name}", subject, spectrum, camera=camera[3:], split="test")
    listing.missing += [f"test images of subject {subject} (idx/test_id.txt)" for subject in sorted(wanted - seen)]


def _explicit(listing: Listing) -> None:
    for role, file in (("gallery", "gallery_v2.txt"), ("probe", "query_v2.txt")):
        path = f"idx/{file}" if listing.has(f"idx/{file}") else file
        for where, line in listing.text(path):
            cells = line.split()
            folders = cells[0].replace("\\", "/").split("/")
            short = next((part for part in folders[:-1] if part.removeprefix("test_") in _SPECTRA), None)
            if len(cells) not in (2, 3) or short is None:
                listing.faults.append(f"{where}: {line!r} is not 'vis/.../<file> <subject> [camera]'")
                continue
            listing.add(
                "/".join(folders),
                cells[1],
                _SPECTRA[short.removeprefix("test_")],
                listed=where,
                camera=cells[2] if len(cells) == 3 else None,
                split="test",
                role=role,
            )
    # The lists divide the test images in a way that nobody has published counts of.
    for name in ("images", "subjects", "test images", "test VIS images", "test NIR images", "test subjects", "cameras"):
        listing.published.pop(name, None)


READER = Reader(
    name="llcm",
    title="LLCM, bodies in VIS and NIR",
    source="github.com/ZYK100/LLCM; arXiv 2303.14481",
    scan=scan,
    published={
        "images": 46_767,
        "subjects": 1_064,
        "cameras": 9,
        "train images": 30_921,
        "train VIS images": 16_946,
        "train NIR images": 13_975,
        "train subjects": 713,
        "test images": 15_846,
        "test VIS images": 8_680,
        "test NIR images": 7_166,
        "test subjects": 351,
    },
    layout="idx/{train_vis,train_nir,test_vis,test_nir,test_id}.txt; {vis,nir}/<id>/*.jpg; "
    "test_{vis,nir}/cam<k>/<id>/*.jpg",
)
