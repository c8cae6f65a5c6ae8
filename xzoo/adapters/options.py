"""Options of the adapter kinds that the zoo brings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from xzoo import errors

__all__ = ["PRESETS", "LoraOptions", "NormsOptions"]

PRESETS = ("ln", "ln+st", "ln+st+s0", "ln+st+s0+s1", "ln+st+s0+s1+s2")
"""The cumulative sets of xEdgeFace: layer norms, stem, stages 0 to 2."""


@dataclass(frozen=True)
class LoraOptions:
    """What a ``lora`` adapter changes, and by how much.

    Attributes:
        rank: Rank of each change. Size and cost grow with it.
        alpha: The change is scaled by ``alpha / rank``.
        dropout: Share of a layer's input that its change does not see in training, in [0, 1).
        targets: Regular expression over whole module names; ``None`` for the family's own choice.
        also_train: Groups of parameters to train in full beside it, joined by ``+`` (or a tuple). A
            layer that has a LoRA stays frozen itself.

    Raises:
        OptionError: A value of the wrong type or out of range.
    """

    rank: int = field(default=8, metadata={"help": "rank of each change; size and cost grow with it", "min": 1})
    alpha: float = field(default=16.0, metadata={"help": "the change is scaled by alpha / rank"})
    dropout: float = field(
        default=0.0, metadata={"help": "share of the inputs hidden from the change in training", "min": 0, "max": 1}
    )
    targets: str | None = field(
        default=None, metadata={"help": "regular expression over module names; the family's choice if left out"}
    )
    also_train: str | tuple[str, ...] = field(
        default="", metadata={"help": "groups trained in full beside it, joined by +, e.g. norms+st"}
    )

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 1:
            raise errors.OptionError(f"rank={self.rank!r}", why="A rank is a whole number from 1.", do="rank=8")
        if not _is_number(self.alpha) or not 0 < self.alpha < math.inf:
            raise errors.OptionError(
                f"alpha={self.alpha!r}", why="The scale is a number above 0.", do=f"alpha={2 * self.rank}"
            )
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise errors.OptionError(
                f"dropout={self.dropout!r}", why="A dropout is a share from 0 to below 1.", do="dropout=0.1"
            )
        if self.targets is not None and not isinstance(self.targets, str):
            raise errors.OptionError(
                f"targets={self.targets!r}", why="Targets are one regular expression.", do=r'targets=r".*\.qkv"'
            )
        groups: object = self.also_train
        if isinstance(groups, tuple | list) and all(isinstance(group, str) for group in groups):
            groups = "+".join(groups)
        if not isinstance(groups, str):
            raise errors.OptionError(f"also_train={groups!r}", why="It is no list of groups.", do='also_train="norms"')
        object.__setattr__(self, "also_train", groups)  # one spelling, so that equal options compare equal


@dataclass(frozen=True)
class NormsOptions:
    """What a ``norms`` adapter trains.

    Attributes:
        preset: Groups of the family (``model.groups()``) joined by ``+``. ``norms`` (every
            normalisation layer) and ``all`` fit every family. The published sets are :data:`PRESETS`.

    Raises:
        OptionError: ``preset`` is not a string.
    """

    preset: str = field(
        default="norms+st+s0+s1+s2",
        metadata={"help": "groups of parameters joined by +; norms and all fit every family"},
    )

    def __post_init__(self) -> None:
        if not isinstance(self.preset, str) or not self.preset:
            raise errors.OptionError(
                f"preset={self.preset!r}", why="A preset is a string.", exists=", ".join(PRESETS[:3])
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
