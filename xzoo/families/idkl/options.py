"""Options of the IDKL network."""

from __future__ import annotations

from dataclasses import dataclass

from xzoo.families.checks import check_size

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What an IDKL network is built from.

    Attributes:
        input_size: height and width of its input
    """

    input_size: tuple[int, int] = (384, 144)

    def __post_init__(self) -> None:
        """Refuse what is no size of a picture."""
        check_size(self.input_size, (384, 144))
