"""CASIA NIR-VIS 2.0: faces in VIS and NIR (Li et al., CVPR workshops 2013).

View 2 has ten folds. Each image has one row for each fold and role it is listed in.
"""

from __future__ import annotations

from xzoo import errors
from xzoo.data.readers.core import Listing, Reader

__all__ = ["READER"]

_LISTS = {
    "vis_gallery": ("VIS", "gallery", "test"),
    "nir_probe": ("NIR", "probe", "test"),
    "vis_train": ("VIS", "train", "train"),
    "nir_train": ("NIR", "train", "train"),
}


def scan(listing: Listing, *, folds: int = 10, lists: str = "protocols") -> None:
    """List CASIA NIR-VIS 2.0, view 2.

    Args:
        listing: To be filled.
        folds: How many of the ten folds to read.
        lists: Folder of ``vis_gallery_<fold>.txt``, ``nir_probe_<fold>.txt`` and, where there are any,
            ``vis_train_<fold>.txt`` and ``nir_train_<fold>.txt``. A line is a path with backslashes, whose last
            folder is the subject.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or not 1 <= folds <= 10:
        raise errors.OptionError(f"folds={folds!r} of reader 'casia_nirvis2'", why="there are ten", do="folds=10")
    for fold in range(1, folds + 1):
        for stem, (spectrum, role, split) in _LISTS.items():
            for where, line in listing.text(f"{lists}/{stem}_{fold}.txt", needed=role != "train"):
                path = line.split()[0].replace("\\", "/")
                parts = path.split("/")
                if len(parts) < 2:
                    listing.faults.append(f"{where}: {line!r} has no folder that names the subject")
                    continue
                listing.add(
                    path,
                    parts[-2],
                    spectrum,
                    listed=where,
                    role=role,
                    split=split,
                    fold=str(fold),
                    session=parts[0] if len(parts) > 2 else None,
                )
    if not any(row.role == "train" for row in listing.rows):
        listing.notes.append("no training lists: only gallery and probes are read")
        listing.published.pop("subjects")


READER = Reader(
    name="casia_nirvis2",
    title="CASIA NIR-VIS 2.0, faces in VIS and NIR",
    source="Li et al., CVPR workshops 2013; counts of fold 1 from bob.bio.face",
    scan=scan,
    published={"subjects": 725, "fold:1 gallery images": 358, "fold:1 probe images": 6_123},
    layout="protocols/{vis_gallery,nir_probe}_<1-10>.txt and the images they list",
)
