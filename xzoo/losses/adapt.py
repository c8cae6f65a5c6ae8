"""Losses that own parameters, and the adapters between features of two shapes.

What a loss learns (adapters, projections, critics) belongs to the loss: it
enters the optimiser, is saved apart from the student and never ships with it.
Its shapes are those of the features, so it is made when they are first known:
``prepare`` before the optimiser is built, or else the first call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors

__all__ = ["Adapted", "Adapter", "Features", "Learned", "When", "adapter", "levels", "match"]

Features = Tensor | Sequence[Tensor]
When = Literal["auto", "always", "never"]


def levels(features: Features) -> list[Tensor]:
    """Return the levels of a feature: itself, or the members of a list."""
    return [features] if isinstance(features, Tensor) else list(features)


def match(loss: str, student: Tensor, teacher: Tensor) -> None:
    """Refuse two tensors of different shapes.

    Raises:
        OptionError: The shapes differ; names both.
    """
    if student.shape != teacher.shape:
        raise errors.OptionError(
            f"{loss} got shapes {list(student.shape)} and {list(teacher.shape)}.",
            why="It compares the two entry by entry.",
            do="xzoo.losses.hooks.Adapted(loss) puts an adapter between them; embed_distill has its own",
        )


class Learned(nn.Module):
    """A loss with parameters, made when the shapes of its features are known.

    Args:
        seed: Draws the starting values, whatever the state of torch's own generator.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed, self.ready = int(seed), False

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the parameters for features like these; only shapes may be read."""

    def prepare(self, student: Features, teacher: Features | None = None) -> None:
        """Make the parameters for features shaped like these, once.

        They go to the features' device and type; for meta tensors they stay
        real, on the CPU. Later calls do nothing.
        """
        if self.ready:
            return
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.build(student, teacher)
        like = levels(student)[0]
        kind = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        self.to(dtype=kind) if like.is_meta else self.to(device=like.device, dtype=kind)
        self.ready = True

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters.

        Raises:
            OptionError: They are not made yet, and an optimiser would miss them.
        """
        if not self.ready:
            raise errors.OptionError(
                f"the parameters of loss {type(self).__name__!r} were asked for before they exist.",
                why="Their shapes follow the features, which it has not seen.",
                do="loss.prepare(student_features, teacher_features), then build the optimiser",
            )
        return super().named_parameters(prefix, recurse, remove_duplicate)


class Resize(nn.Module):
    """Bring a feature to another grid: pool a larger one, interpolate a smaller one.

    Args:
        grid: ``(H, W)`` for maps, ``(N,)`` for tokens. Tokens of two square
            numbers are taken as square grids, others as a line.
    """

    def __init__(self, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, h, w]`` to ``[B, C, H, W]``, or ``[B, n, C]`` to ``[B, N, C]``."""
        if x.ndim == 4:
            return _resized(x, self.grid)
        have, want = math.isqrt(x.shape[1]), math.isqrt(self.grid[0])
        if have**2 == x.shape[1] and want**2 == self.grid[0]:
            maps = x.transpose(1, 2).unflatten(2, (have, have))
            return _resized(maps, (want, want)).flatten(2).transpose(1, 2)
        line = F.interpolate(x.transpose(1, 2), self.grid[0], mode="linear", align_corners=False)
        return line.transpose(1, 2)


def _resized(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    if x.shape[-2] >= grid[0] and x.shape[-1] >= grid[1]:
        return F.adaptive_avg_pool2d(x, (grid[0], grid[1]))
    return F.interpolate(x, grid, mode="bilinear", align_corners=False)


class Adapter(nn.Sequential):
    """The network that ``adapter`` makes; its output has the teacher's shape."""


def adapter(student: Sequence[int], teacher: Sequence[int], *, relu: bool = False, when: When = "auto") -> nn.Module:
    """Make a network from the shape of a student's feature to that of a teacher's.

    Embeddings ``[B, D]`` and tokens ``[B, N, C]`` get a linear layer, maps ``[B,
    C, H, W]`` a 1x1 convolution with batch normalisation. Where the grids
    differ, the student is resized first (``Resize``).

    Args:
        student: Shape of the student's feature, batch first.
        teacher: Shape of the teacher's; as many axes.
        relu: End the adapter of maps with a ReLU.
        when: ``auto`` adapts where the shapes differ and is the identity where
            they agree; ``always`` also adapts between equal shapes; ``never``
            refuses different ones.

    Raises:
        OptionError: The features are of different kinds, or differ under ``never``.
    """
    ours, theirs = tuple(student)[1:], tuple(teacher)[1:]
    if len(ours) != len(theirs) or len(ours) not in (1, 2, 3):
        raise errors.OptionError(
            f"no adapter leads from shape {list(student)} to {list(teacher)}.",
            exists="adapters between two [B, D], two [B, N, C] or two [B, C, H, W]",
            do="choose modules whose outputs are of one kind",
        )
    if ours == theirs and when != "always":
        return nn.Identity()
    if when == "never":
        raise errors.OptionError(
            f"features of shapes {list(student)} and {list(teacher)} cannot be compared.",
            why="The option adapter='never' forbids the adapter that would bring them together.",
            do="adapter='auto'",
        )
    maps = len(ours) == 3
    grid, wanted = (ours[1:], theirs[1:]) if maps else (ours[:-1], theirs[:-1])
    parts: list[nn.Module] = [] if grid == wanted else [Resize(wanted)]
    if maps:
        parts += [nn.Conv2d(ours[0], theirs[0], 1, bias=False), nn.BatchNorm2d(theirs[0])]
        parts += [nn.ReLU()] if relu else []
    else:
        parts.append(nn.Linear(ours[-1], theirs[-1]))
    return Adapter(*parts)


class Adapted(Learned):
    """A loss of one pair of features, with an adapter on the student's side.

    Args:
        adapter: When the adapter learns, see ``adapter``.
        seed: Draws its starting values.
    """

    adapt: nn.Module

    def __init__(self, *, adapter: When = "auto", seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.when = adapter

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the adapter."""
        ours, theirs = levels(student)[0], levels(student if teacher is None else teacher)[0]
        self.adapt = adapter(ours.shape, theirs.shape, when=self.when)
