"""Options of the EdgeFace family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["VARIANTS", "Options", "Variant"]


class Variant(NamedTuple):
    """Which EdgeNeXt, and the rank ratio of its factorised linear layers."""

    backbone: str
    rank_ratio: float | None


VARIANTS: dict[str, Variant] = {
    "base": Variant("edgenext_base", None),
    "s_gamma_05": Variant("edgenext_small", 0.5),
    "xs_gamma_06": Variant("edgenext_x_small", 0.6),
    "xs": Variant("edgenext_x_small", None),
    "xxs": Variant("edgenext_xx_small", None),
}


@dataclass(frozen=True)
class Options:
    """What an EdgeFace network is built from."""

    variant: Literal["base", "s_gamma_05", "xs_gamma_06", "xs", "xxs"] = field(
        metadata={"help": "size of the network", "choices": tuple(VARIANTS)}
    )
    embedding: int = field(default=512, metadata={"help": "length of the embedding", "min": 1, "max": 65536})
    drop_path: float = field(
        default=0.0, metadata={"help": "stochastic depth in training; 0 is the published setting", "min": 0, "max": 0.9}
    )
