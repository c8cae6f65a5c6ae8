"""Networks on residual layers from an ImageNet ResNet-50: its names to theirs, and fresh values for what it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["STEMS", "rename", "start"]

STEMS: dict[str, Sequence[str]] = {
    "conv1.": ("visible.conv1.", "infrared.conv1."),
    "bn1.": ("visible.bn1.", "infrared.bn1."),
}
"""One first layer becomes two that are alike."""


def rename(state: Mapping[str, Tensor], places: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Return the tensors of a ResNet-50 under their names in a network; other names stay as they are.

    Args:
        state: Of torchvision's or timm's ResNet-50, or with our own names.
        places: Beginning of a name to the beginnings that take its place, several for several copies.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        begin = next((begin for begin in places if name.startswith(begin)), None)
        if begin is not None:
            found |= {ours + name.removeprefix(begin): tensor for ours in places[begin]}
        elif not name.startswith("fc."):
            found[name] = tensor
    return found


def start(tensors: Mapping[str, Tensor], network: nn.Module, *, own: tuple[str, ...]) -> Mapping[str, Tensor]:
    """Return the tensors of an ImageNet file with fresh values for the network's own parts, always the same ones.

    The values are those with which the network itself begins, drawn from seed 0. Layers that the network leaves out
    are dropped. A file that knows one of ``own`` is no ImageNet file, and is left alone.

    Args:
        tensors: Under the network's names.
        network: Of a family with ``options``; without memory, or not.
        own: Beginnings of names that an ImageNet file knows nothing of.
    """
    wanted = network.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in wanted}
    if any(name.startswith(own) for name in tensors) or not fitting:
        return tensors
    import torch

    made: Any = network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh: dict[str, Tensor] = type(made)(made.options).state_dict()
    counted = {name for name in wanted if name.startswith(own) or name.endswith("num_batches_tracked")}
    left = {name: tensor for name, tensor in tensors.items() if name in wanted or not name.startswith("layers.layer4.")}
    return {**left, **{name: fresh[name] for name in counted if name not in fitting}}
