"""Options of the part vision transformer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from xzoo.errors import OptionError

__all__ = ["PARTS", "PATCH", "VARIANTS", "Options", "Variant"]

PARTS = ("face", "torso", "lower_body")
"""The part tokens, from top to bottom: those of PASS attend to the upper, middle and lower bands of a person."""

PATCH = 16


class Variant(NamedTuple):
    """Width of the tokens and number of heads."""

    width: int
    heads: int


VARIANTS: dict[str, Variant] = {"tiny": Variant(192, 3), "small": Variant(384, 6), "base": Variant(768, 12)}


@dataclass(frozen=True)
class Options:
    """What a part vision transformer is built from.

    Attributes:
        variant: size of the network
        input_size: height and width of its input, multiples of 16
        parts: part tokens that enter the embedding
        fusion: how global and part tokens become one embedding: "cat" is [global, mean of parts],
            "mean" the mean of those two, "mlp" two layers on top of "cat"
        divisor: what the sum of the parts is divided by: the number kept, or always three
        depth: number of blocks
        stem: "patch" is one convolution, "ibn" the three normalised ones of TransReID-SSL's ICS files
        side_information: learn an offset of every token for each spectral band
        side_weight: factor of that offset
        drop_path: stochastic depth in training
        checkpointing: compute activations again in the backward pass instead of keeping them
    """

    variant: Literal["tiny", "small", "base"] = field(metadata={"choices": tuple(VARIANTS)})
    input_size: tuple[int, int] = (384, 128)
    parts: tuple[str, ...] = PARTS
    fusion: Literal["cat", "mean", "mlp"] = field(default="cat", metadata={"choices": ("cat", "mean", "mlp")})
    divisor: Literal["kept", "three"] = field(default="kept", metadata={"choices": ("kept", "three")})
    depth: int = field(default=12, metadata={"min": 1, "max": 48})
    stem: Literal["patch", "ibn"] = field(default="patch", metadata={"choices": ("patch", "ibn")})
    side_information: bool = False
    side_weight: float = field(default=3.0, metadata={"min": 0, "max": 100})
    drop_path: float = field(default=0.1, metadata={"min": 0, "max": 0.9})
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes without a whole grid of patches, and parts that do not exist."""
        size = self.input_size
        whole = len(size) == 2 and all(type(side) is int and side >= PATCH and side % PATCH == 0 for side in size)
        if not whole:
            raise OptionError(
                f"input_size={size!r}",
                why=f"It is (height, width) in pixels, multiples of {PATCH}.",
                do="take (384, 128) or (256, 128), which the published weights have",
            )
        if not self.parts or any(part not in PARTS for part in self.parts) or len(set(self.parts)) < len(self.parts):
            raise OptionError(
                f"parts={self.parts!r}", why="Name each part once, at least one.", exists=", ".join(PARTS)
            )
