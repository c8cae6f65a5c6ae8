"""Options of the MixER network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xzoo.families.checks import check_size

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What a MixER network is built from.

    Attributes:
        input_size: height and width of its input
        compare: "erased" compares what knows no spectrum, for galleries of the other spectrum; "mixed" compares three
            slots, infrared, erased and visible, for galleries of both
    """

    input_size: tuple[int, int] = (288, 144)
    compare: Literal["erased", "mixed"] = field(default="erased", metadata={"choices": ("erased", "mixed")})

    def __post_init__(self) -> None:
        """Refuse what is no size of a picture."""
        check_size(self.input_size, (288, 144))
