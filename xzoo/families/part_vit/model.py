"""The part vision transformer (arXiv 2503.10931, 2203.03931) on timm's ``VisionTransformer``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from xzoo.catalog.names import SPECTRA
from xzoo.errors import OptionError
from xzoo.families.base import Embedder
from xzoo.families.part_vit.fusion import fuse
from xzoo.families.part_vit.options import PARTS, PATCH, VARIANTS, Options

__all__ = ["IBN", "ConvStem", "PartViT", "build"]


class IBN(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others (arXiv 1807.09441)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.IN = nn.InstanceNorm2d(self.first, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.first)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        return torch.cat([self.IN(x[:, : self.first].contiguous()), self.BN(x[:, self.first :].contiguous())], 1)


class ConvStem(nn.Module):
    """Three normalised convolutions at half the size, then patches of 8x8: one token for 16x16 pixels.

    The stem of TransReID-SSL's ICS files (arXiv 2111.12084).
    """

    def __init__(self, size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.grid_size = (size[0] // PATCH, size[1] // PATCH)
        self.conv = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            IBN(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False),
            IBN(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.proj = nn.Conv2d(64, width, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[B, 3, H, W]`` to tokens ``[B, H W / 256, D]``."""
        out: Tensor = self.proj(self.conv(images)).flatten(2).transpose(1, 2)
        return out


class PartViT(Embedder):
    """Transformer of one global and three part tokens; input ``[B, 3, H, W]``, output ``[B, 2 D]``, not normalised.

    With side information every image has a spectral band: name it in ``embed(..., spectrum=...)``, or
    give ``spectrum`` to a call, one band for all images or one for each.
    """

    lora_targets = r"backbone\.blocks\.\d+\.attn\.(qkv|proj)"

    def __init__(self, backbone: VisionTransformer, options: Options) -> None:
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.input_size = options.input_size
        self.width = VARIANTS[options.variant].width
        fused = 2 * self.width
        self.side: nn.Parameter | None = None
        if options.side_information:
            self.side = nn.Parameter(torch.empty(len(SPECTRA), 1, self.width))
            nn.init.trunc_normal_(self.side, std=0.02)
        self.mix: nn.Module | None = None
        if options.fusion == "mlp":
            self.mix = nn.Sequential(nn.Linear(fused, fused), nn.GELU(), nn.Linear(fused, fused))

    def tokens(self, images: Tensor, spectrum: str | Sequence[str | None] | None = None) -> Tensor:
        """Return all tokens after the last norm, ``[B, 4 + patches, D]``: global, face, torso, lower body, patches.

        Raises:
            OptionError: The network has side information, and an image no band.
        """
        net: Any = self.backbone
        x: Tensor = net._pos_embed(net.patch_embed(images))
        if self.side is not None:
            x = x + self.options.side_weight * self.side[self._indices(spectrum, len(images))]
        again = net.grad_checkpointing and torch.is_grad_enabled()  # in whichever mode: adapters train in eval mode
        blocks = checkpoint_seq(net.blocks, x) if again else net.blocks(x)
        out: Tensor = net.norm(blocks)
        return out

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep a block's input alone in training, and compute the block again in the backward pass."""
        self.backbone.set_grad_checkpointing(enable)

    def trunk(self, images: Tensor, spectrum: str | Sequence[str | None] | None = None) -> Tensor:
        """Return the four tokens side by side, ``[B, 4 D]``."""
        return self.tokens(images, spectrum)[:, : 1 + len(PARTS)].flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings of the four tokens ``[B, 4 D]``: ``[B, 2 D]``, or ``[B, D]`` where fusion is "mean"."""
        named = self._named(features)
        how = "mean" if self.options.fusion == "mean" else "cat"
        parts = [named[part] for part in PARTS if part in self.options.parts]
        fused = fuse(named["global"], parts, how=how, divisor=self.options.divisor)
        return fused if self.mix is None else self.mix(fused)

    def forward(self, images: Tensor, spectrum: str | Sequence[str | None] | None = None) -> Tensor:
        """Return fused embeddings ``[B, 2 D]`` of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images, spectrum))

    def forward_features(self, images: Tensor, spectrum: str | Sequence[str | None] | None = None) -> dict[str, Tensor]:
        """Return ``global``, ``face``, ``torso`` and ``lower_body`` ``[B, D]`` each, and the fused ``embedding``."""
        features = self.trunk(images, spectrum)
        return {**self._named(features), "embedding": self.project(features)}

    def infer_bands(self, batch: Tensor, bands: Sequence[str | None]) -> Tensor:
        """Return raw embeddings of rows of known bands, with the side information of each."""
        if self.side is None:
            return super().infer_bands(batch, bands)
        return self._told_each_band(batch, bands)

    def _indices(self, spectrum: str | Sequence[str | None] | None, count: int) -> list[int]:
        spectrum = self._band if spectrum is None else spectrum
        bands = [spectrum] * count if spectrum is None or isinstance(spectrum, str) else list(spectrum)
        if len(bands) != count or any(band not in SPECTRA for band in bands):
            raise OptionError(
                f"spectrum={spectrum!r} for {count} images",
                why="The network adds side information of each image's band, and needs to know it.",
                exists=", ".join(SPECTRA),
                do='name it: model.embed(images, spectrum="LWIR")',
            )
        return [SPECTRA.index(str(band)) for band in bands]

    def _named(self, features: Tensor) -> dict[str, Tensor]:
        return dict(zip(("global", *PARTS), features.split(self.width, 1), strict=True))

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``ln``, ``tokens``, ``st``, ``s0`` to ``s3`` and ``head``.

        ``ln`` is every layer norm and overlaps the others; ``s0`` to ``s3`` are quarters of the blocks.
        """
        found: dict[str, list[str]] = {group: [] for group in ("ln", "tokens", "st", "s0", "s1", "s2", "s3", "head")}
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.LayerNorm)}
        for name, _ in self.named_parameters():
            parts = name.split(".")
            if name.rpartition(".")[0] in norms:
                found["ln"].append(name)
            if parts[1:2] == ["blocks"]:
                found[f"s{int(parts[2]) * 4 // self.options.depth}"].append(name)
            elif parts[1:2] == ["patch_embed"]:
                found["st"].append(name)
            else:
                found["head" if parts[0] == "mix" or parts[1:2] == ["norm"] else "tokens"].append(name)
        return found


def build(options: Options) -> PartViT:
    """Build the network with random weights on torch's default device."""
    width, heads = VARIANTS[options.variant]
    backbone = VisionTransformer(
        img_size=options.input_size,
        patch_size=PATCH,
        embed_dim=width,
        depth=options.depth,
        num_heads=heads,
        qkv_bias=True,
        class_token=True,
        reg_tokens=len(PARTS),
        no_embed_class=False,
        global_pool="token",
        num_classes=0,
        drop_path_rate=options.drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    if options.stem == "ibn":
        backbone.patch_embed = ConvStem(options.input_size, width)
    backbone.set_grad_checkpointing(options.checkpointing)
    return PartViT(backbone, options)
