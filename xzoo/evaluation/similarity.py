"""Cosine similarities, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xzoo import errors

if TYPE_CHECKING:
    import torch

__all__ = ["Embeddings", "Labels", "codes", "labels", "score_blocks", "unit_rows"]

Embeddings: TypeAlias = "npt.NDArray[Any] | torch.Tensor"
Labels: TypeAlias = "npt.NDArray[Any] | torch.Tensor | Sequence[int] | Sequence[str]"

# Four million float32 scores: 16 MiB, large enough for the product to run at full speed.
BLOCK_SCORES = 1 << 22


def unit_rows(embeddings: Embeddings, side: str) -> npt.NDArray[Any]:
    """Return the rows scaled to unit length: float64 if given so, else float32.

    Args:
        embeddings: ``[N, D]``, an array, a memory map or a tensor.
        side: What the rows are called in an error ("query", "gallery" ...).

    Raises:
        EvaluationError: The rows are no ``[N, D]`` table, or one has no direction
            (all zero, or a value that is not finite).
    """
    rows = _array(embeddings)
    if rows.ndim != 2 or 0 in rows.shape:
        raise errors.EvaluationError(
            f"{side} embeddings of shape {list(rows.shape)}", why="Embeddings are a table [N, D] with at least one row."
        )
    rows = rows.astype(np.float64 if rows.dtype == np.float64 else np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(length[:, 0]) | (length[:, 0] == 0))
    if len(bad):
        shown = ", ".join(map(str, bad[:3])) + (" ..." if len(bad) > 3 else "")
        raise errors.EvaluationError(
            f"{side} embeddings, {len(bad)} of {len(rows)} unusable (rows {shown})",
            why="A row of zeros, or with a value that is not finite, points nowhere: it has no cosine.",
            do="look at the images of these rows and at the weights",
        )
    return np.asarray(rows / length)


def labels(values: Labels, count: int, what: str) -> npt.NDArray[Any]:
    """Return ``values`` as a vector of ``count`` labels, or say that they are not."""
    vector = _array(values)
    if vector.shape != (count,):
        raise errors.EvaluationError(
            f"{what} of shape {list(vector.shape)} for {count} embeddings", why="Each embedding has exactly one."
        )
    return vector


def codes(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return two vectors of labels as numbers that are equal where the labels are."""
    numbers = np.unique(np.concatenate([first, second]), return_inverse=True)[1]
    return numbers[: len(first)], numbers[len(first) :]


def score_blocks(
    query: npt.NDArray[Any], gallery: npt.NDArray[Any], block_scores: int = BLOCK_SCORES
) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield ``(rows, scores [rows, G])`` of unit queries against the unit gallery.

    At most ``block_scores`` scores (but at least one row) exist at a time. The
    caller may overwrite a block, and must not keep it: the next one reuses it.
    """
    step = min(len(query), max(1, block_scores // len(gallery)))
    buffer = np.empty((step, len(gallery)), np.result_type(query, gallery))
    for start in range(0, len(query), step):
        rows = slice(start, min(start + step, len(query)))
        yield rows, np.matmul(query[rows], gallery.T, out=buffer[: rows.stop - start])


def _array(values: Any) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, without importing torch to ask
        values = values.detach().cpu()
        values = values if str(values.dtype) != "torch.bfloat16" else values.float()
    return np.asarray(values)
