"""Protocols of landmarks: points against those of the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.manifest import Manifest
from xzoo.evaluation.engine import _name, _resolve
from xzoo.evaluation.landmarks import Landmarks, landmark_errors
from xzoo.evaluation.protocols.explained import provenance
from xzoo.evaluation.protocols.runner import ProtocolResult, Repetition, _as_table, chosen, facts_of
from xzoo.evaluation.protocols.schema import Measure, Protocol
from xzoo.evaluation.report_details import BINS, WORST, Details, Displaced, Picture

__all__ = ["run_landmarks"]

Table = npt.NDArray[Any]


def run_landmarks(
    plan: Protocol, given: Any, manifest: Manifest, *, batch_size: int = 64, details: bool = False
) -> ProtocolResult:
    """Carry out a protocol of landmarks.

    Args:
        plan: With ``landmarks``.
        given: Points ``[N, L, 2]`` in pixels of the upright images, in the order of the manifest's rows, where
            rows that do not take part may be NaN; or a landmark network, or its name: it is shown each image with
            its box, and its points are converted to the protocol's convention.
        manifest: With landmarks, and boxes where the protocol needs them.
        batch_size: Images per forward pass.
        details: Also keep the CED and the worst images.

    Raises:
        EvaluationError: Points that do not fit, a network that finds none, images without landmarks, or none chosen.
        OptionError: The network's points do not contain the protocol's.
    """
    how = plan.landmarks
    assert how is not None and plan.probe is not None
    predicted = _as_table(given)
    network: Any = None
    if predicted is None:
        network = _finder(given, plan, len(manifest))
    elif predicted.shape != (len(manifest), how.points, 2):
        raise _unfit(plan, len(manifest), f"points of shape {list(predicted.shape)}")
    places = chosen(manifest, plan.probe)
    rows = [manifest.rows[place] for place in places]
    lacking = [row.path for row in rows if row.landmarks is None or len(row.landmarks) != how.points]
    if not rows or lacking:
        raise errors.EvaluationError(
            f"protocol {plan.protocol!r} on {str(manifest.root)!r}",
            why=f"{len(lacking)} images have no {how.points} landmarks, such as {lacking[0]!r}."
            if lacking
            else "It selects no image.",
            do="read the data set with the protocol's reader",
        )
    truth = np.array([row.landmarks for row in rows], float)
    box = np.array(
        [(x, y, x + w, y + h) for x, y, w, h in (row.box if row.box else (np.nan,) * 4 for row in rows)], float
    )
    needs_box = how.space == "crop" or how.normalisation in ("box", "box_diagonal")
    if needs_box and (bare := [row.path for row in rows if row.box is None]):
        raise errors.EvaluationError(
            f"protocol {plan.protocol!r}",
            why=f"It divides by boxes; {len(bare)} images have none, such as {bare[0]!r}.",
        )
    if predicted is None:
        told = network.landmarks(
            [manifest.root / row.path for row in rows],
            boxes=[row.box for row in rows],
            points=how.points,
            batch_size=batch_size,
        )
        measured = told.double().numpy()
    else:
        measured = predicted[places].astype(float)
    found = _measured(how, measured, truth, box, [row.subject for row in rows])
    alone = "nme" not in found.interval
    values: dict[str, float | None] = {"nme": found.nme, "failure_rate": found.failure_rate, "ced_auc": found.auc}
    values |= {f"nme_{part}": value for part, value in found.regions.items()}
    figures = {name: values.get(name) for name in plan.figures}
    ends = {{"auc": "ced_auc"}.get(name, name): interval for name, interval in found.interval.items()}
    kept = None
    if details:
        worst = np.argsort(-found.per_image, kind="stable")[:WORST].tolist()
        kept = Details(
            cmc=(),
            n_mated=0,
            genuine=(0,) * BINS,
            impostor=(0,) * BINS,
            ced=tuple(
                (float(error), float(share)) for error, share in found.ced.T[:: max(1, found.ced.shape[1] // 500)]
            ),
            displaced=tuple(
                Displaced(
                    Picture(rows[place].subject, rows[place].path, rows[place].spectrum, rows[place].box),
                    float(found.per_image[place]),
                )
                for place in worst
            ),
            **provenance(plan, manifest, places, network, 1),
        )
    return ProtocolResult(
        **facts_of(plan, manifest),
        model="landmarks" if network is None else _name(network),
        repetitions=(
            Repetition(
                0, figures, {"images": found.n_images, "points": found.n_points, "failed images": found.n_failed}, {}
            ),
        ),
        mean=dict(figures),
        std=dict.fromkeys(figures),
        intervals={name: ends[name] for name in plan.figures if name in ends},
        warnings=(*plan.notes, *(["One subject alone: how far the error varies is not known."] if alone else [])),
        details=kept,
    )


def _finder(given: Any, plan: Protocol, rows: int) -> Any:
    """Return a network that finds landmarks."""
    if isinstance(given, str) and given == "pixels":
        raise _unfit(plan, rows, "grey values")
    network = _resolve(given) if isinstance(given, (str, Path)) else given
    if not hasattr(network, "landmarks"):
        raise _unfit(plan, rows, f"{_name(network)!r}, which finds no points")
    return network


def _unfit(plan: Protocol, rows: int, what: str) -> errors.EvaluationError:
    assert plan.landmarks is not None
    return errors.EvaluationError(
        f"protocol {plan.protocol!r} with {what}",
        why=f"It measures landmarks: an array [{rows}, {plan.landmarks.points}, 2], in the order of the manifest.",
        do="give a landmark network (xzoo ls --task face-landmarks), or the points of each row, in pixels of the "
        "upright image",
    )


def _measured(how: Measure, predicted: Table, truth: Table, box: Table, subject: list[str]) -> Landmarks:
    """Return the errors, in pixels or in shares of the box."""
    if how.space == "crop":
        corner, sides = box[:, None, :2], (box[:, 2:] - box[:, :2])[:, None]
        predicted, truth = (predicted - corner) / sides, (truth - corner) / sides
        box = np.tile((0.0, 0.0, 1.0, 1.0), (len(box), 1))
    return landmark_errors(
        predicted,
        truth,
        how.normalisation,
        box=box,
        limit=how.limit,
        subject=np.array(subject),
        at_limit_fails=how.at_limit_fails,
    )
