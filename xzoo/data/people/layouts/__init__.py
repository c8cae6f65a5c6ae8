"""Layouts: generated people in the folders and files of real data sets.

``write(name, folder, subjects=8)`` lays generated people out exactly as the
owner of a data set ships it, annotation files included, so that its reader and
its protocols can be run whole without the real set.

To add a layout, write a module with a function ``lay(page, *, ...)`` (see
:class:`~xzoo.data.people.layouts.core.Page`) and name it in ``HOME``. What the
function takes beside the page are the layout's options.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.data.people.layouts.core import Draw

__all__ = ["HOME", "names", "write"]

HOME: dict[str, str] = {
    # name of the layout, which is that of its reader: module in this folder
    "ijb_mdf": "ijb_mdf",
    "llcm": "llcm",
    "regdb": "regdb",
    "scface": "scface",
    "sf_tl54": "sf_tl54",
    "sysu_mm01": "sysu_mm01",
    "tfw": "tfw",
    "tinyface": "tinyface",
}


def names() -> list[str]:
    """Return the names of all layouts."""
    return sorted(HOME)


def write(
    name: str,
    folder: str | Path,
    *,
    subjects: int,
    seed: int = 0,
    draw: Draw | None = None,
    progress: bool = True,
    **options: Any,
) -> Path:
    """Fill a new folder with generated people in the layout of a data set.

    The folder appears whole or not at all.

    Args:
        name: Of the layout, such as ``llcm``.
        folder: Where; must not exist yet, or be empty.
        subjects: How many people.
        seed: The world of the generator, and of every draw of the layout.
        draw: ``draw(kind, subject, sample, spectrum, (height, width)) -> uint8 [H, W, 3]``, with
            ``kind`` either ``"face"`` or ``"body"``; the generator by default.
        progress: Show a progress bar on stderr where that is a terminal.
        options: Those of the layout.

    Returns:
        The folder.

    Raises:
        NotFound: No layout has that name.
        OptionError: Impossible numbers, options the layout does not take, or a folder that holds something.
        DiskFull: There is not enough room; nothing is left behind.
    """
    if name not in HOME:
        close = errors.nearest(str(name).lower(), HOME) or names()[:3]
        raise errors.NotFound(
            f"no layout {name!r}", exists=", ".join(close), do="xzoo.data.people.layouts.names() lists them all"
        )
    from xzoo.data.people.layouts.core import fill

    lay = import_module(f"{__name__}.{HOME[name]}").lay
    return fill(name, lay, Path(folder), subjects=subjects, seed=seed, draw=draw, progress=progress, options=options)
