"""The diverse embedding expansion network (arXiv 2303.14481) on timm's residual layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.families.deen.options import Options
from xzoo.families.two_stream import WIDTHS, Banded, Bands, Stem, Tap, grouped, neck, residual_layers, routed

__all__ = ["DEE", "DEEN", "MFA", "build"]

LOOKS = 3
"""Features of every image: its own, and two expansions."""


class DEE(nn.Module):
    """Diverse embedding expansion: a map and two others made of it, ``[B, C, H, W]`` to ``[3 B, C, H, W]``.

    Each of two branches is ``W relu(mean_d conv_d(x))``, three 3x3 convolutions to a quarter of the channels with
    dilations ``d`` = 1, 2, 3, and a 1x1 one back. Rows are the images themselves, then their first, then their second
    expansions. Convolutions without offset are our default: the specification names none.

    Args:
        channels: Of the map.
        dropout: Of the result.
    """

    def __init__(self, channels: int, dropout: float = 0.01) -> None:
        super().__init__()
        narrow = channels // 4
        self.dilated = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, narrow, 3, padding=d, dilation=d, bias=False) for d in (1, 2, 3))
            for _ in range(LOOKS - 1)
        )
        self.back = nn.ModuleList(nn.Conv2d(narrow, channels, 1, bias=False) for _ in range(LOOKS - 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of all looks, look by look."""
        grown = [x]
        for branch, back in zip(self.dilated, self.back, strict=True):
            convolutions = list(branch.children())
            total = torch.stack([convolution(x) for convolution in convolutions]).mean(0)
            grown.append(back(torch.relu(total)))
        out: Tensor = self.dropout(torch.cat(grown))
        return out


def _last(width: int, channels: int, stride: int = 1) -> nn.Sequential:
    """Return a 1x1 convolution whose norm starts at zero, so that a block begins by changing nothing."""
    norm = nn.BatchNorm2d(channels)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.Conv2d(width, channels, 1, stride), norm)


class MFA(nn.Module):
    """Multi-stage feature aggregation: add to a stage's output what its input says, by channels, then by places.

    With ``h`` the output of a stage, ``l`` its input, ``N`` places and ``C`` channels:

    - channels: ``h + BN(W((theta(h) phi(l)^T / C_l) g(l)))``, the energy ``C_l x C_l``;
    - places: ``h + BN(W((theta(h)^T phi(l) / N_l) g(l)))``, the energy ``N_h x N_l`` over ``C_l / 2`` channels.

    Args:
        high: Channels of the stage's output.
        low: Channels of its input.
        stride: 2 where the stage halves the grid.
    """

    def __init__(self, high: int, low: int, stride: int) -> None:
        super().__init__()
        half = low // 2
        self.channel = nn.ModuleDict(
            {
                "theta": nn.Conv2d(high, low, 1),
                "phi": nn.Conv2d(low, low, 1, stride),
                "g": nn.Conv2d(low, low, 1),
                "W": _last(low, high, stride),
            }
        )
        self.place = nn.ModuleDict(
            {
                "theta": nn.Conv2d(high, half, 1),
                "phi": nn.Conv2d(low, half, 1),
                "g": nn.Conv2d(low, half, 1),
                "W": _last(half, high),
            }
        )

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Map ``[B, C_h, H, W]`` to the same shape."""
        part = self.channel
        theta, phi = part["theta"](high).flatten(2), part["phi"](low).flatten(2)
        energy = theta @ phi.transpose(1, 2) / theta.shape[1]
        high = high + part["W"]((energy @ part["g"](low).flatten(2)).unflatten(2, low.shape[2:]))
        part = self.place
        theta, phi, g = part["theta"](high).flatten(2), part["phi"](low).flatten(2), part["g"](low).flatten(2)
        # (theta^T phi / N) g without the N x N energy: nothing norms it, so the product may begin at its end.
        seen = (g @ phi.transpose(1, 2) / phi.shape[2]) @ theta
        out: Tensor = high + part["W"](seen.unflatten(2, high.shape[2:]))
        return out


class DEEN(Banded):
    """Two stems, a shared ResNet-50 and an expansion of every image into three features of width ``W``.

    Input ``[B, 3, H, W]``. The embedding is made of unit vectors one after another: the three features before the
    neck, then the three after it, ``[B, 6 W]``. Its inner products are the sums of six cosines by which the authors'
    test compares (they add those of the mirrored image). For training, ``looks`` and ``necked`` are the features
    before and after the neck, ``[B, 3, W]``.
    """

    lora_targets = r"layers\.layer\d\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.visible, self.infrared = Stem(), Stem()
        self.layers = residual_layers()
        self.attention = nn.ModuleDict(
            {"layer1": MFA(256, 64, 1), "layer2": MFA(512, 256, 2), "layer3": MFA(1024, 512, 2)}
        )
        if options.last == "layer3":
            del self.layers["layer4"], self.attention["layer3"]
        names = list(self.layers)
        self.width, self.grows_after = WIDTHS[names[-1]], names[-2]
        self.expansion = DEE(WIDTHS[self.grows_after])
        self.looks, self.necked = Tap(), Tap()
        self.neck = neck(self.width)

    def stages(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``stage0`` and further of the stems' maps; those behind the expansion have three rows an image."""
        found: dict[str, Tensor] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            before, x = x, layer(x)
            if name in self.attention:
                x = self.attention[name](x, before)
            found[f"stage{index}"] = x
            if name == self.grows_after:
                x = self.expansion(x)
        return found

    def trunk(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return the pooled features of all looks one after another, ``[B, 3 W]``."""
        stem = routed(images, self.visible_rows(spectrum, len(images)), self.visible, self.infrared)
        return self._pooled(self.stages(stem))

    def _pooled(self, stages: dict[str, Tensor]) -> Tensor:
        pooled = list(stages.values())[-1].mean((2, 3))
        looks: Tensor = self.looks(pooled.unflatten(0, (LOOKS, -1)).transpose(0, 1))
        return looks.flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings of the pooled features of all looks: unit vectors one after another."""
        before = features.unflatten(1, (LOOKS, self.width))
        after = self.necked(self.neck(before.transpose(1, 2)).transpose(1, 2))
        chosen = {"both": [before, after], "after": [after], "before": [before]}[self.options.compare]
        return torch.cat([F.normalize(part, dim=2).flatten(1) for part in chosen], 1)

    def forward(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return embeddings of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images, spectrum))

    def forward_features(self, images: Tensor, spectrum: Bands = None) -> dict[str, Tensor]:
        """Return ``stem`` and the stages as maps, ``looks`` ``[B, 3, W]`` and the ``embedding``."""
        stem = routed(images, self.visible_rows(spectrum, len(images)), self.visible, self.infrared)
        stages = self.stages(stem)
        pooled = self._pooled(stages)
        looks = pooled.unflatten(1, (LOOKS, self.width))
        return {"stem": stem, **stages, "looks": looks, "embedding": self.project(pooled)}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``bn`` overlaps the others; attention belongs to its stage, the expansion to the stage that it is put before.
        """
        stages = {
            f"s{n - 1}": [f"layers.layer{n}.", f"attention.layer{n}."] + ["expansion."] * (len(self.layers) == n)
            for n in range(1, len(self.layers) + 1)
        }
        return grouped(self, {"st": ("visible.", "infrared."), **stages, "head": ("neck.",)})


def build(options: Options) -> DEEN:
    """Build the network with random weights on torch's default device."""
    return DEEN(options)
