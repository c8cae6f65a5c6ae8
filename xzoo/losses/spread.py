"""What a sharded head asks of the other processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from xzoo import errors

__all__ = ["Group"]


class Group(NamedTuple):
    """The processes that share a head's classes out.

    Args:
        rank: This process's number.
        size: How many there are; 1 asks nobody.
    """

    rank: int
    size: int

    @classmethod
    def alone(cls) -> Group:
        """Return the group of this process only."""
        return cls(0, 1)

    @classmethod
    def here(cls) -> Group:
        """Return all processes of ``torch.distributed``.

        Raises:
            OptionError: There is no process group.
        """
        if not (dist.is_available() and dist.is_initialized()):
            raise errors.OptionError(
                "a head across processes was asked for (across=True).",
                why="torch.distributed has no process group here.",
                do="accelerate launch, or across=False with shards=<parts>",
            )
        return cls(dist.get_rank(), dist.get_world_size())

    def part(self, classes: int) -> tuple[int, int]:
        """Return the first class of this process and the one after its last."""
        return self.rank * classes // self.size, (self.rank + 1) * classes // self.size

    def rows(self, x: Tensor) -> Tensor:
        """Join everybody's rows, with gradients; every process has as many.

        Each process's gradient is the sum over all of them times their number, so
        that an average over processes gives the gradient of the whole.
        """
        if self.size == 1:
            return x
        joined: Tensor = _Rows.apply(x, self)
        return joined

    def fixed(self, x: Tensor) -> Tensor:
        """Join everybody's rows, without gradients."""
        if self.size == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.cat(parts)

    def logsumexp(self, x: Tensor) -> Tensor:
        """Return the logarithm of everybody's summed exponentials; gradients go to the own part."""
        if self.size == 1:
            return x
        parts = list(self.fixed(x[None]).unbind(0))
        parts[self.rank] = x
        return torch.stack(parts).logsumexp(0)

    def sum(self, x: Tensor) -> Tensor:
        """Return everybody's sum; gradients go to the own part."""
        if self.size == 1:
            return x
        parts = list(self.fixed(x[None]).unbind(0))
        parts[self.rank] = x
        return torch.stack(parts).sum(0)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.rows = group, len(x)
        return group.fixed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        start = ctx.group.rank * ctx.rows
        return whole[start : start + ctx.rows] * ctx.group.size, None
