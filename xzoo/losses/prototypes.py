"""Losses against a running mean feature of each identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Features, Learned, levels

__all__ = ["ProtoSsl", "Prototypes", "proto_ssl"]


def proto_ssl(features: Tensor, logits: Tensor, prototypes: Tensor, *, scale: float = 10.0) -> Tensor:
    """Let the nearest prototypes say what the classifier says, without labels.

    ``KL(softmax'(sg softmax(z)) || softmax'(softmax(scale cos)))`` averaged over rows,
    ``softmax'`` running over the classes that the classifier predicts somewhere in
    the batch. Both sides pass the softmax twice, as in the released code.

    Args:
        features: ``[B, D]``.
        logits: ``[B, K]``, of the classifier; no gradient reaches them.
        prototypes: ``[K, D]``.
        scale: Multiplies the cosines.
    """
    cosines = F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T
    goal, ours = F.softmax(logits.detach(), 1), F.softmax(scale * cosines, 1)
    absent = F.one_hot(goal.argmax(1), goal.shape[1]).sum(0)[None] == 0
    low = torch.finfo(ours.dtype).min
    log = F.log_softmax(ours.masked_fill(absent, low), 1)
    return F.kl_div(log.masked_fill(absent, 0), F.softmax(goal.masked_fill(absent, low), 1), reduction="batchmean")


class Prototypes(Learned):
    """Pull features to the running mean of their identity, over all spectra.

    ``CE(scale cos(feature, prototype), label)`` over the classes seen so far; the
    prototypes follow the batch's class means (of student and teacher features
    together) with an exponential mean (Kwon et al., ICRA 2025). No parameters;
    the prototypes are buffers. ``loss(student, teacher, labels=classes)``, ``[B, D]``.

    Args:
        classes: Number of identities.
        scale: Multiplies the cosines.
        momentum: Share that a prototype keeps of itself.
    """

    def __init__(self, *, classes: int = 0, scale: float = 10.0, momentum: float = 0.9) -> None:
        super().__init__()
        if classes < 1:
            raise errors.OptionError(
                f"prototypes of {classes} classes were asked for.",
                why="One is kept for each identity of the training set.",
                do="classes=<number of identities>",
            )
        self.classes, self.scale, self.momentum = classes, scale, momentum
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the empty prototypes."""
        self.register_buffer("prototypes", torch.zeros(self.classes, levels(student)[0].shape[1]))

    @torch.no_grad()
    def follow(self, features: Tensor, labels: Tensor) -> None:
        """Take a batch into the running means; a class seen first starts at its mean."""
        one_hot = F.one_hot(labels.long(), self.classes).to(features.dtype)
        counts = one_hot.sum(0)
        means = one_hot.T @ features / counts.clamp(min=1)[:, None]
        prototypes, seen = self.get_buffer("prototypes"), self.get_buffer("seen")
        keep = torch.where(seen, self.momentum, 0.0).to(features.dtype)[:, None]
        present = (counts > 0)[:, None]
        prototypes.copy_(torch.where(present, keep * prototypes + (1 - keep) * means, prototypes))
        seen |= counts > 0

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, labels: Tensor) -> Tensor:
        """Return the loss of one batch, after the prototypes have taken it in."""
        self.prepare(student, teacher)
        rows = [student] if teacher is None or teacher is student else [student, teacher]
        self.follow(torch.cat(rows).detach(), labels.repeat(len(rows)))
        cosines = F.normalize(student, dim=1) @ F.normalize(self.get_buffer("prototypes").clone(), dim=1).T
        unseen = ~self.get_buffer("seen").clone()
        return F.cross_entropy((self.scale * cosines).masked_fill(unseen, -torch.inf), labels.long())


class ProtoSsl(Prototypes):
    """Train on images without labels by agreement of prototypes and classifier.

    ``proto_ssl`` with prototypes that follow the classes that the classifier
    predicts with at least ``threshold`` probability (Kwon et al., ICRA 2025, stage
    2). ``loss(student, teacher)``: features ``[B, D]`` and the classifier's logits ``[B, K]``.

    Args:
        classes: Number of identities, ``K``.
        scale: Multiplies the cosines.
        momentum: Share that a prototype keeps of itself.
        threshold: Least probability with which a row moves a prototype.
    """

    def __init__(self, *, classes: int = 0, scale: float = 10.0, momentum: float = 0.9, threshold: float = 0.1) -> None:
        super().__init__(classes=classes, scale=scale, momentum=momentum)
        self.threshold = threshold

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch; ``labels`` replace the predicted classes where they are known."""
        if teacher is None:
            raise errors.OptionError(
                "proto_ssl was called without logits.",
                why="It compares prototypes with a classifier.",
                do="loss(features, logits)",
            )
        self.prepare(student)
        best, predicted = F.softmax(teacher.detach(), 1).max(1)
        if labels is not None:
            self.follow(student.detach(), labels)
        elif student.is_meta or bool((best >= self.threshold).any()):
            sure = slice(None) if student.is_meta else best >= self.threshold
            self.follow(student.detach()[sure], predicted[sure])
        return proto_ssl(student, teacher, self.get_buffer("prototypes").clone(), scale=self.scale)
