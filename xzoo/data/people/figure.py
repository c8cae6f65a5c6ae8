"""A body drawn part by part: round limbs, a trunk, a head, with depth.

Everything is one of three primitives. A *limb* is the distance to a segment
whose radius changes along it; a *shell* (trunk, skirt) is a half-width as a
function of the row; the *head* is the frontal face of the same subject,
wrapped around an ellipsoid and turned. Each part knows its surface normal and
its distance to the camera, so that the nearer part wins in every view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.clothes import Paint
from xzoo.data.people.curves import bell
from xzoo.data.people.gait import JOINTS, Pose
from xzoo.data.people.surface import LAYERS, SPAN, TOP, Surface
from xzoo.data.people.traits import Values

__all__ = [
    "CHIN",
    "PARTS",
    "TRUNK_END",
    "Figure",
    "Frame",
    "Head",
    "draw",
    "frame",
    "head",
    "head_unit",
    "outline",
    "skirt_rows",
    "trunk_rows",
]

PARTS = ("legs", "feet", "trunk", "skirt", "arms", "hands", "neck", "head", "bag")
"""What a figure consists of."""

_ROWS = {
    "thigh": (0.34, 0.92),
    "shank": (0.46, 1.0),
    "foot": (0.56, 1.0),
    "trunk": (0.06, 0.90),
    "skirt": (0.32, 1.0),
    "upper_arm": (0.06, 0.64),
    "forearm": (0.04, 0.74),
    "neck": (0.06, 0.34),
    "head": (0.0, 0.38),
}
"""The share of the picture's height that a part can touch."""

_KNOTS = (-0.34, -0.07, 0.12, 0.42, 0.74, 0.89, 0.975, 1.06, 1.12)
"""Heights along the trunk, 0 between the hips and 1 at the base of the neck."""

LONG = 0.10
"""A top whose hem is farther below the hips is a coat, statures."""

TRUNK_END = (0.055, 0.080)
"""Where a trunk ends, statures below the hips; what is longer is a skirt."""

_HEAD_PIXELS = 123.5
"""Height of a mean head in template pixels, chin to crown."""

CHIN = 63.5
"""How far the chin of a mean head is below its eyes, template pixels."""


class Frame(NamedTuple):
    """Coordinates of a canvas in picture heights (see ``gait.Pose``)."""

    x: Tensor  # [B, 1, W]
    y: Tensor  # [1, H, 1]
    step: float


class Head(NamedTuple):
    """A frontal head as a texture."""

    front: Tensor  # [B, C + 1, G, G]: values times coverage, and coverage
    skin: Tensor  # [B, C, 1, 1]: mean of the face
    back: Tensor  # [B, C, 1, 1]: hair
    hat: Tensor  # [B, C, 1, 1]
    half: Tensor  # [B, G]: half width of each row, template pixels
    hatted: Tensor  # [B, G]: 1 in rows that a hat covers
    bare: Tensor  # [B, G]: 1 in rows whose back is skin


class Figure(NamedTuple):
    """A drawn body; all maps are multiplied by its coverage."""

    seen: Tensor  # [B, C, H, W]
    cover: Tensor  # [B, H, W]
    normal: Tensor  # [B, 2, H, W]: across and down
    cloth: Tensor  # [B, H, W]: how loose the surface is
    deep: Tensor  # [B, H, W]: towards the camera, picture heights; far behind where there is no body


def frame(where: Pose, rows: int, columns: int, aspect: float) -> Frame:
    """Return the coordinates of a canvas of ``rows`` x ``columns`` cells."""
    device = where.joints.device
    across = ((torch.arange(columns, device=device, dtype=torch.float32) + 0.5) / columns - 0.5) * aspect
    down = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) / rows
    return Frame(across[None, None, :] / where.squeeze[:, :, None], down[None, :, None], 1.0 / rows)


class _Canvas:
    """What has been drawn so far."""

    def __init__(self, f: Frame, channels: int, mark: tuple[str, ...] | None) -> None:
        batch, rows, columns = f.x.shape[0], f.y.shape[1], f.x.shape[2]
        self.f, self.mark = f, mark
        self.seen = torch.zeros(batch, 1 if mark else channels, rows, columns, device=f.x.device)
        self.rest = torch.zeros(batch, 4, rows, columns, device=f.x.device)
        self.deep = torch.full((batch, rows, columns), -9.0, device=f.x.device)

    def rows(self, name: str) -> slice:
        count = self.f.y.shape[1]
        low, high = _ROWS[name]
        return slice(int(low * count), int(high * count))

    def put(
        self, part: str, rows: slice, mask: Tensor, values: Tensor, nx: Tensor, ny: Tensor, deep: Tensor, cloth: Tensor
    ) -> None:
        """Draw a part where it is nearer than what is there."""
        old = self.deep[:, rows]
        weight = ((deep - old) * 120.0 + 0.5).clamp_(0.0, 1.0).mul_(mask)
        self.deep[:, rows] = torch.where(weight > 0.5, deep, old)
        if self.mark is not None:
            values = torch.full_like(values[:, :1], float(part in self.mark))
        wide = weight[:, None]
        self.seen[:, :, rows].lerp_(values.expand(-1, -1, *weight.shape[1:]), wide)
        shape = torch.ones_like(weight)
        self.rest[:, :, rows].lerp_(torch.stack([shape, nx * shape, ny * shape, cloth * shape], dim=1), wide)


def draw(
    b: Values,
    worn: Values,
    where: Pose,
    f: Frame,
    cloth: Mapping[str, Paint],
    top: Head,
    *,
    heat: bool,
    print_share: float,
    chill: Tensor,
    mark: tuple[str, ...] | None = None,
) -> Figure:
    """Draw bodies on a canvas.

    Args:
        b: Their builds.
        worn: What they wear.
        where: Their poses.
        f: The canvas.
        cloth: From ``clothes.fabrics``.
        top: Their heads.
        heat: Whether the values are temperatures.
        print_share: How much of a print's contrast the band sees.
        chill: How cold the limbs are, ``[B, 1]``, 1 on a mild day.
        mark: Draw 1 in these ``PARTS`` and 0 in the others, instead of what the band sees.
    """
    c = _Canvas(f, top.skin.shape[1], mark)
    scene = _Scene(c, b, worn, where, top.skin, cloth, heat, print_share, chill)
    _legs(scene)
    _trunk(scene)
    _skirt(scene)
    _bag(scene)
    _neck(scene)
    _arms(scene)
    _head(scene, top)
    return Figure(c.seen, c.rest[:, 0], c.rest[:, 1:3], c.rest[:, 3], c.deep)


class _Scene(NamedTuple):
    c: _Canvas
    b: Values
    worn: Values
    where: Pose
    skin: Tensor
    cloth: Mapping[str, Paint]
    heat: bool
    print_share: float
    chill: Tensor

    def joint(self, name: str) -> Tensor:
        return self.where.joints[:, JOINTS.index(name)]

    def size(self, value: Tensor) -> Tensor:
        """Statures to picture heights, ``[B, 1, 1]``."""
        return (value * self.where.scale)[:, :, None]

    def dress(self, local: Tensor, name: str) -> Tensor:
        """Return what a garment over a surface looks like."""
        value, through = self.cloth[name]
        return value + through * (local - value)


class _Limb(NamedTuple):
    mask: Tensor
    along: Tensor
    nx: Tensor
    ny: Tensor
    deep: Tensor


def _limb(
    f: Frame, rows: slice, a: Tensor, b: Tensor, start: Tensor, end: Tensor, bulge: Tensor | float = 0.0
) -> _Limb:
    """Return a tapered capsule from ``a`` to ``b`` (``[B, 3]``), radii ``[B, 1, 1]``, thicker above its middle."""
    ax, ay, az = a[:, :, None, None].unbind(1)
    dx, dy, dz = (b - a)[:, :, None, None].unbind(1)
    px, py = f.x - ax, f.y[:, rows] - ay
    length = dx * dx + dy * dy
    # Foreshortened limbs keep round ends.
    unit = 1.0 / (length + (0.25 * start).square())
    along = (px * (dx * unit) + py * (dy * unit)).clamp_(0.0, 1.0)
    ox, oy = px - along * dx, py - along * dy
    radius = torch.lerp(start.expand_as(ax), end.expand_as(ax), along)
    if isinstance(bulge, Tensor):
        radius = radius + bulge * (4.0 * along * (1.0 - along) * (1.4 - 0.8 * along))
    far = ox.square().add_(oy.square())
    depth = (radius.square() - far).clamp_(min=0.0).sqrt_().add_(az + dz * along)
    mask = (radius - far.sqrt_()).mul_(1.0 / f.step).add_(0.5).clamp_(0.0, 1.0)
    inverse = radius.reciprocal()
    return _Limb(mask, along, ox.mul_(inverse), oy.mul_(inverse), depth)


def _legs(s: _Scene) -> None:
    c, b, worn = s.c, s.b, s.worn
    thighs, shanks, feet = c.rows("thigh"), c.rows("shank"), c.rows("foot")
    loose = s.size(worn["lower_loose"] * (worn["legs"] > 0.1))
    reach = worn["legs"][:, :, None]
    cold = (s.chill * b["leg_cold"])[:, :, None]
    cover = (reach > 0.1).float()
    for side in ("left", "right"):
        hip, knee, ankle, toe = (s.joint(f"{side}_{name}") for name in ("hip", "knee", "ankle", "toe"))
        thigh, calf = s.size(b["thigh_thick"]), s.size(b["calf_thick"])
        joint = 0.62 * thigh + 0.10 * calf
        narrow = 0.55 * calf
        up = _limb(c.f, thighs, hip, knee, thigh + 0.6 * loose, joint + loose * (reach > 0.7), 0.05 * thigh)
        low = _limb(
            c.f, shanks, knee, ankle, joint + loose * (reach > 1.0), narrow + 1.2 * loose * (reach > 1.0), 0.33 * calf
        )
        for limb, rows, offset, fall in ((up, thighs, 0.0, 0.35), (low, shanks, 1.0, 1.0)):
            local = s.skin.expand(-1, -1, *limb.mask.shape[1:])
            if s.heat:
                local = local - (cold * (fall * limb.along + 0.35 * offset))[:, None]
            edge = ((reach - offset - limb.along) * 25.0).clamp_(0.0, 1.0) * cover
            garment = s.dress(local, "lower")
            if s.heat:
                # Cloth lies on the front of a thigh and hangs from its back.
                garment = garment + (0.55 * (1.0 - limb.nx.square()) - 0.35 - 8.0 * loose)[:, None]
            elif s.print_share > 0.0:
                seam = (worn["side_stripe"] * s.print_share)[:, :, None] * (limb.nx.abs() > 0.62).float()
                garment = garment.lerp(
                    s.dress(local, "lower_print").expand_as(garment), seam[:, None].expand_as(garment)
                )
            values = local.lerp(garment, edge[:, None])
            if offset:
                boot = ((limb.along - 1.0 + worn["boots"][:, :, None]) * 25.0).clamp_(0.0, 1.0)
                values = values.lerp(s.dress(local, "shoes").expand_as(values), boot[:, None])
            c.put("legs", rows, limb.mask, values, limb.nx, limb.ny * 0.3, limb.deep, edge)
        heel = ankle + F.normalize(ankle - knee, dim=1) * (0.019 * s.where.scale) - 0.12 * (toe - ankle)
        sole = s.size(torch.full_like(s.chill, 0.019))
        foot = _limb(c.f, feet, heel, toe, sole * 1.1, sole * 0.85, sole * 0.25)
        local = s.skin - cold[:, None] * 1.4 if s.heat else s.skin
        shoe = s.dress(local, "shoes")
        if s.heat:
            shoe = shoe - (0.8 * foot.along)[:, None]
        none = torch.zeros_like(foot.mask)
        c.put(
            "feet", feet, foot.mask, shoe.expand(-1, -1, *foot.mask.shape[1:]), foot.nx, foot.ny, foot.deep + 0.01, none
        )


class _Rows(NamedTuple):
    """The trunk at each row, ``[B, R, 1]`` each."""

    height: Tensor  # 0 between the hips, 1 at the base of the neck
    centre: Tensor
    half: Tensor
    depth: Tensor


def trunk_rows(b: Values, worn: Values, where: Pose, y: Tensor) -> _Rows:
    """Return centre, half width and depth of the trunk at rows ``y``, ``[1, R, 1]``."""
    pelvis, neck = where.pelvis[:, :, None, None], where.joints[:, JOINTS.index("neck"), :, None, None]
    height = (y - pelvis[:, 1]) / (neck[:, 1] - pelvis[:, 1])
    outer = b["shoulder"] + 0.95 * b["arm_thick"]
    throat = 1.1 * b["neck_thick"]
    wide = [
        0.97 * b["hips_wide"],
        b["hips_wide"],
        0.5 * b["hips_wide"] + 0.5 * b["waist_wide"] + 0.006,
        b["waist_wide"],
        b["chest_wide"],
        outer,
        0.88 * outer,
        0.38 * outer + 0.42 * throat,
        throat,
    ]
    deep = [
        0.9 * b["hips_deep"],
        b["hips_deep"],
        0.5 * b["hips_deep"] + 0.5 * b["waist_deep"],
        b["waist_deep"],
        b["chest_deep"],
        0.80 * b["chest_deep"],
        0.62 * b["chest_deep"],
        0.45 * b["chest_deep"],
        throat,
    ]
    zero = torch.zeros_like(throat)
    belly = 0.010 * b["mass"].clamp(min=0.0)
    ahead = [zero, -b["seat"], -0.5 * b["seat"] + belly, belly, b["bust"], zero, zero, zero, zero]
    weights = _between(height)
    rows = [torch.bmm(weights, torch.stack(part, dim=1)) for part in (wide, deep, ahead)]
    sine, cosine = where.turn.sin()[:, :, None], where.turn.cos()[:, :, None]
    scale = where.scale[:, :, None]
    wrap = (worn["top_loose"][:, :, None] * (1.05 - height).clamp(0.0, 0.8)) * 1.2
    half = (((rows[0] * cosine).square() + (rows[1] * sine).square()).sqrt() + wrap) * scale
    depth = (((rows[0] * sine).square() + (rows[1] * cosine).square()).sqrt() + wrap) * scale
    share = height.clamp(0.0, 1.0)
    centre = torch.lerp(pelvis[:, 0].expand_as(share), neck[:, 0].expand_as(share), share) + rows[2] * sine * scale
    return _Rows(height, centre, half, depth)


def _between(height: Tensor) -> Tensor:
    """Return smooth interpolation weights over ``_KNOTS``, ``[B, R, len(_KNOTS)]``."""
    knots = torch.tensor(_KNOTS, device=height.device)
    step = (height - knots[:-1]) / (knots[1:] - knots[:-1])
    step = step.clamp(0.0, 1.0)
    step = step * step * (3.0 - 2.0 * step)
    one = torch.ones_like(step[:, :, :1])
    return torch.cat([one, step], dim=2) - torch.cat([step, torch.zeros_like(one)], dim=2)


def _trunk(s: _Scene) -> None:
    c, b, worn, where = s.c, s.b, s.worn, s.where
    rows = c.rows("trunk")
    y = c.f.y[:, rows]
    t = trunk_rows(b, worn, where, y)
    sine, cosine = where.turn.sin()[:, :, None], where.turn.cos()[:, :, None]
    nx = ((c.f.x - t.centre) / t.half).clamp(-1.0, 1.0)
    nz = (1.0 - nx.square()).sqrt_()
    # Around the body: 0 in the middle of the chest, +-1 under the arms.
    around, front = nx * cosine - nz * sine, nx * sine + nz * cosine
    mask = (t.half - (c.f.x - t.centre).abs()).mul_(1.0 / c.f.step).add_(0.5).clamp_(0.0, 1.0)
    pelvis, neck = where.pelvis[:, :, None, None], s.joint("neck")[:, :, None, None]
    hem = s.size(worn["hem"])
    end = pelvis[:, 1] + s.size(worn["hem"].clamp(TRUNK_END[0], TRUNK_END[1]))
    mask = mask * ((end - y) / c.f.step + 0.5).clamp(0.0, 1.0) * ((1.12 - t.height) * 40.0).clamp(0.0, 1.0)
    share = t.height.clamp(-0.3, 1.0)
    deep = torch.lerp(pelvis[:, 2].expand_as(share), neck[:, 2].expand_as(share), share) + t.depth * nz
    # A hem hangs over the leg that steps ahead.
    deep = deep + s.size(0.05 * torch.ones_like(worn["hem"])) * ((0.25 - t.height) * 4.0).clamp(0.0, 1.0)

    local = s.skin.expand(-1, -1, *mask.shape[1:])
    if s.heat:
        local = local + _warmth(s, around, front, t.height)[:, None]
    values = s.dress(local, "top")
    if s.print_share > 0.0:
        printed = s.dress(local, "top_print").expand_as(values)
        values = values.lerp(
            printed, (_print(worn, around, front, t.height) * s.print_share)[:, None].expand_as(values)
        )
    if s.heat:
        # Where a garment lies on shoulders and chest it is warm, where it hangs it is not.
        hang = (12.0 * worn["top_loose"])[:, :, None]
        touch = (t.height - 0.55) * 1.6
        values = values + ((0.5 + hang) * (touch.clamp(-1.0, 0.7)))[:, None]
    opened = (worn["open"][:, :, None] * (front > 0)) * ((0.20 + 0.22 * (1.0 - t.height) - around.abs()) * 18.0).clamp_(
        0.0, 1.0
    )
    inner = s.dress(local, "inner").expand_as(values)
    values = values.lerp(inner, opened[:, None].expand_as(values))
    depth = (worn["collar"] * 3.2)[:, :, None] * (front > 0).float().mul_(0.75).add_(0.25)
    throat = ((t.height - 1.05 + depth - 0.9 * around.abs() * depth.clamp(min=0.02) / 0.2 * 0.35) * 30.0).clamp_(
        0.0, 1.0
    )
    values = values.lerp(local, throat[:, None])
    below = ((y - pelvis[:, 1] - hem) / c.f.step + 0.5).clamp(0.0, 1.0)
    lower = s.dress(local, "lower").expand_as(values)
    values = values.lerp(lower, below[:, None].expand_as(values))
    belt = (1.0 - ((y - pelvis[:, 1] - hem) / s.size(torch.full_like(worn["hem"], 0.011))).abs()).clamp(0.0, 1.0)
    belt = belt * worn["tucked"][:, :, None] * (1.0 - worn["skirt"][:, :, None])
    values = values.lerp(s.dress(local, "belt").expand_as(values), belt[:, None].expand_as(values))
    # Straps of what is carried.
    pack = worn["backpack"][:, :, None] * (front > 0) * ((t.height > 0.35) & (t.height < 0.97))
    strap = (1.0 - ((around.abs() - 0.52) / 0.11).abs()).clamp_(min=0.0).mul_(3.0).clamp_(max=1.0) * pack
    sling = worn["bag_side"][:, :, None]
    slant = around * sling * front.sign() * cosine.sign() - (0.5 - t.height) * 1.5
    slung = worn["shoulder_bag"][:, :, None] * ((t.height > 0.02) & (t.height < 0.97))
    strap = torch.maximum(strap, (1.0 - (slant / 0.10).abs()).clamp_(min=0.0).mul_(3.0).clamp_(max=1.0) * slung)
    strap_values = s.dress(local, "bag")
    if s.heat:
        strap_values = values.lerp(strap_values, 0.45)
    values = values.lerp(strap_values.expand_as(values), strap[:, None].expand_as(values))
    slope = ((t.height - 0.88) * -2.5).clamp(-0.6, 0.0)
    c.put("trunk", rows, mask, values, nx, slope, deep, 1.0 - throat)


def _warmth(s: _Scene, around: Tensor, front: Tensor, height: Tensor) -> Tensor:
    """Return how much warmer than mean skin the trunk is, ``[B, R, W]``, a person's own."""
    b = s.b
    cx, cy, size, amount = b["warm_spots"].view(len(around), 4, -1, 1, 1).unbind(1)
    field = (1.2 * b["trunk_warm"])[:, :, None] + 0.8 * (height - 0.5)
    for k in range(6):
        wide = 0.22 * torch.exp(0.3 * size[:, k])
        spot = bell((around - 0.5 * cx[:, k]) / wide) * bell((height - 0.5 - 0.28 * cy[:, k]) / (0.6 * wide))
        field = field + (0.9 * amount[:, k]) * spot
    # Armpits and neck are warm, the small of the back is not.
    field = field + 1.3 * bell((around.abs() - 0.95) / 0.14) * bell((height - 0.72) / 0.1)
    return field + 0.9 * ((height - 0.9) * 6.0).clamp(0.0, 1.0) - 0.3 * (1.0 - front)


def _print(worn: Values, around: Tensor, front: Tensor, height: Tensor) -> Tensor:
    """Return the share of the print's colour at each point of the trunk, ``[B, R, W]``."""
    p = {name: worn[name][:, :, None] for name in ("stripes", "upright", "checks", "logo", "blocks", "fine")}
    lines = ((height * p["fine"] * 6.2832).sin() * 4.0).clamp_(-0.5, 0.5).add_(0.5)
    bars = ((around * p["fine"] * 5.0).sin() * 4.0).clamp_(-0.5, 0.5).add_(0.5)
    size = 0.30 * worn["logo_size"][:, :, None]
    badge = (
        1.0 - (around / size).square() - ((height - worn["logo_height"][:, :, None]) / (0.42 * size)).square()
    ) * 4.0
    badge = badge.clamp_(0.0, 1.0) * (front > 0)
    block = ((worn["block_height"][:, :, None] - height) * 30.0).clamp_(0.0, 1.0)
    return (
        p["stripes"] * lines
        + p["upright"] * bars
        + p["checks"] * 0.5 * (lines + bars)
        + p["logo"] * badge
        + p["blocks"] * block
    )


def skirt_rows(b: Values, worn: Values, where: Pose, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return middle and half width of a skirt, or of a coat below the hips, and its top and bottom.

    Args:
        b: The builds.
        worn: What they wear.
        where: Their poses.
        y: Rows, ``[1 or B, R, 1]``.

    Returns:
        ``[B, R, 1]`` twice and ``[B, 1, 1]`` twice; the bottom is above the top where there is no skirt.
    """
    scale = where.scale[:, :, None]
    pelvis = where.pelvis[:, :, None, None]
    length = skirt_length(worn)
    long, start = (length * where.scale)[:, :, None].clamp(min=1e-3), 0.05 * scale
    down = ((y - pelvis[:, 1] + start) / (long + start)).clamp(0.0, 1.2)
    knees = where.joints[:, [JOINTS.index("left_knee"), JOINTS.index("right_knee")], 0][:, :, None, None]
    share = down * (long / ((b["hip_height"] - b["knee_height"])[:, :, None] * scale))
    share = share.clamp(0.0, 1.3)
    middle = torch.lerp(pelvis[:, 0].expand_as(share), knees.mean(1).expand_as(share), share)
    spread = 0.5 * (knees[:, 0] - knees[:, 1]).abs()
    sine, cosine = where.turn.sin()[:, :, None], where.turn.cos()[:, :, None]
    hips = ((b["hips_wide"][:, :, None] * cosine).square() + (b["hips_deep"][:, :, None] * sine).square()).sqrt()
    coat = (worn["hem"] > LONG).float()[:, :, None]
    hips = (hips + worn["top_loose"][:, :, None] * coat * 1.2) * scale
    flare = worn["flare"][:, :, None] * worn["skirt"][:, :, None] + 0.10 * coat
    half = torch.maximum(hips * (1.0 + flare * down), (spread + b["thigh_thick"][:, :, None] * scale * 0.95) * share)
    bottom = pelvis[:, 1] + torch.where(length[:, :, None] > 0.0, long, -2.0 * start)
    return middle, half, pelvis[:, 1] - start, bottom


def skirt_length(worn: Values) -> Tensor:
    """Return how far a skirt or a coat hangs below the hips, statures ``[B, 1]``; 0 where there is neither."""
    return torch.maximum(worn["skirt"] * worn["skirt_hem"], (worn["hem"] > LONG).float() * worn["hem"])


def _skirt(s: _Scene) -> None:
    c, b, worn, where = s.c, s.b, s.worn, s.where
    if not bool((skirt_length(worn) > 0).any()):
        return
    rows = c.rows("skirt")
    y = c.f.y[:, rows]
    pelvis = where.pelvis[:, :, None, None]
    coat = (worn["hem"] > LONG).float()
    middle, half, top, bottom = skirt_rows(b, worn, where, y)
    down = ((y - top) / (bottom - top)).clamp(0.0, 1.2)
    sine, cosine = where.turn.sin()[:, :, None], where.turn.cos()[:, :, None]
    nx = ((c.f.x - middle) / half).clamp(-1.0, 1.0)
    mask = (half - (c.f.x - middle).abs()).mul_(1.0 / c.f.step).add_(0.5).clamp_(0.0, 1.0)
    ripple = 0.002 * torch.sin(nx * 9.0) * where.scale[:, :, None]
    mask = mask * ((bottom + ripple - y) / c.f.step + 0.5).clamp_(0.0, 1.0) * ((y - top) / c.f.step).clamp(0.0, 1.0)
    nz = (1.0 - nx.square()).sqrt_()
    deep = pelvis[:, 2] + s.size(b["hips_deep"]) * (1.15 + 0.5 * down) * nz + 0.02
    local = s.skin.expand(-1, -1, *mask.shape[1:])
    front = nx * sine + nz * cosine
    around = nx * cosine - nz * sine
    name = s.dress(local, "lower")
    overcoat = s.dress(local, "top")
    opened = worn["open"][:, :, None] * (front > 0) * ((0.42 + 0.2 * down - around.abs()) * 18.0).clamp(0.0, 1.0)
    if s.heat:
        cooler = (2.0 * down * (1.0 - s.cloth["lower"][1][:, 0]))[:, None]
        name, overcoat = name - cooler, overcoat - 0.8 * cooler
    skirted = worn["skirt"][:, :, None, None]
    under = ((y - pelvis[:, 1] - s.size(worn["hem"])) / c.f.step + 0.5).clamp(0.0, 1.0)
    cloak = (coat[:, :, None] * (1.0 - under)).expand_as(mask)
    values = name.lerp(overcoat, cloak[:, None])
    # An open coat shows what is below: a skirt, or the legs behind it.
    mask = mask * (1.0 - opened * cloak * (1.0 - skirted[:, 0]))
    values = values.lerp(name, (opened * cloak)[:, None] * skirted)
    c.put("skirt", rows, mask, values, nx * 0.8, torch.zeros_like(nx), deep, 1.5 * torch.ones_like(nx))


def _bag(s: _Scene) -> None:
    c, b, worn, where = s.c, s.b, s.worn, s.where
    if not bool(((worn["backpack"] + worn["shoulder_bag"]) > 0).any()):
        return
    rows = c.rows("trunk")
    pelvis, neck = where.pelvis, s.joint("neck")
    sine, cosine, scale = where.turn.sin(), where.turn.cos(), where.scale
    none = torch.zeros_like(scale)
    on, beside = worn["backpack"], worn["shoulder_bag"]
    # A backpack lies on the back, a handbag hangs beside the hip.
    behind = -(b["chest_deep"] + 0.018) * scale
    aside = worn["bag_side"] * (b["hips_wide"] + 0.035) * scale
    middle = pelvis.lerp(neck, 0.56) + torch.cat([behind * sine, none, behind * cosine], dim=1)
    hung = pelvis + torch.cat([aside * cosine, 0.02 * scale, -aside * sine], dim=1)
    middle = middle.lerp(hung, beside)[:, :, None, None]
    size = s.size(worn["bag_size"])
    wide = torch.lerp(0.082 * on, 0.028 + 0.0 * on, beside)
    deep = torch.lerp(0.050 * on, 0.060 + 0.0 * on, beside)
    half = ((wide * cosine).square() + (deep * sine).square()).sqrt()[:, :, None] * size
    depth = ((wide * sine).square() + (deep * cosine).square()).sqrt()[:, :, None] * size
    tall = torch.lerp(0.108 + 0.0 * on, 0.050 + 0.0 * on, beside)[:, :, None] * size
    nx = ((c.f.x - middle[:, 0]) / half.clamp(min=1e-3)).clamp(-1.5, 1.5)
    ny = ((c.f.y[:, rows] - middle[:, 1]) / tall).clamp(-1.5, 1.5)
    # A box with round corners, a little wider at its foot.
    nx = nx * (1.06 - 0.08 * ny)
    far = nx.square().square() + ny.square().square()
    mask = ((1.0 - far) * (0.25 * half / c.f.step) + 0.5).clamp_(0.0, 1.0) * torch.maximum(on, beside)[:, :, None]
    values = s.dress(s.skin, "bag").expand(-1, -1, *mask.shape[1:])
    c.put("bag", rows, mask, values, nx * nx.square(), ny * ny.square(), middle[:, 2] + depth, 0.5 * mask)


def _neck(s: _Scene) -> None:
    c, b = s.c, s.b
    rows = c.rows("neck")
    neck, chin = s.joint("neck"), s.where.chin
    radius = s.size(b["neck_thick"])
    root = neck.clone()
    root[:, 1] += 0.012 * s.where.scale[:, 0]
    limb = _limb(c.f, rows, root, chin.lerp(neck, -0.5), radius * 1.12, radius)
    values = s.skin + (0.5 if s.heat else 0.0)
    if not s.heat:
        values = values * (0.80 + 0.12 * (1.0 - limb.along))[:, None]
    # The throat is behind the chin.
    deep = limb.deep - s.size(torch.full_like(s.chill, 0.030))
    flat = torch.zeros_like(limb.nx)
    c.put("neck", rows, limb.mask, values.expand(-1, -1, *limb.mask.shape[1:]), limb.nx, flat, deep, flat)


def _arms(s: _Scene) -> None:
    c, b, worn = s.c, s.b, s.worn
    uppers, fores = c.rows("upper_arm"), c.rows("forearm")
    reach = worn["sleeve"][:, :, None]
    loose = s.size(worn["top_loose"])
    cold = (s.chill * b["arm_cold"])[:, :, None]
    for i, side in enumerate(("left", "right")):
        shoulder, elbow, wrist = (s.joint(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        hand = s.where.hands[:, i]
        thick = s.size(b["arm_thick"])
        covered, long = (reach > 0.1).float(), (reach > 1.0).float()
        shoulder_radius = thick * 1.02 + 0.4 * loose * covered
        middle = thick * 0.92 + 0.7 * loose * (reach > 0.9).float()
        up = _limb(c.f, uppers, shoulder, elbow, shoulder_radius, middle, 0.10 * thick)
        low = _limb(c.f, fores, elbow, wrist, middle, thick * 0.62 + 0.75 * loose * long, 0.16 * thick)
        for limb, rows, offset in ((up, uppers, 0.0), (low, fores, 1.0)):
            local = s.skin.expand(-1, -1, *limb.mask.shape[1:])
            if s.heat:
                local = local - (cold * (0.5 * offset + 0.6 * limb.along))[:, None]
            edge = ((reach - offset - limb.along) * 25.0).clamp_(0.0, 1.0)
            garment = s.dress(local, "top")
            if s.print_share > 0.0:
                striped = ((limb.along + offset) * worn["fine"][:, :, None] * 3.4).sin() * 4.0
                striped = striped.clamp_(-0.5, 0.5).add_(0.5) * (worn["stripes"] + 0.5 * worn["checks"])[:, :, None]
                striped = striped + worn["blocks"][:, :, None] * offset
                garment = garment.lerp(
                    s.dress(local, "top_print").expand_as(garment),
                    (striped * s.print_share)[:, None].expand_as(garment),
                )
            elif s.heat:
                garment = garment + (0.5 * (0.5 - limb.along) - 8.0 * loose)[:, None]
            values = local.lerp(garment, edge[:, None])
            c.put("arms", rows, limb.mask, values, limb.nx, limb.ny * 0.4, limb.deep, edge)
        palm = thick * 0.62
        fist = _limb(c.f, fores, wrist.lerp(hand, 0.15), wrist.lerp(hand, 0.8), palm, palm * 0.8, palm * 0.35)
        local = s.skin
        if s.heat:
            local = local - (s.chill * b["hand_cold"])[:, :, None, None] * (0.5 + 0.5 * fist.along)[:, None]
        c.put(
            "hands",
            fores,
            fist.mask,
            local.expand(-1, -1, *fist.mask.shape[1:]),
            fist.nx,
            fist.ny,
            fist.deep,
            0 * fist.nx,
        )


def head(face: Surface, radiance: Tensor, bald: Tensor) -> Head:
    """Make of a frontal picture of a face what ``draw`` turns.

    Args:
        face: The surface of the face, without neck and clothes.
        radiance: From ``bands.radiance`` for it, ``[B, C + 1, G, G]``.
        bald: 1 where there is no hair on top, ``[B, 1]``.
    """
    cells = face.height.shape[-1]
    step = SPAN / cells
    layer = {name: face.layers[:, i] for i, name in enumerate(LAYERS)}
    hair = layer["hair"] + layer["back_hair"]
    skin = _mean(radiance, layer["skin"])
    # Behind a hat or a bald crown, what hair there is looks like the brows.
    back = _mean(radiance, hair + 0.01 * layer["brows"])
    wide = face.layers.sum((1, 3))
    hatted = (layer["hat"].sum(2) > 0.5 * wide).float() * (wide > 1.0)
    y = TOP + (torch.arange(cells, device=wide.device) + 0.5) * step
    short = layer["back_hair"].sum(2) < 2.0
    bare = short & ((y > 46.0) | ((bald > 0.5) & (y < -16.0)))
    hat = _mean(radiance, layer["hat"] + 1e-4 * layer["skin"])
    return Head(radiance, skin, back, hat, wide * (0.5 * step), hatted, bare.float())


def _mean(radiance: Tensor, weight: Tensor) -> Tensor:
    """Return the mean value where ``weight`` is, ``[B, C, 1, 1]``."""
    whole = (radiance[:, -1] * weight).sum((1, 2))[:, None] + 1e-6
    return ((radiance[:, :-1] * weight[:, None]).sum((2, 3)) / whole)[:, :, None, None]


class _Outline(NamedTuple):
    """A turned head at each row, template pixels, ``[B, R, 1]`` each."""

    left: Tensor
    right: Tensor
    half: Tensor  # half width of the frontal head
    hatted: Tensor
    bare: Tensor


def outline(top: Head, turn: Tensor, y: Tensor) -> _Outline:
    """Return how far a head reaches to both sides at rows ``y``, template pixels ``[B, R, 1]``.

    Args:
        top: The head.
        turn: Radians, ``[B, 1]``.
        y: Measured downwards from the eyes.
    """
    cells = top.half.shape[1]
    sine, cosine = turn.sin()[:, :, None], turn.cos()[:, :, None]
    place = ((y[:, :, 0] - TOP) * (cells / SPAN) - 0.5).clamp(0.0, cells - 1.001)
    low = place.long()
    part = place - low
    half, hatted, bare = (
        torch.lerp(line.gather(1, low), line.gather(1, low + 1), part)[:, :, None]
        for line in (top.half, top.hatted, top.bare)
    )
    half = half * ((y > TOP) & (y < TOP + SPAN - 2.0))
    # A head is longer than wide; in profile the nose stands out of the outline.
    view = half * (cosine.square() + (1.20 * sine).square()).sqrt()
    side = sine.abs()
    profile = sine * (
        7.0 * bell((y - 16.0) / 6.0) * side + 2.5 * bell((y - 40.0) / 7.0) * side - 3.0 * bell(y / 5.0) * side
    )
    # Below the cheekbones a profile is jaw in front and neck behind.
    jaw = ((y - 22.0) / 30.0).clamp(0.0, 1.0) * side * bare
    left, right = -view + profile.clamp(max=0.0), view + profile.clamp(min=0.0)
    return _Outline(left + jaw * view * 0.55 * (sine > 0), right - jaw * view * 0.55 * (sine < 0), half, hatted, bare)


def head_unit(b: Values, where: Pose) -> Tensor:
    """Return picture heights per template pixel, ``[B, 1]``."""
    return (0.130 / _HEAD_PIXELS) * b["head"] * where.scale


def _head(s: _Scene, top: Head) -> None:
    c, where = s.c, s.where
    rows = c.rows("head")
    unit = head_unit(s.b, where)
    chin = where.chin[:, :, None, None]
    y = (c.f.y[:, rows] - chin[:, 1]) / unit[:, :, None] + CHIN
    sine, cosine = where.face_turn.sin()[:, :, None], where.face_turn.cos()[:, :, None]
    left, right, half, hatted, bare = outline(top, where.face_turn, y)
    middle, wide = 0.5 * (left + right), (0.5 * (right - left)).clamp(min=0.3)
    x = (c.f.x - chin[:, 0]) / unit[:, :, None]
    mask = (wide - (x - middle).abs()) * (unit[:, :, None] / c.f.step) + 0.5
    mask = mask.clamp_(0.0, 1.0) * (half > 1.0)
    nx = ((x - middle) / wide).clamp(-1.0, 1.0)
    nz = (1.0 - nx.square()).sqrt_()
    # Where the line of sight meets the head: across its face, and in front or behind.
    across, front = nx * cosine - nz * sine, nx * sine + nz * cosine
    at = (y - TOP) / (0.5 * SPAN) - 1.0
    grid = torch.stack([across.clamp(-0.93, 0.93) * half / (0.5 * SPAN), at.expand_as(across)], dim=3)
    looked = F.grid_sample(top.front, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    share = looked[:, -1:].clamp(min=0.05)
    values = looked[:, :-1] / share
    rear = (0.1 - 4.0 * front).clamp_(0.0, 1.0)
    back = top.back.lerp(s.skin, bare[:, None]).lerp(top.hat, hatted[:, None])
    strands = torch.sin(across * 17.0 + 2.5 * torch.sin(y * 0.11)) * (1.0 - bare)
    back = back + (0.4 * strands[:, None] if s.heat else 0.10 * strands[:, None] * back)
    values = values.lerp(back, rear[:, None])
    clear = (looked[:, -1] * 1.3).clamp_(0.0, 1.0)
    mask = mask * torch.maximum(clear, rear)
    deep = chin[:, 2] + unit[:, :, None] * half * nz * 1.1 + 0.01
    ny = ((y + 10.0) / 75.0).clamp(-0.9, 0.9)
    c.put("head", rows, mask, values, nx, ny, deep, 0.4 * rear)
