"""What networks for visible and infrared people share: a band for every image, and the parts of AGW's ResNet-50.

The substrate of most of them is AGW (M. Ye et al., TPAMI 2021, arXiv 2001.04193): a first layer for each kind of
light, residual layers that both share, the last stage on the grid of the one before, and a neck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from xzoo.catalog.names import SPECTRA
from xzoo.errors import OptionError
from xzoo.families.base import Embedder

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WIDTHS", "Banded", "Bands", "GeM", "Stem", "Tap", "grouped", "heard", "neck", "residual_layers", "routed"]

UNITS = (3, 4, 6, 3)
WIDTHS = {"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}

Bands = str | Sequence[str | None] | None


class Stem(nn.Module):
    """The first convolution of a ResNet, its norm and its pooling: ``[B, 3, H, W]`` to ``[B, 64, H/4, W/4]``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map after pooling."""
        out: Tensor = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        return out


class GeM(nn.Module):
    """Generalised mean over places with a fixed power: ``(mean x^p + 1e-12)^(1/p)``, of maps that are not negative.

    Args:
        power: 3 in AGW; 1 is the plain mean.
    """

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C]``."""
        if self.power == 1:
            return maps.mean((2, 3))
        return (maps.clamp(min=0).pow(self.power).mean((2, 3)) + 1e-12).pow(1 / self.power)


class Tap(nn.Identity):
    """A place in a network that losses can name; what goes through stays as it is."""


def heard(*modules: nn.Module) -> bool:
    """Return whether somebody listens to what a module gives out, so that it has to run: parts for training alone."""
    return any(module._forward_hooks for module in modules)


def neck(width: int) -> nn.BatchNorm1d:
    """Return a batch norm whose offset is a buffer of zeros, so that nothing trains it."""
    made = nn.BatchNorm1d(width)
    del made.bias
    made.register_buffer("bias", torch.zeros(width))
    return made


def residual_layers() -> nn.ModuleDict:
    """Return ``layer1`` to ``layer4`` of a ResNet-50 with random weights, the last on the grid of the third."""
    whole = ResNet(Bottleneck, UNITS, num_classes=0)
    first = whole.layer4[0]
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    return nn.ModuleDict({name: getattr(whole, name) for name in WIDTHS})


def routed(images: Tensor, visible: Sequence[bool], first: nn.Module, second: nn.Module) -> Tensor:
    """Return what ``first`` makes of visible rows and ``second`` of the others, in the order of the rows.

    Args:
        images: ``[B, ...]``.
        visible: Of each row.
        first: For visible rows.
        second: For the others.
    """
    if all(visible) or not any(visible):
        only: Tensor = (first if all(visible) else second)(images)
        return only
    mask = torch.tensor(visible, device=images.device)
    rows = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
    return torch.cat([first(images[mask]), second(images[~mask])])[rows.argsort()]


class Banded(Embedder):
    """A network that treats visible and infrared images differently.

    Name the band in ``embed(..., spectrum=...)``, or give ``spectrum`` to a call, one band for all images or one for
    each. ``VIS`` is visible, every other band infrared; an image whose band is not named is taken for visible.
    """

    banded = True

    def visible_rows(self, spectrum: Bands, count: int) -> list[bool]:
        """Return which of ``count`` images are visible.

        Raises:
            OptionError: ``spectrum`` is no band, or not one for each image.
        """
        spectrum = self._band if spectrum is None else spectrum
        bands = [spectrum] * count if spectrum is None or isinstance(spectrum, str) else list(spectrum)
        if len(bands) != count or any(band not in (None, *SPECTRA) for band in bands):
            raise OptionError(
                f"spectrum={spectrum!r} for {count} images",
                why="The band of each image chooses its way through the network.",
                exists=", ".join(SPECTRA),
                do='name it: model.embed(images, spectrum="NIR")',
            )
        return [band in (None, "VIS") for band in bands]

    def infer_bands(self, batch: Tensor, bands: Sequence[str | None]) -> Tensor:
        """Return raw embeddings of rows of known bands, each on its own way."""
        return self._told_each_band(batch, bands)


def grouped(network: nn.Module, stages: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return parameter names by group: ``bn`` (every batch norm, overlapping the others), then those of ``stages``.

    Args:
        network: Whose parameters.
        stages: Group to beginnings of names; a parameter belongs to the first group that fits.
    """
    found: dict[str, list[str]] = {group: [] for group in ("bn", *stages)}
    kinds: Any = nn.BatchNorm1d | nn.BatchNorm2d
    norms = {name for name, module in network.named_modules() if isinstance(module, kinds)}
    for name, _ in network.named_parameters():
        if name.rpartition(".")[0] in norms:
            found["bn"].append(name)
        found[next(group for group, begins in stages.items() if name.startswith(tuple(begins)))].append(name)
    return found
