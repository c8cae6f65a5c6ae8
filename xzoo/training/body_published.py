"""What *Multi-Domain Biometric Recognition using Body Embeddings* prints (arXiv 2503.10931), as counts.

The paper prints rank-1 in percent. The counts are the smallest that give its figures: body rows are multiples of 1/63,
face rows of 1/32 (other probes), and those of Table IV imply all 251 subjects.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DATA", "LLCM", "MINING", "PUBLISHED", "SUBJECTS", "TITLES", "TRIALS", "Count", "published"]

TRIALS = 63
"""Probe templates of each infrared band."""

DATA = "IJB-MDF, VIS at 500 m enrolled, infrared at 30 m searched"
BANDS = ("SWIR", "MWIR", "LWIR")

TITLES = {
    "1": "body and face, as they come and fine-tuned",
    "2": "LLCM, against other methods",
    "3": "which part tokens enter",
    "4": "every band in every other, by the network that saw VIS alone",
    "5": "bands that are trained on",
    "6": "how batches are drawn",
    "7": "training subjects, all weights or low-rank updates",
    "mining": "where the hardest partners of batches come from",
}


class Count(NamedTuple):
    """Probes whose mate came first, of all probes."""

    hits: int
    trials: int


def _row(*hits: int, trials: int = TRIALS) -> dict[str, Count]:
    return {band: Count(count, trials) for band, count in zip(BANDS, hits, strict=True)}


SUBJECTS = (8, 16, 32, 48, 96)
"""Training subjects of Table VII."""

PUBLISHED: dict[str, dict[str, dict[str, Count]]] = {
    "1": {
        "face, as it came": _row(28, 0, 1, trials=32),
        "face, fine-tuned": _row(19, 5, 5, trials=32),
        "body, as it came": _row(24, 6, 7),
        "body, fine-tuned": _row(49, 49, 49),
    },
    "3": {
        "face + torso + lower": _row(49, 49, 49),
        "torso + lower": _row(48, 46, 44),
        "face + lower": _row(50, 48, 42),
        "face + torso": _row(50, 47, 46),
    },
    "4": {
        "VIS": {"SWIR": Count(38, 141), "MWIR": Count(7, 140), "LWIR": Count(5, 141)},
        "SWIR": {"VIS": Count(60, 141), "MWIR": Count(32, 249), "LWIR": Count(26, 251)},
        "MWIR": {"VIS": Count(16, 140), "SWIR": Count(76, 249), "LWIR": Count(238, 249)},
        "LWIR": {"VIS": Count(16, 141), "SWIR": Count(68, 251), "MWIR": Count(239, 249)},
    },
    "5": {"VIS": _row(24, 6, 7), "VIS + SWIR": _row(50, 22, 16), "VIS + SWIR + MWIR + LWIR": _row(49, 49, 49)},
    "6": {"random": _row(50, 46, 45), "domain-aware": _row(49, 49, 49)},
    "7": {
        "8, all weights": _row(31, 21, 22),
        "8, LoRA": _row(35, 25, 24),
        "16, all weights": _row(39, 30, 26),
        "16, LoRA": _row(41, 30, 31),
        "32, all weights": _row(39, 38, 31),
        "32, LoRA": _row(42, 45, 40),
        "48, all weights": _row(43, 41, 37),
        "48, LoRA": _row(45, 38, 41),
        "96, all weights": _row(52, 45, 42),
        "96, LoRA": _row(47, 43, 42),
    },
}
"""By table, row and probe band; rows of Table IV are gallery bands."""

LLCM: dict[str, tuple[float, float, float, float, str]] = {
    "DEEN": (62.5, 65.8, 54.9, 62.9, "A"),
    "WRIM-Net": (67.0, 69.2, 58.4, 64.8, "A?"),
    "IRM, single task": (64.9, 64.5, 66.2, 66.6, "D"),
    "IDKL": (70.4, 55.0, 62.5, 49.3, "C"),
    "MixER": (70.8, 56.6, 65.8, 51.1, "C?"),
    "the paper's": (70.5, 72.9, 64.1, 70.3, "A?"),
}
"""Table II in percent: VIS to IR rank-1 and mAP, IR to VIS rank-1 and mAP, and the protocol they were taken by as far
as code tells (``?``: inferred). Figures of different protocols are not comparable."""

MINING = {"farthest positive of another band": (92.0, 88.0), "nearest negative of the same band": (87.0, 45.0)}
"""Percent of anchors at the start and at the end of training; the paper names no chance level."""


def published(table: str, row: str, column: str) -> Count | None:
    """Return a printed count, or None where the paper has none."""
    return PUBLISHED.get(table, {}).get(row, {}).get(column)
