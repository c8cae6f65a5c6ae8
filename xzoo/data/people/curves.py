"""The lines of a face on the canvas: what the picture draws and the landmarks mark.

Every function takes the traits of a person and of a moment (``traits``), of any
shapes that broadcast with the coordinates, and returns template pixels: y downwards,
both halves of a face alike. There is one formula for each feature, so that the
points of ``landmarks`` cannot drift from the drawing in ``surface``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xzoo.data.people.traits import Values

__all__ = [
    "bell",
    "brow",
    "chin",
    "half_width",
    "lids",
    "mouth",
    "mouth_gap",
    "mouth_inner",
    "mouth_reach",
    "nose",
    "outline",
]


def bell(distance: Tensor) -> Tensor:
    """Return exp(-distance^2 / 2), at least e^-40.

    That is far below the rounding of what it is added to. Farther out the numbers would be denormal, and processors
    take a hundred times as long for each of those.
    """
    return distance.square().mul_(-0.5).clamp_(min=-40.0).exp_()


def lids(p: Values, m: Values, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the upper and the lower lid, the tilt they share and the bow between the corners.

    Args:
        p: The person.
        m: The moment.
        u: Distance from the centre of the eye, outwards; the corners are at ``eye_width``.
    """
    bow = 1.0 - (u / p["eye_width"]).square()
    smile = m["smile"].clamp(min=-0.6)
    openness = (1.0 - 0.55 * m["lids"].abs() - 0.12 * smile + 0.1 * m["brow_raise"]).clamp(0.06, 1.15)
    tilt = -p["eye_slant"] * u
    upper = tilt - p["eye_height"] * openness * (bow + 0.12 * u / p["eye_width"] * bow)
    lower = tilt + p["eye_height"] * 0.62 * (0.6 + 0.4 * openness) * bow
    return upper, lower, tilt, bow


def brow(p: Values, m: Values, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the middle of the brow, half its thickness, and how much of it is left towards its ends.

    Args:
        p: The person.
        m: The moment.
        t: Along the brow: 0 at its inner, 1 at its outer end.
    """
    line = (
        p["brow_y"]
        - 1.7 * m["brow_raise"].clamp(min=-0.8)
        - p["brow_arch"] * 4.0 * t * (1.0 - t)
        - 20.0 * p["brow_slope"] * (t - 0.4)
    ) + m["frown"].clamp(min=0.0) * 2.0 * (1.0 - t)
    ends = (t * 6.0 + 0.6).clamp(0.0, 1.0) * ((1.0 - t) * 5.0 + 0.2).clamp(0.0, 1.0)
    return line, p["brow_thickness"] * (1.25 - 0.75 * t) * ends, ends


def mouth_gap(m: Values) -> Tensor:
    """Return how far the jaw hangs."""
    return (m["jaw_open"] * 5.0).clamp(min=0.0)


def mouth_reach(p: Values, m: Values) -> Tensor:
    """Return half the width of the mouth as it is held."""
    return p["mouth_width"] + 1.7 * m["smile"].clamp(min=-0.6) - 2.2 * m["pucker"].clamp(min=0.0)


def mouth(p: Values, m: Values, gap: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the line of the upper lip's lower edge, the outer edges above and below, the opening, and the fullness.

    Args:
        p: The person.
        m: The moment.
        gap: How far the jaw hangs (``mouth_gap``).
        x: Column; the corners are at ``mouth_reach`` on both sides.
    """
    smile = m["smile"].clamp(min=-0.6)
    s = (x / mouth_reach(p, m)).square()
    full = (1.0 - s).clamp(min=0.0)
    line = p["mouth_y"] + (p["mouth_curve"] - 2.3 * smile) * (s - 0.35)
    top = line - p["lip_upper"] * full + p["lip_bow"] * bell(x / 2.0) * full
    opening = gap * full
    bottom = line + opening + (p["lip_lower"] - 0.4 * smile) * full
    return line, top, bottom, opening, full


def mouth_inner(full: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the dark between the lips reaches above ``line`` and below ``line + opening``."""
    root = full.sqrt()
    return 0.55 * root, 0.35 * root


Spot = tuple[Tensor, Tensor]
"""x and y; for a feature with two sides, x is the distance from the midline."""


class Nose(NamedTuple):
    """Where the parts of a nose are: the bumps of its ridge and wings, the shadows of its holes and below it."""

    root: Spot
    bridge: Spot
    tip: Spot
    wing: Spot
    nostril: Spot
    base: Spot


def nose(p: Values) -> Nose:
    """Return where the parts of the nose are."""
    length, width, shift = p["nose_length"], p["nose_width"], p["nose_shift"]
    return Nose(
        root=(shift * 0.3, torch.ones_like(length)),
        bridge=(shift * 0.7, length * 0.55),
        tip=(shift, length - 2.0),
        wing=(width * 0.75, length - 0.5),
        nostril=(width * 0.42, length + 2.4),
        base=(torch.zeros_like(length), length + 4.5),
    )


def chin(p: Values, gap: Tensor) -> Tensor:
    """Return the lower end of the face, with the jaw as it hangs."""
    return p["chin_y"] + 0.7 * gap


def half_width(p: Values, lowest: Tensor, y: Tensor) -> Tensor:
    """Return half the width of the face at each height, without ears; negative outside of it."""
    half = outline(
        y, p["crown_y"], p["wide_y"], lowest, p["face_width"], p["crown_square"], p["jaw_square"], p["jaw_taper"]
    )
    return half - p["cheek_hollow"] * bell((y - 33.0) / 9.0)


def outline(
    y: Tensor, top: Tensor, wide: Tensor, bottom: Tensor, width: Tensor, upper: Tensor, lower: Tensor, taper: Tensor
) -> Tensor:
    """Return the half width of a head-like outline at each height; negative outside."""
    above = ((wide - y) / (wide - top)).clamp(0.0, 1.25)
    below = ((y - wide) / (bottom - wide)).clamp(0.0, 1.25)
    crown = 1.0 - above**upper
    jaw = 1.0 - below**lower
    root = crown.abs().sqrt() * crown.sign() * jaw.abs().sqrt() * jaw.sign()
    return width * torch.where((crown < 0) | (jaw < 0), -root.abs(), root) * (1.0 - taper * below)
