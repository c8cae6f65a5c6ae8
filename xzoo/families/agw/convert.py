"""Names of AGW's own checkpoints, and of a plain ImageNet ResNet-50, to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["VERSION", "convert", "fit"]

VERSION = 1

STEMS = {"visible_module.visible.": "visible.", "thermal_module.thermal.": "infrared."}
STEM = ("conv1.", "bn1.")
SHARED = "base_resnet.base."
BLOCKS = {"NL_2.": "non_local.layer2.", "NL_3.": "non_local.layer3."}
FRESH = ("neck.", "non_local.")
"""What an ImageNet file knows nothing of."""


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict of AGW, of torchvision's or timm's ResNet-50, or with our own names.

    Each of AGW's three parts holds a whole ResNet-50 of which it uses some layers; the others are dropped, as is the
    classifier. An ImageNet file starts both stems alike and knows no neck: see ``fit``.
    """
    if any(name.startswith(SHARED) for name in state):
        return _from_agw(state)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(STEM):
            found |= {ours + name: tensor for ours in STEMS.values()}
        elif not name.startswith("fc."):
            found["layers." + name if re.match(r"layer\d", name) else name] = tensor
    return found


def _from_agw(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, ours in STEMS.items():
            if name.startswith(tuple(theirs + part for part in STEM)):
                found[ours + name.removeprefix(theirs)] = tensor
        if name.startswith(SHARED + "layer"):
            found["layers." + name.removeprefix(SHARED)] = tensor
        for theirs, ours in BLOCKS.items():
            if name.startswith(theirs):
                found[name.replace(theirs, ours, 1).replace(".g.0.", ".g.")] = tensor
        if name.startswith("bottleneck."):
            found["neck." + name.removeprefix("bottleneck.")] = tensor
    return found


def fit(tensors: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors of an ImageNet file with a fresh neck and fresh non-local blocks, always the same ones.

    A fresh block changes nothing (its last scale is zero), a fresh neck next to nothing. Counters of batches that
    older files lack are zero. A file with a neck or with blocks is one of AGW, and is left alone.
    """
    if any(name.startswith(FRESH) for name in tensors):
        return tensors
    import torch

    random = torch.Generator().manual_seed(0)
    added: dict[str, Tensor] = {}
    for name, like in network.state_dict().items():
        if name in tensors or not name.startswith(FRESH) and not name.endswith("num_batches_tracked"):
            continue
        if name.endswith(("running_var", "neck.weight")):
            added[name] = torch.ones(like.shape, dtype=like.dtype)
        elif like.ndim == 4:
            added[name] = torch.randn(like.shape, generator=random, dtype=like.dtype) / like.shape[1] ** 0.5
        else:
            added[name] = torch.zeros(like.shape, dtype=like.dtype)
    return {**tensors, **added}
