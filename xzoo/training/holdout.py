"""Which images are trained on, and which tell what it was good for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

from xzoo import errors
from xzoo.catalog.names import SPECTRA
from xzoo.data.manifest import Manifest

__all__ = ["Parts", "hold_out"]

TRAIN = "train"
HELD_OUT = "held-out"
SHARE = 5
"""One subject in so many is held out where the data name no split to evaluate on."""


class Parts(NamedTuple):
    """A manifest in which every row has a split, and the split that is evaluated on."""

    manifest: Manifest
    evaluated: str
    note: str

    @property
    def train(self) -> Manifest:
        """The images that are trained on."""
        return self.manifest.select(split=TRAIN)

    def facts(self) -> dict[str, Any]:
        """Return what a run says of its images."""
        train = self.train
        return {
            "sha256": self.manifest.hash,
            "train_images": len(train),
            "train_subjects": len(train.subjects),
            "spectra": list(train.spectra),
            "evaluated": self.evaluated,
            "note": self.note,
        }

    def probes(self, source: str) -> list[str]:
        """Return the spectra to compare with ``source``, the one with most images first."""
        bands = [row.spectrum for row in self.manifest.rows if row.split == self.evaluated and row.spectrum != source]
        return sorted(dict.fromkeys(bands), key=lambda name: (-bands.count(name), SPECTRA.index(name)))


def hold_out(manifest: Manifest) -> Parts:
    """Return the data with a split to train on and one to evaluate on.

    ``val`` is preferred to ``test``, which should be looked at last. Where there
    is neither, a fifth of the training subjects is taken away from training:
    those whose names have the smallest SHA-256, so the choice depends on
    neither the order of rows nor a seed.

    Raises:
        DataError: There are splits, but none is called ``train``; or there are too few subjects.
    """
    if manifest.splits and TRAIN not in manifest.splits:
        raise errors.DataError(
            f"{str(manifest.root)!r} has no split {TRAIN!r}.",
            exists=", ".join(manifest.splits),
            do=f"call the images to train on {TRAIN!r}, or leave the column split out",
        )
    for split in ("val", "test"):
        if split in manifest.splits:
            return Parts(manifest, split, f"Trained on split {TRAIN}, evaluated on split {split}.")
    inside = manifest.select(split=TRAIN) if manifest.splits else manifest
    # Two subjects are the least that can be told apart, and two that can be trained on.
    count = max(2, len(inside.subjects) // SHARE)
    if len(inside.subjects) < count + 2:
        raise errors.DataError(
            f"{str(manifest.root)!r} has {len(inside.subjects)} subjects and no split to evaluate on.",
            why=f"{count} would be held out to measure what was learnt; two must be left to train on.",
            do="add subjects, or a column split with train and test",
        )
    held = set(sorted(inside.subjects, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])
    rows = tuple(replace(row, split=HELD_OUT if row.subject in held else TRAIN) for row in inside.rows)
    note = f"{count} of {len(inside.subjects)} subjects, chosen by the hash of their names, were held out of training."
    return Parts(Manifest(rows, manifest.root), HELD_OUT, note)
