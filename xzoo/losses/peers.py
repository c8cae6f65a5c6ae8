"""Further losses of published body recognition across spectra."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import match
from xzoo.losses.metric import distances

__all__ = ["cmkic", "csa", "idkl_entropy", "orthogonal", "structure_kl", "tgsa"]


def orthogonal(student: Tensor, teacher: Tensor | None = None, *, form: Literal["dot", "cosine"] = "dot") -> Tensor:
    """Keep two features of an image from saying the same.

    ``dot``: ``sum_b <a_b, b_b> / (3 B)``, between the two expansions of DEEN (Zhang and
    Wang, CVPR 2023); ``cosine``: ``mean |cos(a_b, b_b)|``, between MixER's erased and
    related features. Gradients reach both sides.

    Args:
        student: ``[B, D]``; or, alone, ``[B, 3, D]``: an image's own feature, which is left out, and its two
            expansions, which are ``a`` and ``b``.
        teacher: ``[B, D]``.
        form: Which of the two.

    Raises:
        OptionError: The shapes differ, or there is nothing to compare with.
    """
    if teacher is None:
        if student.ndim != 3 or student.shape[1] != 3:
            raise errors.OptionError(
                f"orthogonal got {list(student.shape)} alone.",
                why="Alone it takes [B, 3, D]: a feature and its two expansions.",
                do="give the other feature, too",
            )
        _, student, teacher = student.unbind(1)
    match("orthogonal", student, teacher)
    if form == "dot":
        return (student * teacher).sum() / (3 * len(student))
    return F.cosine_similarity(student, teacher).abs().mean()


def _symmetric_kl(a: Tensor, b: Tensor) -> Tensor:
    """Return ``KL(softmax a || softmax b) + KL(softmax b || softmax a)``, row by row, averaged."""
    p, q = F.log_softmax(a, 1), F.log_softmax(b, 1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1).mean()


def _structure(rows: Tensor) -> Tensor:
    """Return the distances of each row to the others, ``[N, N - 1]``."""
    n = len(rows)
    flat = distances(rows).flatten()[1:].view(n - 1, n + 1)[:, :-1]
    return flat.reshape(n, n - 1)


def tgsa(
    student: Tensor,
    teacher: Tensor,
    *,
    own_student: Tensor | None = None,
    own_teacher: Tensor | None = None,
    own_weight: float = 0.6,
) -> Tensor:
    """Give both spectra the same structure of distances.

    ``S(sV, sI) + S(sV, sM) + S(sM, sI) + own_weight [S(sV, pV) + S(sI, pI)]``, ``S`` the symmetric KL
    divergence of row softmaxes of the distance matrices without diagonals, ``sM`` the
    first half of the visible and the first half of the infrared rows (Ren and Zhang,
    IDKL, CVPR 2024, released code, which is incomplete). Gradients reach both sides.

    Args:
        student: Shared features of visible images ``sV``, ``[n, D]``.
        teacher: Shared features of infrared images ``sI``, ``[n, D]``, subjects in the same order.
        own_student: Spectrum-specific features ``pV``; the terms are left out if not given.
        own_teacher: Spectrum-specific features ``pI``.
        own_weight: Weight of their terms.
    """
    half = len(student) // 2
    mixed = torch.cat([student[:half], teacher[: len(teacher) - half]])
    v, i, m = (_structure(rows) for rows in (student, teacher, mixed))
    total = _symmetric_kl(v, i) + _symmetric_kl(v, m) + _symmetric_kl(m, i)
    for shared, own in ((v, own_student), (i, own_teacher)):
        if own is not None:
            total = total + own_weight * _symmetric_kl(shared, _structure(own))
    return total


def structure_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Give two features of the same images the same structure of distances.

    ``S(a, b)``, the symmetric KL divergence of row softmaxes of the distance matrices without diagonals: one term of
    ``tgsa``, with which IDKL also ties what both spectra share to what each has for itself (Ren and Zhang, CVPR
    2024). Gradients reach both sides.

    Args:
        student: ``[n, D]``.
        teacher: ``[n, E]``, the same images.
    """
    return _symmetric_kl(_structure(student), _structure(teacher))


def csa(
    student: Tensor,
    teacher: Tensor,
    *,
    own_student: Tensor | None = None,
    own_teacher: Tensor | None = None,
    own_weight: float = 0.8,
    images: int = 1,
) -> Tensor:
    """Give both spectra the same class scores, per image and across subjects.

    ``S(sV, sI) + own_weight [S(sV, pV) + S(sI, pI)]`` on logits row by row, and again on
    rows that join the ``k``-th image of every subject (IDKL, as ``tgsa``).

    Args:
        student: Logits of visible images, ``[P K, C]``, subject by subject.
        teacher: Logits of infrared images, the same order.
        own_student: Logits from spectrum-specific features; left out if not given.
        own_teacher: The same of the infrared images.
        own_weight: Weight of their terms.
        images: ``K``, images of a subject in each spectrum.
    """
    total = student.new_zeros(())
    for group in (None, images):
        total = total + _symmetric_kl(_joined(student, group), _joined(teacher, group))
        for shared, own in ((student, own_student), (teacher, own_teacher)):
            if own is not None:
                total = total + own_weight * _symmetric_kl(_joined(shared, group), _joined(own, group))
    return total


def _joined(logits: Tensor, images: int | None) -> Tensor:
    """Return rows that join the k-th image of every subject; the rows as they are if ``images`` is None."""
    return logits if images is None else logits.view(-1, images, logits.shape[1]).transpose(0, 1).flatten(1)


def idkl_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Let purification not make class scores less certain.

    ``mean(exp([H(teacher) - H(student)]_+) - 1)``, ``H`` the entropy of the softmax (IDKL,
    as ``tgsa``). Gradients reach both sides.

    Args:
        student: Logits of the features before purification, ``[B, C]``.
        teacher: Logits of the purified features.
    """
    before, after = (-(F.softmax(x, 1) * F.log_softmax(x, 1)).sum(1) for x in (student, teacher))
    return (F.relu(after - before).exp() - 1).mean()


def cmkic(
    student: Tensor,
    teacher: Tensor,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    positives: int = 2,
    temperature: float = 0.1,
) -> Tensor:
    """Contrast each image with its hardest partners in the other spectrum.

    ``l_i = -1/K sum_p ln(e^(u_i.u_p/t) / (e^(u_i.u_p/t) + sum_n e^(u_i.u_n/t)))`` over the ``K`` least
    similar positives and all negatives of the other spectrum, averaged over each
    side's anchors and added (WRIM-Net, arXiv 2408.10624; ``K`` and ``t`` are our
    defaults). Gradients reach both sides.

    Args:
        student: ``[N, D]`` of one spectrum; only directions count.
        teacher: ``[M, D]`` of the other.
        labels: ``[N]``, subjects; each has at least ``K`` partners on the other side, or all it has are used.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        positives: ``K``.
        temperature: ``t``.
    """
    others = labels if target_labels is None else target_labels
    scores = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T / temperature
    same = labels[:, None] == others[None]
    return _hardest(scores, same, positives) + _hardest(scores.T, same.T, positives)


def _hardest(scores: Tensor, same: Tensor, count: int) -> Tensor:
    hard, which = (-scores).masked_fill(~same, -torch.inf).topk(min(count, scores.shape[1]), 1)
    valid = same.gather(1, which)
    strangers = scores.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    own = torch.where(valid, -hard, 0)
    values = torch.where(valid, torch.logaddexp(own, strangers) - own, 0)
    return (values.sum(1) / valid.sum(1).clamp(min=1)).mean()
