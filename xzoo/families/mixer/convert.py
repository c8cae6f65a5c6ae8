"""Names of a plain ImageNet ResNet-50 to ours; the authors published no weights that we could check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xzoo.families import imagenet

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["VERSION", "convert", "fit"]

VERSION = 1

PLACES: dict[str, Sequence[str]] = {name: (f"stem.{name}",) for name in ("conv1.", "bn1.")}
PLACES |= {f"layer{n}.": (f"layers.layer{n}.",) for n in (1, 2, 3)}
PLACES["layer4."] = ("erase.", "visible.", "infrared.")


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict of torchvision's or timm's ResNet-50, or with our own names; three tops start alike."""
    return imagenet.rename(state, PLACES)


def fit(tensors: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors of an ImageNet file with fresh necks; see ``imagenet.start``."""
    return imagenet.start(tensors, network, own=("necks.",))
