"""Options of the WRIM-Net network."""

from __future__ import annotations

from dataclasses import dataclass

from xzoo.errors import OptionError
from xzoo.families.checks import check_size

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What a WRIM-Net network is built from.

    Attributes:
        input_size: height and width of its input
        regions: rows and columns of the regions that every place of a map is related to (our default)
    """

    input_size: tuple[int, int] = (384, 128)
    regions: tuple[int, int] = (6, 2)

    def __post_init__(self) -> None:
        """Refuse what is no size of a picture, and no grid of regions."""
        check_size(self.input_size, (384, 128))
        if len(self.regions) != 2 or not all(type(side) is int and side >= 1 for side in self.regions):
            raise OptionError(
                f"regions={self.regions!r}", why="They are (rows, columns), at least one each.", do="take (6, 2)"
            )
