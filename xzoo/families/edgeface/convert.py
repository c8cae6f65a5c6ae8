"""Names of the published EdgeFace checkpoints to ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VERSION", "convert"]

VERSION = 1


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict: upstream keeps timm's names under ``model.``, plain timm has no prefix.

    Names that are ours already stay, so that a file that lacks some is told what it lacks.
    """
    return {
        "backbone." + name.removeprefix("model.").removeprefix("backbone."): tensor for name, tensor in state.items()
    }
