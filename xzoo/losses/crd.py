"""Contrastive representation distillation, with a memory of every training image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Features, Learned, levels

__all__ = ["Crd", "Memory", "contrast"]

EPSILON = 1e-7


def contrast(scores: Tensor, samples: int) -> Tensor:
    """Tell the one positive of each row from its negatives, given how many images there are.

    ``-1/B sum_i [ln(P_i0 / (P_i0 + m q)) + sum_j ln(m q / (P_ij + m q))]``, ``q = 1 / samples``
    and ``m`` negatives, ``1e-7`` added to each denominator (Tian, Krishnan and
    Isola, Contrastive Representation Distillation, ICLR 2020, eq. 18).

    Args:
        scores: ``[B, 1 + m]`` of ``P``; the positive comes first.
        samples: Images in the memory.
    """
    noise = (scores.shape[1] - 1) / samples
    positive = (scores[:, 0] / (scores[:, 0] + noise + EPSILON)).log()
    negative = (noise / (scores[:, 1:] + noise + EPSILON)).log()
    return -(positive.sum() + negative.sum()) / len(scores)


def partition(exponentials: Tensor, samples: int) -> Tensor:
    """Return the constant ``Z`` that the first batch fixes: ``mean * samples``, detached."""
    return exponentials.detach().mean() * samples


class Memory(Learned):
    """What the memory-bank losses share: two projections, two memories and the draw of negatives.

    Args:
        num_samples: Images of the training set; rows of each memory.
        width: Width of the contrasted vectors.
        negatives: Negatives drawn for each image, with replacement.
        momentum: Share of a memory row that an update keeps.
        seed: Draws the starting values and the negatives.

    Raises:
        OptionError: ``num_samples`` is missing.
    """

    def __init__(self, *, num_samples: int, width: int, negatives: int, momentum: float, seed: int) -> None:
        super().__init__(seed=seed)
        if num_samples < 2:
            raise errors.OptionError(
                f"a memory of {num_samples} images was asked for.",
                why="This loss keeps one row per training image and contrasts each with others.",
                do="num_samples=<number of training images>, and pass indices=<row numbers> with each batch",
            )
        self.num_samples, self.width, self.negatives, self.momentum = num_samples, width, negatives, momentum
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the projections and random unit memories."""
        ours, theirs = levels(student)[0], levels(student if teacher is None else teacher)[0]
        self.student_embed = nn.Linear(ours[0].numel(), self.width)
        self.teacher_embed = nn.Linear(theirs[0].numel(), self.width)
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, F.normalize(torch.randn(self.num_samples, self.width), dim=1))

    def draw(self, indices: Tensor) -> Tensor:
        """Return ``[B, 1 + negatives]`` row numbers: each image's own, then others drawn evenly."""
        if indices.is_meta:
            return indices[:, None].expand(-1, 1 + self.negatives)
        calls = self.get_buffer("calls")
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(calls))
        calls += 1
        drawn = torch.randint(self.num_samples - 1, (len(indices), self.negatives), generator=generator)
        others = drawn.to(indices.device)
        return torch.cat([indices[:, None], others + (others >= indices[:, None]).long()], 1)

    @torch.no_grad()
    def remember(self, indices: Tensor, ours: Tensor, theirs: Tensor) -> None:
        """Move the rows of this batch towards what was just seen, at unit length."""
        for name, rows in (("student_memory", ours), ("teacher_memory", theirs)):
            memory = self.get_buffer(name)
            moved = self.momentum * memory[indices] + (1 - self.momentum) * rows
            if not indices.is_meta:
                memory[indices] = F.normalize(moved, dim=1)

    def extra_repr(self) -> str:
        """Say what is remembered."""
        return f"num_samples={self.num_samples}, width={self.width}, negatives={self.negatives}"


class Crd(Memory):
    """Tell each image's teacher feature from those of other images, and the reverse.

    ``contrast`` of ``exp(v . memory / temperature) / Z``, student rows against the
    memory of the teacher plus teacher rows against that of the student. ``Z`` of each side is
    fixed by the first batch; the memories move after the loss is computed.
    ``loss(student, teacher, indices=rows)`` with ``[B, ...]`` features and ``[B]`` row
    numbers of the training set; ``drawn=`` ``[B, 1 + m]`` replaces the random
    negatives. Both projections learn; no gradient reaches the teacher itself.

    Args:
        num_samples: Images of the training set.
        width: Width of the contrasted vectors.
        negatives: Negatives drawn for each image, with replacement, never itself.
        temperature: Divides the inner products.
        momentum: Share of a memory row that an update keeps.
        seed: Draws the starting values and the negatives.
    """

    def __init__(
        self,
        *,
        num_samples: int = 0,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(num_samples=num_samples, width=width, negatives=negatives, momentum=momentum, seed=seed)
        self.temperature = temperature
        self.register_buffer("z", torch.zeros(2))

    def forward(self, student: Tensor, teacher: Tensor, *, indices: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        ours = F.normalize(self.student_embed(student.flatten(1)), dim=1)
        theirs = F.normalize(self.teacher_embed(teacher.detach().flatten(1)), dim=1)
        columns = self.draw(indices) if drawn is None else drawn
        value = self.sides(ours, theirs, columns).sum()
        self.remember(indices, ours, theirs)
        return value

    def sides(self, ours: Tensor, theirs: Tensor, columns: Tensor) -> Tensor:
        """Return the student's and the teacher's side of the loss, from unit vectors ``[B, width]``."""
        parts, z = [], self.get_buffer("z")
        for side, (rows, memory) in enumerate(((ours, "teacher_memory"), (theirs, "student_memory"))):
            near = self.get_buffer(memory)[columns]
            raw = (torch.einsum("bmd,bd->bm", near, rows) / self.temperature).exp()
            if not z.is_meta and z[side] == 0:
                z[side] = partition(raw, self.num_samples)
            parts.append(contrast(raw / z[side].clone(), self.num_samples))
        return torch.stack(parts)
