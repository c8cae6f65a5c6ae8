"""Classification heads with a margin, whole or in shards for many classes.

A head is a loss with a kernel: ``head(embeddings, labels=classes)`` is the cross
entropy of ``scale * cos`` with the right class made harder. Only that class's cosine
is changed, so each kind is one function of ``[B]`` cosines.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from xzoo import errors
from xzoo.losses import spread
from xzoo.losses.adapt import Features, Learned, levels

__all__ = ["AdaFace", "ArcFace", "CosFace", "MarginHead", "SubCentre", "adaface", "arcface", "cosface"]

Gradient = Literal["exact", "straight_through"]


def cosface(cosine: Tensor, *, margin: float) -> Tensor:
    """Return ``cos - margin`` (Wang et al., CosFace, CVPR 2018, eq. 4)."""
    return cosine - margin


def arcface(cosine: Tensor, *, margin: float, epsilon: float = 1e-4) -> Tensor:
    """Return ``cos(clip(theta + margin, e, pi - e))`` (Deng et al., ArcFace, CVPR 2019, eq. 3)."""
    return (cosine.acos() + margin).clamp(epsilon, math.pi - epsilon).cos()


def adaface(cosine: Tensor, quality: Tensor, *, margin: float, epsilon: float = 1e-3) -> Tensor:
    """Return ``cos(clip(theta - margin k, e, pi - e)) - (margin + margin k)``.

    Args:
        cosine: ``[B]``.
        quality: ``k`` in [-1, 1], from feature lengths: -1 is ArcFace-like, 0 is CosFace
            (Kim, Jain and Liu, AdaFace, CVPR 2022, eq. 6 and 7).
        margin: In radians and in cosine at once.
        epsilon: Keeps the angle off its ends.
    """
    angle = (cosine.acos() - margin * quality).clamp(epsilon, math.pi - epsilon)
    return angle.cos() - margin * (1 + quality)


class MarginHead(Learned, ABC):
    """What all heads share: the kernel, the cosines and the cross entropy.

    Args:
        classes: Identities of the training set.
        margin: Of the kind.
        scale: Multiplies cosines.
        gradient: ``exact`` differentiates the margin; ``straight_through`` gives every
            logit the gradient ``scale``, as insightface does.
        width: Width of the embeddings; 0 takes it from the first features.
        shards: Parts of the classes that are looked at one after another, so that
            logits of all of them never exist at once; the value is the same.
        across: Share the classes out to the processes of ``torch.distributed``: each keeps
            its own part of the kernel, and the rows of all processes meet every part.
        seed: Draws the kernel, the same one however it is shared out.

    Raises:
        OptionError: ``classes`` is missing, or ``shards`` are more than there are classes.
    """

    epsilon = 1e-4
    centres = 1

    def __init__(
        self,
        *,
        classes: int,
        margin: float,
        scale: float,
        gradient: Gradient,
        width: int,
        shards: int,
        across: bool,
        seed: int,
    ) -> None:
        super().__init__(seed=seed)
        if classes < 1 or not 1 <= shards <= max(classes, 1):
            raise errors.OptionError(
                f"a head of {classes} classes in {shards} shards was asked for.",
                why="It keeps one direction for each identity of the training set, in no more shards than that.",
                do="classes=<number of identities>",
            )
        self.classes, self.margin, self.scale = classes, margin, scale
        self.gradient, self.shards = gradient, shards
        self.group = spread.Group.here() if across else spread.Group.alone()
        self.first, self.last = self.group.part(classes)
        if width:
            self.prepare(torch.empty(1, width, device="meta"))

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make this process's part of the kernel: unit rows, drawn class by class in blocks."""
        width, block, parts = levels(student)[0].shape[1], 4096, []
        for start in range(self.first - self.first % block, self.last, block):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + start)
            rows = torch.randn(block, self.centres, width, generator=generator)
            parts.append(rows[max(self.first - start, 0) : self.last - start])
        kernel = torch.cat(parts) if parts else torch.zeros(0, self.centres, width)
        self.kernel = nn.Parameter(F.normalize(kernel, dim=2))

    @abstractmethod
    def target(self, cosine: Tensor, quality: Tensor) -> Tensor:
        """Return what becomes of the right class's cosine ``[B]``."""

    def quality(self, norms: Tensor) -> Tensor:
        """Return what the target needs to know of each image, from feature lengths ``[B]``."""
        return norms

    def cosines(self, unit: Tensor, kernel: Tensor) -> Tensor:
        """Return ``[B, C]`` cosines, the best of a class's centres, clamped off the ends."""
        found = torch.einsum("bd,ckd->bck", unit, F.normalize(kernel, dim=2)).amax(2)
        return found.clamp(-1 + self.epsilon, 1 - self.epsilon)

    def _logits(self, unit: Tensor, quality: Tensor, labels: Tensor, kernel: Tensor, first: int) -> Tensor:
        cosines = self.cosines(unit, kernel)
        place = labels - first
        inside = (place >= 0) & (place < cosines.shape[1])
        place = place.clamp(0, max(cosines.shape[1] - 1, 0))[:, None]
        plain = cosines.gather(1, place)[:, 0]
        if self.gradient == "exact":
            harder = self.target(plain, quality)
        else:
            with torch.no_grad():
                change = self.target(plain, quality) - plain
            harder = plain + change
        return self.scale * cosines.scatter(1, place, torch.where(inside, harder, plain)[:, None].to(cosines.dtype))

    def logits(self, student: Tensor, *, labels: Tensor, norms: Tensor | None = None) -> Tensor:
        """Return the logits ``[B, C]`` that the cross entropy is taken of.

        Args:
            student: Embeddings ``[B, D]``, of any length.
            labels: ``[B]``; -1 changes no logit of its row.
            norms: ``[B]`` or ``[B, 1]``, feature lengths, where ``student`` is already of unit length.
        """
        self.prepare(student)
        unit, quality = self._enter(student, norms)
        return self._logits(unit, quality, labels.long(), self.kernel, self.first)

    def _enter(self, student: Tensor, norms: Tensor | None) -> tuple[Tensor, Tensor]:
        lengths = student.norm(dim=1) if norms is None else norms.flatten()
        return F.normalize(student, dim=1) if norms is None else student, self.quality(lengths.detach())

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, *, labels: Tensor, norms: Tensor | None = None
    ) -> Tensor:
        """Return the mean cross entropy of the batch; rows with label -1 are left out.

        With ``across`` the batch is that of all processes, and gradients of embeddings
        are scaled so that averaging over processes, as DDP does, gives the whole.
        """
        self.prepare(student)
        student, labels = self.group.rows(student), self.group.fixed(labels.long())
        unit, quality = self._enter(student, None if norms is None else self.group.fixed(norms))
        counted = labels >= 0
        if self.shards == 1 and self.group.size == 1:
            logits = self._logits(unit, quality, labels, self.kernel, 0)
            values = F.cross_entropy(logits, labels, ignore_index=-1, reduction="none")
            return values.sum() / counted.sum().clamp(min=1)
        sums: list[Tensor] = []
        own, first = student.new_zeros(len(student)), self.first
        for kernel in self.kernel.tensor_split(self.shards):
            if len(kernel):
                total, hit = _piece(self._logits, unit, quality, labels, kernel, first, again=self.shards > 1)
                sums, own, first = [*sums, total], own + hit, first + len(kernel)
        local = torch.stack(sums).logsumexp(0) if sums else torch.full_like(own, -torch.inf)
        whole, right = self.group.logsumexp(local), self.group.sum(own)
        return ((whole - right) * counted).sum() / counted.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """Say what is classified, and how."""
        return f"classes={self.classes}, margin={self.margin}, scale={self.scale}, shards={self.shards}"


def _piece(
    logits: Callable[..., Tensor],
    unit: Tensor,
    quality: Tensor,
    labels: Tensor,
    kernel: Tensor,
    first: int,
    *,
    again: bool,
) -> tuple[Tensor, Tensor]:
    """Return a shard's logsumexp ``[B]``, and the right class's logit where it lies in the shard, else 0."""

    def compute(unit: Tensor, quality: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        values = logits(unit, quality, labels, kernel, first)
        place = labels - first
        inside = (place >= 0) & (place < values.shape[1])
        hit = values.gather(1, place.clamp(0, values.shape[1] - 1)[:, None])[:, 0]
        return values.logsumexp(1), torch.where(inside, hit, 0)

    if not again:
        return compute(unit, quality, kernel)
    total, hit = checkpoint(compute, unit, quality, kernel, use_reentrant=False)
    return total, hit


class ArcFace(MarginHead):
    """Classify with an angle added to the right class.

    Cross entropy of ``scale cos(theta_y + margin)`` among ``scale cos theta_k``: ``arcface``
    (Deng et al., ArcFace, CVPR 2019, eq. 3).
    ``head(embeddings, labels=classes)`` with ``[B, D]`` and ``[B]``; ``norms=`` ``[B]`` where the
    embeddings were already brought to unit length.

    Args:
        classes: Identities of the training set.
        margin: In radians.
        scale: Multiplies cosines.
        gradient: See ``MarginHead``, as are the other options.
        width: Width of the embeddings; 0 takes it from the first features.
        shards: Parts of the classes looked at one after another.
        across: Share the classes out to the processes.
        seed: Draws the kernel.
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        width: int = 0,
        shards: int = 1,
        across: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            classes=classes,
            margin=margin,
            scale=scale,
            gradient=gradient,
            width=width,
            shards=shards,
            across=across,
            seed=seed,
        )

    def target(self, cosine: Tensor, quality: Tensor) -> Tensor:
        """Add the angle."""
        return arcface(cosine, margin=self.margin, epsilon=self.epsilon)


class CosFace(MarginHead):
    """Classify with a margin taken off the right class's cosine.

    Cross entropy of ``scale (cos theta_y - margin)`` among ``scale cos theta_k``: ``cosface``
    (Wang et al., CosFace, CVPR 2018, eq. 4).
    ``head(embeddings, labels=classes)`` with ``[B, D]`` and ``[B]``; ``norms=`` ``[B]`` where the
    embeddings were already brought to unit length.

    Args:
        classes: Identities of the training set.
        margin: In cosine.
        scale: Multiplies cosines.
        gradient: See ``MarginHead``, as are the other options.
        width: Width of the embeddings; 0 takes it from the first features.
        shards: Parts of the classes looked at one after another.
        across: Share the classes out to the processes.
        seed: Draws the kernel.
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        margin: float = 0.4,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        width: int = 0,
        shards: int = 1,
        across: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            classes=classes,
            margin=margin,
            scale=scale,
            gradient=gradient,
            width=width,
            shards=shards,
            across=across,
            seed=seed,
        )

    def target(self, cosine: Tensor, quality: Tensor) -> Tensor:
        """Take the margin off."""
        return cosface(cosine, margin=self.margin)


class AdaFace(MarginHead):
    """Classify with a margin that follows image quality, read off the feature's length.

    Cross entropy with the right class's cosine as ``adaface`` changes it (Kim, Jain
    and Liu, AdaFace, CVPR 2022, eq. 6 and 7), where
    ``k = clip(h (n - mean) / (std + 1e-3), -1, 1)``, ``n`` the feature length clipped to [0.001,
    100], ``mean`` and ``std`` running statistics that take each training batch in before
    it is used (std unbiased). They start at 20 and 100.
    ``head(embeddings, labels=classes)`` with ``[B, D]`` and ``[B]``; ``norms=`` ``[B]`` where the
    embeddings were already brought to unit length.

    Args:
        classes: Identities of the training set.
        margin: In radians and in cosine.
        h: Concentration of the quality.
        t_alpha: Share of the new batch in the running statistics.
        scale: Multiplies cosines.
        gradient: See ``MarginHead``, as are the other options.
        width: Width of the embeddings; 0 takes it from the first features.
        shards: Parts of the classes looked at one after another.
        across: Share the classes out to the processes.
        seed: Draws the kernel.
    """

    epsilon = 1e-3

    def __init__(
        self,
        *,
        classes: int = 0,
        margin: float = 0.4,
        h: float = 0.333,
        t_alpha: float = 0.01,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        width: int = 0,
        shards: int = 1,
        across: bool = False,
        seed: int = 0,
    ) -> None:
        self.h, self.t_alpha = h, t_alpha
        super().__init__(
            classes=classes,
            margin=margin,
            scale=scale,
            gradient=gradient,
            width=width,
            shards=shards,
            across=across,
            seed=seed,
        )
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("std", torch.tensor(100.0))

    def target(self, cosine: Tensor, quality: Tensor) -> Tensor:
        """Add the margin that the quality asks for."""
        return adaface(cosine, quality, margin=self.margin, epsilon=self.epsilon)

    def quality(self, norms: Tensor) -> Tensor:
        """Return ``k``, after the running statistics have taken the batch in."""
        lengths = norms.clamp(0.001, 100)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        if self.training:
            with torch.no_grad():
                mean.lerp_(lengths.mean().to(mean.dtype), self.t_alpha)
                if len(lengths) > 1:
                    std.lerp_(lengths.std().to(std.dtype), self.t_alpha)
        return (self.h * (lengths - mean) / (std + 1e-3)).clamp(-1, 1)


class SubCentre(ArcFace):
    """Classify against several centres a class, so that wrong labels find one of their own.

    ``arcface`` of ``max_k cos theta_yk``, the largest cosine of a class's centres (Deng
    et al., Sub-center ArcFace, ECCV 2020, section 3.2).
    ``head(embeddings, labels=classes)`` with ``[B, D]`` and ``[B]``; ``norms=`` ``[B]`` where the
    embeddings were already brought to unit length.

    Args:
        classes: Identities of the training set.
        centres: Centres of each.
        margin: In radians.
        scale: Multiplies cosines.
        gradient: See ``MarginHead``, as are the other options.
        width: Width of the embeddings; 0 takes it from the first features.
        shards: Parts of the classes looked at one after another.
        across: Share the classes out to the processes.
        seed: Draws the kernel.
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        centres: int = 3,
        margin: float = 0.5,
        scale: float = 64.0,
        gradient: Gradient = "exact",
        width: int = 0,
        shards: int = 1,
        across: bool = False,
        seed: int = 0,
    ) -> None:
        self.centres = centres
        super().__init__(
            classes=classes,
            margin=margin,
            scale=scale,
            gradient=gradient,
            width=width,
            shards=shards,
            across=across,
            seed=seed,
        )
