"""The network of MixER (arXiv 2501.13307) on timm's residual layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xzoo.families.mixer.options import Options
from xzoo.families.two_stream import Banded, Bands, Stem, Tap, grouped, heard, neck, residual_layers, routed

__all__ = ["Mixer", "build"]

WIDTH = 2048


class Mixer(Banded):
    """A ResNet-50 with three tops; input ``[B, 3, H, W]``, output ``[B, 2048]``, not normalised.

    One top erases the spectrum (``e``); one for visible and one for infrared images keep it (``r``), and read the third
    stage without changing it: no gradient of theirs reaches it. The embedding is ``e`` behind the neck of its
    spectrum, or for mixed galleries ``[r | 0 ; e ; 0 | r]``, ``[B, 6144]``: the first slot of infrared, the last of
    visible images. For losses: ``erased`` and ``related`` are ``e`` and ``r`` before the necks, ``necked`` is ``e``
    behind them, ``[B, 2048]`` each, and ``mixed`` the three slots.
    """

    lora_targets = r"(layers\.layer\d|erase)\.\d+\.conv[123]"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.stem, self.layers = Stem(), residual_layers()
        self.erase = self.layers.pop("layer4")
        self.visible, self.infrared = (residual_layers()["layer4"] for _ in range(2))
        self.necks = nn.ModuleDict({"visible": neck(WIDTH), "infrared": neck(WIDTH)})
        self.erased, self.related, self.necked, self.mixed = (Tap() for _ in range(4))

    def _lower(self, images: Tensor) -> Tensor:
        x: Tensor = self.stem(images)
        for layer in self.layers.values():
            x = layer(x)
        return x

    def trunk(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return what is compared: ``[B, 2048]`` behind the necks, or three slots ``[B, 6144]``."""
        if self.options.compare == "mixed" or heard(self.erased, self.related, self.mixed):
            return self.forward_features(images, spectrum)["embedding"]
        visible = self.visible_rows(spectrum, len(images))
        return self._behind_necks(self.erase(self._lower(images)).mean((2, 3)), visible)

    def _behind_necks(self, erased: Tensor, visible: list[bool]) -> Tensor:
        out: Tensor = self.necked(routed(erased, visible, self.necks["visible"], self.necks["infrared"]))
        return out

    def project(self, features: Tensor) -> Tensor:
        """Return the features themselves: the necks depend on the spectrum and stand in front."""
        return features

    def forward(self, images: Tensor, spectrum: Bands = None) -> Tensor:
        """Return embeddings of normalised ``images`` ``[B, 3, H, W]``."""
        return self.project(self.trunk(images, spectrum))

    def forward_features(self, images: Tensor, spectrum: Bands = None) -> dict[str, Tensor]:
        """Return ``stage2`` as a map, ``erased``, ``related``, ``necked`` and ``mixed``, and the ``embedding``."""
        visible = self.visible_rows(spectrum, len(images))
        lower = self._lower(images)
        erased = self.erased(self.erase(lower).mean((2, 3)))
        related = self.related(routed(lower.detach(), visible, self.visible, self.infrared).mean((2, 3)))
        necked = self._behind_necks(erased, visible)
        here = torch.tensor(visible, device=images.device)[:, None]
        mixed = self.mixed(torch.cat([related.masked_fill(here, 0), erased, related.masked_fill(~here, 0)], 1))
        named = {"erased": erased, "related": related, "necked": necked, "mixed": mixed}
        return {"stage2": lower, **named, "embedding": mixed if self.options.compare == "mixed" else necked}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: ``bn`` (every batch norm), ``st``, ``s0`` to ``s3``, ``related``, ``head``.

        ``bn`` overlaps the others; ``related`` are the two tops that keep the spectrum.
        """
        stages = {f"s{n - 1}": (f"layers.layer{n}.",) for n in range(1, 4)} | {"s3": ("erase.",)}
        return grouped(self, {"st": ("stem.",), **stages, "related": ("visible.", "infrared."), "head": ("necks.",)})


def build(options: Options) -> Mixer:
    """Build the network with random weights on torch's default device."""
    return Mixer(options)
