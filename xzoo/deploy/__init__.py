"""From a trained network to one that serves: folded, counted, and timed in every way that is installed.

The names below are imported on first use: torch is no price of ``import xzoo.deploy``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xzoo.deploy.counting import Cost, cost
    from xzoo.deploy.folding import fold
    from xzoo.deploy.modes import MODES
    from xzoo.deploy.timing import bench

__all__ = ["MODES", "Cost", "bench", "cost", "fold"]

_HOME = {"MODES": "modes", "Cost": "counting", "bench": "timing", "cost": "counting", "fold": "folding"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
