"""The wide-ranging information mining network (arXiv 2408.10624) on timm's residual layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo.families.two_stream import WIDTHS, Banded, Bands, Stem, grouped, heard, neck, residual_layers, routed
from xzoo.families.wrim_net.options import Options

__all__ = ["MIIM", "Head", "WRIMNet", "build"]

ATTENTION_HEADS = 8
BLOCKS = {"layer1": (2, 4), "layer2": (2, 2), "layer3": (4, 1), "layer4": (4, 1)}
"""By which factor a stage's block reduces channels, and its stride over places."""

APART = ("layer1", "layer2")
"""Stages with a block for each kind of light."""

COMPARED = ("whole", "upper", "lower")


class MIIM(nn.Module):
    """Multi-dimension interactive information mining: gate a map by what each of its places sees in all regions.

    Compress by a convolution whose kernel is its stride ``s``, ``C -> C/r``; attend from every compressed place to
    pooled regions, eight heads, queries, keys and values without offset behind a layer norm; back to ``C`` channels;
    then ``x + BN(relu(x * up(sigmoid(.))))``, ``up`` to the nearest neighbour, the norm without scale and offset. That
    the gate multiplies the block's input before the ReLU, one layer norm for places and regions, and the grid of
    regions are our reading: only the list of layers is known.

    Args:
        channels: Of the map.
        reduction: ``r``.
        stride: ``s``.
        regions: Rows and columns of the regions.
    """

    def __init__(self, channels: int, reduction: int, stride: int, regions: tuple[int, int]) -> None:
        super().__init__()
        narrow = channels // reduction
        self.regions = regions
        self.compress = nn.Conv2d(channels, narrow, stride, stride)
        self.norm = nn.LayerNorm(narrow)
        self.q, self.k, self.v = (nn.Linear(narrow, narrow, bias=False) for _ in range(3))
        self.back = nn.Linear(narrow, channels)
        self.scale = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        small = self.compress(x)
        places = self.norm(small.flatten(2).transpose(1, 2))
        regions = self.norm(F.adaptive_avg_pool2d(small, self.regions).flatten(2).transpose(1, 2))

        def split(rows: Tensor) -> Tensor:
            heads: Tensor = rows.unflatten(2, (ATTENTION_HEADS, -1))
            return heads.transpose(1, 2)

        seen = F.scaled_dot_product_attention(split(self.q(places)), split(self.k(regions)), split(self.v(regions)))
        gate = torch.sigmoid(self.back(seen.transpose(1, 2).flatten(2)))
        gate = gate.transpose(1, 2).unflatten(2, small.shape[2:])
        gate = F.interpolate(gate, x.shape[2:], mode="nearest")
        out: Tensor = x + self.scale(torch.relu(x * gate))
        return out


class Head(nn.Module):
    """A neck, behind which is classified and compared, and a projection for the contrast of spectra.

    Args:
        width: Of the pooled feature; the projection is ``C -> C -> 128`` with a norm and a ReLU between.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neck = neck(width)
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 128)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Return ``[B, C]`` behind the neck; the projection runs where somebody listens to it."""
        if heard(self.projection):
            self.projection(pooled)
        out: Tensor = self.neck(pooled)
        return out


class WRIMNet(Banded):
    """A ResNet-50 with a mining block behind each stage; input ``[B, 3, H, W]``, output ``[B, 6144]``, not normalised.

    The first two stages have a block for visible and one for infrared images. Heads read the whole last map, its
    upper and its lower half (our reading of two extra heads), and in training the third stage. The embedding joins
    the first three behind their necks (our default). For losses: ``heads.NAME.neck`` and ``heads.NAME.projection``,
    NAME one of ``whole``, ``upper``, ``lower`` and ``third``.
    """

    lora_targets = r"layers\.layer\d\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.stem, self.layers = Stem(), residual_layers()
        self.mining = nn.ModuleDict()
        for name, (reduction, stride) in BLOCKS.items():
            kinds = ("visible", "infrared") if name in APART else ("both",)
            self.mining[name] = nn.ModuleDict(
                {kind: MIIM(WIDTHS[name], reduction, stride, options.regions) for kind in kinds}
            )
        self.heads = nn.ModuleDict(
            {name: Head(WIDTHS["layer3" if name == "third" else "layer4"]) for name in (*COMPARED, "third")}
        )

    def stages(self, images: Tensor, spectrum: Bands = None) -> dict[str, Tensor]:
        """Return ``stage0`` to ``stage3`` as maps, each behind its mining block."""
        visible = self.visible_rows(spectrum, len(images))
        x: Tensor = self.stem(images)
        found: dict[str, Tensor] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            blocks = dict(self.mining[name].named_children())
            first, second = (blocks.get("both") or blocks[kind] for kind in ("visible", "infrared"))
            x = layer(x)
            x = first(x) if first is second else routed(x, visible, first, second)
            found[f"stage{index}"] = x
        return found

    def trunk(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return the pooled features of the last map, of its halves, and of the third stage, ``[B, 7168]``."""
        return self._pooled(self.stages(images, spectrum))

    def _pooled(self, stages: dict[str, Tensor]) -> Tensor:
        last = stages["stage3"]
        middle = last.shape[2] // 2 or 1
        parts = [last, last[:, :, :middle], last[:, :, -middle:], stages["stage2"]]
        return torch.cat([part.mean((2, 3)) for part in parts], 1)

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings ``[B, 6144]`` of pooled features: each behind its neck."""
        parts = dict(zip(self.heads, features.split([WIDTHS["layer4"]] * 3 + [WIDTHS["layer3"]], 1), strict=True))
        if heard(*self.heads["third"].children()):
            self.heads["third"](parts["third"])
        return torch.cat([self.heads[name](parts[name]) for name in COMPARED], 1)

    def forward(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return embeddings ``[B, 6144]`` of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images, spectrum))

    def forward_features(self, images: Tensor, spectrum: Bands = None) -> dict[str, Tensor]:
        """Return ``stage0`` to ``stage3`` as maps, ``pooled`` and the ``embedding``."""
        stages = self.stages(images, spectrum)
        pooled = self._pooled(stages)
        return {**stages, "pooled": pooled, "embedding": self.project(pooled)}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``bn`` overlaps the others; mining blocks belong to their stage.
        """
        stages = {f"s{n - 1}": (f"layers.layer{n}.", f"mining.layer{n}.") for n in range(1, 5)}
        return grouped(self, {"st": ("stem.",), **stages, "head": ("heads.",)})


def build(options: Options) -> WRIMNet:
    """Build the network with random weights on torch's default device."""
    return WRIMNet(options)
