"""SCface: mug shots against five surveillance cameras at three distances, and infrared ones."""

from __future__ import annotations

import re

from xzoo.data.readers.core import Listing, Reader
from xzoo.errors import OptionError

__all__ = ["DISTANCES", "READER"]

DISTANCES = {"1": "4.20m", "2": "2.60m", "3": "1.00m"}
"""Label 1 is the farthest."""

MUGSHOTS = "mugshot_frontal_cropped_all"
INFRARED = "surveillance_cameras_IR_cam8"
_NAME = re.compile(r"(?P<who>\d{3})_(?:(?P<frontal>frontal)|cam(?P<camera>[1-8])(?:_(?P<distance>[1-3]))?)", re.I)
_SUBJECTS = 130
_HEADER = 10


def _scan(
    listing: Listing,
    *,
    split: str = "idiap",
    train_ids: str = "1-50",
    features: str = "features.txt",
    landmarks: str = "",
) -> None:
    """List every image by what its name says.

    Args:
        listing: Filled here.
        split: ``idiap`` (world 1-43, dev 44-87, eval 88-130), or ``d1d2d3``: train and test for the
            rank-1 tables by distance.
        train_ids: ``FIRST-LAST`` of the subjects used for training in ``d1d2d3``; all others are
            test. Nobody publishes the list; the first 50 is ours.
        features: Table of gender and accessories, used for groups where it is there.
        landmarks: File of ``name rex rey lex ley nx ny mx my``, where you have it.
    """
    if split not in ("idiap", "d1d2d3"):
        raise OptionError(f"split={split!r} of reader 'scface'", exists="idiap, d1d2d3")
    if not (limits := re.fullmatch(r"(\d+)-(\d+)", train_ids)):
        raise OptionError(f"train_ids={train_ids!r} of reader 'scface'", why="it is FIRST-LAST", do='train_ids="1-50"')
    training = range(int(limits[1]), int(limits[2]) + 1)
    points, groups = _points(listing, landmarks), _groups(listing, features)
    surveillance = [name for name in listing.folders() if name.startswith("surveillance_cameras_distance_")]
    folders = [MUGSHOTS, *(f"{top}/{camera}" for top in surveillance for camera in listing.folders(top)), INFRARED]
    for folder in folders:
        for name in listing.images(folder):
            stem = name.rpartition(".")[0]
            found = _NAME.fullmatch(stem)
            if found is None:
                listing.faults.append(f"{folder}/{name}: not a name such as 001_frontal, 001_cam1_2 or 001_cam8")
                continue
            who, number = found["who"], int(found["who"])
            if folder.startswith("surveillance_cameras_distance_") and not folder.split("/")[0].endswith(
                found["distance"] or "?"
            ):
                listing.faults.append(f"{folder}/{name}: its folder and its name tell different distances")
            if split == "idiap":
                part = "world" if number <= 43 else "dev" if number <= 87 else "eval"
            else:
                part = "train" if number in training else "test"
            camera = "frontal" if found["frontal"] else f"cam{found['camera']}"
            infrared = camera in ("cam6", "cam7", "cam8")
            listing.add(
                f"{folder}/{name}",
                who,
                "NIR" if infrared else "VIS",
                camera=camera,
                split=part,
                role="gallery" if camera in ("frontal", "cam8") else "probe",
                distance=DISTANCES.get(found["distance"] or ""),
                landmarks=points.get(stem),
                group=groups.get(who),
            )


def _points(listing: Listing, path: str) -> dict[str, tuple[tuple[float, float], ...]]:
    found = {}
    for where, line in listing.text(path) if path else ():
        words = line.split()
        try:
            if len(words) != 9:
                raise ValueError
            values = [float(word) for word in words[1:]]
        except ValueError:
            listing.faults.append(f"{where}: a line is 'name rex rey lex ley nx ny mx my'")
            continue
        found[words[0].rpartition(".")[0] or words[0]] = tuple(zip(values[0::2], values[1::2], strict=True))
    return found


def _groups(listing: Listing, path: str) -> dict[str, str]:
    """Return gender, beard, moustache and glasses of each subject; the first ten lines are a header."""
    groups = {}
    file = listing.root / path
    lines = file.read_text(encoding="latin-1").splitlines() if file.is_file() else []
    if not lines:
        listing.notes.append(f"no {path}: images have no groups")
    for number, line in enumerate(lines[_HEADER:], start=_HEADER + 1):
        words = line.split("\t")
        if not line.strip():
            continue
        if len(words) < 6 or not words[0].strip().isdecimal() or any(word.strip() not in "01" for word in words[2:6]):
            listing.faults.append(f"{path} line {number}: not 'id, birth date, gender, beard, moustache, glasses'")
            continue
        flags = [word.strip() == "1" for word in words[2:6]]
        names = zip(("beard", "moustache", "glasses"), flags[1:], strict=True)
        said = [f"gender={'f' if flags[0] else 'm'}", *(f"{name}={'yes' if flag else 'no'}" for name, flag in names)]
        groups[f"{int(words[0]):03d}"] = " ".join(said)
    return groups


READER = Reader(
    name="scface",
    title="SCface: 130 subjects, 4,160 images",
    source="Grgic, Delac and Grgic 2011; protocols of bob.db.scface",
    scan=_scan,
    published={"subjects": _SUBJECTS, "images": 4160},
    layout=f"{MUGSHOTS}/001_frontal.jpg, surveillance_cameras_distance_1/cam_1/001_cam1_1.jpg, {INFRARED}/001_cam8.jpg",
)
