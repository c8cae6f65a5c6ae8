"""Several models on one protocol: of the same images, or of face and body of the same people in the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.manifest import Manifest
from xzoo.evaluation.fusion import fuse, join
from xzoo.evaluation.protocols.runner import ProtocolResult, chosen, run_protocol
from xzoo.evaluation.protocols.schema import Protocol, Selection, parse_figure
from xzoo.evaluation.protocols.templates import pooled

__all__ = ["How", "paired", "run_fused"]

How = Literal["feature", "mean", "z_norm", "max"]
Table = npt.NDArray[Any]

_RANKS = ("rank", "map", "minp")


def paired(first: Manifest, second: Manifest) -> tuple[Manifest, Manifest]:
    """Return the rows of two manifests that show one person in one file, in the order of the first.

    Face and body of a person in a video frame, for instance. What is in one manifest alone is left out.

    Raises:
        DataError: A person is twice in one file; or no person is in both.
    """
    places = []
    for manifest in (first, second):
        found = {((manifest.root / row.path).resolve(), row.subject, row.fold, row.role): row for row in manifest.rows}
        if len(found) < len(manifest):
            raise errors.DataError(
                f"{len(manifest)} rows of {str(manifest.root)!r} show {len(found)} people in files",
                why="Somebody is twice in one file, so nothing tells which row belongs to which.",
            )
        places.append(found)
    both = [key for key in places[0] if key in places[1]]
    if not both:
        raise errors.DataError(
            f"{str(first.root)!r} and {str(second.root)!r} have nobody in common",
            why="Rows belong together where path and subject are the same.",
        )
    rows = [tuple(replace(found[key], index=place) for place, key in enumerate(both)) for found in places]
    return Manifest(rows[0], first.root), Manifest(rows[1], second.root)


def run_fused(
    protocol: str | Protocol,
    embeddings: Sequence[Table],
    data: Manifest,
    *,
    how: How = "feature",
    repetition: int | None = None,
    reference: str | None = "train",
) -> ProtocolResult:
    """Carry out a protocol of ranks with several models as one.

    ``feature``: unit embeddings of an image side by side, before templates are formed. ``mean``, ``z_norm``, ``max``:
    each model forms its templates and scores every comparison by their cosine, and the scores are fused as ``fuse``
    does.

    Args:
        protocol: The name of one of the zoo's, or what ``protocols.load`` returned.
        embeddings: Of each model, ``[N, D_k]`` in the order of the manifest's rows.
        data: The manifest, such as one of the two that ``paired`` returned.
        how: Where and how.
        repetition: Its number; the first by default.
        reference: The split whose scores tell ``z_norm`` the mean and deviation of each model, so that those reported
            do not. Where the manifest has no such images, the scores reported do, and a warning says so.

    Raises:
        EvaluationError: A figure that is no rank, embeddings that do not fit, or sides that share images.
    """
    from xzoo.evaluation.protocols import load

    plan = protocol if isinstance(protocol, Protocol) else load(protocol)
    if how not in get_args(How):
        raise errors.EvaluationError(f"how={how!r}", why="No such fusion.", exists=", ".join(get_args(How)))
    others = [name for name in plan.figures if parse_figure(name)[0] not in _RANKS]
    if others or plan.gallery is None or plan.probe is None:
        raise errors.EvaluationError(
            f"fusion on protocol {plan.protocol!r}",
            why=f"Scores of several models are ranked, and it asks for {', '.join(others) or 'listed pairs'}.",
            do="take a protocol of rank, map and minp",
        )
    tables = [np.asarray(table) for table in embeddings]
    if not tables or any(table.ndim != 2 or len(table) != len(data) for table in tables):
        raise errors.EvaluationError(
            f"embeddings of {[list(table.shape) for table in tables]} for {len(data)} rows",
            why="Each model has one row for each row of the manifest.",
        )
    number = plan.repetitions.first if repetition is None else repetition
    warnings: tuple[str, ...] = ()
    if how == "feature":
        fused: Table = join(tables)
    else:
        known, asked = (chosen(data, side, number) for side in (plan.gallery, plan.probe))
        if shared := len(set(known) & set(asked)):
            raise errors.EvaluationError(
                f"fusion on protocol {plan.protocol!r}", why=f"{shared} images are both gallery and probes."
            )
        scores = [_scores(plan, table, data, known, asked) for table in tables]
        norms: list[Table] | None = None
        if how == "z_norm":
            norms = _reference(plan, tables, data, number, reference)
            if norms is None:
                warnings = (f"z_norm took mean and deviation from the scores reported: no split {reference!r}.",)
        matrix = fuse([one for one, _, _ in scores], how, reference=norms)
        _, owner, finder = scores[0]
        fused = np.zeros((len(data), matrix.shape[1]))
        # A cosine with one axis of the gallery is the score, but for the length of the probe's row: ranks stay.
        fused[known] = np.eye(matrix.shape[1])[owner]
        fused[asked] = matrix[finder]
    result = run_protocol(plan, fused, data, repetitions=[number])
    return replace(result, model=f"{how} of {len(tables)} models", warnings=(*result.warnings, *warnings))


def _scores(
    plan: Protocol, table: Table, data: Manifest, known: Sequence[int], asked: Sequence[int]
) -> tuple[Table, list[int], list[int]]:
    """Return cosines ``[Q, G]``, and to which gallery item and which probe each row of either side belongs."""
    assert plan.gallery is not None and plan.probe is not None
    gallery, owner = _items(plan.gallery, table, data, known)
    probes, finder = _items(plan.probe, table, data, asked)
    return probes @ gallery.T, owner, finder


def _items(side: Selection, table: Table, data: Manifest, places: Sequence[int]) -> tuple[Table, list[int]]:
    """Return unit vectors of images or templates, and to which one each row belongs."""
    rows = [data.rows[place] for place in places]
    vectors: Table = table[list(places)].astype(np.float64)
    owner = list(range(len(rows)))
    if side.template is not None:
        vectors, keys, _ = pooled(vectors, rows, side.template)
        number = {key: place for place, key in enumerate(keys)}
        owner = [number[tuple(getattr(row, column) for column in side.template.per)] for row in rows]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all() or not np.isfinite(lengths).all():
        raise errors.EvaluationError("fusion of scores", why="An embedding has no direction.")
    return vectors / lengths, owner


def _reference(
    plan: Protocol, tables: Sequence[Table], data: Manifest, number: int, split: str | None
) -> list[Table] | None:
    """Return each model's scores of the same comparisons within another split; None where there are none."""
    assert plan.gallery is not None and plan.probe is not None
    if split is None:
        return None
    sides = [side.model_copy(update={"where": {**side.where, "split": split}}) for side in (plan.gallery, plan.probe)]
    other = plan.model_copy(update={"gallery": sides[0], "probe": sides[1]})
    known, asked = (chosen(data, side, number) for side in sides)
    if not known or not asked:
        return None
    return [_scores(other, table, data, known, asked)[0] for table in tables]
