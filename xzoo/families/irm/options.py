"""Options of the single-task IRM network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xzoo.families.checks import check_size
from xzoo.families.part_vit.options import PATCH, VARIANTS

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What an IRM network is built from.

    Attributes:
        variant: size of the image encoder; the authors' is "base"
        input_size: height and width of its input, multiples of 16
        depth: number of blocks of the image encoder, at least two
        words: tokens of the instruction
        drop_path: stochastic depth in training
        checkpointing: compute activations again in the backward pass instead of keeping them
    """

    variant: Literal["tiny", "small", "base"] = field(default="base", metadata={"choices": tuple(VARIANTS)})
    input_size: tuple[int, int] = (256, 128)
    depth: int = field(default=12, metadata={"min": 2, "max": 48})
    words: int = field(default=70, metadata={"min": 1, "max": 512})
    drop_path: float = field(default=0.1, metadata={"min": 0, "max": 0.9})
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes without a whole grid of patches."""
        check_size(self.input_size, (256, 128), PATCH)
