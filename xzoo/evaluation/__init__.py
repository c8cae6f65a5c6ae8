"""How well a network recognises: comparisons, figures and reports.

``evaluate`` takes a model and a manifest; ``retrieval`` and ``verification``
take embeddings. Nothing here samples: every comparison is counted.

The two figures live in ``ranking`` and ``roc``, because a submodule of their
own name would hide the function behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_EXPORTS = {
    "Group": "groups",
    "Landmarks": "landmarks",
    "OpenSet": "identification",
    "Pixels": "pixels",
    "ProtocolResult": "protocols.runner",
    "Report": "report",
    "Retrieval": "ranking",
    "Side": "protocols.sides",
    "Verification": "roc",
    "by_group": "groups",
    "embed_images": "embedding",
    "evaluate": "engine",
    "fuse": "fusion",
    "join": "fusion",
    "landmark_errors": "landmarks",
    "open_set": "identification",
    "pixel_baseline": "engine",
    "retrieval": "ranking",
    "run_protocol": "protocols.runner",
    "verification": "roc",
    "verification_from_scores": "roc",
    "wilson": "intervals",
}

__all__ = [
    "Group",
    "Landmarks",
    "OpenSet",
    "Pixels",
    "ProtocolResult",
    "Report",
    "Retrieval",
    "Side",
    "Verification",
    "by_group",
    "embed_images",
    "evaluate",
    "fuse",
    "join",
    "landmark_errors",
    "open_set",
    "pixel_baseline",
    "retrieval",
    "run_protocol",
    "verification",
    "verification_from_scores",
    "wilson",
]

if TYPE_CHECKING:
    from xzoo.evaluation.embedding import embed_images
    from xzoo.evaluation.engine import evaluate, pixel_baseline
    from xzoo.evaluation.fusion import fuse, join
    from xzoo.evaluation.groups import Group, by_group
    from xzoo.evaluation.identification import OpenSet, open_set
    from xzoo.evaluation.intervals import wilson
    from xzoo.evaluation.landmarks import Landmarks, landmark_errors
    from xzoo.evaluation.pixels import Pixels
    from xzoo.evaluation.protocols.runner import ProtocolResult, run_protocol
    from xzoo.evaluation.protocols.sides import Side
    from xzoo.evaluation.ranking import Retrieval, retrieval
    from xzoo.evaluation.report import Report
    from xzoo.evaluation.roc import Verification, verification, verification_from_scores


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
