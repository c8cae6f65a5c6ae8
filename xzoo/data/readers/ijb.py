"""IJB-B and IJB-C as the recognition scripts of InsightFace and CVLface ship them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.manifest import Pairs
from xzoo.data.readers.core import Listing, Reader
from xzoo.data.readers.groups import components

__all__ = ["READERS"]


def _numbers(listing: Listing, path: str, width: int) -> npt.NDArray[np.int64]:
    """Return a table of whole numbers; these lists have millions of lines."""
    file = listing.root / path
    if not file.is_file():
        raise errors.MissingFile(
            f"no file {path!r} in {str(listing.root)!r}", why="the data set's owner ships this list with the images"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of text among the numbers, and stops there
            values = np.fromfile(file, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as fault:
        raise errors.DataError(f"list {path!r}", why=f"it holds something other than whole numbers: {fault}") from fault
    if not len(values) or len(values) % width:
        raise errors.DataError(f"list {path!r}", why=f"{len(values)} numbers are no lines of {width}")
    return values.reshape(-1, width)


def _media(listing: Listing, name: str, folder: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return ``(path, template, media, facts)`` of each image, landmarks and score from the file beside it."""
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    marks = dict(_marks(listing, f"meta/{name}_name_5pts_score.txt"))
    path = f"meta/{name}_face_tid_mid.txt"
    for where, line in listing.text(path):
        words = line.split()
        if len(words) != 3:
            listing.faults.append(f"{where}: a line is 'image template media'")
            continue
        image = f"{folder}/{words[0]}"
        if not listing.has(image):
            listing.missing.append(f"{image} ({where})")
        elif words[0] not in marks:
            listing.faults.append(f"{where}: {words[0]} has no landmarks in meta/{name}_name_5pts_score.txt")
        else:
            found.append((image, words[1], words[2], marks[words[0]]))
    return found


def _marks(listing: Listing, path: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for where, line in listing.text(path):
        words = line.split()
        try:
            if len(words) != 12:
                raise ValueError
            values = [float(word) for word in words[1:]]
        except ValueError:
            listing.faults.append(f"{where}: a line is 'image x1 y1 ... x5 y5 score'")
            continue
        points = tuple(zip(values[0:10:2], values[1:10:2], strict=True))
        found.append((words[0], {"landmarks": points, "quality": values[10]}))
    return found


def _verify(listing: Listing, name: str, folder: str) -> None:
    """List every template of the 1:1 protocol once; subjects follow from its genuine pairs."""
    table = _numbers(listing, f"meta/{name}_template_pair_label.txt", 3)
    if len(strange := np.setdiff1d(table[:, 2], [0, 1])):
        listing.faults.append(f"meta/{name}_template_pair_label.txt: label {strange[0]}; it is 0 or 1")
    same = table[:, 2] == 1
    subject: dict[int, int] = components(zip(*table[same, :2].T.tolist(), strict=True))
    known, places = np.unique(table[:, :2], return_inverse=True)
    places = places.reshape(-1, 2)
    groups = np.array([subject.get(template, -1 - template) for template in known.tolist()])
    wrong = table[~same & (groups[places[:, 0]] == groups[places[:, 1]]), :2].tolist()
    for first, second in wrong[:20]:
        listing.faults.append(
            f"meta/{name}_template_pair_label.txt: templates {first} and {second} are an impostor pair and, "
            "through others, one subject"
        )
    seen = set()
    for path, template, media, facts in _media(listing, name, folder):
        number = int(template) if template.isdecimal() else -1
        seen.add(number)
        who = f"t{subject.get(number, template)}"
        listing.add(path, who, "VIS", template=template, media=media, **facts)
    if len(lost := np.setdiff1d(known, list(seen))):
        listing.faults.append(f"{len(lost)} templates of pairs have no image, such as {lost[0]}")
    names = np.array([str(template) for template in known.tolist()], object)  # one text a template, however many pairs
    listing.pairs = Pairs(names[places[:, 0]], names[places[:, 1]], same)
    listing.counts |= {"genuine pairs": int(same.sum()), "impostor pairs": int((~same).sum())}
    listing.notes.append("subjects are named by the first of their templates that a genuine pair joins")


def _identify(listing: Listing, name: str, folder: str) -> None:
    """List both galleries and the probes of the 1:N protocol; an image has a row for each part it takes."""
    images: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, template, media, facts in _media(listing, name, folder):
        images.setdefault(template, []).append((path, media, facts))
    for role, fold, file in (
        ("gallery", "1", f"meta/{name}_1N_gallery_G1.csv"),
        ("gallery", "2", f"meta/{name}_1N_gallery_G2.csv"),
        ("probe", None, f"meta/{name}_1N_probe_mixed.csv"),
    ):
        owner: dict[str, str] = {}
        for where, cells in listing.table(file, ("template", "subject")):
            template, who = cells["template"], cells["subject"]
            if template not in images:
                listing.faults.append(f"{where}: template {template} has no image")
            elif template in owner:
                if owner[template] != who:
                    listing.faults.append(f"{where}: template {template} of {who} is also of {owner[template]}")
            else:
                owner[template] = who
                for path, media, facts in images[template]:
                    listing.add(path, who, "VIS", template=template, media=media, role=role, fold=fold, **facts)
        listing.counts[f"{role}{' ' + fold if fold else ''} templates"] = len(owner)


def _scan(name: str, published: dict[str, dict[str, int]]) -> Reader:
    def scan(listing: Listing, *, task: str = "1:1", folder: str = "loose_crop") -> None:
        """List the templates of one task.

        Args:
            listing: Filled here.
            task: ``1:1`` or ``1:N``.
            folder: Of the images, relative to the root.
        """
        if task not in published:
            raise errors.OptionError(f"task={task!r} of reader {name!r}", exists=", ".join(published))
        listing.published = dict(published[task])
        listing.notes.append(
            "the counts compared with are those commonly repeated; not checked against the owner's paper"
        )
        (_verify if task == "1:1" else _identify)(listing, name, folder)

    return Reader(
        name,
        f"IARPA Janus Benchmark {name[-1].upper()}, media and templates",
        "insightface, recognition/arcface_torch/eval_ijbc.py; NIST, IJB-B (Whitelam 2017) and IJB-C (Maze 2018)",
        scan,
        {},
        f"loose_crop/, meta/{name}_face_tid_mid.txt, meta/{name}_name_5pts_score.txt, "
        f"meta/{name}_template_pair_label.txt (1:1), meta/{name}_1N_*.csv (1:N)",
    )


# Counts as public code and papers repeat them: none of our notes on papers holds them, so a difference is a hint.
READERS = {
    "ijbb": _scan(
        "ijbb",
        {
            "1:1": {"images": 227630, "templates": 12115, "genuine pairs": 10270, "impostor pairs": 8000000},
            "1:N": {"gallery 1 templates": 931, "gallery 2 templates": 914, "probe templates": 10270},
        },
    ),
    "ijbc": _scan(
        "ijbc",
        {
            "1:1": {"images": 469375, "templates": 23124, "genuine pairs": 19557, "impostor pairs": 15638932},
            "1:N": {"gallery 1 templates": 1772, "gallery 2 templates": 1759, "probe templates": 19593},
        },
    ),
}
