"""Who is compared with whom.

A side is written ``SPECTRUM[:FIRST-LAST]``: ``VIS`` is every visible image,
``VIS:1-2`` the first two of each subject in manifest order, ``LWIR:3-`` all
from the third on, ``VIS:1`` the first alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xzoo import errors
from xzoo.catalog.names import SPECTRA

if TYPE_CHECKING:
    from xzoo.data.manifest import Manifest

__all__ = ["Side", "choose"]

GRAMMAR = re.compile(r"(?P<spectrum>[^:]*)(?::(?P<first>[1-9]\d*)(?P<dash>-(?P<last>[1-9]\d*)?)?)?")


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a spectrum, and which samples of each subject.

    Attributes:
        spectrum: One of the five bands.
        first: First sample of each subject, counted from 1 in manifest order.
        last: Last sample, included; ``None`` for all that follow.
    """

    spectrum: str
    first: int = 1
    last: int | None = None

    @classmethod
    def parse(cls, text: str, role: str = "side") -> Side:
        """Read ``SPECTRUM[:FIRST-LAST]``.

        Args:
            text: The side as written.
            role: ``gallery`` or ``probe``, for the error.

        Raises:
            EvaluationError: The text does not follow the grammar.

        Example:
            >>> Side.parse("LWIR:3-")
            Side(spectrum='LWIR', first=3, last=None)
        """
        found = GRAMMAR.fullmatch(text) if isinstance(text, str) else None
        spectrum = found["spectrum"] if found else ""
        if found is None or spectrum not in SPECTRA:
            close = errors.nearest(str(spectrum or text).split(":")[0].upper(), SPECTRA)
            raise errors.EvaluationError(
                f"{role}={text!r}",
                why="A side is SPECTRUM[:FIRST-LAST], samples counted from 1: 'VIS', 'VIS:1-2', 'LWIR:3-'.",
                exists=", ".join(close or SPECTRA),
            )
        first = int(found["first"] or 1)
        last = int(found["last"]) if found["last"] else None if found["dash"] or not found["first"] else first
        if last is not None and last < first:
            raise errors.EvaluationError(
                f"{role}={text!r}", why=f"Samples {first} to {last}: the last comes before the first."
            )
        return cls(spectrum, first, last)

    def __str__(self) -> str:
        if (self.first, self.last) == (1, None):
            return self.spectrum
        return f"{self.spectrum}:{self.first}-{'' if self.last is None else self.last}"


def choose(manifest: Manifest, gallery: Side, probe: Side, split: str | None) -> tuple[Manifest, Manifest]:
    """Return the images of both sides.

    Raises:
        EvaluationError: No such split, a side without images, no probe with a mate,
            or a single subject.
    """
    if split is not None and split not in manifest.splits:
        raise errors.EvaluationError(
            f"split {split!r} of {str(manifest.root)!r}",
            why="No image is in it.",
            exists=", ".join(manifest.splits) or "no splits at all",
            do="split=None takes every image",
        )
    known, asked = _side(manifest, gallery, "gallery", split), _side(manifest, probe, "probe", split)
    images = {(row.path, row.box) for row in known.rows}
    many = {row.subject: 0 for row in known.rows}
    for row in known.rows:
        many[row.subject] += 1
    if not any(many.get(row.subject, 0) > ((row.path, row.box) in images) for row in asked.rows):
        raise errors.EvaluationError(
            f"probe {probe} in gallery {gallery}",
            why=f"No genuine pair: none of {len(asked.subjects)} probe subjects has another image in the gallery.",
            exists=f"gallery: {', '.join(known.subjects[:3])}; probe: {', '.join(asked.subjects[:3])}",
            do="name a person alike in every spectrum, or choose other samples",
        )
    if len({*known.subjects, *asked.subjects}) == 1:
        raise errors.EvaluationError(
            f"probe {probe} in gallery {gallery}",
            why=f"Every image is of {known.subjects[0]!r}: there is nobody to take them for.",
            do="add other subjects",
        )
    return known, asked


def _side(manifest: Manifest, side: Side, role: str, split: str | None) -> Manifest:
    within = manifest if split is None else manifest.select(split=split)
    where = str(manifest.root) if split is None else f"split {split!r} of {str(manifest.root)!r}"
    if side.spectrum not in within.spectra:
        raise errors.EvaluationError(
            f"{role}={str(side)!r}", why=f"No {side.spectrum} image is in {where}.", exists=", ".join(within.spectra)
        )
    try:
        return within.select(spectrum=side.spectrum, samples=(side.first, side.last))
    except errors.DataError as fault:
        raise errors.EvaluationError(
            f"{role}={str(side)!r}",
            why=f"No subject in {where} has {side.first} or more {side.spectrum} images.",
            do="start at an earlier sample",
        ) from fault
