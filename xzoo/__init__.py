"""xzoo: the model zoo of recognition across spectra.

The front door. Nothing is imported until it is used, so that listing and
describing models costs no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTS = {
    "Card": "xzoo.catalog",
    "Manifest": "xzoo.data.manifest",
    "Report": "xzoo.evaluation",
    "Run": "xzoo.training",
    "XzooError": "xzoo.errors",
    "card": "xzoo.catalog",
    "create": "xzoo.models",
    "distill": "xzoo.training",
    "evaluate": "xzoo.evaluation",
    "finetune": "xzoo.training",
    "is_model": "xzoo.catalog",
    "list_models": "xzoo.catalog",
    "plugins": "xzoo.catalog",
    "register": "xzoo.catalog",
}

_MODULES = ("losses",)

__all__ = ["__version__", *sorted(_EXPORTS)]

if TYPE_CHECKING:
    from xzoo.catalog import Card, card, is_model, list_models, plugins, register
    from xzoo.data.manifest import Manifest
    from xzoo.errors import XzooError
    from xzoo.evaluation import Report, evaluate
    from xzoo.models import create
    from xzoo.training import Run, distill, finetune


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"xzoo.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'xzoo' has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_MODULES})
