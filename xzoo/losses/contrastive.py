"""Losses that pull one person's spectra together and push people apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["contrastive_cosine", "infonce"]


def contrastive_cosine(source: Tensor, target: Tensor, *, labels: Tensor, margin: float = 0.0) -> Tensor:
    """Align labelled pairs by their cosine.

    ``mean(y (1 - c) + (1 - y) max(0, c - margin))`` with ``c = cos(source,
    target)`` row by row and ``y`` = 1 for the same subject. The alignment term
    of xEdgeFace (George and Marcel, arXiv 2504.19646), equal to torch's cosine
    embedding loss with targets ``2y - 1``.

    Args:
        source: ``[B, D]``, any length; only directions count.
        target: ``[B, D]``, row by row the partner of ``source``.
        labels: ``[B]``, 1 or true for the same subject, else 0.
        margin: Cosine that a pair of different subjects may keep.
    """
    return F.cosine_embedding_loss(source, target, 2 * labels.to(source.dtype) - 1, margin=margin)


def infonce(
    source: Tensor, target: Tensor, *, labels: Tensor, target_labels: Tensor | None = None, temperature: float = 0.07
) -> Tensor:
    """Pick a row's partners out of the batch, in both directions.

    With unit vectors and ``s_ij = cos(target_i, source_j) / temperature``:
    ``L_i = -log(sum over j of the same subject of exp s_ij / sum over all j of
    exp s_ij)``, averaged over rows, then over the two directions. The symmetric
    multi-positive InfoNCE of PACT (George, Unal and Marcel, SynThermFace, 2026).

    Args:
        source: ``[N, D]``, any length; only directions count.
        target: ``[M, D]``; every row has a partner in ``source``, and the reverse.
        labels: ``[N]``, the subject of each source row; equal numbers are partners.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        temperature: Divides the cosines; smaller looks harder at the nearest.
    """
    others = labels if target_labels is None else target_labels
    scores = F.normalize(target, dim=1) @ F.normalize(source, dim=1).T / temperature
    partners = scores.masked_fill(others[:, None] != labels[None, :], -torch.inf)
    across = scores.logsumexp(1) - partners.logsumexp(1)
    down = scores.logsumexp(0) - partners.logsumexp(0)
    return (across.mean() + down.mean()) / 2
