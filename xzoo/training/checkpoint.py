"""Everything that changes while a stage trains, in one file, so that a run can go on exactly.

One safetensors file: written whole or not at all, read without unpickling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from xzoo import errors, hub

if TYPE_CHECKING:
    from xzoo.training.engine import Progress

__all__ = ["Checkpoint", "read", "restore", "write"]

FORMAT = 1


class Checkpoint(NamedTuple):
    """A saved moment: how many steps of which stage were done, and the tensors by then."""

    stage: int
    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write(path: Path, stage: int, progress: Progress) -> None:
    """Save a stage between two steps.

    Raises:
        DiskFull: There is no room; an older checkpoint at ``path`` stays as it was.
    """
    tensors = {f"parameter/{name}": tensor.detach() for name, tensor in progress.parameters.items()}
    tensors |= {f"start/{name}": tensor for name, tensor in progress.start.items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in progress.ema.items()}
    tensors |= {f"buffer/{name}": tensor for name, tensor in _buffers(progress).items()}
    for term in progress.terms:
        if term.module is not None:
            tensors |= {f"loss/{term.key}/{name}": tensor for name, tensor in term.module.state_dict().items()}
    for name, parameter in progress.trained().items():
        for key, value in progress.optimiser.state.get(parameter, {}).items():
            if value is not None:  # SGD without momentum
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    facts = {
        "format": FORMAT,
        "stage": stage,
        "step": progress.step,
        "sampler": progress.sampler.state_dict(),
        "impostor": progress.impostor,
    }
    hub.write({key: value.cpu() for key, value in tensors.items()}, path, {"xzoo": json.dumps(facts)})


def read(path: Path) -> Checkpoint:
    """Read a checkpoint into memory.

    Raises:
        RunError: It is damaged, or of a later version of xzoo.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["xzoo"])
            # Copies: the file is replaced while the run goes on.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as fault:
        raise errors.RunError(
            f"checkpoint {str(path)!r} cannot be read.", why=str(fault), do="start again in another output folder"
        ) from fault
    if facts["format"] != FORMAT:
        raise errors.RunError(
            f"checkpoint {str(path)!r} has format {facts['format']}.", why=f"This version of xzoo reads {FORMAT}."
        )
    return Checkpoint(facts["stage"], facts["step"], tensors, facts)


def restore(saved: Checkpoint, progress: Progress) -> None:
    """Put a stage, freshly begun, where it was when ``saved`` was written.

    Raises:
        RunError: The checkpoint belongs to other trainable parameters.
    """
    fill(progress.parameters, part(saved, "parameter"))
    fill(progress.ema, part(saved, "ema"))
    fill(_buffers(progress), part(saved, "buffer"))
    for term in progress.terms:
        if term.module is not None:
            fill(term.module.state_dict(), part(saved, f"loss/{term.key}"))
    trained = progress.trained()
    for place, tensor in part(saved, "optimiser").items():
        key, _, name = place.partition("/")
        parameter = trained[name]
        where = tensor if key == "step" and parameter.device.type == "cpu" else tensor.to(parameter.device)
        progress.optimiser.state[parameter][key] = where
    progress.sampler.load_state_dict(saved.facts["sampler"])
    progress.step, progress.impostor = saved.step, saved.facts["impostor"]
    torch.set_rng_state(saved.tensors["random/cpu"])
    if "random/cuda" in saved.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved.tensors["random/cuda"])


def _buffers(progress: Progress) -> dict[str, Tensor]:
    """Return what of the student changes beside its parameters: nothing, unless batch norms follow the batch."""
    return dict(progress.student.named_buffers()) if progress.stage.train.mode == "train" else {}


def part(saved: Checkpoint, prefix: str) -> dict[str, Tensor]:
    """Return the tensors below ``prefix/``, by the rest of their name."""
    return {
        key.removeprefix(f"{prefix}/"): value for key, value in saved.tensors.items() if key.startswith(f"{prefix}/")
    }


def fill(parameters: Mapping[str, nn.Parameter | Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Overwrite parameters by name, strictly."""
    if parameters.keys() != tensors.keys() or any(parameters[key].shape != tensors[key].shape for key in tensors):
        raise errors.RunError(
            "the checkpoint holds other parameters than this run trains.", do="start again in another output folder"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
