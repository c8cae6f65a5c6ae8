"""A frozen network with a compact head behind it: the bridge between two sets of faces.

Step 1 of bridge distillation (S. Ge et al., *Efficient Low-Resolution Face Recognition via Bridge Distillation*, IEEE
TIP 2020, arXiv 2409.11786). Its head is not public; this one is a default of this project.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xzoo.families.base import Embedder

if TYPE_CHECKING:
    from xzoo.recipes.schema import Head

__all__ = ["Bridge", "compact"]


def compact(inner: int, width: int) -> nn.Sequential:
    """Return a fresh head from ``[B, inner]`` to ``[B, width]``: linear, batch norm, PReLU, linear."""
    return nn.Sequential(nn.Linear(inner, width), nn.BatchNorm1d(width), nn.PReLU(width), nn.Linear(width, width))


class Bridge(Embedder):
    """``z = A(f)`` with ``f`` the embedding of ``base`` and ``A``: linear, batch norm, PReLU, linear.

    While nothing of ``base`` trains, each picture passes through it once: what it answered is kept by the picture's
    bytes. ``base`` is then in evaluation mode whatever the head is in.

    Args:
        base: A network; it becomes part of this one.
        head: What is put behind it.
    """

    def __init__(self, base: Embedder, head: Head) -> None:
        super().__init__()
        from xzoo.training.engine import feature_shapes

        self.base = base
        self.card, self.origin, self.preprocess = base.card, base.origin, base.preprocess
        inner, width = feature_shapes(base, [])[""][1], head.width
        like = next(base.parameters())
        self.bridge = compact(inner, width).to(like.device)
        self._known: dict[bytes, Tensor] = {}

    def train(self, mode: bool = True) -> Bridge:
        """Set the head's mode; a base of which nothing trains keeps its statistics."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.base.parameters()):
            self.base.eval()
        return self

    def trunk(self, images: Tensor) -> Tensor:
        """Return the base's embeddings ``[B, D]``."""
        if images.is_meta or any(parameter.requires_grad for parameter in self.base.parameters()):
            out: Tensor = self.base(images)
            return out
        keys = [hashlib.sha256(row.numpy().tobytes()).digest() for row in images.detach().cpu().contiguous()]
        new = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._known}
        if new:
            with torch.no_grad():
                found = self.base.infer(images[sorted(new.values())])
            ordered = sorted(new, key=lambda key: new[key])
            self._known |= {key: row.clone() for key, row in zip(ordered, found, strict=True)}
        return torch.stack([self._known[key] for key in keys])

    def project(self, features: Tensor) -> Tensor:
        """Return compact embeddings ``[B, d]``."""
        out: Tensor = self.bridge(features)
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``base`` ``[B, D]`` and ``embedding`` ``[B, d]``."""
        found = self.trunk(images)
        return {"base": found, "embedding": self.project(found)}

    def groups(self) -> dict[str, list[str]]:
        """Return ``bridge``, the head, and the groups of the base."""
        inner = {name: [f"base.{path}" for path in paths] for name, paths in self.base.groups().items()}
        inner.pop("all", None)  # the word means the head, too
        return {**inner, "bridge": [name for name, _ in self.named_parameters() if name.startswith("bridge.")]}
