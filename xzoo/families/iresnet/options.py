"""Options of the IR-ResNet family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["UNITS", "Options"]

UNITS: dict[str, tuple[int, int, int, int]] = {
    "ir_18": (2, 2, 2, 2),
    "ir_34": (3, 4, 6, 3),
    "ir_50": (3, 4, 14, 3),
    "ir_101": (3, 13, 30, 3),
    "ir_se_50": (3, 4, 14, 3),
}


@dataclass(frozen=True)
class Options:
    """What an IR-ResNet is built from."""

    variant: Literal["ir_18", "ir_34", "ir_50", "ir_101", "ir_se_50"] = field(
        metadata={"help": "depth of the network", "choices": tuple(UNITS)}
    )
    embedding: int = field(default=512, metadata={"help": "length of the embedding", "min": 1, "max": 65536})
    dropout: float = field(
        default=0.4, metadata={"help": "dropout before the embedding, in training only", "min": 0, "max": 0.95}
    )
