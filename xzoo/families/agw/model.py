"""The two-stream network AGW (arXiv 2001.04193) on timm's residual layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from xzoo.catalog.names import SPECTRA
from xzoo.errors import OptionError
from xzoo.families.agw.options import Options
from xzoo.families.base import Embedder

__all__ = ["AGW", "GeM", "NonLocal", "Stem", "build"]

UNITS = (3, 4, 6, 3)
WIDTH = 2048
BLOCKS = {"layer2": (512, 2), "layer3": (1024, 3)}
"""Channels of a stage, and how many of its last units a non-local block follows."""

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


class NonLocal(nn.Module):
    """Add to every place what all places say, weighed by likeness: ``x + BN(W((theta^T phi / N) g))``.

    The dot-product form of arXiv 1711.07971, with the last scale and offset at zero, so that it starts by changing
    nothing.

    Args:
        channels: Of the map.
        width: Of ``theta``, ``phi`` and ``g``.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, width, 1) for _ in range(3))
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(width, channels, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        # (theta^T phi / N) g without the N x N likenesses: nothing norms them, so the product may begin at its end.
        seen = (g @ phi.transpose(1, 2) / theta.shape[2]) @ theta
        out: Tensor = x + self.W(seen.unflatten(2, x.shape[2:]))
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


class AGW(Embedder):
    """Two stems and a shared ResNet-50; input ``[B, 3, H, W]``, output ``[B, 2048]``, not normalised.

    Images of ``VIS`` go through the visible stem, those of any other band through the infrared one: name the band in
    ``embed(..., spectrum=...)``, or give ``spectrum`` to a call, one band for all images or one for each. An image
    whose band is not named is taken for visible.
    """

    banded = True
    lora_targets = r"layers\.layer\d\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.visible, self.infrared = Stem(), Stem()
        whole = ResNet(Bottleneck, UNITS, num_classes=0)
        first = whole.layer4[0]  # the last stage keeps its grid
        first.conv2.stride = first.downsample[0].stride = (1, 1)
        self.layers = nn.ModuleDict({f"layer{stage}": getattr(whole, f"layer{stage}") for stage in range(1, 5)})
        self.non_local = nn.ModuleDict()
        if options.non_local != "none":
            for stage, (channels, count) in BLOCKS.items():
                width = 1 if options.non_local == "one" else channels // 2
                self.non_local[stage] = nn.ModuleList(NonLocal(channels, width) for _ in range(count))
        self.pool = GeM(3.0 if options.pooling == "gem" else 1.0)
        self.neck = nn.BatchNorm1d(WIDTH)
        del self.neck.bias  # a neck without offset: a buffer, so that nothing trains it
        self.neck.register_buffer("bias", torch.zeros(WIDTH))

    def stem(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return the maps of both stems in the order of ``images``, ``[B, 64, H/4, W/4]``.

        Raises:
            OptionError: ``spectrum`` is no band, or not one for each image.
        """
        visible = self._visible(spectrum, len(images))
        if all(visible) or not any(visible):
            only: Tensor = (self.visible if all(visible) else self.infrared)(images)
            return only
        mask = torch.tensor(visible, device=images.device)
        rows = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]])
        return torch.cat([self.visible(images[mask]), self.infrared(images[~mask])])[rows.argsort()]

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``stage0`` to ``stage3`` of the stems' maps, non-local blocks among them."""
        found: dict[str, Tensor] = {}
        for index, name in enumerate(self.layers):
            units = list(self.layers[name].children())
            blocks = list(self.non_local[name].children()) if name in self.non_local else []
            for place, unit in enumerate(units):
                x = unit(x)
                follows = place - (len(units) - len(blocks))
                x = blocks[follows](x) if follows >= 0 else x
            found[f"stage{index}"] = x
        return found

    def trunk(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return the pooled features before the neck, ``[B, 2048]``: what the triplet loss takes."""
        out: Tensor = self.pool(self.stages(self.stem(images, spectrum))["stage3"])
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return the embeddings ``[B, 2048]`` of pooled features: after the neck, or as they are."""
        out: Tensor = self.neck(features) if self.options.neck == "after" else features
        return out

    def forward(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return embeddings ``[B, 2048]`` of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images, spectrum))

    def forward_features(self, images: Tensor, spectrum: Bands = None) -> dict[str, Tensor]:
        """Return ``stem`` and ``stage0`` to ``stage3`` as maps, ``pooled`` and ``embedding`` ``[B, 2048]``."""
        stem = self.stem(images, spectrum)
        stages = self.stages(stem)
        pooled = self.pool(stages["stage3"])
        return {"stem": stem, **stages, "pooled": pooled, "embedding": self.project(pooled)}

    def infer_bands(self, batch: Tensor, bands: Sequence[str | None]) -> Tensor:
        """Return raw embeddings of rows of known bands, each through its own stem."""
        out = batch.new_empty(len(batch), WIDTH)
        for band in dict.fromkeys(bands):
            rows = [index for index, each in enumerate(bands) if each == band]
            self._band = band
            try:
                out[rows] = super().infer_bands(batch[rows], [band] * len(rows))
            finally:
                self._band = None
        return out

    _band: str | None = None

    def _visible(self, spectrum: Bands, count: int) -> list[bool]:
        spectrum = self._band if spectrum is None else spectrum
        bands = [spectrum] * count if spectrum is None or isinstance(spectrum, str) else list(spectrum)
        if len(bands) != count or any(band not in (None, *SPECTRA) for band in bands):
            raise OptionError(
                f"spectrum={spectrum!r} for {count} images",
                why="The band of each image chooses its stem.",
                exists=", ".join(SPECTRA),
                do='name it: model.embed(images, spectrum="NIR")',
            )
        return [band in (None, "VIS") for band in bands]

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``bn`` overlaps the others; non-local blocks belong to their stage.
        """
        found: dict[str, list[str]] = {group: [] for group in ("bn", "st", "s0", "s1", "s2", "s3", "head")}
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
        for name, _ in self.named_parameters():
            if name.rpartition(".")[0] in norms:
                found["bn"].append(name)
            part, rest = name.split(".", 1)
            stage = f"s{int(rest[5]) - 1}" if part in ("layers", "non_local") else ""
            found[stage or ("head" if part == "neck" else "st")].append(name)
        return found


def build(options: Options) -> AGW:
    """Build the network with random weights on torch's default device."""
    return AGW(options)
