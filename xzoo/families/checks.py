"""What options of several families are checked for; standard library only."""

from __future__ import annotations

from xzoo.errors import OptionError

__all__ = ["check_size"]


def check_size(size: tuple[int, int], usual: tuple[int, int], multiple: int = 1) -> None:
    """Refuse what is no size of a picture.

    Args:
        size: Height and width in pixels.
        usual: The size that the network is trained with, for the message.
        multiple: Of which both are to be multiples.

    Raises:
        OptionError: It is not (height, width) of at least 32 pixels each, or no such multiple.
    """
    if len(size) != 2 or not all(type(side) is int and side >= 32 and side % multiple == 0 for side in size):
        raise OptionError(
            f"input_size={size!r}",
            why="It is (height, width) in pixels, at least 32 each"
            + (f", in multiples of {multiple}." if multiple > 1 else "."),
            do=f"take {usual}, which the method is trained with",
        )
