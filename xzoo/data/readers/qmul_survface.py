"""QMUL-SurvFace: faces of surveillance video, open-set identification and verification."""

from __future__ import annotations

import numpy as np

from xzoo.data.manifest import Pairs
from xzoo.data.readers import mat
from xzoo.data.readers.core import Listing, Reader
from xzoo.data.readers.groups import components
from xzoo.data.readers.tinyface import names_and_numbers
from xzoo.errors import OptionError

__all__ = ["READER"]

IDENTIFICATION = "Face_Identification_Test_Set"
VERIFICATION = "Face_Verification_Test_Set"
UNKNOWN = "unmated"


def _scan(listing: Listing, *, task: str = "identification") -> None:
    """List one task.

    Args:
        listing: Filled here.
        task: ``identification`` or ``verification``.
    """
    tasks = {"identification": _identify, "verification": _verify}
    if task not in tasks:
        raise OptionError(f"task={task!r} of reader 'qmul_survface'", exists=", ".join(tasks))
    tasks[task](listing)


def _identify(listing: Listing) -> None:
    listing.published = {"gallery subjects": 3000}
    for folder, word, role in (("gallery", "gallery", "gallery"), ("mated_probe", "mated_probe", "probe")):
        path = f"{IDENTIFICATION}/{word}_img_ID_pairs.mat"
        for where, file, subject in names_and_numbers(listing, path, f"{word}_set", f"{word}_ids"):
            listing.add(f"{IDENTIFICATION}/{folder}/{file}", subject, "VIS", listed=where, role=role, split="test")
    for name in listing.images(f"{IDENTIFICATION}/unmated_probe"):
        listing.add(f"{IDENTIFICATION}/unmated_probe/{name}", UNKNOWN, "VIS", role="probe", split="test")
    known = {row.subject for row in listing.rows if row.role == "gallery"}
    for row in listing.rows:
        if row.role == "probe" and row.subject != UNKNOWN and row.subject not in known:
            listing.faults.append(f"{row.path}: a mated probe of subject {row.subject}, who is not in the gallery")


def _verify(listing: Listing) -> None:
    listing.published = {}
    pairs: list[tuple[str, str, bool]] = []
    for same, word in ((True, "positive"), (False, "negative")):
        path = f"{VERIFICATION}/{word}_pairs_names.mat"
        held = list(mat.load(listing.root / path).values())
        if len(held) != 1 or getattr(held[0], "ndim", 0) != 2 or held[0].shape[1] != 2:
            listing.faults.append(f"{path}: not one table of two columns of names")
            continue
        pairs += [(str(first), str(second), same) for first, second in held[0].tolist()]
    subject = components((first, second) for first, second, same in pairs if same)
    place: dict[str, int] = {}
    for name in dict.fromkeys(name for pair in pairs for name in pair[:2]):
        before = len(listing.rows)
        path = f"{VERIFICATION}/verification_images/{name}"
        listing.add(path, f"of {subject.get(name, name)}", "VIS", listed="the lists of pairs", split="test")
        if len(listing.rows) > before:
            place[name] = before
    for first, second, same in pairs:
        if not same and subject.get(first, first) == subject.get(second, second):
            listing.faults.append(f"{first} and {second} are a negative pair and, through others, one subject")
    kept = [(place[a], place[b], same) for a, b, same in pairs if a in place and b in place]
    table = np.array(kept, int).reshape(-1, 3)
    listing.pairs = Pairs(table[:, 0], table[:, 1], table[:, 2].astype(bool))
    listing.counts["pairs"] = len(kept)
    listing.notes.append("subjects are named by the first of their images that a positive pair joins")


READER = Reader(
    name="qmul_survface",
    title="QMUL-SurvFace: 463,507 images of 15,573 people",
    source="Cheng, Zhu and Gong 2018, arXiv 1804.09691",
    scan=_scan,
    layout=f"{IDENTIFICATION}/{{gallery,mated_probe,unmated_probe}}/*.jpg with *_img_ID_pairs.mat; "
    f"{VERIFICATION}/verification_images/*.jpg with {{positive,negative}}_pairs_names.mat",
)
