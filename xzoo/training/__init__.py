"""Training: one loop for every recipe, runs that can be repeated, exact resume.

The names below are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xzoo.training.distillation import distill
    from xzoo.training.engine import CollapseWarning
    from xzoo.training.finetune import finetune
    from xzoo.training.run import Run

__all__ = ["CollapseWarning", "Run", "distill", "finetune"]

_HOME = {"CollapseWarning": "engine", "Run": "run", "distill": "distillation", "finetune": "finetune"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # before the submodule of the same name gets in the way
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
