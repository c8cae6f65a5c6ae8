"""The landmarks of a face on the canvas, and where a picture shows them.

The 68 points follow iBUG 300-W (Sagonas et al., *ICCV Workshops* 2013), the
54 points SF-TL54 (Kuzdeuov et al., *IEEE TIFS* 17, 2022), the five points the
ArcFace template.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xzoo.data.people import curves
from xzoo.data.people.traits import Values

__all__ = ["FLIP54", "FLIP68", "POINTS54", "five", "landmarks"]

POINTS54 = (*range(49), 51, 54, 57, 62, 66)
"""Which of the 68 points are the 54 of SF-TL54, in its order."""

FLIP68 = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *(67, 66, 65),
)
"""Which point each of the 68 becomes in a mirrored picture."""

FLIP54 = tuple(POINTS54.index(FLIP68[i]) for i in POINTS54)
"""Which point each of the 54 becomes in a mirrored picture."""

_JAW_TOP = 1.0
_JAW_STEPS = 96


def landmarks(who: Values, now: Values) -> Tensor:
    """Return the 68 points on the canvas, ``[B, 68, 2]`` in template pixels from the point between the eyes.

    Jaw: nine points at equal distances along half the outline, from the height of the eyes to the chin, and
    their mirror images. Brows: along the middle of the hair. Nose: three steps from its root to its tip; then
    the lower ends of the wings, the nostrils' lower edges and the base. Eyes: corners, and the lids at thirds
    of the width. Mouth: corners, the edges of the lips at the bow, at its peaks and between these and the
    corners; inside, where the lips meet or part.

    Args:
        who: From ``person``.
        now: From ``moment``.
    """
    jaw = _jaw(who, now)
    brows, eyes = _brows(who, now), _eyes(who, now)
    return torch.cat([_mirrored(jaw[:, :8]), jaw.flip(1), *brows, _nose(who), *eyes, _mouth(who, now)], dim=1)


def five(points: Tensor) -> Tensor:
    """Return the middles of the eyes, the tip of the nose and the corners of the mouth, ``[B, 5, 2]``.

    Args:
        points: The 68 points.
    """
    eyes = [points[:, first : first + 6].mean(1, keepdim=True) for first in (36, 42)]
    return torch.cat([*eyes, points[:, [30, 48, 54]]], dim=1)


def _mirrored(points: Tensor) -> Tensor:
    return points * torch.tensor([-1.0, 1.0], device=points.device)


def _jaw(who: Values, now: Values) -> Tensor:
    """Return nine points from the height of the eyes down to the chin, of the half with positive x."""
    lowest = curves.chin(who, curves.mouth_gap(now))
    # Dense where the outline turns: towards the chin.
    turn = torch.linspace(0.0, torch.pi / 2, _JAW_STEPS, device=lowest.device).sin()[None]
    y = _JAW_TOP + (lowest - _JAW_TOP) * turn
    x = curves.half_width(who, lowest, y).clamp(min=0.0)
    x = torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], dim=1)
    length = (x.diff(dim=1).square() + y.diff(dim=1).square()).sqrt().cumsum(1)
    length = torch.cat([torch.zeros_like(length[:, :1]), length], dim=1)
    wanted = length[:, -1:] * torch.linspace(0.0, 1.0, 9, device=x.device)[None]
    after = torch.searchsorted(length, wanted.contiguous()).clamp(1, _JAW_STEPS - 1)
    start, end = length.gather(1, after - 1), length.gather(1, after)
    share = ((wanted - start) / (end - start)).clamp(0.0, 1.0)
    return torch.stack([line.gather(1, after - 1).lerp(line.gather(1, after), share) for line in (x, y)], dim=2)


def _brows(who: Values, now: Values) -> tuple[Tensor, Tensor]:
    t = torch.tensor([[0.06, 0.28, 0.50, 0.72, 0.94]], device=who["eye_x"].device)
    line, _, _ = curves.brow(who, now, t)
    brow = torch.stack([who["brow_inner"] + t * (who["brow_outer"] - who["brow_inner"]), line], dim=2)
    return _mirrored(brow.flip(1)), brow


def _nose(who: Values) -> Tensor:
    parts = curves.nose(who)
    root = torch.cat(parts.root, dim=1)
    tip = torch.cat(parts.tip, dim=1)
    steps = torch.arange(4, device=tip.device)[None, :, None] / 3.0
    ridge = root[:, None].lerp(tip[:, None], steps)
    (wing_x, wing_y), (hole_x, hole_y) = parts.wing, parts.nostril
    below = torch.stack(
        [
            torch.cat([wing_x + 1.4, wing_y + 1.9], dim=1),
            torch.cat([hole_x, hole_y + 1.1], dim=1),
        ],
        dim=1,
    )
    base = torch.cat(parts.base, dim=1)[:, None]
    return torch.cat([ridge, _mirrored(below), base, below.flip(1)], dim=1)


def _eyes(who: Values, now: Values) -> tuple[Tensor, Tensor]:
    third = torch.tensor([[1.0, 1 / 3, -1 / 3, -1.0, -1 / 3, 1 / 3]], device=who["eye_x"].device)
    u = third * who["eye_width"]
    upper, lower, _, _ = curves.lids(who, now, u)
    lid = torch.cat([upper[:, :4], lower[:, 4:]], dim=1)
    outwards = torch.stack([who["eye_x"] + u, lid], dim=2)
    # The other eye starts at its inner corner.
    return _mirrored(outwards), outwards[:, [3, 2, 1, 0, 5, 4]]


def _mouth(who: Values, now: Values) -> Tensor:
    reach, gap = curves.mouth_reach(who, now), curves.mouth_gap(now)

    def edges(*shares: float) -> tuple[Tensor, ...]:
        x = reach * torch.tensor([shares], device=reach.device)
        return x, *curves.mouth(who, now, gap, x)

    x, line, top, *_ = edges(-1.0, -0.64, -0.22, 0.0, 0.22, 0.64, 1.0)
    upper = torch.stack([x, torch.cat([line[:, :1], top[:, 1:-1], line[:, -1:]], dim=1)], dim=2)
    x, _, _, bottom, *_ = edges(0.64, 0.30, 0.0, -0.30, -0.64)
    lower = torch.stack([x, bottom], dim=2)
    x, line, _, _, _, full = edges(-0.88, -0.30, 0.0, 0.30, 0.88)
    above, _ = curves.mouth_inner(full)
    parts = torch.stack([x, torch.cat([line[:, :1], (line - above)[:, 1:-1], line[:, -1:]], dim=1)], dim=2)
    x, line, _, _, opening, full = edges(0.30, 0.0, -0.30)
    _, below = curves.mouth_inner(full)
    meets = torch.stack([x, line + opening + below], dim=2)
    return torch.cat([upper, lower, parts, meets], dim=1)
