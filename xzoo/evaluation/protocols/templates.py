"""Templates: one vector from many images of one subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.manifest import Row
from xzoo.evaluation.protocols.schema import Template

__all__ = ["pool", "pooled"]

Table = npt.NDArray[Any]


def pool(embeddings: Table, how: Template, media: Sequence[str | None], quality: Sequence[float | None]) -> Table:
    """Return the template ``[D]`` of embeddings ``[N, D]``, in float64, not normalised.

    Args:
        embeddings: Raw, of one subject.
        how: The rule.
        media: ``[N]``; images of one medium weigh as much as one image where the rule says media.
        quality: ``[N]``; weights where the rule is weighted.

    Raises:
        EvaluationError: A row without the medium or the quality that the rule needs.
    """
    rows = embeddings.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if how.pool in ("mean_normalised", "media_normalised", "norm_softmax", "topk_norm"):
        rows = rows / length
    if how.weighted:
        if any(value is None for value in quality):
            raise errors.EvaluationError("a weighted template", why="An image in it has no quality.")
        rows = rows * np.asarray(quality, float)[:, None]
    if how.pool in ("media", "media_normalised"):
        if any(name is None for name in media):
            raise errors.EvaluationError("a template of media", why="An image in it has no medium.")
        names = np.asarray(media)
        rows = np.stack([rows[names == name].mean(0) for name in dict.fromkeys(media)])
    if how.pool == "norm_softmax":
        weight = np.exp(how.beta * (length - length.max()))
        return np.asarray((rows * weight).sum(0) / weight.sum())
    if how.pool == "topk_norm":
        rows = rows[np.argsort(-length[:, 0], kind="stable")[: how.k]]
    return np.asarray(rows.mean(0))


def pooled(embeddings: Table, rows: Sequence[Row], how: Template) -> tuple[Table, list[tuple[str, ...]], list[Row]]:
    """Return the templates ``[T, D]`` of many images, their keys, and the first row of each.

    Templates come in the order in which their first image does.

    Raises:
        EvaluationError: A row lacks a column that templates are formed by, or one template holds several subjects.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        key = tuple(getattr(row, column) for column in how.per)
        if None in key:
            raise errors.EvaluationError(
                f"templates by {', '.join(how.per)}",
                why=f"{row.path!r} has no {how.per[key.index(None)]}.",
                do="use a manifest that tells it",
            )
        members.setdefault(key, []).append(place)
    out = []
    for key, places in members.items():
        if len({rows[place].subject for place in places}) > 1:
            raise errors.EvaluationError(
                f"template {' '.join(key)!r}", why="It holds images of several subjects.", do="form it per subject too"
            )
        out.append(
            pool(
                embeddings[places],
                how,
                [rows[place].media for place in places],
                [rows[place].quality for place in places],
            )
        )
    return np.stack(out), list(members), [rows[places[0]] for places in members.values()]
