"""What each spectral band sees of a surface: reflected light or own heat.

VIS is albedo times light. LWIR (8 to 14 um) is emission alone: skin emits
like a black body (emissivity 0.98: Steketee, *Phys. Med. Biol.* 18, 1973), so
the picture is the temperature of what faces the camera. Warm inner eye
corners, a nose cooled by breath, cool hair and brows, cold opaque spectacle
lenses and a personal vascular pattern follow the thermal face literature
(Buddharaju et al., *IEEE TPAMI* 29(4), 2007; Ring and Ammer, *Physiol. Meas.*
33, 2012).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xzoo.data.people.surface import LAYERS, Bump, Canvas, Surface, bumps, gaussians
from xzoo.data.people.traits import Values

__all__ = ["heat", "reflection"]


def reflection(who: Values, now: Values, face: Surface, c: Canvas, light: Tensor) -> Tensor:
    """Return what a colour camera sees, ``[B, 4, G, G]``: linear red, green, blue and coverage.

    Args:
        who: Lasting traits.
        now: The moment.
        face: The surface of both.
        c: Its canvas.
        light: Standard normal numbers ``[B, 12]``: where the light is and what it is like.
    """
    slope_x, slope_y, facing = _slopes(face.height, c.step)
    lx, ly = 0.75 * light[:, 0, None, None], -0.25 + 0.45 * light[:, 1, None, None]
    lz = (0.75 + 0.2 * light[:, 2, None, None]).clamp(min=0.3)
    length = (lx * lx + ly * ly + lz * lz).sqrt()
    lambert = (lz - slope_x * lx - slope_y * ly).mul_(facing / length).clamp_(min=0.0)
    ambient = (0.42 + 0.13 * light[:, 3, None, None]).clamp(0.15, 0.75)
    shade = (ambient * (0.55 + 0.45 * facing) + (1.15 - ambient) * lambert).mul_(1.0 - face.hollows)
    gloss = (
        lambert.square()
        .square_()
        .square_()
        .square_()
        .mul_(0.10 + 0.05 * light[:, 4, None, None])
        .mul_(face.layers[:, LAYERS.index("skin")])
    )

    colours = _colours(who, light)
    rgb = torch.bmm(colours, face.layers.flatten(2)).view(-1, 3, *face.height.shape[1:])
    hairy = face.layers[:, LAYERS.index("hair")] + face.layers[:, LAYERS.index("back_hair")]
    shade = shade * (1.0 + 0.35 * face.strands * hairy) * (1.0 + _marks(who, c))
    tint = 1.0 + 0.07 * light[:, 5:8, None, None] * torch.tensor([1.0, 0.3, 1.0], device=light.device)[:, None, None]
    seen = rgb * shade[:, None] * tint + gloss[:, None]
    seen += (0.10 * face.lenses * facing)[:, None] * light[:, 8, None, None, None].clamp(min=0.0)
    return torch.cat([seen, face.layers.sum(1, keepdim=True)], dim=1)


def heat(who: Values, now: Values, face: Surface, c: Canvas, weather: Tensor) -> Tensor:
    """Return what a thermal camera sees, ``[B, 2, G, G]``: kelvin above 0 C times coverage, and coverage.

    Args:
        who: Lasting traits.
        now: The moment.
        face: The surface of both.
        c: Its canvas.
        weather: Standard normal numbers ``[B, 12]``: clothes, breath, session.
    """
    warm = who["skin_warmth"] + now["warmth"]
    zero = torch.zeros_like(warm)
    hair = -who["hair_cold"].clamp(min=1.5) - 0.5 * weather[:, :1]
    above = {
        "glasses": -6.5 + weather[:, 1:2],
        "hair": hair,
        "brows": -who["brow_cold"],
        "beard": -1.6 - 0.4 * weather[:, 2:3],
        "lashes": zero - 0.3,
        "pupils": zero - 0.5,
        "irises": zero - 0.5,
        "scleras": zero - 0.4,
        "teeth": zero - 1.0,
        "mouth": 0.5 * weather[:, 3:4],
        "lips": who["lip_warm"],
        "skin": zero,
        "clothes": -5.0 + 1.3 * weather[:, 4:5],
        "neck": zero + 0.5 + 0.3 * weather[:, 5:6],
        "back_hair": hair - 0.5,
    }
    levels = torch.cat([above[name] for name in LAYERS], dim=1)[:, None]
    seen = torch.bmm(levels, face.layers.flatten(2)).view(-1, *face.height.shape[1:])
    skin = face.layers[:, LAYERS.index("skin")]
    _, _, facing = _slopes(face.height, c.step)
    # Emissivity falls at grazing angles, and the sides of the head are cooler.
    seen += skin * (_skin_heat(who, now, c, weather) - 2.2 * (1.0 - facing).square())
    hairy = face.layers[:, LAYERS.index("hair")] + face.layers[:, LAYERS.index("back_hair")]
    seen += 1.3 * face.strands * hairy
    seen.lerp_((-6.5 + weather[:, 1])[:, None, None].expand_as(seen), face.lenses)
    cover = face.layers.sum(1).lerp_(torch.ones_like(face.lenses), face.lenses)
    return torch.stack([seen + warm[:, :, None] * cover, cover], dim=1)


def _skin_heat(who: Values, now: Values, c: Canvas, weather: Tensor) -> Tensor:
    chill = (1.0 + 0.3 * now["nose_chill"]).clamp(min=0.1)
    nose = who["nose_length"]
    middle: list[Bump] = [
        (0.0, nose - 2.0, who["nose_width"] * 0.62, 5.5, -who["nose_cold"] * chill),
        (0.0, nose * 0.4, 4.0, 6.0, -0.25 * who["nose_cold"] * chill),
        (0.0, -24.0, 22.0, 11.0, who["forehead_warm"]),
        (0.0, who["chin_y"] - 7.0, 10.0, 7.0, -0.5),
    ]
    sides: list[Bump] = [
        (who["eye_x"] - who["eye_width"] - 0.5, 1.0, 2.4, 2.3, who["canthus_warm"]),
        (who["eye_x"], -1.0, 9.0, 4.5, 0.7),
        (25.0, 20.0, 9.0, 10.0, -who["cheek_cold"] + now["flush"]),
        (who["nose_width"] * 0.42, nose + 2.4, 2.0, 1.6, 0.9 * weather[:, 6:7]),
        (43.0, 8.0, 4.0, 11.0, -who["ear_cold"]),
    ]
    field = bumps(c, middle, sides)
    cx, cy, size, amplitude = who["pattern"].view(len(chill), 4, -1, 1).unbind(1)
    width = 4.2 * torch.exp(0.35 * size)
    field += gaussians(c, 20.0 * cx, 8.0 + 27.0 * cy, width, width * 1.15, 0.6 * amplitude)
    for start, lean, bend, phase, strength in _vessels(who):
        course = start + lean * (c.y + 30.0) + bend * torch.sin(0.13 * c.y + phase)
        field += (
            (1.0 - (c.x - course).abs() / 3.2).clamp_(min=0.0) * strength * torch.exp(-0.5 * ((c.y + 24.0) / 12.0) ** 2)
        )
    return field


def _vessels(who: Values) -> list[tuple[Tensor, ...]]:
    rows = who["vessels"].view(-1, 5, 5, 1, 1)
    return [
        (
            16.0 * rows[:, 0, k],
            0.35 * rows[:, 1, k],
            2.5 * rows[:, 2, k],
            3.0 * rows[:, 3, k],
            0.3 + 0.25 * rows[:, 4, k],
        )
        for k in range(5)
    ]


def _marks(who: Values, c: Canvas) -> Tensor:
    cx, cy, size, depth = who["marks"].view(-1, 4, 8, 1).unbind(1)
    # Four small dark spots and four wide patches of another tone.
    small = torch.arange(8, device=size.device)[None, :, None] < 4
    width = torch.where(small, 0.9 + 0.25 * size.abs(), 8.0 + 2.0 * size)
    amplitude = torch.where(small, -0.45 * (depth > 0.2), 0.06 * depth)
    return gaussians(c, 19.0 * cx, 10.0 + 24.0 * cy, width, width, amplitude)


def _slopes(height: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    slope_x, slope_y = torch.zeros_like(height), torch.zeros_like(height)
    torch.sub(height[:, :, 2:], height[:, :, :-2], out=slope_x[:, :, 1:-1])
    torch.sub(height[:, 2:], height[:, :-2], out=slope_y[:, 1:-1])
    slope_x.mul_(0.5 / step).clamp_(-3.0, 3.0)
    slope_y.mul_(0.5 / step).clamp_(-3.0, 3.0)
    facing = slope_x.square().add_(slope_y.square()).add_(1.0).rsqrt_()
    return slope_x, slope_y, facing


def _colours(who: Values, light: Tensor) -> Tensor:
    def colour(*rgb: float) -> Tensor:
        return torch.tensor(rgb, device=light.device)

    tone = torch.sigmoid(1.5 * who["melanin"] - 0.5)
    skin = colour(0.86, 0.66, 0.55) * torch.exp(-tone * colour(1.15, 1.45, 1.65))
    skin = skin * (1.0 + who["redness"] * colour(0.02, -0.05, -0.04))
    dark = torch.sigmoid(1.4 * who["hair_dark"] + 1.6 * who["melanin"] + 0.8)
    hair = colour(0.66, 0.50, 0.31).lerp(colour(0.05, 0.04, 0.035), dark) * (
        1.0 + who["hair_red"].clamp(min=0.0) * (1.0 - dark) * colour(0.25, -0.2, -0.35)
    )
    grey = torch.sigmoid(2.2 * (who["age"] + 0.6 * who["hair_grey"]) - 2.6)
    hair = hair.lerp(colour(0.62, 0.61, 0.60).expand_as(hair), grey)
    iris_dark = torch.sigmoid(1.5 * who["iris_dark"] + 1.8 * who["melanin"] + 0.6)
    iris = colour(0.36, 0.46, 0.55).lerp(colour(0.14, 0.08, 0.05), iris_dark)
    lips = skin * (1.0 + (0.6 + 0.3 * who["lip_colour"]) * colour(0.02, -0.28, -0.22))
    clothes = (0.4 + 0.22 * light[:, 9:12]).clamp(0.03, 0.95)
    beard = skin.lerp(hair, 0.75)
    table = {
        "glasses": hair.lerp(colour(0.10, 0.10, 0.11).expand_as(hair), 0.8),
        "hair": hair,
        "brows": skin.lerp(hair, 0.85) * 0.85,
        "beard": beard,
        "lashes": skin * 0.25,
        "pupils": skin * 0.0 + 0.02,
        "irises": iris,
        "scleras": skin * 0.15 + 0.60,
        "teeth": skin * 0.05 + 0.72,
        "mouth": skin * colour(0.28, 0.12, 0.12),
        "lips": lips,
        "skin": skin,
        "clothes": clothes,
        "neck": skin * 0.78,
        "back_hair": hair * 0.7,
    }
    return torch.stack([table[name] for name in LAYERS], dim=2)
