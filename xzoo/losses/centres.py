"""Losses between identity centres of two spectra."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.metric import distances, together

__all__ = ["centre", "centres", "deen_cpm", "idkl_centre"]


def centres(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each row its subject's mean, its share of the mean over subjects, and who is the same.

    Working with one centre per row needs no list of subjects, so shapes do not
    depend on the labels; the shares make means over rows means over subjects.

    Args:
        rows: ``[N, D]``.
        labels: ``[N]``.

    Returns:
        ``[N, D]`` centres, ``[N]`` shares that sum to 1, ``[N, N]`` of booleans.
    """
    same = labels[:, None] == labels[None]
    own = same.to(rows.dtype)
    shares = 1 / own.sum(1)
    return own @ rows * shares[:, None], shares / shares.sum(), same


def _row_distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(1).clamp(min=1e-12).sqrt()


def deen_cpm(student: Tensor, teacher: Tensor | None = None, *, labels: Tensor, margin: float = 0.2) -> Tensor:
    """Pair the centres of expanded features with those of the other spectrum.

    For a spectrum ``V``, the other one ``I``, original features 0 and expanded ones
    ``k``: ``L_V = h(p, q) + h(p, m)/2 + h(p, r)/2``, ``h(a, b) = mean_i [a_i - b_i + margin]_+`` over
    subjects, ``p = |c_I0 - c_Vk|``, ``q = sg |c_V0 - c_Vk|``, ``m`` and ``r`` the distance of a
    centre of ``Vk`` and ``V0`` to the nearest one of another subject. The loss is
    ``(L_V + L_I) / 2`` for one expansion; the paper adds that of the second (Zhang and
    Wang, DEEN, CVPR 2023, released code). Gradients reach both sides.

    Args:
        student: ``[4 n, D]``: visible, infrared, expanded visible, expanded infrared; or,
            with ``teacher``, ``[2 n, D]`` of the visible rows, original then expanded. Or
            ``[2 n, K, D]``, visible then infrared rows, the original feature and K - 1 expansions, over which
            the loss is summed; with ``teacher`` ``[n, K, D]`` of the visible rows.
        teacher: ``[2 n, D]`` of the infrared rows, original then expanded; or ``[n, K, D]``.
        labels: One subject a row of ``student``; each group in the same order.
        margin: Distance by which the wanted pairs should be nearer.
    """
    if student.ndim == 3:
        both = torch.cat([student, teacher]) if teacher is not None and teacher is not student else student
        visible, infrared = _groups(both, 2)
        _check_halves("deen_cpm", labels if len(labels) == len(both) else labels.repeat(2))
        groups = [visible[:, 0], infrared[:, 0]]
        grown = [[visible[:, k], infrared[:, k]] for k in range(1, both.shape[1])]
        values = [_paired(groups + pair, labels[: len(visible)], margin) for pair in grown]
        return torch.stack(values).sum()
    if teacher is None or teacher is student:
        groups = _groups(student, 4)
    else:
        (v0, vk), (i0, ik) = _groups(student, 2), _groups(teacher, 2)
        groups = [v0, i0, vk, ik]
    return _paired(groups, labels[: len(groups[0])], margin)


def _paired(groups: list[Tensor], subjects: Tensor, margin: float) -> Tensor:
    """Return the loss of one expansion, of visible, infrared, expanded visible and expanded infrared rows."""
    v0, i0, vk, ik = (centres(rows, subjects)[0] for rows in groups)
    _, shares, same = centres(groups[0], subjects)
    return (_pair(v0, vk, i0, shares, same, margin) + _pair(i0, ik, v0, shares, same, margin)) / 2


def _check_halves(name: str, labels: Tensor) -> None:
    """Refuse a batch whose second half does not show the subjects of the first, in the same order."""
    first, second = labels.chunk(2)
    if not labels.is_meta and not torch.equal(first, second):
        raise errors.OptionError(
            f"{name} of {len(labels)} images",
            why="Their second half does not show the subjects of the first in the same order, as two spectra would.",
            do="batch: {sampler: balanced, targets: [ONE SPECTRUM]}",
        )


def _groups(rows: Tensor, count: int) -> list[Tensor]:
    if len(rows) % count:
        raise errors.OptionError(
            f"deen_cpm got {len(rows)} rows.",
            why=f"It needs {count} groups of equal size: each spectrum, original and expanded.",
            do="stack visible, infrared, expanded visible, expanded infrared, in the same order of subjects",
        )
    return list(rows.chunk(count))


def _pair(own: Tensor, grown: Tensor, other: Tensor, shares: Tensor, same: Tensor, margin: float) -> Tensor:
    wanted, anchor = _row_distance(other, grown), _row_distance(own, grown).detach()

    def hinge(bound: Tensor) -> Tensor:
        return (shares * F.relu(wanted - bound + margin)).sum()

    near = [distances(c).masked_fill(same, torch.inf).amin(1) for c in (grown, own)]
    return hinge(anchor) + hinge(near[0]) / 2 + hinge(near[1]) / 2


def centre(
    student: Tensor,
    teacher: Tensor | None = None,
    *,
    labels: Tensor,
    target_labels: Tensor | None = None,
    pull_margin: float = 0.01,
    push_margin: float = 0.7,
) -> Tensor:
    """Pull images to their subject's centre and push centres apart.

    ``mean_i [|e_i - c_yi| - pull_margin]_+ + mean_{j != k} [push_margin - |c_j - c_k|]_+``: the
    centre loss of MixER's development code (Alehdaghi et al., arXiv 2501.13307), on
    features as they are. Gradients reach both sides and the centres.

    Args:
        student: ``[B, D]``.
        teacher: ``[M, D]``: further rows of the batch.
        labels: ``[B]``, subjects.
        target_labels: ``[M]``; the same as ``labels`` if not given.
        pull_margin: Distance to the centre that costs nothing.
        push_margin: Distance of two centres beyond which nothing is gained.
    """
    rows, subjects = together(student, teacher, labels, target_labels)
    means, shares, same = centres(rows, subjects)
    pull = F.relu(_row_distance(rows, means) - pull_margin).mean()
    weights = (shares[:, None] * shares[None]).masked_fill(same, 0)
    push = (weights * F.relu(push_margin - distances(means))).sum()
    return pull + push / weights.sum().clamp(min=1e-12)


def idkl_centre(student: Tensor, teacher: Tensor, *, labels: Tensor) -> Tensor:
    """Let purified features bring the spectra's centres nearer than they were.

    ``mean_i [|c_Vi(U') - c_Ii(U')| - |c_Vi(U) - c_Ii(U)|]_+`` over subjects (Ren and Zhang,
    IDKL, CVPR 2024, released code, which is incomplete). Gradients reach both sides.

    Args:
        student: Purified features ``U'``, ``[2 n, D]``: visible, then infrared rows.
        teacher: Features ``U`` before purification, the same rows.
        labels: ``[2 n]``, the infrared half in the order of the visible one.
    """
    _check_halves("idkl_centre", labels)
    subjects = labels[: len(labels) // 2]
    gaps, shares = [], student.new_zeros(())
    for rows in (student, teacher):
        means = [centres(half, subjects) for half in rows.chunk(2)]
        shares = means[0][1]
        gaps.append(_row_distance(means[0][0], means[1][0]))
    return (shares * F.relu(gaps[0] - gaps[1])).sum()
