"""The UCCS challenge's open-set figure: identification in whole photographs, detector included.

A false alarm is a stranger or a spot of background that a gallery subject's template
accepts; they are counted for each photograph. Source: Günther et al., "Unconstrained
Face Detection and Open-Set Face Recognition Challenge" (arXiv 1708.02337) and the file format
of the package ``challenge.uccs`` 3.2.1, whose own function fails before it returns.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.manifest import Manifest
from xzoo.evaluation.intervals import wilson

__all__ = ["Detection", "InPhotographs", "identification", "read_detections"]

_LEADING = 6
_OVERLAP = 0.5

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detection:
    """One face that a detector reported.

    Attributes:
        file: The photograph, without ending.
        box: ``(x, y, width, height)``.
        scores: ``[S]`` cosines with the gallery's subjects, in the order of their numbers.
    """

    file: str
    box: Box
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class InPhotographs:
    """What an open-set search in photographs found.

    Attributes:
        tpir: For each FPIPI (false positive identifications for each image) the largest true positive
            identification rate that stays at or below it.
        thresholds: The score from which a face counts as identified; ``None`` where no
            threshold is needed (there is no such alarm).
        intervals: 95 % Wilson intervals of ``tpir``.
        n_known: Annotated faces of gallery subjects; those that no detection matches count as missed.
        n_strangers: Detected faces of strangers.
        n_background: Detections that match no annotated face.
        n_images: Photographs.
    """

    tpir: dict[float, float]
    thresholds: dict[float, float | None]
    intervals: dict[float, tuple[float, float]]
    n_known: int
    n_strangers: int
    n_background: int
    n_images: int


def read_detections(path: str | Path, subjects: int) -> list[Detection]:
    """Read a score file: ``FILE,DETECTION_SCORE,BB_X,BB_Y,BB_WIDTH,BB_HEIGHT`` and one cosine a subject.

    A first line that begins with ``FILE`` is a header.

    Args:
        path: The file.
        subjects: Gallery subjects: 1,000 for the real set, so that a line has 1,006 cells.

    Raises:
        MissingFile: There is no such file.
        DataError: With every faulty line.
    """
    file = Path(path)
    if not file.is_file():
        raise errors.MissingFile(f"no score file {str(file)!r}")
    found: list[Detection] = []
    faults: list[str] = []
    with open(file, newline="", encoding="utf-8") as lines:
        for number, cells in enumerate(csv.reader(lines), start=1):
            if not cells or (number == 1 and cells[0].strip() == "FILE"):
                continue
            if len(cells) != _LEADING + subjects:
                faults.append(f"line {number}: {len(cells)} cells; {_LEADING} and {subjects} scores make a line")
                continue
            try:
                values = np.array(cells[2:], np.float32)
            except ValueError:
                faults.append(f"line {number}: something other than a number")
                continue
            if not np.isfinite(values).all():
                faults.append(f"line {number}: a value that is not finite")
                continue
            x, y, width, height = (float(value) for value in values[:4])
            found.append(Detection(cells[0].strip(), (x, y, width, height), values[4:]))
    if faults:
        raise errors.DataError(f"score file {str(file)!r}", why=errors.problems(faults))
    return found


def identification(
    detections: Sequence[Detection], manifest: Manifest, fpipis: Sequence[float] = (0.01, 0.1, 1.0)
) -> InPhotographs:
    """Return how many known faces are identified at given rates of false alarms.

    Detections and annotated faces are matched by falling overlap (intersection over union
    of at least 0.5), each once. A known face is identified where its own subject has the highest
    score of its detection, at or above the threshold; a subject that ties with it counts against it.

    Args:
        detections: Of all photographs.
        manifest: As the reader ``uccs`` gives it: gallery and annotated faces.
        fpipis: False positive identifications for each image.

    Raises:
        EvaluationError: No probe, no known face, scores that do not fit the gallery, or an FPIPI below 0.
    """
    subjects = sorted({row.subject for row in manifest.rows if row.role == "gallery"}, key=int)
    column = {subject: place for place, subject in enumerate(subjects)}
    faces: dict[str, list[tuple[Box, str]]] = {}
    for row in manifest.rows:
        if row.role == "probe" and row.box is not None:
            stem = row.path.rpartition("/")[2].rpartition(".")[0]
            faces.setdefault(stem, []).append((row.box, row.subject))
    n_known = sum(subject in column for group in faces.values() for _, subject in group)
    if not n_known:
        raise errors.EvaluationError("identification in photographs", why="No annotated face is of a gallery subject.")
    if wrong := [one for one in detections if len(one.scores) != len(subjects)]:
        raise errors.EvaluationError(
            f"{len(wrong[0].scores)} scores of a detection in {wrong[0].file!r}",
            why=f"The gallery holds {len(subjects)} subjects.",
        )
    if any(rate < 0 for rate in fpipis):
        raise errors.EvaluationError(f"fpipis={tuple(fpipis)!r}", why="A rate is not below 0.")

    reported: dict[str, list[Detection]] = {}
    for one in detections:
        reported.setdefault(one.file, []).append(one)
    if strange := sorted(reported.keys() - faces.keys()):
        raise errors.EvaluationError(
            f"detections in {strange[0]!r}", why="No photograph with annotated faces is called so.", exists=min(faces)
        )
    hits: list[float] = []
    alarms: list[float] = []
    background = 0
    for stem, found in reported.items():
        group = faces[stem]
        matched = _match([one.box for one in found], [box for box, _ in group])
        for place, one in enumerate(found):
            owner = group[matched[place]][1] if place in matched else None
            background += owner is None
            if owner in column:
                own = one.scores[column[owner]]
                if np.count_nonzero(one.scores >= own) == 1:
                    hits.append(float(own))
            else:
                alarms.append(float(one.scores.max()))
    ranked, falling = np.sort(hits), np.sort(alarms)[::-1]
    tpir: dict[float, float] = {}
    thresholds: dict[float, float | None] = {}
    for rate in fpipis:
        allowed = int(rate * len(faces) * (1 + 1e-12))
        # Above the first alarm that is not allowed.
        barrier = falling[allowed] if allowed < len(falling) else -np.inf
        passed = ranked[np.searchsorted(ranked, barrier, "right") :]
        tpir[rate] = len(passed) / n_known
        thresholds[rate] = float(passed[0]) if len(passed) and np.isfinite(barrier) else None
    return InPhotographs(
        tpir,
        thresholds,
        {rate: wilson(round(value * n_known), n_known) for rate, value in tpir.items()},
        n_known,
        len(alarms) - background,
        background,
        len(faces),
    )


def _match(found: Sequence[Box], known: Sequence[Box]) -> dict[int, int]:
    """Return which annotated box each detection matches, by falling overlap, each box once."""
    pairs = sorted(
        (
            (-overlap, i, j)
            for i, a in enumerate(found)
            for j, b in enumerate(known)
            if (overlap := _iou(a, b)) >= _OVERLAP
        )
    )
    taken: set[int] = set()
    matched: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in matched and j not in taken:
            matched[i] = j
            taken.add(j)
    return matched


def _iou(a: Box, b: Box) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (a[2] * a[3] + b[2] * b[3] - wide * high)
