"""Names of the published PASS and TransReID-SSL checkpoints to ours, and positions for another input size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xzoo.errors import WeightsMismatch

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["VERSION", "convert", "fit", "stored_grid"]

VERSION = 1

PREFIX = "backbone."
TOKENS = ("part_token1", "part_token2", "part_token3")
POSITIONS = ("cls_pos", "part1_pos", "part2_pos", "part3_pos")
HEADS = ("head", "fc.", "bottleneck", "classifier.", "pre_logits.")
"""Beginnings of names that belong to a training head."""

RATIOS = (1, 2, 3)
"""Height to width of the grids that checkpoints are stored with: ImageNet's squares, 256x128 and 384x128."""


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a flat state dict of PASS, of TransReID-SSL, or with our own names.

    PASS keeps each part token and each prefix position apart, under ``backbone.`` in pretraining files
    and under ``base.`` in fine-tuned ones, beside heads (dropped). TransReID-SSL has a class token alone: the part
    tokens start as copies of it with noise of 0.02, always the same (our choice), at its position.
    """
    wrapped = next((prefix for prefix in (PREFIX, "base.") if any(name.startswith(prefix) for name in state)), "")
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.removeprefix(wrapped).startswith(HEADS):
            plain[name.removeprefix(wrapped)] = tensor
    own = {name: plain.pop(name) for name in ("side",) if name in plain}
    own |= {name: plain.pop(name) for name in list(plain) if name.startswith("mix.")}
    if "reg_token" not in plain:
        plain |= _from_pass(plain) if "part_token1" in plain else _from_one_token(plain)
    for name in (*TOKENS, *POSITIONS):
        plain.pop(name, None)
    return {PREFIX + name: tensor for name, tensor in plain.items()} | own


def _from_pass(plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    return {
        "reg_token": torch.cat([plain[name] for name in TOKENS], 1),
        "pos_embed": torch.cat([*(plain[name] for name in POSITIONS), plain["pos_embed"]], 1),
    }


def _from_one_token(plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    token, positions = plain["cls_token"], plain["pos_embed"]
    noise = torch.randn(1, len(TOKENS), token.shape[2], generator=torch.Generator().manual_seed(0))
    first = positions[:, :1]
    return {
        "reg_token": token + 0.02 * noise.to(token.dtype),
        "pos_embed": torch.cat([first.expand(-1, 1 + len(TOKENS), -1), positions[:, 1:]], 1),
    }


def fit(tensors: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors with patch positions resized to the network's grid; the four prefix positions stay.

    Bilinear without aligned corners, as PASS resizes them.

    Raises:
        WeightsMismatch: The stored positions make up no grid that checkpoints have.
    """
    name = PREFIX + "pos_embed"
    part_vit: Any = network
    wanted = tuple(part_vit.backbone.patch_embed.grid_size)
    prefix = 1 + len(TOKENS)
    stored = tensors.get(name)
    if stored is None or stored.ndim != 3 or stored.shape[1] == prefix + wanted[0] * wanted[1]:
        return tensors
    import torch
    from torch.nn import functional as F

    height, width = stored_grid(stored.shape[1] - prefix)
    grid = stored[:, prefix:].reshape(1, height, width, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid.float(), size=wanted, mode="bilinear", align_corners=False).to(stored.dtype)
    flat = resized.permute(0, 2, 3, 1).reshape(1, wanted[0] * wanted[1], -1)
    return {**tensors, name: torch.cat([stored[:, :prefix], flat], 1)}


def stored_grid(count: int) -> tuple[int, int]:
    """Return height and width of the grid that ``count`` patch positions came from.

    Raises:
        WeightsMismatch: None of 1:1, 2:1 and 3:1 fits.
    """
    for ratio in RATIOS:
        width = math.isqrt(max(count, 0) // ratio)
        if width and width * width * ratio == count:
            return ratio * width, width
    raise WeightsMismatch(
        f"{count} positions of patches",
        why="They cannot be resized: they are no grid of 1:1, 2:1 or 3:1, and the file does not say which.",
        do="create the model with the input_size that the file was made with",
    )
