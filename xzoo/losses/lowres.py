"""Losses of methods for faces of few pixels: what bridge distillation, F-SKD and selective distillation add."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Adapted, Features, Learned, levels, match
from xzoo.losses.metric import looks

__all__ = ["Decoded", "Softmax", "fskd_cross", "hint_cosine", "selected", "selective"]


class Softmax(Learned):
    """Classify subjects by a plain linear layer: the cross entropy of ``W s + b``, or of ``W BN(s)``.

    The head of both steps of bridge distillation in this project (Ge et al., arXiv 2409.11786, whose own is not
    public). ``loss(student, labels=classes)``, ``[B, D]``, or ``[B, K, D]``: K features of each image, each classified
    and normed among all of them. Rows with label -1 are left out.

    Args:
        classes: Identities of the training set.
        neck: Put a batch norm without offset in front, and leave ``b`` away: the neck of "Bag of Tricks" (arXiv
            1903.07071) that PASS and AGW classify behind; ``W`` starts at N(0, 0.001).
        bias: Have ``b`` where there is no neck; without it ``W`` starts as behind a neck, which the network has.
        seed: Draws the layer.

    Raises:
        OptionError: ``classes`` is missing.
    """

    def __init__(self, *, classes: int, neck: bool = False, bias: bool = True, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if classes < 1:
            raise errors.OptionError(
                f"a head of {classes} classes was asked for.",
                why="It keeps a row for each identity of the training set.",
                do="classes=<number of identities>",
            )
        self.classes, self.neck, self.bias = classes, neck, bias and not neck

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the layer, and the norm in front of it."""
        width = levels(student)[0].shape[-1]
        self.layer = nn.Linear(width, self.classes, bias=self.bias)
        self.norm: nn.Module = nn.Identity()
        if not self.bias:
            nn.init.normal_(self.layer.weight, std=0.001)
        if self.neck:
            self.norm = nn.BatchNorm1d(width)
            self.norm.bias.requires_grad_(False)

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, labels: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student)
        student, labels = looks(student, labels)
        values = F.cross_entropy(self.layer(self.norm(student)), labels.long(), ignore_index=-1, reduction="sum")
        return values / (labels >= 0).sum().clamp(min=1)


class Decoded(Adapted):
    """Keep in a compact embedding what a linear layer needs to give the teacher's direction back.

    ``mean_i |t_i / |t_i| - D s_i|^2`` with ``D`` linear: the other way, beside ``sp``, in which step 1 of bridge
    distillation may keep the private domain's knowledge (a default of this project). ``loss(student, teacher)``,
    ``[B, d]`` and ``[B, D]``. No gradient reaches the teacher.

    Args:
        seed: Draws the layer.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(adapter="always", seed=seed)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        difference: Tensor = F.normalize(teacher.detach(), dim=1) - self.adapt(student)
        return difference.square().sum(1).mean()


def hint_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Point a whole feature where the teacher's points: ``mean_i (1 - cos(vec s_i, vec t_i))``.

    The feature term of F-SKD (Shin, Yu and Lee, arXiv 2303.04681), whose student has a 1x1 convolution and a batch
    norm in front: ``adapter: always`` in a recipe. No gradient reaches the teacher.

    Args:
        student: ``[B, ...]``.
        teacher: The same shape.
    """
    match("hint_cosine", student, teacher)
    return 1 - F.cosine_similarity(student.flatten(1), teacher.detach().flatten(1)).mean()


def fskd_cross(student: Tensor, teacher: Tensor, *, labels: Tensor) -> Tensor:
    """Keep which places of one picture match which of another of the same person, across resolutions.

    For every two rows of one subject whose teacher maps have a positive cosine: with maps ``[C, HW]`` of unit
    Frobenius norm and affinities ``R_ab = F_a^T F_b``, ``(d(R_tt, R_ts) + d(R_tt, R_st)) / 2 + d(R_tt, R_ss)``,
    ``d = 1 - cos`` of the flattened affinities (F-SKD, arXiv 2303.04681, code at commit 3774ab4). Zero where no two
    rows are of one subject. No gradient reaches the teacher.

    Args:
        student: ``[B, C, H, W]``, of few pixels.
        teacher: The same shape, of all.
        labels: ``[B]``, the subject of each row.
    """
    match("fskd_cross", student, teacher)
    ours, theirs = (F.normalize(x.flatten(1), dim=1).view(len(x), x.shape[1], -1) for x in (student, teacher.detach()))
    whole = theirs.flatten(1)
    other = ~torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    pairs = (labels[:, None] == labels[None]) & (whole @ whole.T > 0) & other

    def affinity(first: Tensor, second: Tensor) -> Tensor:
        return torch.einsum("icp,jcq->ijpq", first, second).flatten(2)

    both = affinity(theirs, theirs)
    apart = [1 - F.cosine_similarity(both, affinity(*sides), dim=2) for sides in ((theirs, ours), (ours, theirs))]
    apart.append(1 - F.cosine_similarity(both, affinity(ours, ours), dim=2))
    values = (apart[0] + apart[1]) / 2 + apart[2]
    return values.masked_fill(~pairs, 0).sum() / pairs.sum().clamp(min=1)


def selected(teacher: Tensor, labels: Tensor, *, share: float, redundancy: float) -> Tensor:
    """Return which rows of a batch are the most informative, ``[B]`` of booleans, at least one.

    Each row is a node that gains ``cos`` to the mean of its subject less ``cos`` to the nearest other mean; every
    two chosen rows of one subject cost ``redundancy`` times their positive cosine. The rows are chosen greedily.

    Args:
        teacher: ``[B, D]``.
        labels: ``[B]``.
        share: Of the rows to choose.
        redundancy: Price of saying the same twice.
    """
    unit = F.normalize(teacher.detach(), dim=1)
    subjects, place = labels.unique(return_inverse=True)
    members = F.one_hot(place, len(subjects)).to(unit.dtype)
    near = unit @ F.normalize(members.T @ unit, dim=1).T
    own = near.gather(1, place[:, None])[:, 0]
    others = near.masked_fill(members.bool(), -1.0).amax(1)
    gain, cost = own - others, redundancy * (unit @ unit.T).clamp(min=0) * (members @ members.T)
    chosen = torch.zeros(len(unit), dtype=torch.bool, device=unit.device)
    for _ in range(max(1, round(share * len(unit)))):
        best = gain.masked_fill(chosen, -torch.inf).argmax()
        chosen = chosen | F.one_hot(best, len(unit)).bool()
        gain = gain - cost[best]
    return chosen


def selective(
    student: Tensor, teacher: Tensor, *, labels: Tensor, share: float = 0.5, redundancy: float = 0.1
) -> Tensor:
    """Regress the teacher's features where they are informative, and leave the rest alone.

    ``mean over chosen i of |s_i - t_i|^2``, rows chosen by ``selected``: selective knowledge distillation (Ge et al.,
    arXiv 1811.09998) regularises its student by features that a sparse graph optimisation picks. Its graph is not in
    a text open to us; nodes, edges and the greedy choice are this project's. No gradient reaches the teacher.

    Args:
        student: ``[B, D]``.
        teacher: The same shape.
        labels: ``[B]``, the subject of each row.
        share: Of the batch that is regressed, 0 to 1.
        redundancy: Price of two chosen rows of one subject that point the same way.
    """
    match("selective", student, teacher)
    squares = (student - teacher.detach()).square().sum(1)
    if labels.is_meta:
        return squares.mean()
    chosen = selected(teacher, labels, share=share, redundancy=redundancy)
    return squares[chosen].mean()
