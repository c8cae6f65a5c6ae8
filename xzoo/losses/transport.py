"""Losses that move one batch onto another at the least cost."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.losses.adapt import Features
from xzoo.losses.crd import Memory

__all__ = ["WcordGlobal", "entropic_ot", "plan", "wcord"]


@torch.no_grad()
def plan(cost: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Return the entropic transport plan ``[N, M]`` of uniform marginals, by Sinkhorn in the logarithm.

    ``argmin_pi <pi, C> + epsilon sum pi ln pi``; columns sum to ``1 / M`` exactly, rows to
    ``1 / N`` as far as the iterations have converged. Carries no gradient.
    """
    n, m = cost.shape
    kernel = -cost / epsilon
    rows, columns = cost.new_zeros(n), cost.new_zeros(m)
    for _ in range(iterations):
        rows = -math.log(n) - (kernel + columns[None]).logsumexp(1)
        columns = -math.log(m) - (kernel + rows[:, None]).logsumexp(0)
    return (kernel + rows[:, None] + columns[None]).exp()


def entropic_ot(
    student: Tensor,
    teacher: Tensor,
    *,
    cost: Literal["cosine", "squared"] = "cosine",
    epsilon: float = 0.05,
    iterations: int = 100,
) -> Tensor:
    """Move one batch onto the other by the cheapest soft assignment.

    ``<pi, C>`` with ``pi`` of ``plan`` and ``C = 1 - cos`` or the mean squared
    difference; the gradient flows through ``C`` alone, as the envelope theorem has
    it (Cuturi, Sinkhorn Distances, NeurIPS 2013). Rows need not be partners.
    Gradients reach both sides.

    Args:
        student: ``[N, D]``.
        teacher: ``[M, D]``.
        cost: What moving costs.
        epsilon: Strength of the entropy; smaller is nearer to exact transport and converges later.
        iterations: Of Sinkhorn.
    """
    if cost == "cosine":
        costs = 1 - F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T
    else:
        costs = (student[:, None] - teacher[None]).square().mean(2)
    return (plan(costs, epsilon=epsilon, iterations=iterations) * costs).sum()


def wcord(student: Tensor, teacher: Tensor, *, epsilon: float = 0.05, iterations: int = 100) -> Tensor:
    """Match a batch's student features to its teacher features as distributions.

    The local term of Wasserstein contrastive distillation (Chen et al., WCoRD,
    CVPR 2021): ``entropic_ot`` with cosine cost. Re-implemented from the abstract
    and recalled formulas; cost, ``epsilon`` and iterations are our defaults. No
    gradient reaches the teacher.

    Args:
        student: ``[B, D]``; only directions count.
        teacher: ``[M, D]``.
        epsilon: Strength of the entropy.
        iterations: Of Sinkhorn; 100 bring a batch of ordinary embeddings to eight digits of the
            converged cost, 50 to four.
    """
    return entropic_ot(student, teacher.detach(), epsilon=epsilon, iterations=iterations)


class WcordGlobal(Memory):
    """Experimental: the global term of Wasserstein contrastive distillation.

    ``-(mean g(t_i, s_i) - weight mean_j g(t_j, s_i))`` with ``g`` a critic of two spectrally
    normalised layers (so 1-Lipschitz), positives of the batch and negatives from
    a memory of the teacher, as in CRD. The published critic, weights and memory
    are not known; this is re-implemented from the abstract and recalled
    formulas (Chen et al., CVPR 2021) and no figure of the paper is claimed.
    ``loss(student, teacher, indices=rows)`` with ``[B, ...]`` features and ``[B]`` row numbers.

    Args:
        num_samples: Images of the training set.
        width: Width of the compared vectors.
        negatives: Negatives drawn for each image.
        negative_weight: Weight of the negatives' mean.
        momentum: Share of a memory row that an update keeps.
        seed: Draws the starting values and the negatives.
    """

    def __init__(
        self,
        *,
        num_samples: int = 0,
        width: int = 128,
        negatives: int = 256,
        negative_weight: float = 1.0,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(num_samples=num_samples, width=width, negatives=negatives, momentum=momentum, seed=seed)
        self.negative_weight = negative_weight

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make projections, memories and critic."""
        super().build(student, teacher)
        spectral = nn.utils.parametrizations.spectral_norm
        self.critic = nn.Sequential(
            spectral(nn.Linear(2 * self.width, self.width)), nn.LeakyReLU(0.2), spectral(nn.Linear(self.width, 1))
        )

    def forward(self, student: Tensor, teacher: Tensor, *, indices: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        ours = F.normalize(self.student_embed(student.flatten(1)), dim=1)
        theirs = F.normalize(self.teacher_embed(teacher.detach().flatten(1)), dim=1)
        columns = (self.draw(indices) if drawn is None else drawn)[:, 1:]
        others = self.get_buffer("teacher_memory")[columns]
        again = ours[:, None].expand(-1, others.shape[1], -1)
        # One call, so that the power iteration of the spectral norm moves once.
        pairs = torch.cat([torch.cat([theirs[:, None], others], 1), torch.cat([ours[:, None], again], 1)], 2)
        values = self.critic(pairs).squeeze(2)
        self.remember(indices, ours, theirs)
        value: Tensor = self.negative_weight * values[:, 1:].mean() - values[:, 0].mean()
        return value
