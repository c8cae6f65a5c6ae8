"""UCCS: unconstrained college students, open-set identification in surveillance photographs."""

from __future__ import annotations

from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER", "UNKNOWN"]

UNKNOWN = "unknown"
_POINTS = ("REYE", "LEYE", "NOSE", "RMOUTH", "LMOUTH")


def _scan(listing: Listing, *, exclude: str = "") -> None:
    """List the gallery with its landmarks, and the faces of the validation images with their boxes.

    Args:
        listing: Filled here.
        exclude: A file of gallery images to leave out, one ``FILE`` a line, as the organisers ship it.
    """
    left_out = {line for _, line in listing.text(exclude)} if exclude else set()
    columns = [f"{name}_{axis}" for name in _POINTS for axis in "XY"]
    for where, row in listing.table("gallery.csv", ("FILE", "SUBJECT_ID", *columns)):
        who = row["SUBJECT_ID"]
        values = _floats(listing, where, [row[name] for name in columns])
        if not who.lstrip("-").isdecimal() or values is None:
            listing.faults.append(f"{where}: subject {who!r} is no number") if values is not None else None
            continue
        file = row["FILE"]
        if file in left_out:
            continue
        path = f"gallery_images/{file}" if "/" in file else f"gallery_images/{int(who):04d}/{file}"
        points = tuple(zip(values[0::2], values[1::2], strict=True))
        listing.add(path, who, "VIS", listed=where, role="gallery", landmarks=points)
    known = {row.subject for row in listing.rows}
    for where, row in listing.table(
        "validation.csv", ("FILE", "FACE_ID", "SUBJECT_ID", "FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT")
    ):
        values = _floats(listing, where, [row[f"FACE_{name}"] for name in ("X", "Y", "WIDTH", "HEIGHT")])
        if values is None:
            continue
        left, top = max(round(values[0]), 0), max(round(values[1]), 0)
        right, bottom = round(values[0] + values[2]), round(values[1] + values[3])
        if right <= left or bottom <= top:
            listing.faults.append(f"{where}: the box has no area")
            continue
        who = row["SUBJECT_ID"]
        if not (who.startswith("-") or who == "0") and who not in known:
            listing.faults.append(f"{where}: subject {who} is not in the gallery")
        listing.add(
            f"validation_images/{row['FILE']}",
            who if who in known else UNKNOWN,
            "VIS",
            listed=where,
            role="probe",
            split="known" if who in known else "unknown",
            media=row["FACE_ID"],
            box=(left, top, right - left, bottom - top),
        )


def _floats(listing: Listing, where: str, words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        listing.faults.append(f"{where}: a coordinate is no number")
        return None


READER = Reader(
    name="uccs",
    title="UCCS watch list: 1,000 people, ten gallery images each",
    source="Günther et al. 2017, arXiv 1708.02337; python package challenge.uccs 3.2.1",
    scan=_scan,
    published={"gallery subjects": 1000, "gallery images": 10000},
    layout="gallery.csv, gallery_images/0001/1_0.png, validation.csv, validation_images/*.jpg",
)
