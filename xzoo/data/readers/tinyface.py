"""TinyFace: small faces from the web, 1:N with 153,428 distractors."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np

from xzoo.data.readers import mat
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

TEST = "Testing_Set"
ALIGNED = "aligned_pad_0.1_pad_high"
DISTRACTOR = "-100"


def names_and_numbers(listing: Listing, path: str, names: str, numbers: str) -> list[tuple[str, str, str]]:
    """Return ``(where, file name, number)`` of a MATLAB list of two columns; faults are noted.

    Raises:
        MissingFile, DataError: The list is not there, or unreadable.
    """
    found = mat.load(listing.root / path)
    if lacking := [key for key in (names, numbers) if key not in found]:
        listing.faults.append(f"{path}: no variable {lacking[0]}; it holds {', '.join(sorted(found)) or 'nothing'}")
        return []
    files, ids = cells(found[names]), cells(found[numbers])
    if len(files) != len(ids):
        listing.faults.append(f"{path}: {len(files)} names for {len(ids)} numbers")
        return []
    rows = []
    for place, (file, number) in enumerate(zip(files, ids, strict=True), start=1):
        text = str(int(float(number))) if str(number).replace(".", "", 1).lstrip("-").isdecimal() else str(number)
        rows.append((f"{path} row {place}", str(file), text))
    return rows


def cells(value: Any) -> list[Any]:
    """Return the entries of a MATLAB column: of cells, of numbers, or of lines of text."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [line.rstrip() for line in value]
    return [item.item() if isinstance(item, np.ndarray) and item.size == 1 else item for item in np.ravel(value)]


def _scan(listing: Listing, *, aligned: bool = False) -> None:
    """List gallery, distractors and probes, and the training images where they are there.

    Args:
        listing: Filled here.
        aligned: Take the aligned copies of the AdaFace release, matched by name without ending.
    """
    base = ALIGNED if aligned else TEST
    seen: dict[str, str] = {}

    def place(folder: str, file: str, subject: str, role: str, where: str) -> None:
        stem = PurePosixPath(file).stem
        path = files[folder].get(stem)
        if path is None:
            listing.missing.append(f"{base}/{folder}/{file} ({where or 'found by looking'})")
            return
        if stem in seen:
            listing.faults.append(f"{path}: {seen[stem]} has the same name; images are matched by name alone")
        seen[stem] = path
        listing.add(path, subject, "VIS", role=role, split="test")

    folders = ("Gallery_Match", "Gallery_Distractor", "Probe")
    files = {
        folder: {PurePosixPath(name).stem: f"{base}/{folder}/{name}" for name in listing.images(f"{base}/{folder}")}
        for folder in folders
    }
    for folder, role, path, word in (
        ("Gallery_Match", "gallery", f"{TEST}/gallery_match_img_ID_pairs.mat", "gallery"),
        ("Probe", "probe", f"{TEST}/probe_img_ID_pairs.mat", "probe"),
    ):
        for where, file, subject in names_and_numbers(listing, path, f"{word}_set", f"{word}_ids"):
            if PurePosixPath(file).stem.partition("_")[0] != subject:
                listing.faults.append(f"{where}: {file} is listed as subject {subject}")
            place(folder, file, subject, role, where)
    for stem, path in files["Gallery_Distractor"].items():
        place("Gallery_Distractor", PurePosixPath(path).name, DISTRACTOR, "distractor", "")
        del stem
    train = f"{ALIGNED}/Train" if aligned else "Training_Set"
    for subject in listing.folders(train):
        for name in listing.images(f"{train}/{subject}"):
            listing.add(f"{train}/{subject}/{name}", subject, "VIS", split="train")
    if not any(row.split == "train" for row in listing.rows):
        listing.published = {name: number for name, number in listing.published.items() if "train" not in name}
        listing.notes.append(f"no {train}: protocols do not need it")
    listing.counts |= {f"{role} images": sum(row.role == role for row in listing.rows) for role in ("distractor",)}


READER = Reader(
    name="tinyface",
    title="TinyFace: 3,728 probes, 157,871 gallery images",
    source="Cheng, Zhu and Gong 2018, arXiv 1811.08965; AdaFace validation_lq/tinyface_helper.py",
    scan=_scan,
    published={
        "probe images": 3728,
        "gallery images": 4443,
        "distractor images": 153428,
        "train images": 7804,
        "train subjects": 2570,
    },
    layout="Testing_Set/{Gallery_Match,Gallery_Distractor,Probe}/*.jpg, Testing_Set/*_img_ID_pairs.mat",
)
