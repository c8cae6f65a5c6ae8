"""One score from several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.evaluation.similarity import Embeddings, Rows

__all__ = ["Fusion", "fuse", "join"]

Fusion = Literal["mean", "z_norm", "max"]


def fuse(
    scores: Sequence[npt.NDArray[Any]],
    how: Fusion = "mean",
    *,
    reference: Sequence[npt.NDArray[Any]] | None = None,
) -> npt.NDArray[np.float64]:
    """Return one score for each comparison from those of several models.

    Args:
        scores: Of each model, arrays of one shape.
        how: ``mean``; ``z_norm``, the mean after each model's scores have been moved to
            mean 0 and scaled to deviation 1; or ``max``.
        reference: Of each model, the scores whose mean and deviation ``z_norm`` takes,
            rather than those of the very comparisons that are reported.

    Raises:
        EvaluationError: No scores, unlike shapes, an unknown rule, or scores that are all equal under ``z_norm``.
    """
    if how not in get_args(Fusion):
        raise errors.EvaluationError(f"how={how!r}", why="No such fusion.", exists=", ".join(get_args(Fusion)))
    if not scores or len({np.shape(one) for one in scores}) != 1:
        raise errors.EvaluationError(
            f"fusion of scores {[list(np.shape(one)) for one in scores]}", why="Models score the same comparisons."
        )
    table = np.stack([np.asarray(one, np.float64) for one in scores])
    if how == "max":
        return np.asarray(table.max(0))
    if how == "z_norm":
        known = [np.asarray(one, np.float64) for one in (scores if reference is None else reference)]
        if len(known) != len(table):
            raise errors.EvaluationError(f"{len(known)} references for {len(table)} models", why="Each has its own.")
        for number, one in enumerate(known):
            if not one.std() > 0:
                raise errors.EvaluationError(f"z_norm of model {number}", why="Its scores are all equal.")
            table[number] = (table[number] - one.mean()) / one.std()
    return np.asarray(table.mean(0))


def join(embeddings: Sequence[Embeddings], weights: Sequence[float] | None = None) -> npt.NDArray[np.float32]:
    """Return embeddings whose cosine is the (weighted) mean of the models' cosines.

    So score fusion by the mean needs no scores: ``retrieval`` and ``verification``
    take what this returns.

    Args:
        embeddings: Of each model, ``[N, D_k]`` of the same images.
        weights: Of each model, above 0; equal by default. Dividing by the deviation of
            its scores ranks as ``z_norm`` does.

    Returns:
        ``float32 [N, sum(D_k)]``.

    Raises:
        EvaluationError: Unlike lengths, weights that do not fit, or embeddings without direction.
    """
    import torch

    parts = [Rows(one, f"model {number}") for number, one in enumerate(embeddings)]
    share = [1.0] * len(parts) if weights is None else list(weights)
    if not parts or len({len(part) for part in parts}) != 1 or len(share) != len(parts) or min(share) <= 0:
        raise errors.EvaluationError(
            f"joining embeddings of {[len(part) for part in parts]} images with weights {share}",
            why="Models embed the same images, and each has a weight above 0.",
        )
    units = [
        part.unit(0, len(part), torch.float32).cpu() * (weight / sum(share)) ** 0.5
        for part, weight in zip(parts, share, strict=True)
    ]
    return np.asarray(torch.cat(units, 1).numpy())
