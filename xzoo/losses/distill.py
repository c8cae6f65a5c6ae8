"""Losses that hold a student to its teacher's embedding."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["cosine"]


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Keep the student's embeddings in the teacher's directions.

    ``mean(1 - cos(student, teacher))`` row by row; no gradient reaches the
    teacher. The preservation term of xEdgeFace and PACT (George, Unal and
    Marcel, SynThermFace, 2026).

    Args:
        student: ``[B, D]``, any length.
        teacher: ``[B, D]``, any length.
    """
    return 1 - F.cosine_similarity(student, teacher.detach()).mean()
