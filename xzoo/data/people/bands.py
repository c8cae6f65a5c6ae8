"""What each spectral band sees of a person: reflected light, own heat, or both.

===== ========== ==================================================================
band  um         what it shows
===== ========== ==================================================================
VIS   0.4 - 0.7  reflected light: melanin and blood colour the skin
NIR   0.7 - 1.0  reflected light of a lamp beside the camera: skin bright and even
SWIR  1.4 - 1.7  reflected light: water makes skin dark, dry hair and cloth stay bright
MWIR  3 - 5      own heat, and a tenth of reflected light
LWIR  8 - 14     own heat alone
===== ========== ==================================================================

Reflectance of skin by band follows measured spectra (Cooksey, Allen and Tsai,
*J. Res. NIST* 122, 2017): melanin and haemoglobin absorb below 0.7 um, hardly
above; beyond 1.4 um water leaves less than a tenth, nearly the same for all
skin tones (Nunez and Mendenhall, *IGARSS* 2008, use just that to find skin).
Most textile dyes are clear in the near infrared, so colour and print fade
there and are gone beyond it. Skin emits nearly as a black body: emissivity
0.98 in LWIR (Steketee, *Phys. Med. Biol.* 18, 1973), a little less in MWIR.
Spectacle glass is clear up to about 2.5 um, lets a part of MWIR through and is
opaque in LWIR, where it shows its own temperature. Warm inner eye corners, a
nose cooled by breath, cool hair and brows and a personal vascular pattern
follow the thermal face literature (Buddharaju et al., *IEEE TPAMI* 29(4), 2007;
Ring and Ammer, *Physiol. Meas.* 33, 2012). The amounts, where no source is
named, are our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.curves import bell
from xzoo.data.people.draws import fields
from xzoo.data.people.surface import LAYERS, Bump, Canvas, Surface, bumps, gaussians
from xzoo.data.people.traits import Values

__all__ = ["REFLECTED", "SPECTRA", "heat", "radiance", "reflection"]

SPECTRA = ("VIS", "NIR", "SWIR", "MWIR", "LWIR")
"""The bands in which the generator sees people."""

REFLECTED = ("VIS", "NIR", "SWIR")
"""The bands of reflected light."""

_LAMP = {"VIS": (0.75, 0.45, 0.42), "NIR": (0.30, 0.20, 0.30), "SWIR": (0.60, 0.40, 0.40), "MWIR": (0.8, 0.5, 0.3)}
"""By band: spread of the light's direction across and down, and the share that comes from everywhere."""

_MELANIN = {"VIS": 1.0, "NIR": 0.3, "SWIR": 0.08}
"""How much spots and patches of the skin show, in units of their contrast in VIS."""

_TEXTURE = {"VIS": 1.0, "NIR": 0.55, "SWIR": 0.8}
LENS_HEAT = {"MWIR": 0.7, "LWIR": 1.0}
_MWIR_REFLECTS = 1.6  # kelvin between shade and full light: a tenth of an indoor scene


def radiance(who: Values, now: Values, face: Surface, c: Canvas, scene: Tensor, spectrum: str) -> Tensor:
    """Return what reaches a camera of the band, ``[B, C + 1, G, G]``, the last channel coverage.

    Reflective bands are linear light times coverage (three channels in VIS, one
    elsewhere); emissive bands are kelvin above 0 C times coverage.

    Args:
        who: Lasting traits.
        now: The moment.
        face: The surface of both.
        c: Its canvas.
        scene: Standard normal numbers ``[B, 12]``: the light and its colour, or the weather.
        spectrum: One of ``SPECTRA``.
    """
    if spectrum in REFLECTED:
        return reflection(who, now, face, c, scene, spectrum)
    return heat(who, now, face, c, scene, spectrum)


def reflection(who: Values, now: Values, face: Surface, c: Canvas, light: Tensor, spectrum: str = "VIS") -> Tensor:
    """Return the light that a reflective band gets from the face; see ``radiance``."""
    lambert, facing = _lambert(face, c, light, spectrum)
    spread = _LAMP[spectrum][2]
    ambient = (spread + 0.13 * light[:, 3, None, None]).clamp(0.12, 0.75)
    shade = (ambient * (0.55 + 0.45 * facing) + (1.15 - ambient) * lambert).mul_(1.0 - face.hollows)
    wet = (0.10 + 0.05 * light[:, 4, None, None] + 0.08 * now["sweat"].clamp(min=0.0)[:, :, None]).clamp(min=0.02)
    skin = face.layers[:, LAYERS.index("skin")]
    gloss = lambert.square().square_().square_().square_().mul_(wet).mul_(skin)

    albedo = _albedo(who, now, spectrum)
    seen = torch.bmm(albedo, face.layers.flatten(2)).view(len(light), -1, *face.height.shape[1:])
    hairy = _hairy(face)
    tone = fields(who["windows"][:, 0:4], c.x.shape[-1])
    grain = (_TEXTURE[spectrum] * who["texture"].clamp(min=0.01))[:, :, None] * skin + (0.22 * hairy)
    weave = 0.05 * face.layers[:, LAYERS.index("mask")] + 0.12 * face.layers[:, LAYERS.index("hat")]
    shade = shade * (1.0 + 0.35 * face.strands * hairy + (grain + weave) * tone)
    shade *= 1.0 + _MELANIN[spectrum] * _marks(who, c)
    if spectrum == "VIS":
        warm = torch.tensor([1.0, 0.3, 1.0], device=light.device)
        tint = 1.0 + 0.07 * light[:, 5:8, None, None] * warm[:, None, None]
        seen = seen * shade[:, None] * tint + gloss[:, None]
    else:
        seen = (seen * shade[:, None]).add_((0.5 if spectrum == "SWIR" else 1.0) * gloss[:, None])
        if spectrum == "NIR":
            # Veins under the skin absorb here and show as faint dark lines (Wang et al., 2008).
            seen -= (0.02 * skin * _courses(who, c))[:, None]
    seen += (0.10 * face.lenses * facing)[:, None] * light[:, 8, None, None, None].clamp(min=0.0)
    return torch.cat([seen, face.layers.sum(1, keepdim=True)], dim=1)


def heat(who: Values, now: Values, face: Surface, c: Canvas, weather: Tensor, spectrum: str = "LWIR") -> Tensor:
    """Return the temperature that an emissive band sees of the face; see ``radiance``."""
    warm = who["skin_warmth"] + now["warmth"]
    zero = torch.zeros_like(warm)
    hair = -who["hair_cold"].clamp(min=1.5) - 0.5 * weather[:, :1]
    cloth = -5.0 + 1.0 * weather[:, 4:5] + 0.8 * now["cloth_cold"]
    above = {
        "mask": -2.6 + 1.2 * weather[:, 3:4],  # breath warms and cools it
        "glasses": -6.5 + weather[:, 1:2],
        "hat": -5.5 + 1.2 * now["cloth_cold"],
        "hair": hair,
        "brows": -who["brow_cold"],
        "beard": -1.6 - 0.4 * weather[:, 2:3],
        "lashes": zero - 0.3,
        "pupils": zero - 0.5,
        "irises": zero - 0.5,
        "scleras": zero - 0.4,
        "teeth": zero - 1.0,
        "mouth": 0.8 * weather[:, 3:4],
        "lips": who["lip_warm"],
        "skin": zero,
        "clothes": cloth,
        "neck": zero + 0.5 + 0.3 * weather[:, 5:6],
        "back_hair": hair - 0.5,
    }
    levels = torch.cat([above[name] for name in LAYERS], dim=1)[:, None]
    seen = torch.bmm(levels, face.layers.flatten(2)).view(-1, *face.height.shape[1:])
    skin = face.layers[:, LAYERS.index("skin")]
    # Emissivity falls at grazing angles, and the sides of the head are cooler.
    lambert, facing = _lambert(face, c, weather, "MWIR")
    seen += skin * (_skin_heat(who, now, c, weather) - 2.2 * (1.0 - facing).square())
    # Hair lets the warm scalp through in its own pattern.
    seen += _hairy(face) * (1.0 * face.strands + 0.7 * fields(who["windows"][:, 0:4], c.x.shape[-1]))
    # What stands out is cooled by the air, what lies deep is not: sockets, folds and lips keep their shape in heat.
    deep = F.interpolate(F.avg_pool2d(face.height[:, None], 8), size=c.x.shape[-1], mode="bilinear")[:, 0]
    seen += (0.30 * skin) * (deep - face.height).clamp_(-3.5, 5.0)
    seen -= (1.1 * skin) * face.hollows
    if spectrum == "MWIR":
        seen += (_MWIR_REFLECTS * (lambert - 0.5)) * skin
    lens = face.lenses * LENS_HEAT[spectrum]
    seen.lerp_((-6.5 + weather[:, 1])[:, None, None].expand_as(seen), lens)
    cover = face.layers.sum(1).lerp_(torch.ones_like(lens), lens)
    return torch.stack([seen + warm[:, :, None] * cover, cover], dim=1)


def _skin_heat(who: Values, now: Values, c: Canvas, weather: Tensor) -> Tensor:
    chill = (1.0 + 0.3 * now["nose_chill"]).clamp(min=0.1)
    nose = who["nose_length"]
    middle: list[Bump] = [
        (0.0, nose - 2.0, who["nose_width"] * 0.62, 5.5, -who["nose_cold"] * chill),
        (0.0, nose * 0.4, 4.0, 6.0, -0.25 * who["nose_cold"] * chill),
        (0.0, -24.0, 22.0, 11.0, who["forehead_warm"]),
        (0.0, who["chin_y"] - 7.0, 10.0, 7.0, -who["chin_cold"]),
    ]
    sides: list[Bump] = [
        (who["eye_x"] - who["eye_width"] - 0.5, 1.0, 2.4, 2.3, who["canthus_warm"]),
        (who["eye_x"], -1.0, 9.0, 4.5, who["socket_warm"]),
        (25.0, 20.0, 9.0, 10.0, -who["cheek_cold"] + now["flush"]),
        (who["nose_width"] * 0.42, nose + 2.4, 2.0, 1.6, 0.9 * weather[:, 6:7]),
        (43.0, 8.0, 4.0, 11.0, -who["ear_cold"]),
    ]
    field = bumps(c, middle, sides)
    cx, cy, size, amplitude = who["pattern"].view(len(chill), 4, -1, 1).unbind(1)
    width = 4.2 * torch.exp(0.35 * size)
    field += gaussians(c, 20.0 * cx, 8.0 + 27.0 * cy, width, width * 1.15, 0.6 * amplitude)
    # Perfusion is patchy, and the patches are a person's own.
    patches = fields(who["windows"][:, 4:8], c.x.shape[-1])
    field += (0.45 * who["mottle"].clamp(min=0.1))[:, :, None] * patches
    return field.add_(_courses(who, c))


def _courses(who: Values, c: Canvas) -> Tensor:
    """Return superficial vessels of the forehead, ``[B, G, G]``, about 0 to 0.5."""
    field = torch.zeros(1, device=c.x.device)
    for start, lean, bend, phase, strength in _vessels(who):
        course = start + lean * (c.y + 30.0) + bend * torch.sin(0.13 * c.y + phase)
        along = strength * bell((c.y + 24.0) / 12.0)
        field = field + (1.0 - (c.x - course).abs() / 3.2).clamp_(min=0.0) * along
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


def _hairy(face: Surface) -> Tensor:
    layers = face.layers
    return layers[:, LAYERS.index("hair")] + layers[:, LAYERS.index("back_hair")]


def _marks(who: Values, c: Canvas) -> Tensor:
    cx, cy, size, depth = who["marks"].view(-1, 4, 8, 1).unbind(1)
    # Four small dark spots and four wide patches of another tone.
    small = torch.arange(8, device=size.device)[None, :, None] < 4
    width = torch.where(small, 0.9 + 0.25 * size.abs(), 8.0 + 2.0 * size)
    amplitude = torch.where(small, -0.45 * (depth > 0.2), 0.06 * depth)
    return gaussians(c, 19.0 * cx, 10.0 + 24.0 * cy, width, width, amplitude)


def _lambert(face: Surface, c: Canvas, light: Tensor, spectrum: str) -> tuple[Tensor, Tensor]:
    """Return the cosine between surface and light, and between surface and camera, ``[B, G, G]`` each."""
    across, down, _ = _LAMP[spectrum]
    slope_x, slope_y, facing = _slopes(face.height, c.step)
    lx, ly = across * light[:, 0, None, None], -0.25 + down * light[:, 1, None, None]
    lz = (0.75 + 0.2 * light[:, 2, None, None]).clamp(min=0.3)
    length = (lx * lx + ly * ly + lz * lz).sqrt()
    return (lz - slope_x * lx - slope_y * ly).mul_(facing / length).clamp_(min=0.0), facing


def _slopes(height: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    slope_x, slope_y = torch.zeros_like(height), torch.zeros_like(height)
    torch.sub(height[:, :, 2:], height[:, :, :-2], out=slope_x[:, :, 1:-1])
    torch.sub(height[:, 2:], height[:, :-2], out=slope_y[:, 1:-1])
    slope_x.mul_(0.5 / step).clamp_(-3.0, 3.0)
    slope_y.mul_(0.5 / step).clamp_(-3.0, 3.0)
    facing = slope_x.square().add_(slope_y.square()).add_(1.0).rsqrt_()
    return slope_x, slope_y, facing


def _albedo(who: Values, now: Values, spectrum: str) -> Tensor:
    """Return the reflectance of each material, ``[B, C, len(LAYERS)]``."""
    table = _colours(who, now) if spectrum == "VIS" else _greys(who, now, spectrum)
    return torch.stack([table[name].expand(len(who["melanin"]), -1) for name in LAYERS], dim=2)


def _tones(who: Values) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return how dark skin, hair and irises are and how grey the hair is, each ``[B, 1]`` in [0, 1]."""
    skin = torch.sigmoid(1.5 * who["melanin"] - 0.5)
    hair = torch.sigmoid(1.4 * who["hair_dark"] + 1.6 * who["melanin"] + 0.8)
    iris = torch.sigmoid(1.5 * who["iris_dark"] + 1.8 * who["melanin"] + 0.6)
    grey = torch.sigmoid(2.2 * (who["age"] + 0.6 * who["hair_grey"]) - 2.6)
    return skin, hair, iris, grey


def _greys(who: Values, now: Values, spectrum: str) -> dict[str, Tensor]:
    """Return reflectances in NIR and SWIR, ``[B, 1]`` each."""
    tone, dark, iris_dark, grey = _tones(who)
    one = torch.ones_like(tone)
    dyes = torch.cat([now["colour_0"], now["colour_1"], now["colour_2"]], dim=1)
    # What is left of the dyes: a little in NIR, nothing beyond; the fibre itself differs.
    cloth = (0.62 + (0.035 if spectrum == "NIR" else 0.0) * dyes.sum(1, keepdim=True) + 0.09 * now["cloth_cold"]).clamp(
        0.15, 0.95
    )
    if spectrum == "NIR":
        skin = 0.66 * torch.exp(-0.28 * tone) * (1.0 + 0.02 * who["redness"])
        hair = torch.lerp(torch.lerp(0.46 * one, 0.13 * one, dark), 0.55 * one, grey)
        iris, sclera, lip, teeth = torch.lerp(0.42 * one, 0.26 * one, iris_dark), 0.52 * one, 0.96 * skin, 0.62 * one
        lash, pupil, mouth = 0.45 * skin, 0.03 * one, 0.35 * skin
        brows, beard = skin.lerp(hair, 0.70), skin.lerp(hair, 0.5)
    else:
        skin = 0.095 * one * (1.0 + 0.05 * who["redness"])
        hair = 0.36 + 0.05 * who["hair_dark"].clamp(-1.5, 1.5) - 0.06 * dark
        iris, sclera, lip, teeth = 0.055 * one, 0.075 * one, 0.8 * skin, 0.16 * one
        lash, pupil, mouth = 1.5 * skin, 0.02 * one, 0.5 * skin
        brows, beard = skin.lerp(hair, 0.75), skin.lerp(hair, 0.6)
        cloth = 0.85 * cloth
    return {
        "mask": 0.78 * one,
        "glasses": 0.16 * one,
        "hat": (cloth * 0.9),
        "hair": hair,
        "brows": brows,
        "beard": beard,
        "lashes": lash,
        "pupils": pupil,
        "irises": iris,
        "scleras": sclera,
        "teeth": teeth,
        "mouth": mouth,
        "lips": lip,
        "skin": skin,
        "clothes": cloth,
        "neck": 0.8 * skin,
        "back_hair": 0.75 * hair,
    }


def _colours(who: Values, now: Values) -> dict[str, Tensor]:
    """Return reflectances in VIS, ``[B, 3]`` each: red, green, blue."""
    device = who["melanin"].device

    def colour(*rgb: float) -> Tensor:
        return torch.tensor(rgb, device=device)

    tone, dark, iris_dark, grey = _tones(who)
    skin = colour(0.86, 0.66, 0.55) * torch.exp(-tone * colour(1.15, 1.45, 1.65))
    skin = skin * (1.0 + who["redness"] * colour(0.02, -0.05, -0.04))
    hair = colour(0.66, 0.50, 0.31).lerp(colour(0.05, 0.04, 0.035), dark) * (
        1.0 + who["hair_red"].clamp(min=0.0) * (1.0 - dark) * colour(0.25, -0.2, -0.35)
    )
    hair = hair.lerp(colour(0.62, 0.61, 0.60).expand_as(hair), grey)
    iris = colour(0.36, 0.46, 0.55).lerp(colour(0.14, 0.08, 0.05), iris_dark)
    lips = skin * (1.0 + (0.6 + 0.3 * who["lip_colour"]) * colour(0.02, -0.28, -0.22))
    dyes = torch.cat([now["colour_0"], now["colour_1"], now["colour_2"]], dim=1)
    clothes = (0.4 + 0.22 * dyes).clamp(0.03, 0.95)
    return {
        "mask": (colour(0.62, 0.74, 0.80) + 0.12 * dyes[:, :1]).clamp(0.03, 0.95),
        "glasses": hair.lerp(colour(0.10, 0.10, 0.11).expand_as(hair), 0.8),
        "hat": (0.32 + 0.20 * dyes.roll(1, dims=1)).clamp(0.03, 0.9),
        "hair": hair,
        "brows": skin.lerp(hair, 0.85) * 0.85,
        "beard": skin.lerp(hair, 0.75),
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
