"""Names of other people's checkpoints to ours: no public checkpoint of these networks is read here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VERSION", "convert"]

VERSION = 1


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a flat state dict under the names that it has, which must be ours."""
    return dict(state)
