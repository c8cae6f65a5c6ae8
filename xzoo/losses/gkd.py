"""Query-based soft distillation from a foundation model's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.losses.adapt import Features, Learned, levels

__all__ = ["GkdQsd", "Query"]


class Query(nn.Module):
    """Rebuild teacher tokens: student queries look among teacher keys, with student values.

    ``softmax(q k^T) v`` with ``q = Wq LN(s)``, ``v = Wv LN(s)``, ``k = t``; one head, no scaling.

    Args:
        width: Channels of the student.
        teacher_width: Channels of the teacher.
    """

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        self.query_norm, self.value_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.value = nn.Linear(width, teacher_width), nn.Linear(width, teacher_width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Map ``[B, N, Cs]`` and ``[B, N, Ct]`` to ``[B, N, Ct]``."""
        q, v = self.query(self.query_norm(student)), self.value(self.value_norm(student))
        rebuilt: Tensor = F.softmax(q @ teacher.transpose(1, 2), 2) @ v
        return rebuilt


class GkdQsd(Learned):
    """Distil tokens so that the student keeps the foundation model's generalisation.

    ``l1 MSE(tok, t_cls) + l2 MSE([tok; fea(s, t)], [t_cls; t]) + l3 MSE(patch(s_masked, t), t)``
    with three ``Query`` networks and the teacher's class token ``t_cls`` (Lv et
    al., Generalizable Knowledge Distillation, CVPR 2026, released code).
    ``loss(student, teacher, masked=tokens)``: ``[B, N, Cs]`` and ``[B, N, Ct]``, the first
    ``prefix`` tokens being class tokens; ``masked`` are the student's tokens of the
    masked image. Without class tokens the first term is left out, without
    ``masked`` the third. No gradient reaches the teacher.

    Args:
        prefix: Class tokens before the patches.
        token_weight: ``l1``.
        feature_weight: ``l2``.
        masked_weight: ``l3``.
        seed: Draws the starting values.
    """

    def __init__(
        self,
        *,
        prefix: int = 0,
        token_weight: float = 1.0,
        feature_weight: float = 1.0,
        masked_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        self.prefix = prefix
        self.weights = token_weight, feature_weight, masked_weight

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the query networks."""
        widths = [levels(x)[0].shape[2] for x in (student, student if teacher is None else teacher)]
        self.feature, self.patch = Query(*widths), Query(*widths)
        self.token = Query(*widths) if self.prefix else None

    def forward(self, student: Tensor, teacher: Tensor, *, masked: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        goal, cut = teacher.detach(), self.prefix
        rebuilt, total = self.feature(student[:, cut:], goal[:, cut:]), student.new_zeros(())
        if self.token is not None:
            token = self.token(student[:, :cut], goal[:, :cut])
            total = total + self.weights[0] * F.mse_loss(token, goal[:, :cut])
            rebuilt = torch.cat([token, rebuilt], 1)
        total = total + self.weights[1] * F.mse_loss(rebuilt, goal)
        if masked is not None:
            patches = goal[:, cut:]
            total = total + self.weights[2] * F.mse_loss(self.patch(masked[:, cut:], patches), patches)
        return total
