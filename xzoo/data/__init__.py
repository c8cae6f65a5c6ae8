"""Images and the tables that describe them: reading, checking, sampling.

The names below are imported on first use, so that a listing of the catalogue
never pays for numpy, Pillow or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xzoo.data.augment import Augment
    from xzoo.data.images import load_raw, read_image
    from xzoo.data.manifest import Check, Manifest, Row
    from xzoo.data.people.stream import SyntheticPeople
    from xzoo.data.preprocess import Preprocess
    from xzoo.data.samplers import BalancedSampler, Batch, PairSampler

__all__ = [
    "Augment",
    "BalancedSampler",
    "Batch",
    "Check",
    "Manifest",
    "PairSampler",
    "Preprocess",
    "Row",
    "SyntheticPeople",
    "load_raw",
    "read_image",
]

_HOME = {
    "Augment": "augment",
    "BalancedSampler": "samplers",
    "Batch": "samplers",
    "Check": "manifest",
    "Manifest": "manifest",
    "PairSampler": "samplers",
    "Preprocess": "preprocess",
    "Row": "manifest",
    "SyntheticPeople": "people.stream",
    "load_raw": "images",
    "read_image": "images",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
