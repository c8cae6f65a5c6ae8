"""The bridge-distillation students and MobileFaceNet."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from xzoo.families.base import Embedder
from xzoo.families.lowres.options import STUDENTS, VARIANTS, Options

__all__ = ["BDStudent", "ConvNorm", "MobileFaceNet", "OffsetNorm", "build"]


class OffsetNorm(nn.BatchNorm2d):
    """Batch norm that learns an offset and no scale.

    Before a ReLU and another convolution a positive scale says nothing that the next weights cannot, so the
    network has as many parameters in training as after folding: those of a convolution with bias.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)
        self.bias = nn.Parameter(torch.zeros(channels))


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, and an activation if any."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        norm: nn.Module,
        activation: nn.Module | None = None,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
    ) -> None:
        around = kernel // 2 if padding is None else padding
        conv = nn.Conv2d(inputs, outputs, kernel, stride, around, groups=groups, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="linear" if activation is None else "relu")
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=norm)
        if activation is not None:
            layers["act"] = activation
        super().__init__(layers)


class _LowRes(Embedder):
    """What the networks of this family share: how parameters are grouped.

    ``stages`` tells how many parts of ``body`` belong to the stem and to each stage.
    """

    body: nn.Sequential
    pool: nn.Module
    embed_layer: nn.Module
    stages: tuple[int, ...]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.input_size = (size, size)

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0``, ``s1`` ... and ``head``.

        ``bn`` overlaps the others.
        """
        names = ["st", *(f"s{index}" for index in range(len(self.stages) - 1))]
        where = [name for name, count in zip(names, self.stages, strict=True) for _ in range(count)]
        found: dict[str, list[str]] = {group: [] for group in ("bn", *names, "head")}
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
        for name, _ in self.named_parameters():
            if name.rpartition(".")[0] in norms:
                found["bn"].append(name)
            parts = name.split(".")
            found[where[int(parts[1])] if parts[0] == "body" else "head"].append(name)
        return found

    def trunk(self, images: Tensor) -> Tensor:
        """Return the pooled last map ``[B, C]``."""
        out: Tensor = self.pool(self.body(images)).flatten(1)
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]``."""
        out: Tensor = self.embed_layer(features)
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``stem`` and ``stage0`` ... as maps, ``pooled`` ``[B, C]`` and ``embedding`` ``[B, D]``."""
        features = self._maps(images)
        features["pooled"] = self.pool(features[f"stage{len(self.stages) - 2}"]).flatten(1)
        features["embedding"] = self.project(features["pooled"])
        return features

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return the map after the stem and after each stage, by group."""
        maps: dict[str, Tensor] = {}
        x, start = images, 0
        for index, count in enumerate(self.stages):
            for part in self.body[start : start + count]:
                x = part(x)
            maps["stem" if index == 0 else f"stage{index - 1}"] = x
            start += count
        return maps


class BDStudent(_LowRes):
    """A plain network of seven convolutions; input ``[B, 3, r, r]`` of any ``r`` from 8, output ``[B, D]``.

    Convolution, batch norm and ReLU, halved three times by max pooling, averaged over the map: the same weights
    take every size. It has the parameters (0.21 M) and, at 16x16, the activations (0.057 MiB) that bridge
    distillation states, and is not its network, which is not public.
    """

    def __init__(self, design: tuple[tuple[tuple[int, int], ...], ...], size: int, embedding: int) -> None:
        super().__init__(size)
        layers: list[nn.Module] = []
        width, counts = 3, []
        for index, stage in enumerate(design):
            before = len(layers)
            if index:
                layers.append(nn.MaxPool2d(2, 2))
            for outputs, kernel in stage:
                layers.append(ConvNorm(width, outputs, kernel, OffsetNorm(outputs), nn.ReLU()))
                width = outputs
            counts.append(len(layers) - before)
        self.stages = tuple(counts)
        self.body = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.embed_layer = nn.Linear(width, embedding)

    lora_targets = r"body\.\d+\.conv|embed_layer"


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; the input is added where the shape stays (arXiv 1801.04381)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.body = nn.Sequential(
            ConvNorm(inputs, wide, 1, nn.BatchNorm2d(wide), nn.PReLU(wide)),
            ConvNorm(wide, wide, 3, nn.BatchNorm2d(wide), nn.PReLU(wide), stride=stride, groups=wide),
            ConvNorm(wide, outputs, 1, nn.BatchNorm2d(outputs)),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H / stride, W / stride]``."""
        out: Tensor = self.body(x)
        return x + out if self.adds else out


class MobileFaceNet(_LowRes):
    """MobileFaceNet (arXiv 1804.07573, table 1); input ``[B, 3, r, r]``, output ``[B, D]``.

    The last map is weighted as a whole by a depthwise convolution of its own size, so the weights belong to one
    input size: a side of ``r`` leaves a map of ``ceil(r / 16)``, 7 at 112.
    """

    ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
    """Expansion, width, repetitions and stride of the bottlenecks."""

    lora_targets = r"body\.\d+(\.body\.[02])?\.conv|embed_layer\.fc"

    def __init__(self, size: int, embedding: int) -> None:
        super().__init__(size)
        layers: list[nn.Module] = [
            ConvNorm(3, 64, 3, nn.BatchNorm2d(64), nn.PReLU(64), stride=2),
            ConvNorm(64, 64, 3, nn.BatchNorm2d(64), nn.PReLU(64), groups=64),
        ]
        inputs, counts = 64, [len(layers)]
        for expansion, width, repeats, stride in self.ROWS:
            for index in range(repeats):
                layers.append(Bottleneck(inputs, width, stride if index == 0 else 1, expansion))
                inputs = width
            counts.append(repeats)
        layers.append(ConvNorm(inputs, 512, 1, nn.BatchNorm2d(512), nn.PReLU(512)))
        counts[-1] += 1
        self.stages = tuple(counts)
        self.body = nn.Sequential(*layers)
        self.pool = ConvNorm(512, 512, -(-size // 16), nn.BatchNorm2d(512), padding=0, groups=512)
        self.embed_layer = nn.Sequential(
            OrderedDict(fc=nn.Linear(512, embedding, bias=False), norm=nn.BatchNorm1d(embedding))
        )


def build(options: Options) -> BDStudent | MobileFaceNet:
    """Build the network with random weights on torch's default device."""
    own = VARIANTS[options.variant]
    size = own.input_size if options.input_size is None else options.input_size
    embedding = own.embedding if options.embedding is None else options.embedding
    if options.variant == "mobilefacenet":
        return MobileFaceNet(size, embedding)
    return BDStudent(STUDENTS[options.variant], size, embedding)
