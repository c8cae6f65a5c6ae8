"""Options of the AGW network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xzoo.families.checks import check_size

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What an AGW network is built from.

    Attributes:
        input_size: height and width of its input
        non_local: width of the non-local blocks: "one" channel as commit e817a26 of the authors' code computes it,
            "half" of the channels as commit 32d881c does, or "none": no such blocks
        pooling: "gem" is the generalised mean with a fixed power of 3, "mean" the plain one
        neck: compare embeddings "after" the batch-norm neck, or "before" it
    """

    input_size: tuple[int, int] = (288, 144)
    non_local: Literal["one", "half", "none"] = field(default="one", metadata={"choices": ("one", "half", "none")})
    pooling: Literal["gem", "mean"] = field(default="gem", metadata={"choices": ("gem", "mean")})
    neck: Literal["after", "before"] = field(default="after", metadata={"choices": ("after", "before")})

    def __post_init__(self) -> None:
        """Refuse what is no size of a picture."""
        check_size(self.input_size, (288, 144))
