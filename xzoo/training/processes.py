"""What a launcher says of this process: which of how many it is, where it computes, how precisely."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import torch

from xzoo import errors
from xzoo.training.looks import ALONE, World

if TYPE_CHECKING:
    from xzoo.recipes.schema import Recipe

__all__ = ["LauncherWarning", "here", "launched", "wait"]

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they started: torchrun and accelerate, then kinds of mpirun."""


class LauncherWarning(UserWarning):
    """A launcher was asked for several processes and started one."""


def here() -> tuple[World, torch.device | None]:
    """Return this process among those of ``accelerate launch``, ``torchrun`` or ``mpirun``, and its device.

    Alone, there is no device: it is as the caller says.
    """
    if int(next((os.environ[name] for name in SIZES if name in os.environ), "1")) < 2:
        # With --cpu accelerate says where several processes would meet, and starts this one.
        if "MASTER_ADDR" in os.environ and "ACCELERATE_MIXED_PRECISION" in os.environ:
            warnings.warn(
                "accelerate launch --cpu starts one process, whatever --num_processes says: this run is alone. On "
                "CPUs, too, accelerate launch --multi_gpu --num_processes N starts N, and so does torchrun "
                "--nproc-per-node N.",
                LauncherWarning,
                stacklevel=2,
            )
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
