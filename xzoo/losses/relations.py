"""Losses that keep how the images of a batch lie to one another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.losses.adapt import Adapted, Features, levels, match

__all__ = ["Rcd", "cc", "ird", "pkt", "rcd", "rkd", "sp"]


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Keep which images of the batch are alike.

    ``|rownorm(S S^T) - rownorm(T T^T)|_F^2 / B^2`` with one flattened row per image
    (Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019,
    eq. 4). Widths and grids may differ. No gradient reaches the teacher.

    Args:
        student: ``[B, ...]``.
        teacher: ``[B, ...]``.
    """
    ours, theirs = (x.flatten(1) for x in (student, teacher.detach()))
    difference = F.normalize(ours @ ours.T, dim=1) - F.normalize(theirs @ theirs.T, dim=1)
    return difference.square().mean()


def pkt(student: Tensor, teacher: Tensor, *, epsilon: float = 1e-7) -> Tensor:
    """Keep the probability that one image picks another as its neighbour.

    ``mean_ij p^t_ij ln((p^t_ij + e) / (p^s_ij + e))`` with ``p`` the rows of
    ``(cos + 1) / 2`` divided by their sums, the diagonal included (Passalis and
    Tefas, ECCV 2018). No gradient reaches the teacher.

    Args:
        student: ``[B, ...]``, one flattened row per image.
        teacher: ``[B, ...]``; any width.
        epsilon: Added to lengths and inside the logarithm.
    """
    chances = []
    for rows in (student.flatten(1), teacher.detach().flatten(1)):
        unit = rows / (rows.norm(dim=1, keepdim=True) + epsilon)
        alike = (unit @ unit.T + 1) / 2
        chances.append(alike / alike.sum(1, keepdim=True))
    ours, theirs = chances
    surprise: Tensor = theirs * ((theirs + epsilon) / (ours + epsilon)).log()
    return surprise.mean()


def rkd(student: Tensor, teacher: Tensor, *, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Keep the distances between images and the angles of every three.

    ``distance_weight Huber(d_s / mean d_s, d_t / mean d_t) + angle_weight
    Huber(angle_s, angle_t)``: distances over all pairs, each batch's divided by its
    mean positive one; cosines of the angle at the first of all triples; Huber's
    loss with threshold 1 (Park et al., Relational Knowledge Distillation, CVPR
    2019, eq. 7 to 10). The published face experiments weight 1 and 2. Squared
    distances are clamped at 1e-12. No gradient reaches the teacher.

    Args:
        student: ``[B, ...]``, one flattened row per image.
        teacher: ``[B, ...]``; any width.
        distance_weight: Weight of the distances.
        angle_weight: Weight of the angles; 0 saves the ``B^3`` tensor.
    """
    ours, theirs = student.flatten(1), teacher.detach().flatten(1)
    total = student.new_zeros(())
    if distance_weight:
        total = total + distance_weight * F.smooth_l1_loss(_relative_distances(ours), _relative_distances(theirs))
    if angle_weight:
        total = total + angle_weight * F.smooth_l1_loss(_angles(ours), _angles(theirs))
    return total


def _relative_distances(rows: Tensor) -> Tensor:
    squares, product = rows.square().sum(1), rows @ rows.T
    distances = (squares[:, None] + squares[None] - 2 * product).clamp(min=1e-12).sqrt()
    distances = distances * (1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))
    return distances / (distances.sum() / (distances > 0).sum().clamp(min=1))


def _angles(rows: Tensor) -> Tensor:
    towards = F.normalize(rows[None] - rows[:, None], dim=2)
    return towards @ towards.transpose(1, 2)


def cc(student: Tensor, teacher: Tensor) -> Tensor:
    """Let the errors of neighbouring images not add up in the same entries.

    ``mean_i sum_d |D_i,d| |D_i+1,d|`` with ``D = s - t``: the released form of
    Correlation Congruence (Peng et al., ICCV 2019). It depends on the order of
    the batch. No gradient reaches the teacher.

    Args:
        student: ``[B, D]``, ``B`` at least 2.
        teacher: ``[B, D]``.
    """
    match("cc", student, teacher)
    errors = (student - teacher.detach()).abs()
    return (errors[:-1] * errors[1:]).sum(1).mean()


def ird(student: Tensor, teacher: Tensor, *, temperature: float = 0.2) -> Tensor:
    """Keep the teacher's ranking of the other images of the batch.

    The cross entropy between the row softmaxes of both cosine matrices without
    their diagonals, averaged over rows. One of our stand-ins for the relation
    term of AIRD, whose exact form is not public. No gradient reaches the teacher.

    Args:
        student: ``[B, D]``; only directions count.
        teacher: ``[B, E]``.
        temperature: Divides the cosines.
    """
    diagonal = torch.eye(len(student), dtype=torch.bool, device=student.device)
    scores = []
    for rows in (student, teacher.detach()):
        unit = F.normalize(rows, dim=1)
        alike = unit @ unit.T / temperature
        scores.append(alike.masked_fill(diagonal, torch.finfo(alike.dtype).min))
    ours, theirs = scores
    chance = F.log_softmax(ours, 1).masked_fill(diagonal, 0)
    return -(F.softmax(theirs, 1) * chance).sum(1).mean()


def rcd(
    student: Tensor,
    teacher: Tensor,
    *,
    labels: Tensor,
    temperature: float = 0.1,
    kept: Tensor | None = None,
    own: Callable[[Tensor], Tensor] | None = None,
    cross: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the two parts of cross-resolution relational contrast.

    With unit rows, ``v_ij = unit(own(t_i - t_j))``, ``w_ik = unit(cross(t_i - s_k))`` and
    ``h_ijk = sigmoid(v_ij . w_ik / temperature)``: the positive part is ``-mean_{i != j}
    log h_ijj``, the negative one ``-mean_{i != j} sum_k log(1 - h_ijk)`` over ``k`` other
    than ``i`` and ``j`` and of another subject than ``j``.

    Args:
        student: ``[B, D]``.
        teacher: ``[B, D]``; no gradient reaches it.
        labels: ``[B]``, the subject of each row.
        temperature: Divides the inner products.
        kept: ``[B, B, B]`` of booleans: which negatives ``ijk`` count; all if not given.
        own: Relation network of two teacher rows; the identity if not given.
        cross: Relation network of a teacher's and a student's row; the identity if not given.
    """
    ours, theirs = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    between, across = theirs[:, None] - theirs[None], theirs[:, None] - ours[None]
    v = F.normalize(own(between) if own else between, dim=2)
    w = F.normalize(cross(across) if cross else across, dim=2)
    scores = v @ w.transpose(1, 2) / temperature
    pairs = ~torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    negatives = pairs[:, :, None] & pairs[:, None, :] & pairs[None] & (labels[:, None] != labels[None])[None]
    if kept is not None:
        negatives = negatives & kept
    count = max(len(ours) * (len(ours) - 1), 1)
    positive = -(F.logsigmoid(scores.diagonal(dim1=1, dim2=2)) * pairs).sum() / count
    negative = -(F.logsigmoid(-scores) * negatives).sum() / count
    return positive, negative


class Rcd(Adapted):
    """Contrast relations between teacher rows with relations across the two networks.

    The sum of both parts of ``rcd``, with relation networks ``W2 relu(W1 u)``,
    in the manner of cross-resolution relational contrastive distillation. Our
    default for the relation term of AIRD, whose exact form is not public.
    ``loss(student, teacher, labels=subjects)``, ``[B, D]`` both; a linear layer
    joins different widths.

    Args:
        temperature: Divides the inner products.
        width: Hidden and output width of the relation networks.
        negatives: Negatives drawn for each pair; 0 takes all.
        largest: Rows that are looked at, the first ones of the batch (the tensor is its cube).
        seed: Draws the starting values and the negatives.
    """

    def __init__(
        self, *, temperature: float = 0.1, width: int = 256, negatives: int = 16, largest: int = 64, seed: int = 0
    ) -> None:
        super().__init__(seed=seed)
        self.temperature, self.width, self.negatives, self.largest = temperature, width, negatives, largest
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the projector and both relation networks."""
        super().build(student, teacher)
        size = levels(student if teacher is None else teacher)[0].shape[1]
        self.own, self.cross = (
            nn.Sequential(nn.Linear(size, self.width), nn.ReLU(), nn.Linear(self.width, self.width)) for _ in range(2)
        )

    def forward(self, student: Tensor, teacher: Tensor, *, labels: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        student, teacher, labels = (x[: self.largest] for x in (student, teacher, labels))
        kept = self._draw(len(student), labels) if self.negatives else None
        relations = {"own": self.own, "cross": self.cross}
        positive, negative = rcd(
            self.adapt(student), teacher, labels=labels, temperature=self.temperature, kept=kept, **relations
        )
        return positive + negative

    def _draw(self, size: int, labels: Tensor) -> Tensor:
        """Draw, for every pair ``ij``, negatives among the rows that may be its ``k``."""
        calls = self.get_buffer("calls")
        if labels.is_meta:
            return torch.ones(size, size, size, dtype=torch.bool, device=labels.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(calls))
        calls += 1
        order = torch.rand(size, size, size, generator=generator).to(labels.device)
        rows = torch.arange(size, device=labels.device)
        wrong = (labels[:, None] == labels[None])[None] | (rows[:, None, None] == rows)
        ranks = order.masked_fill(wrong, torch.inf).argsort(2).argsort(2)
        return ranks < self.negatives
