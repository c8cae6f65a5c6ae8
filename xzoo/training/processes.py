"""What accelerate's launcher says of this process: which of how many it is, where it computes, how precisely."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from xzoo import errors
from xzoo.training.looks import ALONE, World

if TYPE_CHECKING:
    from xzoo.recipes.schema import Recipe

__all__ = ["here", "launched", "wait"]


def here() -> tuple[World, torch.device | None]:
    """Return this process among those of ``accelerate launch`` or ``torchrun``, and its device; alone, no device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE, None
    from accelerate import PartialState

    # Without an accelerator it would take each process for the only one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    return World(state.process_index, state.num_processes), state.device


def wait(world: World) -> None:
    """Wait until every process is here."""
    if world.size > 1:
        torch.distributed.barrier()


def launched(plan: Recipe) -> Recipe:
    """Return the recipe with the precision that ``accelerate launch --mixed_precision`` asks for.

    ``bf16`` takes the place of ``precision: float32`` in every stage, and so is in the run's resolved recipe; ``no``
    leaves the recipe as it is.

    Raises:
        OptionError: The launcher asks for what the engine does not have.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked in ("", "no"):
        return plan
    if asked != "bf16":
        raise errors.OptionError(
            f"accelerate launch --mixed_precision {asked}",
            why="Students train in float32 or bf16, whose range needs no scaling of losses.",
            do="--mixed_precision bf16, or no",
        )
    return plan.with_({"stages.*.precision": "bf16"})
