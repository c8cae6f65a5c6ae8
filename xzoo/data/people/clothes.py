"""What a body wears in a session, and what each band sees of it.

In VIS a garment has its colour and print. Most textile dyes are clear in the
near infrared, where a cloth shows its fibre (Salamati, Fredembach and
Suesstrunk, *Color and Imaging Conference* 2009), so that prints fade in NIR and
are gone in SWIR; there the water that a cloth holds darkens it (Hale and
Querry, *Applied Optics* 12, 1973). Own heat knows no dye: the surface of a
garment is as warm as the heat that comes through it. With the insulation of
the garment ``clo`` and of the air around it ``AIR`` in series (Fanger, *Thermal
Comfort*, 1970; 1 clo = 0.155 m2 K / W), it is
``ambient + AIR / (AIR + clo) * (skin - ambient)``: a T-shirt shows the body, a
loose coat hides it. Which garments there are, and how often, is our choice.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from xzoo.data.people.draws import normals, uniforms
from xzoo.data.people.traits import Values

__all__ = ["AIR", "GARMENTS", "Paint", "fabrics", "wardrobe"]

AIR = 0.7
"""Insulation of the layer of air around a body, clo."""

GARMENTS = ("top", "top_print", "inner", "lower", "lower_print", "shoes", "bag", "belt")
"""The pieces of cloth that ``fabrics`` knows."""

Paint = tuple[Tensor, Tensor]
"""A material: its value ``[B, C, 1, 1]``, and the share of what is below that comes through ``[B, 1, 1, 1]``."""

# sleeve (1 elbow, 2 wrist), hem (statures below the hips), loose (statures), clo, open, collar
_TOPS = {
    "t-shirt": (0.50, 0.045, 0.004, 0.15, 0.0, 0.060),
    "vest": (0.02, 0.040, 0.002, 0.10, 0.0, 0.090),
    "shirt": (1.92, 0.050, 0.006, 0.30, 0.0, 0.045),
    "rolled shirt": (1.15, 0.050, 0.006, 0.25, 0.0, 0.060),
    "sweater": (1.97, 0.040, 0.009, 0.60, 0.0, 0.020),
    "open jacket": (1.98, 0.060, 0.012, 0.90, 1.0, 0.020),
    "closed jacket": (1.98, 0.060, 0.014, 1.20, 0.0, 0.005),
    "coat": (1.98, 0.200, 0.017, 1.90, 0.0, 0.005),
    "open coat": (1.98, 0.210, 0.017, 1.70, 1.0, 0.015),
}
_CLASSES = ((0, 1, 0, 3, 2, 0), (2, 4, 3, 5, 4, 2), (7, 6, 5, 8, 6, 7))
"""Tops for warm, mild and cold sessions, by row of ``_TOPS``."""

# legs (1 knee, 2 ankle), skirt, hem of the skirt, loose, clo
_LOWERS = {
    "trousers": (1.96, 0.0, 0.0, 0.0085, 0.30),
    "jeans": (1.93, 0.0, 0.0, 0.0040, 0.35),
    "leggings": (1.90, 0.0, 0.0, 0.0005, 0.15),
    "wide trousers": (1.98, 0.0, 0.0, 0.0150, 0.35),
    "shorts": (0.80, 0.0, 0.0, 0.0110, 0.20),
    "skirt": (0.0, 1.0, 0.260, 0.0080, 0.25),
    "long skirt": (0.0, 1.0, 0.420, 0.0100, 0.35),
}


_HABIT = 0.5
"""How often a session's kinds of garment are those of habit."""


def wardrobe(seed: int, subjects: Tensor, days: Tensor, b: Values, factor: Tensor) -> Values:
    """Return what each body wears on a day, ``[B, 1]`` each, and three numbers per colour.

    Args:
        seed: The world.
        subjects: Subject numbers, int64 ``[B]``.
        days: Session numbers, int64 ``[B]``, from ``traits.session_of``.
        b: The builds: habits of fit, colour and coats.
        factor: What ties masculine traits together.
    """
    u = uniforms(seed, subjects, days, 65, 44)
    # What kinds of garment somebody wears is half habit; their colours and prints are not.
    habits = uniforms(seed, subjects, torch.zeros_like(subjects), 68, 11)
    u[:, :11] = torch.where(u[:, 40:41] < _HABIT, habits, u[:, :11])
    z = normals(seed, subjects, days, 66, 16).clamp_(-2.6, 2.6)
    cold = z[:, :1]
    man = torch.sigmoid(4 * factor)
    season = ((cold > -0.45).long() + (cold > 0.75).long())[:, 0]
    tops, lowers, classes = _tables(str(u.device))
    top = tops[classes[season, (u[:, 0] * classes.shape[1]).long()]]
    pick = torch.where(u[:, 1] < 0.34, 0, torch.where(u[:, 1] < 0.72, 1, 3))
    woman = (u[:, 2:3] < 0.9 - man)[:, 0]
    pick = torch.where(woman & (u[:, 1] < 0.25), 2, pick)
    pick = torch.where(woman & (u[:, 1] > 0.72), 5 + (u[:, 3] < 0.4).long(), pick)
    pick = torch.where((season == 0) & (u[:, 4] < 0.35) & (pick < 5), 4, pick)
    lower = lowers[pick]
    names = ("sleeve", "hem", "top_loose", "top_clo", "open", "collar")
    worn = dict(zip(names, top.split(1, dim=1), strict=True))
    worn |= zip(("legs", "skirt", "skirt_hem", "lower_loose", "lower_clo"), lower.split(1, dim=1), strict=True)
    fit = (1.0 + 0.35 * b["fit"] + 0.15 * z[:, 1:2]).clamp(0.2, 2.0)
    worn["top_loose"] = worn["top_loose"] * fit
    worn["lower_loose"] = worn["lower_loose"] * fit
    coat = (worn["hem"] > 0.15).float()
    worn["hem"] = worn["hem"] + coat * (0.04 * b["long_coat"] + 0.02 * z[:, 2:3]) + (1 - coat) * 0.010 * z[:, 3:4]
    worn["tucked"] = ((u[:, 5:6] < 0.25) & (worn["hem"] < 0.055)).float()
    worn["hem"] = worn["hem"].lerp(torch.full_like(cold, -0.030), worn["tucked"])
    worn["flare"] = 0.10 + 0.35 * u[:, 6:7]
    worn["boots"] = torch.where(u[:, 7:8] < 0.15, 0.45, torch.where(u[:, 7:8] < 0.35, 0.12, 0.0))
    worn["backpack"] = (u[:, 8:9] < 0.18).float()
    worn["shoulder_bag"] = ((u[:, 8:9] > 0.80) & (u[:, 9:10] < 0.75)).float()
    worn["bag_side"] = torch.where(u[:, 9:10] < 0.4, 1.0, -1.0)
    worn["bag_size"] = 0.8 + 0.4 * u[:, 10:11]
    worn["ambient"] = (14.0 - 7.0 * cold + 2.0 * z[:, 4:5]).clamp(-2.0, 29.0)
    worn["exertion"] = z[:, 5:6]
    worn["damp"] = (z[:, 6:7] - 0.6).clamp(min=0.0)

    kind = u[:, 11:12]
    for name, low, high in (
        ("stripes", 0.40, 0.52),
        ("upright", 0.52, 0.60),
        ("checks", 0.60, 0.70),
        ("logo", 0.70, 0.88),
        ("blocks", 0.88, 1.0),
    ):
        worn[name] = ((kind >= low) & (kind < high)).float()
    worn["fine"] = 2.5 + 9.0 * u[:, 12:13].square()
    worn["logo_height"], worn["logo_size"] = 0.62 + 0.16 * u[:, 13:14], 0.7 + 0.6 * u[:, 14:15]
    worn["block_height"] = 0.35 + 0.40 * u[:, 15:16]
    worn["side_stripe"] = (u[:, 16:17] < 0.12).float()
    dress = worn["skirt"] * (u[:, 17:18] < 0.45).float() * (1.0 - worn["open"])
    for i, name in enumerate(("top", "top_print", "inner", "lower", "shoes", "bag")):
        dark = {"lower": 0.55, "shoes": 0.5, "bag": 0.5, "inner": 0.2}.get(name, 0.3)
        worn[f"colour_{name}"] = _colour(u[:, 18 + 3 * i : 21 + 3 * i], b["bold"], dark)
    worn["colour_lower"] = worn["colour_lower"].lerp(worn["colour_top"], dress)
    worn["fibre_top"], worn["fibre_lower"], worn["fibre_bag"] = z[:, 7:8], z[:, 8:9].lerp(z[:, 7:8], dress), z[:, 9:10]
    worn["black_dye"] = (u[:, 36:37] < 0.30).float()
    return worn


def fabrics(worn: Values, spectrum: str) -> dict[str, Paint]:
    """Return the garments as a band sees them, by name of ``GARMENTS``.

    Args:
        worn: From ``wardrobe``.
        spectrum: ``"VIS"``, ``"NIR"``, ``"SWIR"``, ``"MWIR"`` or ``"LWIR"``.
    """
    if spectrum == "VIS":
        found = {name: worn[f"colour_{name}"] for name in ("top", "top_print", "inner", "lower", "shoes", "bag")}
        found["lower_print"] = found["lower"].lerp(found["top_print"], 0.85)
        found["belt"] = found["shoes"] * 0.7
        return {name: _paint(value, torch.zeros_like(worn["hem"])) for name, value in found.items()}
    if spectrum in ("NIR", "SWIR"):
        return {name: _paint(_grey(worn, name, spectrum), torch.zeros_like(worn["hem"])) for name in GARMENTS}
    boot = torch.full_like(worn["hem"], 1.1)
    clo = {
        "top": worn["top_clo"],
        "top_print": worn["top_clo"],
        "inner": torch.full_like(boot, 0.3),
        "lower": worn["lower_clo"],
        "lower_print": worn["lower_clo"],
        "shoes": boot,
        "bag": torch.full_like(boot, 5.0),
        "belt": worn["lower_clo"] + 0.35,
    }
    return {name: _paint(worn["ambient"], AIR / (AIR + clo[name])) for name in GARMENTS}


def _grey(worn: Values, name: str, spectrum: str) -> Tensor:
    """Return the reflectance of a garment in NIR or SWIR, ``[B, 1]``."""
    colour = f"colour_{name}" if f"colour_{name}" in worn else "colour_lower"
    dye = worn["colour_shoes" if name == "belt" else colour].mean(1, keepdim=True)
    if name == "lower_print":
        dye = dye.lerp(worn["colour_top_print"].mean(1, keepdim=True), 0.85)
    fibre = worn["fibre_bag"] if name in ("shoes", "bag", "belt") else worn["fibre_lower"]
    fibre = worn["fibre_top"] if name.startswith("top") else fibre
    leather = 0.12 if name in ("shoes", "bag", "belt") else 0.0
    if spectrum == "NIR":
        # Carbon black stays dark; other dyes leave a trace.
        base = (0.66 + 0.09 * fibre - leather).clamp(0.35, 0.9)
        base = base + 0.18 * (dye - 0.35)
        main = "colour_top" if name.startswith("top") else colour
        solid = worn["black_dye"] * (worn[main].mean(1, keepdim=True) < 0.2) * (name not in ("inner", "belt"))
        return base * (1.0 - 0.72 * solid)
    base = (0.50 + 0.09 * fibre - leather).clamp(0.2, 0.75) + 0.02 * (dye - 0.35)
    return base * (1.0 - 0.45 * worn["damp"].clamp(max=1.0))


def _paint(value: Tensor, through: Tensor) -> Paint:
    return value[:, :, None, None], through[:, :, None, None]


def _colour(u: Tensor, bold: Tensor, dark: float) -> Tensor:
    """Return reflectances red, green, blue ``[B, 3]`` from three numbers in (0, 1)."""
    hue = (u[:, :1] + torch.tensor([0.0, 2.0 / 3.0, 1.0 / 3.0], device=u.device)) % 1.0
    wheel = ((hue * 6.0 - 3.0).abs() - 1.0).clamp(0.0, 1.0)
    # Many clothes are black, grey, white or navy; how many is a habit.
    vivid = torch.sigmoid(0.8 * bold)
    chroma = torch.where(u[:, 1:2] < 0.75 * (1.0 - vivid) + 0.20, 0.07, 0.15 + 0.65 * u[:, 1:2].square())
    value = torch.where(u[:, 2:3] < dark, 0.03 + 0.12 * u[:, 2:3], 0.10 + 0.80 * u[:, 2:3].square())
    return (value * (1.0 - chroma * (1.0 - wheel))).clamp(0.015, 0.92)


@functools.cache
def _tables(device: str) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.tensor(list(_TOPS.values()), device=device),
        torch.tensor(list(_LOWERS.values()), device=device),
        torch.tensor(_CLASSES, device=device),
    )
