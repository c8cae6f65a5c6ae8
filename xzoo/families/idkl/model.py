"""The network of implicit discriminative knowledge learning (arXiv 2403.11708) on timm's residual layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xzoo.families.base import Embedder
from xzoo.families.idkl.options import Options
from xzoo.families.two_stream import GeM, Stem, Tap, grouped, heard, neck, residual_layers

__all__ = ["IDKL", "Mask", "build"]

WIDTH = 2048
REDUCTION = 16


class Mask(nn.Sequential):
    """Say how much of each number of a map to keep: ``sigmoid(W2 relu(W1 x))``, 1x1 convolutions.

    Args:
        channels: Of the map.
        reduction: The layer between has so many times fewer.
    """

    def __init__(self, channels: int, reduction: int = REDUCTION) -> None:
        narrow = channels // reduction
        super().__init__(nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1), nn.Sigmoid())


class IDKL(Embedder):
    """A ResNet-50 with two upper halves; input ``[B, 3, H, W]``, output ``[B, 2048]``, not normalised.

    The embedding is the shared feature behind its neck, and the specific half only serves training: its map ``F`` and
    the instance norm ``U`` of it are masked to ``F' = m_F F`` and ``U' = m_U U`` and exchanged, ``m_U F' + m_F U'``.
    For losses: ``pooled`` and ``purified`` are the shared and the purified specific feature ``[B, 2048]``, ``instance``
    and ``instance_masked`` the pooled ``U`` and ``U'``, and ``looks`` ``[B, 5, 2048]`` are ``pooled``, the embedding,
    ``purified``, and the pooled ``F`` and ``F'``. Pooling takes no negative numbers (our default): GeM of a negative
    mean is no number.
    """

    lora_targets = r"(layers|shared)\.layer\d\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.stem, self.layers, other = Stem(), residual_layers(), residual_layers()
        self.shared = nn.ModuleDict({name: self.layers.pop(name) for name in ("layer3", "layer4")})
        self.specific = nn.ModuleDict({name: other[name] for name in ("layer3", "layer4")})
        self.instance_norm = nn.InstanceNorm2d(WIDTH, affine=True, track_running_stats=True)
        self.masks = nn.ModuleDict({"instance": Mask(WIDTH), "whole": Mask(WIDTH)})
        self.pool = GeM(3.0)
        self.pooled, self.purified, self.instance, self.instance_masked, self.looks = (Tap() for _ in range(5))
        self.neck = neck(WIDTH)

    def lower(self, images: Tensor) -> Tensor:
        """Return the map in front of the two halves, ``[B, 512, H/8, W/8]``."""
        x: Tensor = self.stem(images)
        for layer in self.layers.values():
            x = layer(x)
        return x

    def trunk(self, images: Tensor) -> Tensor:
        """Return the shared feature before the neck, ``[B, 2048]``."""
        x = self.lower(images)
        for layer in self.shared.values():
            x = layer(x)
        pooled: Tensor = self.pooled(self.pool(x))
        return pooled

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings ``[B, 2048]`` of shared features."""
        out: Tensor = self.neck(features)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings ``[B, 2048]`` of normalised ``images`` ``[B, 3, H, W]``."""
        if heard(self.purified, self.instance, self.instance_masked, self.looks):
            return self.forward_features(images)["embedding"]
        return self.project(self.trunk(images))

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``lower``, ``stage3`` and ``specific`` as maps, the features named above, and the ``embedding``."""
        lower = self.lower(images)
        x = own = lower
        for ours, theirs in zip(self.shared.values(), self.specific.values(), strict=True):
            x, own = ours(x), theirs(own)
        normed = self.instance_norm(own)
        mask_u, mask_f = self.masks["instance"](normed), self.masks["whole"](own)
        u, f = mask_u * normed, mask_f * own
        pooled, purified = self.pooled(self.pool(x)), self.purified(self.pool(mask_u * f + mask_f * u))
        instance, instance_masked = self.instance(self.pool(normed)), self.instance_masked(self.pool(u))
        embedding = self.project(pooled)
        looks = self.looks(torch.stack([pooled, embedding, purified, self.pool(own), self.pool(f)], 1))
        maps = {"lower": lower, "stage3": x, "specific": own}
        named = {"pooled": pooled, "purified": purified, "instance": instance, "instance_masked": instance_masked}
        return {**maps, **named, "looks": looks, "embedding": embedding}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3``, ``specific``, ``head``.

        ``bn`` overlaps the others; ``specific`` is what only serves training.
        """
        stages = {f"s{n - 1}": (f"layers.layer{n}.", f"shared.layer{n}.") for n in range(1, 5)}
        own = ("specific.", "instance_norm.", "masks.")
        return grouped(self, {"st": ("stem.",), **stages, "specific": own, "head": ("neck.",)})


def build(options: Options) -> IDKL:
    """Build the network with random weights on torch's default device."""
    return IDKL(options)
