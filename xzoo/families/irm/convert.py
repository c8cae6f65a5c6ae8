"""Names of the published PASS checkpoints to ours; the authors' own weights hold a text encoder that we do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xzoo.families.part_vit import convert as part_vit

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["VERSION", "convert", "fit"]

VERSION = 1

OWN = ("fusion.", "necks.", "instruction")
ENCODER = "encoder."


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict of PASS, of TransReID-SSL, or with our own names."""
    if any(name.startswith(ENCODER) for name in state):
        return dict(state)
    return {ENCODER + name: tensor for name, tensor in part_vit.convert(state).items()}


def fit(tensors: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors with positions for the network's input; a PASS file gives the fusion its last two blocks.

    Necks and instruction then start as in a network with random weights, always the same ones.
    """
    made: Any = network
    encoder = {name.removeprefix(ENCODER): x for name, x in tensors.items() if name.startswith(ENCODER)}
    rest = {name: x for name, x in tensors.items() if not name.startswith(ENCODER)}
    fitted = {ENCODER + name: x for name, x in part_vit.fit(encoder, made.encoder).items()}
    if rest:
        return {**fitted, **rest}
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = type(made)(made.options).state_dict()
    rest = {name: x for name, x in fresh.items() if name.startswith(OWN)}
    depth = made.options.depth
    for name in [name for name in rest if name.startswith("fusion.")]:
        _, place, inner = name.split(".", 2)
        copied = f"{ENCODER}backbone.blocks.{depth - 2 + int(place)}.{inner}"
        if copied in fitted:
            rest[name] = fitted[copied].clone()
    return {**fitted, **rest}
