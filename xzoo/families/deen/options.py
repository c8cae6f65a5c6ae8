"""Options of the DEEN network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xzoo.families.checks import check_size

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What a DEEN network is built from.

    Attributes:
        input_size: height and width of its input
        last: "layer4" expands behind the third stage, as for LLCM and SYSU-MM01; "layer3" behind the second and ends
            with the third, as for RegDB
        compare: embeddings hold the three features "before" the neck, "after" it, or "both"
    """

    input_size: tuple[int, int] = (384, 144)
    last: Literal["layer4", "layer3"] = field(default="layer4", metadata={"choices": ("layer4", "layer3")})
    compare: Literal["both", "after", "before"] = field(
        default="both", metadata={"choices": ("both", "after", "before")}
    )

    def __post_init__(self) -> None:
        """Refuse what is no size of a picture."""
        check_size(self.input_size, (384, 144))
