"""How far landmarks are from where they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.intervals import Interval, bootstrap_ratio, wilson
from xzoo.evaluation.similarity import Labels, labels

__all__ = ["REGIONS", "Landmarks", "Normalisation", "landmark_errors"]

Points = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Normalisation = Literal["outer_eyes", "eye_centres", "box", "box_diagonal", "truth_box", "none"]

OUTER_EYES = {54: (36, 45), 68: (36, 45), 70: (36, 45), 478: (33, 263)}
EYES: dict[int, tuple[Sequence[int], Sequence[int]]] = {
    5: ((0,), (1,)),
    54: (range(36, 42), range(42, 48)),
    68: (range(36, 42), range(42, 48)),
    70: (range(36, 42), range(42, 48)),
}
# Parts of the face in the conventions that begin as iBUG-68 does.
_FACE = {"jaw": range(17), "brows": range(17, 27), "nose": range(27, 36), "eyes": range(36, 48)}
REGIONS: dict[int, dict[str, Sequence[int]]] = {
    5: {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)},
    54: {**_FACE, "mouth": range(48, 54)},
    68: {**_FACE, "mouth": range(48, 68)},
    70: {**_FACE, "mouth": range(48, 68), "pupils": (68, 69)},
}
STEP = 1e-4


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Errors of landmarks over a set of images, each divided by the size of its face.

    Attributes:
        nme: Mean over the images of the mean distance of their points.
        failure_rate: Share of images whose error is above the limit.
        auc: Area under the CED from 0 to the limit, divided by the limit.
        limit: The limit.
        normalisation: What distances were divided by.
        per_image: ``[N]``.
        regions: Mean error of each part of the face.
        ced: ``[2, P]`` errors from 0 to the limit, and the share of images at or below each.
        interval: 95 % intervals of ``nme``, ``failure_rate`` and ``auc``: subjects drawn
            again where they are known, else images. Of one subject alone ``nme``, which has no
            upper bound, has none.
        n_images: Images.
        n_points: Points that were compared, those not annotated left out.
        n_failed: Images above the limit.
    """

    nme: float
    failure_rate: float
    auc: float
    limit: float
    normalisation: str
    per_image: npt.NDArray[np.float64]
    regions: dict[str, float]
    ced: npt.NDArray[np.float64]
    interval: dict[str, Interval]
    n_images: int
    n_points: int
    n_failed: int


def landmark_errors(
    predicted: Any,
    truth: Any,
    normalisation: Normalisation = "outer_eyes",
    *,
    box: Any = None,
    eyes: tuple[Sequence[int], Sequence[int]] | None = None,
    limit: float = 0.1,
    regions: Mapping[str, Sequence[int]] | None = None,
    subject: Labels | None = None,
    at_limit_fails: bool = False,
) -> Landmarks:
    """Measure landmarks against where they were annotated.

    Args:
        predicted: ``[N, L, 2]``.
        truth: ``[N, L, 2]`` in the same units; NaN where a point is not annotated.
        normalisation: The distance that errors are divided by: between the outer eye
            corners, between the eye centres, the square root of the box's area, the
            box's diagonal, the square root of the area that the true points span, or none.
        box: ``[N, 4]`` left, top, right, bottom, for ``box`` and ``box_diagonal``.
        eyes: Points of the two eyes, for a convention that is not known here: their means
            are the ends of the distance.
        limit: Where an image counts as failed, and where the CED ends.
        regions: Points of each part of the face; known ones by default.
        subject: ``[N]``, for the intervals.
        at_limit_fails: Count an error equal to the limit as failed (PyraMoT), not as good (PIPNet).

    Raises:
        EvaluationError: Shapes that do not fit, coordinates that are not finite, an image
            without any annotated point, or a face without size; the images are named.
    """
    guess: Points = np.asarray(_plain(predicted), np.float64)
    real: Points = np.asarray(_plain(truth), np.float64)
    if guess.ndim != 3 or guess.shape[2] != 2 or guess.shape != real.shape or 0 in guess.shape:
        raise errors.EvaluationError(
            f"landmarks {list(guess.shape)} against {list(real.shape)}", why="Both are [N, L, 2], N and L at least 1."
        )
    if not limit > 0:
        raise errors.EvaluationError(f"limit={limit}", why="A limit is above 0.")
    known: Flags = np.asarray(np.isfinite(real).all(2))
    _refuse(np.asarray(~np.isfinite(guess).all((1, 2))), "predicted landmarks", "A coordinate is not finite.")
    _refuse(np.asarray(~known.any(1)), "landmarks", "No point of these images is annotated.")
    size = _sizes(real, normalisation, box, eyes)
    _refuse(~(np.isfinite(size) & (size > 0)), f"normalisation {normalisation!r}", "These faces have no such size.")
    distance = np.where(known, np.linalg.norm(guess - real, axis=2), 0) / size[:, None]
    each = distance.sum(1) / known.sum(1)
    # Sampled as PIPNet does: steps of 1e-4 to the limit 0.1, by Simpson's rule.
    count = 2 * max(1, round(limit / STEP / 2))
    steps = np.linspace(0, limit, count + 1)
    share = np.searchsorted(np.sort(each), steps, "right") / len(each)
    simpson = np.ones(count + 1)
    simpson[1:-1:2], simpson[2:-1:2] = 4, 2
    simpson /= 3 * count
    areas = np.array([simpson[np.searchsorted(steps, error, "left") :].sum() for error in each])
    failed = each >= limit if at_limit_fails else each > limit
    whose = np.arange(len(each)) if subject is None else labels(subject, len(each), "subject")
    columns = np.stack([each, failed, areas], 1)
    ends = bootstrap_ratio(columns, np.ones(len(each)), whose)
    interval = dict(zip(("nme", "failure_rate", "auc"), ends, strict=True))
    if len(np.unique(whose)) == len(each):
        interval["failure_rate"] = wilson(int(failed.sum()), len(each))
    if len(np.unique(whose)) == 1:
        del interval["nme"]
    parts = REGIONS.get(guess.shape[1], {}) if regions is None else regions
    return Landmarks(
        nme=float(each.mean()),
        failure_rate=float(failed.mean()),
        auc=float(share @ simpson),
        limit=limit,
        normalisation=normalisation,
        per_image=each,
        regions={
            name: float(distance[:, list(points)].sum() / known[:, list(points)].sum())
            for name, points in parts.items()
            if known[:, list(points)].any()
        },
        ced=np.stack([steps, share]),
        interval=interval,
        n_images=len(each),
        n_points=int(known.sum()),
        n_failed=int(failed.sum()),
    )


def _sizes(
    truth: npt.NDArray[np.float64],
    how: str,
    box: Any,
    eyes: tuple[Sequence[int], Sequence[int]] | None,
) -> npt.NDArray[np.float64]:
    if how not in get_args(Normalisation):
        raise errors.EvaluationError(
            f"normalisation={how!r}", why="No such distance.", exists=", ".join(get_args(Normalisation))
        )
    count = truth.shape[1]
    if how == "none":
        return np.ones(len(truth))
    if how == "truth_box":
        return np.asarray(np.sqrt(np.prod(np.nanmax(truth, 1) - np.nanmin(truth, 1), axis=1)))
    if how in ("box", "box_diagonal"):
        corners = None if box is None else np.asarray(_plain(box), np.float64)
        if corners is None or corners.shape != (len(truth), 4):
            raise errors.EvaluationError(
                f"normalisation {how!r} with boxes {'missing' if corners is None else list(corners.shape)}",
                why=f"It needs [{len(truth)}, 4]: left, top, right, bottom.",
            )
        sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
        return np.asarray(np.sqrt(sides.prod(1)) if how == "box" else np.linalg.norm(sides, axis=1))
    if eyes is None:
        if how == "outer_eyes" and count in OUTER_EYES:
            right, left = OUTER_EYES[count]
            eyes = (right,), (left,)
        elif how == "eye_centres" and count in EYES:
            eyes = EYES[count]
        else:
            raise errors.EvaluationError(
                f"normalisation {how!r} of {count} points",
                why="Where the eyes are in this convention is not known here.",
                do="eyes=((points of one eye,), (points of the other,)), or normalisation='box'",
            )
    ends = [truth[:, list(points)].mean(1) for points in eyes]
    return np.asarray(np.linalg.norm(ends[0] - ends[1], axis=1))


def _refuse(bad: npt.NDArray[np.bool_], what: str, why: str) -> None:
    if bad.any():
        places = np.flatnonzero(bad)
        shown = ", ".join(map(str, places[:3])) + (" ..." if len(places) > 3 else "")
        raise errors.EvaluationError(f"{what} of {len(places)} of {len(bad)} images ({shown})", why=why)


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values
