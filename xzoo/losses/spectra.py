"""Heads that know the spectrum of each image: which it is, who it is in which, and who it is in spite of it.

All take the features of visible images first and those of infrared ones second, so that nobody has to be told.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors
from xzoo.losses.adapt import Features, Learned, levels
from xzoo.losses.peers import csa, idkl_entropy

__all__ = ["IdklHeads", "MixerIdentity", "SpectrumHead", "SubjectSpectrum", "reverse"]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse(x: Tensor, strength: float) -> Tensor:
    """Return ``x``, through which gradients flow times ``-strength`` (Ganin and Lempitsky, ICML 2015)."""
    found: Tensor = _Reverse.apply(x, strength)
    return found


def _check(name: str, classes: int) -> None:
    if classes < 1:
        raise errors.OptionError(
            f"{name} of {classes} classes was asked for.",
            why="It keeps a row for each identity of the training set.",
            do="classes=<number of identities>",
        )


def _sides(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 0 for each visible and 1 for each infrared row."""
    return torch.cat(
        [
            torch.zeros(len(student), dtype=torch.long, device=student.device),
            torch.ones(len(teacher), dtype=torch.long, device=teacher.device),
        ]
    )


def _classifier(width: int, classes: int) -> nn.Linear:
    """Return a layer without offset that starts at N(0, 0.001), as behind the neck of "Bag of Tricks"."""
    layer = nn.Linear(width, classes, bias=False)
    nn.init.normal_(layer.weight, std=0.001)
    return layer


def _neck(width: int) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(width)
    made.bias.requires_grad_(False)
    return made


class SpectrumHead(Learned):
    """Tell the spectrum of each feature, or make it unknowable.

    ``CE(H(dropout(x)), spectrum)`` over the rows of both sides, ``H`` linear. With ``reversal`` the features receive
    the gradient times ``-reversal``: MixER's modality-erased term is ``reversal=0.5, dropout=0.3`` (Alehdaghi et al.,
    arXiv 2501.13307, its author's development code). ``loss(visible, infrared)``, ``[N, D]``
    and ``[M, D]``.

    Args:
        reversal: Strength with which gradients are reversed; 0 lets them flow as they are.
        dropout: Share of the features that is hidden.
        seed: Draws the layer.
    """

    def __init__(self, *, reversal: float = 0.0, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.reversal, self.dropout = reversal, dropout

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the layer."""
        self.layer = nn.Linear(levels(student)[0].shape[1], 2)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        rows = F.dropout(torch.cat([student, teacher]), self.dropout, self.training)
        rows = reverse(rows, self.reversal) if self.reversal else rows
        return F.cross_entropy(self.layer(rows), _sides(student, teacher))


class SubjectSpectrum(Learned):
    """Tell who it is and in which spectrum at once: ``CE(W BN(r), 2 y + [infrared])``, ``2 C`` classes.

    MixER's modality-aware term (Alehdaghi et al., arXiv 2501.13307, its author's development
    code). ``loss(visible, infrared, labels=, target_labels=)``, ``[N, D]`` and ``[M, D]``.

    Args:
        classes: Identities of the training set.
        seed: Draws the layer.

    Raises:
        OptionError: ``classes`` is missing.
    """

    def __init__(self, *, classes: int, seed: int = 0) -> None:
        super().__init__(seed=seed)
        _check("a head of subjects and spectra", classes)
        self.classes = classes

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the norm and the layer."""
        width = levels(student)[0].shape[1]
        self.norm, self.layer = _neck(width), _classifier(width, 2 * self.classes)

    def forward(
        self, student: Tensor, teacher: Tensor, *, labels: Tensor, target_labels: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        subjects = torch.cat([labels, labels if target_labels is None else target_labels]).long()
        logits = self.layer(self.norm(torch.cat([student, teacher])))
        return F.cross_entropy(logits, 2 * subjects + _sides(student, teacher))


class MixerIdentity(Learned):
    """Tell who it is by one classifier of all images and one of each spectrum, whose verdicts are to agree.

    ``CE(W e) + CE(W_V e_V) + CE(W_I e_I) + CE([W_V e_V; W_I e_I], softmax([W_I' e_V; W_V' e_I]))``, each a mean over
    its rows; the last compares what one spectrum's classifier says with what the slow copy ``W'`` of the other's says,
    which receives no gradient (MixER: Alehdaghi et al., arXiv 2501.13307, its author's development
    code). Copies move before they are asked, ``W' <- (1 - rate) W' + rate W``; when they move is our default.
    ``loss(visible, infrared, labels=, target_labels=)``, ``[N, D]`` and ``[M, D]``.

    Args:
        classes: Identities of the training set.
        rate: Share of the present classifier that enters its slow copy at each step.
        seed: Draws the layers.

    Raises:
        OptionError: ``classes`` is missing.
    """

    def __init__(self, *, classes: int, rate: float = 0.2, seed: int = 0) -> None:
        super().__init__(seed=seed)
        _check("heads", classes)
        self.classes, self.rate = classes, rate

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the classifiers and their slow copies."""
        width = levels(student)[0].shape[1]
        self.both, self.visible, self.infrared = (_classifier(width, self.classes) for _ in range(3))
        self.register_buffer("slow_visible", self.visible.weight.detach().clone())
        self.register_buffer("slow_infrared", self.infrared.weight.detach().clone())

    slow_visible: Tensor
    slow_infrared: Tensor

    def forward(
        self, student: Tensor, teacher: Tensor, *, labels: Tensor, target_labels: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        ours, theirs = labels.long(), (labels if target_labels is None else target_labels).long()
        if self.training:
            with torch.no_grad():
                self.slow_visible.lerp_(self.visible.weight, self.rate)
                self.slow_infrared.lerp_(self.infrared.weight, self.rate)
        logits = self.visible(student), self.infrared(teacher)
        with torch.no_grad():
            wanted = torch.cat([F.linear(student, self.slow_infrared), F.linear(teacher, self.slow_visible)])
        value = F.cross_entropy(self.both(torch.cat([student, teacher])), torch.cat([ours, theirs]))
        value = value + F.cross_entropy(logits[0], ours) + F.cross_entropy(logits[1], theirs)
        return value + F.cross_entropy(torch.cat(logits), wanted.softmax(1))


class IdklHeads(Learned):
    """The classifiers of IDKL, and what is asked of their verdicts.

    Of each image ``[N, 5, D]``: the shared feature, the same behind its neck, the purified specific one ``p``, and the
    pooled specific map before (``F``) and after (``F'``) its mask. With ``W_s`` without offset, ``cls(x) = W_p BN(x)``
    and a discriminator ``M`` of three layers::

        identity  CE(W_s s) + CE(cls(p))
        spectrum  CE(M(p), spectrum) + CE(M(s), the other spectrum)
        alignment csa of the logits of s, with those of p as each spectrum's own
        entropy   mean(exp([H(cls(F')) - H(cls(F))]_+) - 1)

    summed with their weights (Ren and Zhang, IDKL, CVPR 2024, arXiv 2403.11708, released code, which is
    incomplete). The authors roll spectrum labels by one, which on batches in which
    spectra alternate gives each row the other one; that reading, one discriminator for both terms, and its widths
    ``D/4`` and ``D/16`` are our defaults. Logits are joined across subjects image by image: rows are sorted by
    subject, with equally many images of each. ``loss(visible, infrared, labels=)``; ``parts`` are the terms before
    weighting.

    Args:
        classes: Identities of the training set.
        identity: Weight.
        spectrum: Weight.
        alignment: Weight.
        entropy: Weight.
        own: Weight of each spectrum's own logits within ``alignment``.
        seed: Draws the layers.

    Raises:
        OptionError: ``classes`` is missing, or the features are no five of each image.
    """

    def __init__(
        self,
        *,
        classes: int,
        identity: float = 1.0,
        spectrum: float = 1.0,
        alignment: float = 1.0,
        entropy: float = 0.1,
        own: float = 0.8,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        _check("heads", classes)
        self.classes, self.own = classes, own
        self.weights = {"identity": identity, "spectrum": spectrum, "alignment": alignment, "entropy": entropy}
        self.parts: dict[str, Tensor] = {}

    def build(self, student: Features, teacher: Features | None) -> None:
        """Make the classifiers, the norm and the discriminator."""
        shape = levels(student)[0].shape
        if len(shape) != 3 or shape[1] != 5:
            raise errors.OptionError(
                f"idkl_heads got features of shape {list(shape)}.",
                why="It takes five of each image, [N, 5, D]: shared, necked, purified, specific, masked.",
                do="the module looks of idkl_resnet50",
            )
        width = shape[2]
        self.shared, self.specific, self.norm = (
            _classifier(width, self.classes),
            _classifier(width, self.classes),
            _neck(width),
        )
        wide, narrow = max(8, width // 4), max(8, width // 16)
        self.discriminator = nn.Sequential(
            nn.Linear(width, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, 2)
        )

    def forward(
        self, student: Tensor, teacher: Tensor, *, labels: Tensor, target_labels: Tensor | None = None
    ) -> Tensor:
        """Return the loss of one batch."""
        self.prepare(student, teacher)
        subjects = torch.cat([labels, labels if target_labels is None else target_labels]).long()
        sides = _sides(student, teacher)
        plain, necked, purified, before, after = torch.cat([student, teacher]).unbind(1)
        shared, specific = self.shared(necked), self.specific(self.norm(purified))
        (sv, si), (pv, pi) = (x.tensor_split([len(student)]) for x in (shared, specific))
        images = 1 if labels.is_meta else len(labels) // len(labels.unique())
        certain = self.specific(self.norm(before)), self.specific(self.norm(after))
        parts = {
            "identity": F.cross_entropy(shared, subjects) + F.cross_entropy(specific, subjects),
            "spectrum": F.cross_entropy(self.discriminator(purified), sides)
            + F.cross_entropy(self.discriminator(plain), 1 - sides),
            "alignment": csa(sv, si, own_student=pv, own_teacher=pi, own_weight=self.own, images=images),
            "entropy": idkl_entropy(*certain),
        }
        self.parts = {name: part.detach() for name, part in parts.items()}
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
