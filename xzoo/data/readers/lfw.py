"""LFW and its kin by their lists of pairs: ``pairs.txt``, ``pairs_CALFW.txt``, ``pairs_CPLFW.txt``."""

from __future__ import annotations

import numpy as np

from xzoo.data.manifest import Pairs
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READERS"]


class _Comparisons:
    """Pairs while they are listed; each image becomes one row."""

    def __init__(self, listing: Listing, folder: str) -> None:
        self.listing, self.folder = listing, folder.rstrip("/")
        self.place: dict[str, int] = {}
        self.absent: set[str] = set()
        self.found: list[tuple[int, int, bool, int]] = []

    def add(self, first: tuple[str, str], second: tuple[str, str], same: bool, fold: int, where: str) -> None:
        """Add a pair of ``(path, subject)``; a pair with a missing image is left out, the image noted."""
        places = [self._row(*side, where) for side in (first, second)]
        if None not in places:
            self.found.append((places[0] or 0, places[1] or 0, same, fold))

    def _row(self, path: str, subject: str, where: str) -> int | None:
        path = f"{self.folder}/{path}" if self.folder not in ("", ".") else path
        if path not in self.place and path not in self.absent:
            before = len(self.listing.rows)
            self.listing.add(path, subject, "VIS", listed=where)
            if len(self.listing.rows) == before:
                self.absent.add(path)
            else:
                self.place[path] = before
        return self.place.get(path)

    def close(self) -> None:
        """Hand the pairs to the listing."""
        first, second, same, fold = (
            (np.array(part) for part in zip(*self.found, strict=True))
            if self.found
            else (
                np.zeros(0, int),
                np.zeros(0, int),
                np.zeros(0, bool),
                np.zeros(0, int),
            )
        )
        self.listing.pairs = Pairs(first, second, same.astype(bool), fold)
        self.listing.counts |= {"pairs": len(self.found), "folds": len(set(fold.tolist()))}


def _lfw(listing: Listing, *, pairs: str = "pairs.txt", folder: str = "", suffix: str = ".jpg") -> None:
    """List the pairs of ``pairs.txt``: a header, then for each fold genuine lines and impostor lines.

    Args:
        listing: Filled here.
        pairs: The list.
        folder: Where the folders of people are, relative to the root.
        suffix: Ending of the images; aligned copies may have another.
    """
    (where, header), *lines = listing.text(pairs)
    try:
        folds, each = (int(word) for word in header.split())
    except ValueError:
        listing.faults.append(f"{where}: a header says how many folds of how many pairs: 10 300")
        return
    compared = _Comparisons(listing, folder)
    for number, (where, line) in enumerate(lines):
        words = line.split("\t") if "\t" in line else line.split()
        try:
            if len(words) == 3:
                who, (a, b) = (words[0], words[0]), (int(words[1]), int(words[2]))
            elif len(words) == 4:
                who, (a, b) = (words[0], words[2]), (int(words[1]), int(words[3]))
            else:
                raise ValueError
        except ValueError:
            listing.faults.append(f"{where}: neither 'name i j' nor 'name i name j'")
            continue
        sides = [(f"{name}/{name}_{shot:04d}{suffix}", name) for name, shot in zip(who, (a, b), strict=True)]
        fold = number // (2 * each) + 1
        if (len(words) == 3) != (number % (2 * each) < each):
            listing.faults.append(f"{where}: fold {fold} has {each} genuine pairs first, then {each} impostor pairs")
        elif len(words) == 4 and who[0] == who[1]:
            listing.faults.append(f"{where}: {who[0]} twice in an impostor pair")
        compared.add(sides[0], sides[1], len(words) == 3, fold, where)
    if len(lines) != 2 * folds * each:
        listing.faults.append(f"{pairs}: {len(lines)} pairs, but its header promises {folds} folds of 2 x {each}")
    compared.close()
    people = [name for name in listing.folders(folder)]
    shots = [len(listing.images(f"{folder}/{name}" if folder else name)) for name in people]
    listing.counts |= {"images": sum(shots), "subjects": sum(1 for shot in shots if shot)}


def _two_lines(listing: Listing, *, pairs: str, folder: str = "images") -> None:
    """List pairs of two lines each, ``Name_0001.jpg 1`` twice: 0 for two people, anything else for one."""
    lines = listing.text(pairs)
    if len(lines) % 2:
        listing.faults.append(f"{pairs}: {len(lines)} lines; a pair has two")
    compared = _Comparisons(listing, folder)
    half = len(lines) // 2
    for pair in range(half):
        where = lines[2 * pair][0]
        words = [line.split() for _, line in lines[2 * pair : 2 * pair + 2]]
        if any(len(word) != 2 or not word[1].isdecimal() for word in words) or words[0][1] != words[1][1]:
            listing.faults.append(f"{where}: a pair is two lines 'image label' with one label")
            continue
        names = [word[0].rpartition("_")[0] for word in words]
        same = words[0][1] != "0"
        if same != (names[0] == names[1]):
            listing.faults.append(f"{where}: {names[0]} and {names[1]}, but its label is {words[0][1]}")
        sides = [(word[0], name) for word, name in zip(words, names, strict=True)]
        compared.add(sides[0], sides[1], same, pair * 10 // half + 1, where)
    compared.close()


def _calfw(listing: Listing, *, pairs: str = "pairs_CALFW.txt", folder: str = "images") -> None:
    _two_lines(listing, pairs=pairs, folder=folder)


def _cplfw(listing: Listing, *, pairs: str = "pairs_CPLFW.txt", folder: str = "images") -> None:
    _two_lines(listing, pairs=pairs, folder=folder)


READERS = {
    reader.name: reader
    for reader in (
        Reader(
            "lfw",
            "LFW: 13,233 images of 5,749 people, 6,000 pairs in 10 folds",
            "Huang et al., Labeled Faces in the Wild, view 2",
            _lfw,
            {"pairs": 6000, "folds": 10, "images": 13233, "subjects": 5749},
            "pairs.txt, Name/Name_0001.jpg",
        ),
        Reader(
            "calfw",
            "Cross-Age LFW: 6,000 pairs",
            "Zheng et al. 2017, arXiv 1708.08197",
            _calfw,
            {"pairs": 6000},
            "pairs_CALFW.txt, images/Name_0001.jpg",
        ),
        Reader(
            "cplfw",
            "Cross-Pose LFW: 6,000 pairs",
            "Zheng and Deng 2018, technical report 18-01",
            _cplfw,
            {"pairs": 6000},
            "pairs_CPLFW.txt, images/Name_1.jpg",
        ),
    )
}
