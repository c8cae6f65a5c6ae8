"""Thermal faces with landmarks: SF-TL54, TFW and RWTH-Aachen."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from xzoo.data.images import open_image, upright_size
from xzoo.data.readers.core import Listing, Reader
from xzoo.errors import OptionError, XzooError

__all__ = ["READERS"]

Box = tuple[int, int, int, int]
_RWTH = re.compile(r"irface_sub(?P<who>\d{3})_seq(?P<session>\d{2})_frm\d{5}")


def _choice(name: str, value: str, choices: tuple[str, ...], reader: str) -> None:
    if value not in choices:
        raise OptionError(f"{name}={value!r} of reader {reader!r}", exists=", ".join(choices))


def _sf_tl54(listing: Listing, *, palette: str = "gray", visible: bool = False, drop_challenging: bool = False) -> None:
    """List thermal images with box and 54 points, and the visible pair of each on request.

    The split is that of the folders; ``metadata.csv`` tells another one.

    Args:
        listing: Filled here.
        palette: ``gray`` or ``iron``.
        visible: Also list ``dataset/rgb``, matched by sorted order; points and box are those of the thermal frame.
        drop_challenging: Leave out the frames of ``challenging_images.csv``.
    """
    _choice("palette", palette, ("gray", "iron"), "sf_tl54")
    dropped = set()
    if drop_challenging:
        table = listing.table("dataset/challenging_images.csv", ("sub_id", "trial_id", "pos_id"))
        dropped = {tuple(_plain(row[key]) for key in ("sub_id", "trial_id", "pos_id")) for _, row in table}
        listing.published = {"train LWIR images": 1779, "val LWIR images": 180, "test LWIR images": 572}
    for split in ("train", "val", "test"):
        folder = f"dataset/{palette}/{split}/images"
        thermal = listing.images(folder)
        pairs: list[str] = listing.images(f"dataset/rgb/{split}") if visible else []
        if visible and len(pairs) != len(thermal):
            listing.faults.append(f"dataset/rgb/{split}: {len(pairs)} images for {len(thermal)} thermal ones")
        for place, name in enumerate(thermal):
            stem = name.rpartition(".")[0]
            parts = stem.split("_")
            if len(parts) < 4:
                listing.faults.append(f"{folder}/{name}: not a name such as subject_trial_session_position_...")
                continue
            if (_plain(parts[0]), _plain(parts[1]), _plain(parts[3])) in dropped:
                continue
            marks = _labelme(listing, f"dataset/{palette}/{split}/json/{stem}.json")
            if marks is None:
                continue
            box, points = marks
            facts: dict[str, Any] = {
                "session": parts[1],
                "split": split,
                "box": box,
                "landmarks": points,
                "media": stem,
            }
            listing.add(f"{folder}/{name}", _plain(parts[0]), "LWIR", **facts)
            if place < len(pairs):
                listing.add(f"dataset/rgb/{split}/{pairs[place]}", _plain(parts[0]), "VIS", **facts)


def _plain(word: str) -> str:
    return str(int(word)) if word.isdecimal() else word


def _labelme(listing: Listing, path: str) -> tuple[Box, tuple[tuple[float, float], ...]] | None:
    """Return box and points of a LabelMe-style file: the shape ``face`` is the box, all others are points in order."""
    try:
        shapes = json.loads((listing.root / path).read_text(encoding="utf-8"))["shapes"]
        box = next(shape["points"] for shape in shapes if shape["label"] == "face")
        points = [(float(x), float(y)) for shape in shapes if shape["label"] != "face" for x, y in shape["points"]]
        (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in box)
    except FileNotFoundError:
        listing.missing.append(f"{path} (every image has one)")
        return None
    except (ValueError, KeyError, TypeError, StopIteration, UnicodeDecodeError):
        listing.faults.append(f"{path}: not a list of shapes with a face of two corners and points")
        return None
    if len(points) != 54 or not all(math.isfinite(value) for point in points for value in point):
        listing.faults.append(f"{path}: {len(points)} points, but there are 54")
        return None
    return _box(x0, y0, x1, y1), tuple(points)


def _box(x0: float, y0: float, x1: float, y1: float) -> Box:
    left, top = max(math.floor(min(x0, x1)), 0), max(math.floor(min(y0, y1)), 0)
    return left, top, max(math.ceil(max(x0, x1)) - left, 1), max(math.ceil(max(y0, y1)) - top, 1)


def _tfw(listing: Listing, *, palette: str = "iron") -> None:
    """List every face with box and five points; images are in ``indoor`` and ``outdoor`` folders.

    Args:
        listing: Filled here.
        palette: ``iron`` or ``gray``.
    """
    _choice("palette", palette, ("gray", "iron"), "tfw")
    top = "" if listing.has("train/indoor.csv") or not listing.folders("TFW") else "TFW/"
    for split in ("train", "val", "test"):
        for place in ("indoor", "outdoor"):
            folder = f"{top}{split}/{place}{'_gray' if palette == 'gray' else ''}"
            faces: dict[str, int] = {}
            for where, line in listing.text(f"{top}{split}/{place}.csv", needed=False)[1:]:
                words = [word.strip() for word in line.split(",")]
                try:
                    if len(words) != 15:
                        raise ValueError
                    values = [float(word) for word in words[1:]]
                except ValueError:
                    listing.faults.append(f"{where}: a row is a file name, two corners and five points")
                    continue
                x0, y0, x1, y1 = values[:4]
                if x1 <= x0 or y1 <= y0:
                    listing.faults.append(f"{where}: the box has no area")
                    continue
                faces[words[0]] = faces.get(words[0], 0) + 1
                points = tuple(zip(values[4::2], values[5::2], strict=True))
                who = f"{split}/{place}/{words[0].rpartition('.')[0]}#{faces[words[0]]}"
                listing.add(
                    f"{folder}/{words[0]}",
                    who,
                    "LWIR",
                    listed=where,
                    split=split,
                    session=place,
                    box=_box(x0, y0, x1, y1),
                    landmarks=points,
                    media=words[0],
                )
    listing.counts |= {"faces": len(listing.rows), "images": len({row.path for row in listing.rows})}
    listing.notes.append("faces are not named: a subject is one face of one image")


def _rwth(listing: Listing) -> None:
    """List every frame with its 68 points, the box drawn around them as both published baselines do."""
    for file in sorted(listing.root.rglob("*_lfb.ljson")):
        path = file.relative_to(listing.root).as_posix()
        stem = path.removesuffix("_lfb.ljson")
        found = _RWTH.fullmatch(stem.rpartition("/")[2])
        if found is None:
            listing.faults.append(f"{path}: not a name such as irface_sub001_seq01_frm00001_lfb.ljson")
            continue
        image = next((stem + ending for ending in (".png", ".jpg") if listing.has(stem + ending)), None)
        if image is None:
            listing.missing.append(f"{stem}.png (beside {path})")
            continue
        points = _ljson(file)
        if points is None:
            listing.faults.append(f"{path}: not 68 points [y, x] under landmarks.points")
            continue
        try:
            with open_image(listing.root / image) as opened:
                size = upright_size(opened)
        except XzooError:
            size = None  # told by check, which looks at every image
        listing.add(
            image,
            found["who"],
            "LWIR",
            session=found["session"],
            box=padded_box(points, size),
            landmarks=points,
        )


def _ljson(file: Path) -> tuple[tuple[float, float], ...] | None:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["landmarks"]["points"]
        points = tuple((float(x), float(y)) for y, x in rows)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        return None
    return points if len(points) == 68 and all(map(math.isfinite, sum(points, ()))) else None


def padded_box(points: tuple[tuple[float, float], ...], size: tuple[int, int] | None) -> Box:
    """Return the box of points, 40 px more at the top and 5 px at the other sides, inside an image of ``size``."""
    across, down = [x for x, _ in points], [y for _, y in points]
    left, top, right, bottom = min(across) - 5, min(down) - 40, max(across) + 5, max(down) + 5
    if size is not None:
        right, bottom = min(right, size[0]), min(bottom, size[1])
    x, y, width, height = _box(left, top, right, bottom)
    return (x, y, min(width, size[0] - x), min(height, size[1] - y)) if size is not None else (x, y, width, height)


READERS = {
    reader.name: reader
    for reader in (
        Reader(
            "sf_tl54",
            "SF-TL54: 2,556 thermal and visible pairs of 142 subjects, 54 points",
            "Kuzdeuov et al. 2022, IEEE Access; Hub data set issai/SFTL54",
            _sf_tl54,
            {
                "train LWIR images": 1800,
                "val LWIR images": 180,
                "test LWIR images": 576,
                "train subjects": 100,
                "val subjects": 10,
                "test subjects": 32,
            },
            "dataset/{gray,iron}/{train,val,test}/{images,json}, dataset/rgb/{train,val,test}",
        ),
        Reader(
            "tfw",
            "TFW: 16,509 thermal faces in 9,982 images, box and 5 points",
            "Kuzdeuov et al. 2022, IEEE TIFS; Hub data set issai/TFW",
            _tfw,
            {"images": 9982, "faces": 16509},
            "TFW/{train,val,test}/{indoor,outdoor}.csv with images in folders of the same name",
        ),
        Reader(
            "rwth_thermal",
            "RWTH-Aachen thermal faces: 2,935 frames of 90 subjects, 68 points",
            "Kopaczka et al. 2018, A Fully Annotated Thermal Face Database",
            _rwth,
            {"images": 2935, "subjects": 90},
            "irface_sub001_seq01_frm00001.png with irface_sub001_seq01_frm00001_lfb.ljson",
        ),
    )
}
