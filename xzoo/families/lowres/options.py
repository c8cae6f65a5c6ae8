"""Options of the low-resolution family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["STUDENTS", "VARIANTS", "Options", "Variant"]


class Variant(NamedTuple):
    """What a network has where the user does not say otherwise."""

    input_size: int
    embedding: int


VARIANTS: dict[str, Variant] = {
    "bd_student": Variant(16, 256),
    "bd_student_512": Variant(16, 512),
    "mobilefacenet": Variant(112, 128),
}

STUDENTS: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "bd_student": (((16, 3),), ((32, 3), (32, 3), (32, 3)), ((64, 3),), ((96, 3), (96, 3))),
    "bd_student_512": (((16, 3),), ((32, 3), (32, 3)), ((64, 3), (64, 3), (64, 1)), ((128, 3),)),
}
"""Width and kernel of each convolution, by stage; between stages the map is halved."""


@dataclass(frozen=True)
class Options:
    """What a low-resolution network is built from.

    Attributes:
        variant: which network
        input_size: side of its square input in pixels; left out, 16 for the students and 112 for MobileFaceNet
        embedding: length of the embedding; left out, the design's own: 256, 512 and 128
    """

    variant: Literal["bd_student", "bd_student_512", "mobilefacenet"] = field(metadata={"choices": tuple(VARIANTS)})
    input_size: int | None = field(default=None, metadata={"min": 8, "max": 256})
    embedding: int | None = field(default=None, metadata={"min": 1, "max": 65536})
