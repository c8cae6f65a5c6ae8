"""From four tokens to one embedding, before and after the batch-norm neck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from xzoo.families.part_vit.options import PARTS

__all__ = ["BNNeck", "fuse"]


def fuse(whole: Tensor, parts: Sequence[Tensor], *, how: str = "cat", divisor: str = "kept") -> Tensor:
    """Return ``[global ; mean of parts]`` (arXiv 2503.10931, eq. 8 and 9), or the mean of the two.

    Args:
        whole: Global token, ``[B, D]``.
        parts: The part tokens that enter, ``[B, D]`` each.
        how: ``cat`` gives ``[B, 2 D]``, ``mean`` gives ``[B, D]``.
        divisor: Divide the sum of parts by their number (``kept``), or by ``three`` whatever was left out.
    """
    local = sum(parts[1:], parts[0]) / (len(parts) if divisor == "kept" else len(PARTS))
    return (whole + local) / 2 if how == "mean" else torch.cat([whole, local], 1)


class BNNeck(nn.Module):
    """Batch norms without offset between the embedding and its classifier, used in training alone.

    The triplet loss takes the embedding before the norms, the classifier the one after (PASS, after
    "Bag of Tricks", arXiv 1903.07071). In testing the embedding before the norms is compared.

    Args:
        width: Length ``D`` of each token.
        classes: Number of training identities.
        parts: The part tokens that enter.
        how: ``cat`` or ``mean``, as the network fuses.
        divisor: As the network has it.
        one_for_all: One norm over the fused embedding instead of one for each token.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        parts: Sequence[str] = PARTS,
        how: str = "cat",
        divisor: str = "kept",
        one_for_all: bool = False,
    ) -> None:
        super().__init__()
        self.parts, self.how, self.divisor = tuple(parts), how, divisor
        fused = width if how == "mean" else 2 * width
        sizes = {"fused": fused} if one_for_all else dict.fromkeys(("global", *self.parts), width)
        self.necks = nn.ModuleDict({name: nn.BatchNorm1d(size) for name, size in sizes.items()})
        for neck in self.necks.values():
            neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(fused, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the embedding before the norms, and logits ``[B, classes]``.

        Args:
            features: ``global`` and the parts, ``[B, D]`` each, as ``forward_features`` names them.
        """
        before = self._fused(features)
        if "fused" in self.necks:
            after: Tensor = self.necks["fused"](before)
        else:
            after = self._fused({name: neck(features[name]) for name, neck in self.necks.items()})
        logits: Tensor = self.classifier(after)
        return before, logits

    def _fused(self, tokens: Mapping[str, Tensor]) -> Tensor:
        return fuse(tokens["global"], [tokens[part] for part in self.parts], how=self.how, divisor=self.divisor)
