"""The EdgeFace network (arXiv 2307.01838) on timm's EdgeNeXt."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from xzoo.families.base import Embedder
from xzoo.families.edgeface.options import VARIANTS, Options

__all__ = ["EdgeFace", "FactorisedLinear", "build"]


class FactorisedLinear(nn.Module):
    """A linear layer as two thin ones: ``y = W2 (W1 x) + b`` with ``W1 [r, in]``, ``W2 [out, r]``.

    The rank is ``max(2, int(min(in, out) * ratio))``. It is part of the base
    weights (EdgeFace section III), not an adapter.
    """

    def __init__(self, layer: nn.Linear, ratio: float) -> None:
        super().__init__()
        rank = max(2, int(min(layer.in_features, layer.out_features) * ratio))
        where = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.linear1 = nn.Linear(layer.in_features, rank, bias=False, **where)
        self.linear2 = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **where)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[..., out]``."""
        out: Tensor = self.linear2(self.linear1(x))
        return out


class EdgeFace(Embedder):
    """EdgeNeXt with a linear embedding head; input ``[B, 3, 112, 112]``, output ``[B, D]``, not normalised.

    There is no batch norm and, by default, no stochastic depth: training and
    evaluation mode give the same output.
    """

    lora_targets = (
        r"backbone\.(stem\.0|stages\.\d+\.downsample\.1|head\.fc(\.linear[12])?"
        r"|stages\.\d+\.blocks\.\d+\.(mlp\.fc[12]|xca\.(qkv|proj))(\.linear[12])?)"
    )

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def trunk(self, images: Tensor) -> Tensor:
        """Return pooled, normalised features ``[B, C]``."""
        net: Any = self.backbone
        out: Tensor = net.head(net.forward_features(images), pre_logits=True)
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return raw embeddings ``[B, D]``."""
        net: Any = self.backbone
        out: Tensor = net.head.fc(features)
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``stem``, ``stage0`` to ``stage3`` as maps, ``pooled`` ``[B, C]`` and ``embedding`` ``[B, D]``."""
        net: Any = self.backbone
        features = {"stem": net.stem(images)}
        x = features["stem"]
        for index, stage in enumerate(net.stages):
            x = features[f"stage{index}"] = stage(x)
        features["pooled"] = net.head(x, pre_logits=True)
        features["embedding"] = self.project(features["pooled"])
        return features

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``ln`` (every layer norm), ``st``, ``s0`` to ``s3`` and ``head``.

        ``ln`` overlaps the others. These are the groups that xEdgeFace unfreezes.
        """
        found: dict[str, list[str]] = {group: [] for group in ("ln", "st", "s0", "s1", "s2", "s3", "head")}
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, _ in self.named_parameters():
            if name.rpartition(".")[0] in norms:
                found["ln"].append(name)
            _, part, rest = name.split(".", 2)
            found[{"stem": "st", "head": "head"}.get(part, f"s{rest[0]}")].append(name)
        return found


def build(options: Options) -> EdgeFace:
    """Build the network with random weights on torch's default device."""
    backbone, ratio = VARIANTS[options.variant]
    network = timm.create_model(backbone, num_classes=options.embedding, drop_path_rate=options.drop_path)
    if ratio is not None:
        _factorise(network, ratio)
    return EdgeFace(network)


def _factorise(module: nn.Module, ratio: float) -> None:
    """Replace every linear layer below ``module``, the classifier included, as the published weights do."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, FactorisedLinear(child, ratio))
        else:
            _factorise(child, ratio)
