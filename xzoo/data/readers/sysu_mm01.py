"""SYSU-MM01: bodies in RGB and near infrared, six cameras (Wu et al., ICCV 2017).

Two public scripts draw different galleries. The owner fixes the draw in
``exp/rand_perm_cam.mat`` (``gallery="official"``: the gallery of trial t is the rows with that
``fold`` and role ``gallery``); the AGW line draws by a seed, which its protocols do themselves.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from xzoo import errors
from xzoo.data.readers import mat
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_CAMERAS = {"1": "VIS", "2": "VIS", "3": "NIR", "4": "VIS", "5": "VIS", "6": "NIR"}
_TRIALS = 10


def scan(listing: Listing, *, gallery: Literal["seeded", "official"] = "seeded", shots: int = 1) -> None:
    """List SYSU-MM01.

    Args:
        listing: To be filled.
        gallery: ``official`` adds the owner's galleries, one for each of ten trials.
        shots: Images of each subject and camera in such a gallery: 1, or 10 for multi-shot.
    """
    if gallery not in ("seeded", "official"):
        raise errors.OptionError(
            f"gallery={gallery!r} of reader 'sysu_mm01'", why="no such gallery", exists="seeded, official"
        )
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise errors.OptionError(f"shots={shots!r} of reader 'sysu_mm01'", why="must be a whole number from 1")
    for split in ("train", "val", "test"):
        for subject in _ids(listing, f"exp/{split}_id.txt"):
            found = 0
            for camera, spectrum in _CAMERAS.items():
                for name in listing.images(f"cam{camera}/{subject}"):
                    found += 1
                    listing.add(f"cam{camera}/{subject}/{name}", subject, spectrum, camera=camera, split=split)
            if not found:
                listing.missing.append(f"images of subject {subject} (exp/{split}_id.txt)")
    trained = [row for row in listing.rows if row.split in ("train", "val")]
    for spectrum in ("VIS", "NIR"):
        listing.counts[f"train and val {spectrum} images"] = sum(row.spectrum == spectrum for row in trained)
    if gallery == "official":
        listing.published["fold:0 gallery images"] = 301
        if shots != 1:
            del listing.published["fold:0 gallery images"]
        _official(listing, shots)


def _ids(listing: Listing, file: str) -> list[str]:
    ids: list[str] = []
    for where, line in listing.text(file):
        for word in line.split(","):
            if word.strip().isdigit():
                ids.append(f"{int(word):04d}")
            elif word.strip():
                listing.faults.append(f"{where}: {word.strip()!r} is no number of a subject")
    return sorted(ids)


def _official(listing: Listing, shots: int) -> None:
    file = "exp/rand_perm_cam.mat"
    content = mat.load(listing.root / file)
    if "rand_perm_cam" not in content:
        raise errors.DataError(f"{file!r}", why="no variable 'rand_perm_cam'", exists=", ".join(content))
    cameras = np.asarray(content["rand_perm_cam"], object).ravel(order="F")
    subjects = sorted({row.subject for row in listing.rows if row.split == "test"})
    for trial in range(_TRIALS):
        for subject in subjects:
            for camera, spectrum in _CAMERAS.items():
                if spectrum != "VIS" or not listing.images(f"cam{camera}/{subject}"):
                    continue
                order = _order(cameras, int(camera), int(subject), trial)
                if order is None:
                    listing.faults.append(f"{file}: no order of camera {camera}, subject {subject}, trial {trial}")
                    continue
                for number in order[:shots]:
                    listing.add(
                        f"cam{camera}/{subject}/{number:04d}.jpg",
                        subject,
                        spectrum,
                        listed=f"{file}, trial {trial}",
                        camera=camera,
                        split="test",
                        role="gallery",
                        fold=str(trial),
                    )


def _order(cameras: Any, camera: int, subject: int, trial: int) -> list[int] | None:
    """Return the image numbers of one trial: the file holds {camera}{subject}(trial, :), counted from 1."""
    try:
        orders = np.asarray(cameras[camera - 1], object).ravel(order="F")[subject - 1]
        return [int(number) for number in np.asarray(orders)[trial]]
    except (IndexError, TypeError, ValueError):
        return None


READER = Reader(
    name="sysu_mm01",
    title="SYSU-MM01, bodies in VIS and NIR",
    source="github.com/wuancong/SYSU-MM01; Wu et al., ICCV 2017",
    scan=scan,
    published={
        "images": 44_745,
        "subjects": 491,
        "train subjects": 296,
        "val subjects": 99,
        "test subjects": 96,
        "train and val VIS images": 22_258,
        "train and val NIR images": 11_909,
        "test VIS images": 6_775,
        "test NIR images": 3_803,
    },
    layout="cam<1-6>/<id>/<n>.jpg; exp/{train,val,test}_id.txt; exp/rand_perm_cam.mat for the official galleries",
)
