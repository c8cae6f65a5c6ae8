"""Options of the landmark family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BACKBONES", "HEADS", "SETS", "STRIDES", "Options"]

BACKBONES = (
    "mobilenetv3_small_050",
    "mobilenetv3_small_100",
    "lcnet_050",
    "mobilenetv2_050",
    "mobilenetv2_100",
    "edgenext_xx_small",
    "resnet50",
    "hrnet_w18",
)
"""Backbones by their names in timm."""

HEADS = ("coord", "gaussian", "heatmap")
SETS = (5, 54, 68, 70, 478)
STRIDES = (32, 16)


@dataclass(frozen=True)
class Options:
    """What a landmark network is built from.

    Attributes:
        backbone: name in timm
        head: ``coord`` regresses x and y, ``gaussian`` also the logarithm of a deviation, ``heatmap`` takes the mean
            and the spread of a map of each point
        points: how many landmarks: the convention (see ``xzoo.families.landmark.points``)
        input_size: side of the square input in pixels
        stride: pixels across one cell of the last map; 16 (MobileNets and LCNets) sees places twice as finely
    """

    backbone: str = field(default="mobilenetv3_small_100", metadata={"choices": BACKBONES})
    head: Literal["coord", "gaussian", "heatmap"] = field(default="heatmap", metadata={"choices": HEADS})
    points: int = field(default=68, metadata={"choices": SETS})
    input_size: int = field(default=112, metadata={"min": 64, "max": 512})
    stride: int = field(default=32, metadata={"choices": STRIDES})
