"""The two-stream network AGW (arXiv 2001.04193) on timm's residual layers."""

from __future__ import annotations

from torch import Tensor, nn

from xzoo.families.agw.options import Options
from xzoo.families.two_stream import Banded, Bands, GeM, Stem, grouped, neck, residual_layers, routed

__all__ = ["AGW", "GeM", "NonLocal", "Stem", "build"]

WIDTH = 2048
BLOCKS = {"layer2": (512, 2), "layer3": (1024, 3)}
"""Channels of a stage, and how many of its last units a non-local block follows."""


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


class AGW(Banded):
    """Two stems and a shared ResNet-50; input ``[B, 3, H, W]``, output ``[B, 2048]``, not normalised.

    Images of ``VIS`` go through the visible stem, those of any other band through the infrared one: see ``Banded``.
    """

    lora_targets = r"layers\.layer\d\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.visible, self.infrared = Stem(), Stem()
        self.layers = residual_layers()
        self.non_local = nn.ModuleDict()
        if options.non_local != "none":
            for stage, (channels, count) in BLOCKS.items():
                width = 1 if options.non_local == "one" else channels // 2
                self.non_local[stage] = nn.ModuleList(NonLocal(channels, width) for _ in range(count))
        self.pool = GeM(3.0 if options.pooling == "gem" else 1.0)
        self.neck = neck(WIDTH)

    def stem(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return the maps of both stems in the order of ``images``, ``[B, 64, H/4, W/4]``.

        Raises:
            OptionError: ``spectrum`` is no band, or not one for each image.
        """
        return routed(images, self.visible_rows(spectrum, len(images)), self.visible, self.infrared)

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

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``bn`` overlaps the others; non-local blocks belong to their stage.
        """
        stages = {f"s{n - 1}": (f"layers.layer{n}.", f"non_local.layer{n}.") for n in range(1, 5)}
        return grouped(self, {"st": ("visible.", "infrared."), **stages, "head": ("neck.",)})


def build(options: Options) -> AGW:
    """Build the network with random weights on torch's default device."""
    return AGW(options)
