"""IJB-MDF: people at 30 m and 500 m in VIS, SWIR, MWIR and LWIR (Kalka et al., BTAS 2019).

The owner's folder layout could not be read when this was written, so the layout
is ours: frames of each video, and four tables of what the set annotates.

``galleries.csv``: SUBJECT,GALLERY (1 or 2). ``videos.csv``: VIDEO,SPECTRUM,DISTANCE. ``faces.csv``, the ground
truth: VIDEO,FRAME,SUBJECT,X,Y,WIDTH,HEIGHT. ``bodies.csv``, a detector's: VIDEO,FRAME,X,Y,WIDTH,HEIGHT,CONFIDENCE.
Images: ``frames/<video>/<frame, six digits>.png`` (or .jpg).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Literal

from xzoo import errors
from xzoo.catalog.names import SPECTRA
from xzoo.data.readers.boxes import OUTSIDE, assign, within
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_SPLITS = {"1": "train", "2": "test"}
_Cells = tuple[str, dict[str, str]]


def scan(listing: Listing, *, kind: Literal["body", "face"] = "body", overlap: Literal["face", "iou"] = "face") -> None:
    """List IJB-MDF as arXiv 2503.10931 uses it: gallery G1 is train, G2 is test.

    Args:
        listing: To be filled.
        kind: Crop detected bodies, each given to the annotated face in it, or the annotated faces.
        overlap: How the overlap of a face with a body is measured; see ``boxes.assign``.
    """
    for name, value, allowed in (("kind", kind, ("body", "face")), ("overlap", overlap, ("face", "iou"))):
        if value not in allowed:
            raise errors.OptionError(
                f"{name}={value!r} of reader 'ijb_mdf'", why="no such choice", exists=", ".join(allowed)
            )
    split: dict[str, str] = {}
    for where, cells in listing.table("galleries.csv", ("SUBJECT", "GALLERY")):
        if cells["GALLERY"] not in _SPLITS:
            listing.faults.append(f"{where}: gallery {cells['GALLERY']!r} is not 1 or 2")
        else:
            split[cells["SUBJECT"]] = _SPLITS[cells["GALLERY"]]
    domain: dict[str, dict[str, str]] = {}
    for where, cells in listing.table("videos.csv", ("VIDEO", "SPECTRUM", "DISTANCE")):
        if cells["SPECTRUM"] not in SPECTRA:
            listing.faults.append(f"{where}: spectrum {cells['SPECTRUM']!r} is not one of {' '.join(SPECTRA)}")
        domain[cells["VIDEO"]] = {"spectrum": cells["SPECTRUM"], "distance": cells["DISTANCE"]}
    faces = _frames(listing, "faces.csv", ("SUBJECT",), domain)
    bodies = _frames(listing, "bodies.csv", ("CONFIDENCE",), domain) if kind == "body" else faces
    rejected: Counter[str] = Counter()
    noun = "bodies" if kind == "body" else "faces"
    for (video, frame), boxes in bodies.items():
        known = faces.get((video, frame), [])
        if kind == "body":
            given = assign(
                [_box(cells) for _, cells in boxes],
                [float(cells["CONFIDENCE"]) for _, cells in boxes],
                [_box(cells) for _, cells in known],
                rule=overlap,
            )
        for place, (where, cells) in enumerate(boxes):
            subject = cells.get("SUBJECT", "")
            if kind == "body":
                if given[place].face is None:
                    rejected[given[place].why] += 1
                    continue
                subject = known[given[place].face or 0][1]["SUBJECT"]
            if subject not in split:
                listing.faults.append(f"{where}: subject {subject!r} is in no gallery of galleries.csv")
                continue
            inside = within(_box(cells))
            if inside is None:
                rejected[OUTSIDE] += 1
                continue
            listing.add(
                _path(listing, video, frame),
                subject,
                domain[video]["spectrum"],
                listed=where,
                distance=domain[video]["distance"],
                split=split[subject],
                media=video,
                box=inside,
                quality=float(cells["CONFIDENCE"]) if kind == "body" else None,
            )
    listing.notes += [f"{number} {noun} left out: {why}" for why, number in sorted(rejected.items())]
    if bare := len(faces.keys() - bodies.keys()):
        listing.notes.append(f"{bare} of {len(faces)} frames with a face have no body")
    listing.counts["videos"] = len(domain)


def _frames(
    listing: Listing, file: str, further: tuple[str, ...], domain: dict[str, Any]
) -> dict[tuple[str, int], list[_Cells]]:
    found: dict[tuple[str, int], list[_Cells]] = defaultdict(list)
    for where, cells in listing.table(file, ("VIDEO", "FRAME", "X", "Y", "WIDTH", "HEIGHT", *further)):
        try:
            frame, box = int(cells["FRAME"]), _box(cells)
            float(cells.get("CONFIDENCE", "1"))
        except ValueError:
            listing.faults.append(f"{where}: a frame, a box or a confidence is no number")
            continue
        if cells["VIDEO"] not in domain:
            listing.faults.append(f"{where}: video {cells['VIDEO']!r} is not in videos.csv")
        elif box[2] <= 0 or box[3] <= 0:
            listing.faults.append(f"{where}: the box has no area")
        else:
            found[cells["VIDEO"], frame].append((where, cells))
    return dict(found)


def _box(cells: dict[str, str]) -> tuple[float, float, float, float]:
    return float(cells["X"]), float(cells["Y"]), float(cells["WIDTH"]), float(cells["HEIGHT"])


def _path(listing: Listing, video: str, frame: int) -> str:
    stem = f"frames/{video}/{frame:06d}"
    return f"{stem}.png" if listing.has(f"{stem}.png") else f"{stem}.jpg"


READER = Reader(
    name="ijb_mdf",
    title="IJB-MDF, people at 30 m and 500 m in four bands",
    source="Kalka et al., BTAS 2019; use of arXiv 2503.10931",
    scan=scan,
    published={"subjects": 251, "train subjects": 126, "test subjects": 125},
    layout="galleries.csv, videos.csv, faces.csv, bodies.csv, frames/<video>/<frame>.png (a layout of ours)",
)
