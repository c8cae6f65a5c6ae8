"""Embedding distillation from an inherited, frozen gallery tower."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from xzoo.losses.adapt import Adapted, When

__all__ = ["EmbedDistill"]


class EmbedDistill(Adapted):
    """Map the student's embeddings into the space in which the teacher's gallery lies.

    ``cosine``: ``mean_b (1 - cos(P s_b, t_b))``; ``l2``: ``mean_b |P s_b - t_b|_2``; ``mse``: the mean
    over entries of the squared difference; ``P`` a linear layer where widths
    differ (Kim et al., EmbedDistill, arXiv 2301.12005, eq. 7 and 8, which use the
    Euclidean form; cosine by default is ours, for unit face embeddings).
    ``loss(student, teacher)``: ``[B, Ds]`` and ``[B, Dt]``. No gradient reaches the teacher.

    Args:
        metric: Which of the three.
        adapter: When ``P`` is learned.
        seed: Draws its starting values.
    """

    def __init__(
        self, *, metric: Literal["cosine", "l2", "mse"] = "cosine", adapter: When = "auto", seed: int = 0
    ) -> None:
        super().__init__(adapter=adapter, seed=seed)
        self.metric = metric

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        theirs = teacher.detach()
        ours: Tensor = self.adapt(student)
        if self.metric == "cosine":
            return 1 - F.cosine_similarity(ours, theirs).mean()
        if self.metric == "l2":
            lengths: Tensor = (ours - theirs).norm(dim=1)
            return lengths.mean()
        return F.mse_loss(ours, theirs)
