"""Single-task IRM (arXiv 2306.07520) on the part transformer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from xzoo.families.base import Embedder
from xzoo.families.irm.options import Options
from xzoo.families.part_vit import model as part_vit
from xzoo.families.part_vit.options import Options as Encoder
from xzoo.families.two_stream import Tap, neck

__all__ = ["IRM", "build"]


class IRM(Embedder):
    """Image tokens and the tokens of one instruction; input ``[B, 3, H, W]``, output ``[B, 2 D]``, not normalised.

    ``fusion`` are two blocks that begin as copies of the encoder's last two. ``b`` is the first token of
    ``fusion([global token of the image ; words])``, ``t`` that of ``fusion([first word ; all other tokens of the
    image])``; the embedding joins both behind their necks. The instruction of one task is one constant sentence, so a
    text encoder could only ever give one constant table: ``instruction`` is that table, and learned (the authors'
    comes out of BERT). Part tokens count among the tokens of the image, and nothing norms the fusion's output (our
    defaults). For losses: ``image``, ``asked`` and ``told`` are the global token, ``b`` and ``t``, ``[B, D]`` each;
    ``necks.asked`` and ``necks.told`` are the latter behind their necks.
    """

    lora_targets = r"(encoder\.backbone\.blocks|fusion)\.\d+\.attn\.(qkv|proj)"

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.input_size = options.input_size
        self.encoder = part_vit.build(
            Encoder(
                options.variant,
                input_size=options.input_size,
                depth=options.depth,
                drop_path=options.drop_path,
                checkpointing=options.checkpointing,
            )
        )
        self.width = self.encoder.width
        blocks: Any = self.encoder.backbone.blocks
        self.fusion = nn.Sequential(*(copy.deepcopy(block) for block in blocks[-2:]))
        self.instruction = nn.Parameter(torch.empty(1, options.words, self.width))
        nn.init.normal_(self.instruction, std=0.02)
        self.necks = nn.ModuleDict({"asked": neck(self.width), "told": neck(self.width)})
        self.image, self.asked, self.told = Tap(), Tap(), Tap()

    def trunk(self, images: Tensor) -> Tensor:
        """Return ``b`` and ``t`` one after another, before the necks, ``[B, 2 D]``."""
        return torch.cat(self._read(images)[1:], 1)

    def _read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.encoder.tokens(images)
        whole = self.image(tokens[:, 0])
        words = self.instruction.expand(len(images), -1, -1)
        asked = self.asked(self.fusion(torch.cat([whole[:, None], words], 1))[:, 0])
        told = self.told(self.fusion(torch.cat([words[:, :1], tokens[:, 1:]], 1))[:, 0])
        return whole, asked, told

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings ``[B, 2 D]``: both halves behind their necks."""
        asked, told = features.split(self.width, 1)
        return torch.cat([self.necks["asked"](asked), self.necks["told"](told)], 1)

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return ``image``, ``asked`` and ``told`` ``[B, D]`` each, and the ``embedding``."""
        whole, asked, told = self._read(images)
        features = torch.cat([asked, told], 1)
        return {"image": whole, "asked": asked, "told": told, "embedding": self.project(features)}

    def groups(self) -> dict[str, list[str]]:
        """Return parameter names by group: the encoder's, ``fusion`` and ``head``; ``ln`` overlaps the others."""
        found = {group: [f"encoder.{name}" for name in names] for group, names in self.encoder.groups().items()}
        found["fusion"] = [name for name, _ in self.named_parameters() if name.startswith("fusion.")]
        found["ln"] += [name for name in found["fusion"] if ".norm" in name]
        found["head"] += [name for name, _ in self.named_parameters() if name.startswith(("necks.", "instruction"))]
        return found


def build(options: Options) -> IRM:
    """Build the network with random weights on torch's default device."""
    return IRM(options)
