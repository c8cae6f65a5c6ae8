"""Frozen networks that bear every number of pixels: looks through few pixels, and a linear head that weighs them.

A network of sharp faces tells faces of eight pixels apart as long as both were shrunk alike: what it lacks is that a
sharp face and its shrunk copy lie in one place. So each face is looked at several times, each through fewer pixels,
and a linear map is found under which one person's faces, of all sizes and days, lie close: whitening by the scatter
within subjects (Hatch, Kajarekar and Stolcke, *Within-Class Covariance Normalization*, Interspeech 2006), the sizes
of a face counted as its days. It is a formula: no rate, no step, no seed, and a few hundred labelled faces suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.data.degrade import through
from xzoo.data.preprocess import Preprocess
from xzoo.families.base import Embedder

__all__ = ["Eye", "ManySizes", "within_subjects"]

SIDE = 112


class Eye(NamedTuple):
    """A frozen network, the pixels a side of its looks (0: all there are), and what it weighs beside the others."""

    network: Embedder
    looks: tuple[int, ...] = (0, 10, 6)
    weight: float = 1.0


def within_subjects(features: Tensor, subjects: Tensor, *, shrink: float = 10.0) -> tuple[Tensor, Tensor]:
    """Return the mean ``[D]`` of features and the symmetric ``[D, D]`` under which scatter within subjects is even.

    ``(S + l I)^(-1/2)`` with ``S`` the scatter within subjects and ``l = shrink * trace(S) / D``, from the singular
    vectors of the centred rows: there may be fewer of them than entries.

    Args:
        features: ``[N, D]``.
        subjects: ``[N]`` numbers.
        shrink: How far the scatter is drawn to an even one; large leaves features nearly as they are.

    Raises:
        DataError: No subject has two rows.
    """
    rows, (own, place) = features.double(), torch.unique(subjects, return_inverse=True)
    means = torch.zeros(len(own), rows.shape[1], dtype=torch.float64).index_add_(0, place, rows)
    means = means / torch.bincount(place)[:, None]
    apart = rows - means[place]
    if not apart.any():
        raise errors.DataError(
            "no scatter within subjects to learn from.", why="No subject has two different faces.", do="add faces"
        )
    _, strength, axes = torch.linalg.svd(apart / len(rows) ** 0.5, full_matrices=False)
    even = shrink * strength.square().sum() / rows.shape[1]
    along = (strength.square() + even).rsqrt() - even.rsqrt()
    return rows.mean(0), even.rsqrt() * torch.eye(rows.shape[1], dtype=torch.float64) + (axes.T * along) @ axes


class ManySizes(Embedder):
    """One network for faces of all sizes; input ``[B, 3, 112, 112]`` whatever the face once had, output ``[B, D]``.

    ``D`` is the sum over eyes and looks of their embeddings' widths. The eyes are frozen; ``fit`` sets the head.

    Args:
        eyes: Networks that are to be looked through.

    Raises:
        OptionError: There is no eye, or one without looks.
    """

    def __init__(self, eyes: Sequence[Eye]) -> None:
        super().__init__()
        if not eyes or not all(eye.looks for eye in eyes):
            raise errors.OptionError("ManySizes without looks", do="ManySizes([Eye(network, looks=(0, 10, 6))])")
        self.eyes = nn.ModuleList(eye.network for eye in eyes).requires_grad_(False).eval()
        self.looks = [(eye.looks, eye.weight) for eye in eyes]
        first = eyes[0].network
        self.card, self.origin = first.card, first.origin
        self.preprocess = Preprocess(size=(3, SIDE, SIDE), interpolation="bicubic", alignment="arcface_112_5pt")
        with torch.no_grad():
            width = self.trunk(torch.zeros(2, 3, SIDE, SIDE)).shape[1]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("head", torch.eye(width))

    def trunk(self, images: Tensor) -> Tensor:
        """Return unit embeddings of every look, side by side, ``[B, D]``."""
        pixels = ((images * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
        found = []
        for network, (looks, weight) in zip(self.eyes, self.looks, strict=True):
            for look in looks:
                seen = through(pixels, [look] * len(pixels)) if look else pixels
                found.append(weight * F.normalize(_embed(network, seen), dim=1))
        return torch.cat(found, dim=1)

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings ``[B, D]``."""
        mean, head = self.get_buffer("mean"), self.get_buffer("head")
        out: Tensor = (features - mean) @ head
        return out

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``looks`` and ``embedding``, both ``[B, D]``."""
        looks = self.trunk(images)
        return {"looks": looks, "embedding": self.project(looks)}

    def groups(self) -> dict[str, list[str]]:
        """Return no group: nothing is trained by steps."""
        return {}

    def fit(
        self, faces: Sequence[Tensor], subjects: Tensor, *, shrink: float = 10.0, batch_size: int = 64
    ) -> ManySizes:
        """Find the head from labelled faces, each seen at several sizes; return the network.

        Args:
            faces: One tensor ``uint8 [N, 3, 112, 112]`` for each size, the same faces in the same order.
            subjects: ``[N]`` numbers.
            shrink: See :func:`within_subjects`.
            batch_size: Faces of a forward pass.

        Raises:
            DataError: The sizes hold different numbers of faces, or no subject has two.
        """
        if not faces or any(len(part) != len(subjects) for part in faces):
            raise errors.DataError(
                f"faces of {[len(part) for part in faces]} and {len(subjects)} subjects.",
                why="Every size holds each face once, in the order of the subjects.",
            )
        with torch.inference_mode():
            rows = [self.trunk(self.preprocess.normalise(part)) for size in faces for part in size.split(batch_size)]
        mean, head = within_subjects(torch.cat(rows).clone(), subjects.repeat(len(faces)), shrink=shrink)
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("head").copy_(head)
        return self


def _embed(network: nn.Module, pixels: Tensor) -> Tensor:
    """Return a network's embeddings of raw faces, brought to its size."""
    inner: Embedder = network  # type: ignore[assignment]
    size = inner.preprocess.size[1:]
    if tuple(pixels.shape[2:]) != tuple(size):
        small = F.interpolate(pixels.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
        pixels = small.round().clamp(0, 255).to(torch.uint8)
    found: Tensor = inner.infer(inner.preprocess.normalise(pixels))
    return found
