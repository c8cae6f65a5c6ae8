"""Names of the published AdaFace and CVLface checkpoints to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VERSION", "convert"]

VERSION = 1


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict.

    AdaFace's Lightning files keep the network under ``model.`` beside the training head (``head.*``, dropped);
    CVLface uses ``net.`` or ``model.net.``.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    return {name.removeprefix("model.").removeprefix("net."): tensor for name, tensor in kept.items()}
