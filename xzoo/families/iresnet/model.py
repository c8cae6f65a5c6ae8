"""The IR-ResNet of AdaFace (arXiv 2204.00964) for 112x112 faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xzoo.families.base import Embedder
from xzoo.families.iresnet.options import UNITS, Options

__all__ = ["IRBlock", "IResNet", "SqueezeExcite", "build"]

WIDTHS = (64, 128, 256, 512)


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means (arXiv 1709.01507)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class IRBlock(nn.Module):
    """BN, conv, BN, PReLU, strided conv, BN, beside a shortcut that is a plain subsampling where widths agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, gated: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        if gated:
            self.res_layer.add_module("se_block", SqueezeExcite(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H / stride, W / stride]``."""
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class IResNet(Embedder):
    """IR-ResNet; input ``[B, 3, 112, 112]``, output ``[B, D]`` before normalisation (AdaFace's feature times its norm).

    The channel order is the card's: AdaFace trains on BGR, and ``preprocess`` sees to it.
    """

    lora_targets = r"body\.\d+\.res_layer\.[14]|output_layer\.3"

    def __init__(self, units: tuple[int, int, int, int], embedding: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.units = units
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks: list[nn.Module] = []
        inputs = 64
        for width, count in zip(WIDTHS, units, strict=True):
            for index in range(count):
                blocks.append(IRBlock(inputs, width, 2 if index == 0 else 1, gated))
                inputs = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, embedding),
            nn.BatchNorm1d(embedding, affine=False),
        )

    def trunk(self, images: Tensor) -> Tensor:
        """Return the flattened last map ``[B, 512 * 7 * 7]``."""
        return self._flatten(self.body(self.input_layer(images)))

    def project(self, features: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]``."""
        out: Tensor = self.output_layer[4](self.output_layer[3](features))
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``stem``, ``stage0`` to ``stage3`` as maps and ``embedding`` ``[B, D]``."""
        x = self.input_layer(images)
        features = {"stem": x}
        start = 0
        for index, count in enumerate(self.units):
            for block in self.body[start : start + count]:
                x = block(x)
            features[f"stage{index}"] = x
            start += count
        features["embedding"] = self.project(self._flatten(x))
        return features

    def _flatten(self, maps: Tensor) -> Tensor:
        out: Tensor = self.output_layer[:3](maps)
        return out

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``bn`` overlaps the others.
        """
        stages = [f"s{stage}" for stage, count in enumerate(self.units) for _ in range(count)]
        found: dict[str, list[str]] = {group: [] for group in ("bn", "st", "s0", "s1", "s2", "s3", "head")}
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
        for name, _ in self.named_parameters():
            if name.rpartition(".")[0] in norms:
                found["bn"].append(name)
            part, index, _ = name.split(".", 2)
            found[{"input_layer": "st", "output_layer": "head"}.get(part) or stages[int(index)]].append(name)
        return found


def build(options: Options) -> IResNet:
    """Build the network with random weights on torch's default device."""
    gated = options.variant == "ir_se_50"
    return IResNet(UNITS[options.variant], options.embedding, options.dropout, gated)
