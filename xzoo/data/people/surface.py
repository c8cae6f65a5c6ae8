"""The face as layers of material over a height map, the same for every band.

The canvas is the frontal face in template pixels (see ``traits``). Everything
on it is made of two primitives, because both cost little more than one
multiplication per pixel: *curves* (an edge or a line whose position is a
function of the column or of the row) and *bumps* (axis-parallel Gaussians,
summed by one matrix product).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xzoo.data.people import curves
from xzoo.data.people.traits import Values

__all__ = ["BOTTOM", "LEFT", "LAYERS", "SPAN", "TOP", "Canvas", "Surface", "bumps", "canvas", "surface"]

LEFT, TOP, SPAN = -76.0, -74.0, 152.0
BOTTOM = TOP + SPAN

LAYERS = (
    "mask",
    "glasses",
    "hat",
    "hair",
    "brows",
    "beard",
    "lashes",
    "pupils",
    "irises",
    "scleras",
    "teeth",
    "mouth",
    "lips",
    "skin",
    "clothes",
    "neck",
    "back_hair",
)
"""What a pixel can be made of, front to back."""

Bump = tuple[Tensor | float, Tensor | float, Tensor | float, Tensor | float, Tensor | float]
"""Centre x, centre y, width, height (standard deviations), amplitude."""


class Canvas(NamedTuple):
    """Coordinates of the canvas: columns ``[1, 1, G]`` and rows ``[1, G, 1]``, in template pixels."""

    x: Tensor
    y: Tensor
    step: float


class Surface(NamedTuple):
    """One batch of faces, frontal, without light or heat."""

    layers: Tensor  # [B, len(LAYERS), G, G]: share of each material, sum <= 1; the rest is background
    lenses: Tensor  # [B, G, G]: spectacle lenses, clear in some bands and opaque in others
    height: Tensor  # [B, G, G]: towards the camera, pixels
    strands: Tensor  # [B, G, G]: about -1..1, the run of the hair
    hollows: Tensor  # [B, G, G]: 0..1, where little light gets in (sockets, nostrils, folds)


def canvas(cells: int, device: torch.device) -> Canvas:
    """Return the coordinates of a canvas of ``cells`` x ``cells``."""
    step = SPAN / cells
    line = (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) * step
    return Canvas((line + LEFT)[None, None, :], (line + TOP)[None, :, None], step)


def bumps(c: Canvas, rows: list[Bump], mirrored: list[Bump] | None = None) -> Tensor:
    """Return the sum of Gaussian bumps ``[B, G, G]``; ``mirrored`` ones stand on both sides."""
    pairs = [(-cx, cy, sx, sy, a) for cx, cy, sx, sy, a in mirrored or []]
    every = rows + (mirrored or []) + pairs
    batch = max(part.shape[0] for row in every for part in row if isinstance(part, Tensor))
    columns = [_column([row[i] for row in every], batch, c.x.device) for i in range(5)]
    return gaussians(c, *columns)


def gaussians(c: Canvas, cx: Tensor, cy: Tensor, sx: Tensor, sy: Tensor, amplitude: Tensor) -> Tensor:
    """Return the sum over ``K`` Gaussians given as ``[B, K, 1]`` each, as ``[B, G, G]``."""
    across = curves.bell((c.x - cx) / sx)
    down = curves.bell((c.y.transpose(1, 2) - cy) / sy) * amplitude
    return torch.bmm(down.transpose(1, 2), across)


def surface(who: Values, now: Values, c: Canvas) -> Surface:
    """Return the layers and the height of each face, frontal, with its expression."""
    p = {name: value[:, :, None] for name, value in who.items() if value.shape[1] == 1}
    m = {name: value[:, :, None] for name, value in now.items()}
    gap = curves.mouth_gap(m)
    chin = curves.chin(p, gap)
    half = curves.half_width(p, chin, c.y)
    hair, strands = _hair(p, m, who["strands"].view(-1, 3, 8, 1), chin, c)
    glasses, lenses = _glasses(p, m, c)
    lips = _mouth(p, m, gap, c)
    parts = {**glasses, **hair, **_eyes(p, m, c), **lips, **_body(p, half, chin, c)}
    parts["beard"] = _beard(p, m, half, lips["lips"], c)
    parts |= _worn(p, m, half, chin, c)

    batch, cells = len(gap), c.x.shape[-1]
    layers = torch.empty(batch, len(LAYERS), cells, cells, device=c.x.device)
    clear = torch.ones(batch, cells, cells, device=c.x.device)
    for i, name in enumerate(LAYERS):
        if name not in parts:
            layers[:, i] = 0.0
            continue
        rows, mask = parts[name]
        layers[:, i, : rows.start or 0] = 0.0
        layers[:, i, cells if rows.stop is None else rows.stop :] = 0.0
        if name in ("brows", "beard"):
            mask = mask * parts["skin"].mask[:, rows]
        share = torch.mul(clear[:, rows], mask, out=layers[:, i, rows])
        clear[:, rows] -= share
    return Surface(layers, lenses, _height(who, now, c, half, chin), strands, _hollows(who, now, c))


class _Part(NamedTuple):
    """One material: the rows of the canvas it can touch, and its share of them ``[B, R, G]``."""

    rows: slice
    mask: Tensor


_ALL = slice(None)


def _window(c: Canvas, top: float, bottom: float) -> tuple[slice, Tensor]:
    """Return the rows between two heights, and their coordinates."""
    rows = slice(max(0, int((top - TOP) / c.step)), int((bottom - TOP) / c.step) + 1)
    return rows, c.y[:, rows]


def _inside(distance: Tensor, c: Canvas) -> Tensor:
    """Return how much of each cell lies inside an edge; ``distance`` is positive there, and is overwritten."""
    return distance.mul_(1.0 / c.step).add_(0.5).clamp_(0.0, 1.0)


def _eyes(p: Values, m: Values, c: Canvas) -> dict[str, _Part]:
    rows, y = _window(c, -36.0, 14.0)
    x, side = c.x, c.x.abs()
    # Both eyes at once, as functions of the distance from the midline.
    u = side - p["eye_x"]
    upper, lower, _, bow = curves.lids(p, m, u)
    eye = _inside(torch.minimum(y - upper, lower - y), c)
    gaze = (x - torch.sign(x) * p["eye_x"] - m["gaze_x"]).square() + (y + 0.4 - m["gaze_y"]).square()
    iris = _inside((p["iris_radius"].square() - gaze) / (2 * p["iris_radius"]), c)
    pupil = _inside((1.45**2 - gaze) / 2.9, c)
    near = (bow + 0.35).clamp(0.0, 1.0)
    lash = (1.15 - (y - upper).abs()).clamp_(0.0, 1.0) * near
    crease = (1.0 - (y - upper + p["eye_fold"] * (0.6 + 0.4 * bow)).abs() / 1.3).clamp_(0.0, 1.0) * near

    t = (side - p["brow_inner"]) / (p["brow_outer"] - p["brow_inner"])
    line, thick, ends = curves.brow(p, m, t)
    brow = _inside(thick - (y - line).abs(), c) * 0.88 * (ends * 3.0).clamp(max=1.0)
    masks = {
        "brows": brow,
        "lashes": torch.maximum(lash * 0.85, crease * 0.25),
        "pupils": pupil * eye,
        "irises": iris * eye,
        "scleras": eye,
    }
    return {name: _Part(rows, mask) for name, mask in masks.items()}


def _mouth(p: Values, m: Values, gap: Tensor, c: Canvas) -> dict[str, _Part]:
    rows, y = _window(c, 16.0, 76.0)
    # The line between the lips, the two lip edges and what opens between.
    line, top, bottom, opening, full = curves.mouth(p, m, gap, c.x)
    lips = _inside(torch.minimum(y - top, bottom - y), c) * (full * 6.0).clamp(max=1.0)
    above, below = curves.mouth_inner(full)
    inner = torch.minimum(y - line + above, line + opening + below - y)
    mouth = _inside(inner, c) * (full * 8.0).clamp(0.0, 1.0)
    teeth = _inside(torch.minimum(y - line - 0.2, line + (0.75 * opening).clamp(max=4.0) - y), c) * (gap > 0.8)
    masks = {"teeth": teeth * mouth, "mouth": mouth, "lips": lips * 0.9}
    return {name: _Part(rows, mask) for name, mask in masks.items()}


def _hair(p: Values, m: Values, curls: Tensor, chin: Tensor, c: Canvas) -> tuple[dict[str, _Part], Tensor]:
    """Return the hair before and behind the head, and its strands.

    A hairline over the columns, an outline around the head, strands along both.
    """
    x, y, side = c.x, c.y, c.x.abs()
    a, f, phase = curls.unbind(1)
    wave = torch.sin(x * (0.45 + 0.22 * f.abs() * 2.0) + 3.0 * phase)
    ragged = (a * wave).sum(1, keepdim=True) * 0.5
    grown = 1.0 + 0.1 * m["hair_change"] + 0.08 * m["hair_grown"]
    hairline = (
        p["hairline_y"]
        + p["hairline_peak"] * curves.bell(x / 6.0)
        - p["hairline_recess"].clamp(min=0.0) * curves.bell((side - 20.0) / 8.0)
        + p["fringe"] * (16.0 + 60.0 * p["fringe_slant"] * x / 38.0)
        + 0.9 * ragged
        + m["hair_change"]
    )
    temple = (side - p["face_width"] + 6.0).clamp(min=0.0)
    hairline = hairline + (temple * 9.0).clamp(max=42.0) + p["long_hair"] * (temple * 9.0).clamp(max=110.0)
    crown = p["crown_y"] - p["hair_top"].clamp(min=2.0) * grown
    # Short hair stands out above the ears and lies close below.
    close = ((14.0 - y) / 30.0).clamp(0.0, 1.0)
    width = p["face_width"] + p["hair_side"].clamp(min=1.0) * grown * torch.lerp(
        close, torch.full_like(close, 2.2), p["long_hair"]
    )
    mane = curves.outline(
        y, crown, p["wide_y"], chin + 4.0, width, p["crown_square"], p["jaw_square"], p["jaw_taper"] * 0.0
    )
    front = _inside(torch.minimum((hairline - y) * 0.6, mane - side), c) * (1.0 - p["bald"])
    length = torch.where(y < p["wide_y"], mane, (width + 1.5 + 0.05 * (y - 6.0)).expand_as(mane))
    back = _inside(length + ragged - side, c) * p["long_hair"]
    down = torch.sin(y * (0.10 + 0.06 * f.abs()).transpose(1, 2) + 6.0 * phase.transpose(1, 2))
    strands = torch.bmm(down * a.transpose(1, 2), torch.sin(x * (0.5 + 0.7 * f.abs()) + 9.0 * phase)) * 0.35
    return {"hair": _Part(_ALL, front), "back_hair": _Part(_ALL, back)}, strands


def _beard(p: Values, m: Values, half: Tensor, lips: _Part, c: Canvas) -> _Part:
    rows, y = _window(c, 0.0, BOTTOM)
    side = c.x.abs()
    # From the ears down along the cheeks, and under the mouth in the middle.
    upper = p["mouth_y"] - 12.0 + 0.014 * (side - 38.0).clamp(max=0.0).square()
    jaw = _inside((y - upper) * 0.16, c) * _inside((half[:, rows] - side) * 0.3, c)
    lip = (
        _inside((p["mouth_y"] - 2.6 - y) * 0.5, c)
        * _inside((y - p["nose_length"] - 3.5) * 0.4, c)
        * _inside((curves.mouth_reach(p, m) + 2.0 - side) * 0.4, c)
    )
    # Shaving is of the day; stubble shows on those whose beard is dense.
    shadow = (0.12 * p["stubble"] * torch.sigmoid(4.0 * p["factor"]) * (1.0 + 0.5 * m["shave"])).clamp(0.0, 0.3)
    beard = (jaw * torch.maximum(p["beard"], shadow) + lip * torch.maximum(p["moustache"], shadow)).clamp_(max=0.85)
    beard[:, lips.rows.start - rows.start : lips.rows.stop - rows.start] *= 1.0 - lips.mask / 0.9
    return _Part(rows, beard)


def _glasses(p: Values, m: Values, c: Canvas) -> tuple[dict[str, _Part], Tensor]:
    rows, y = _window(c, -20.0, 22.0)
    side = c.x.abs()
    frame = ((side - p["eye_x"] - 0.5) / (13.0 + 3.0 * p["glasses_shape"])).square().square() + (
        (y - 1.2) / (8.5 + 4.0 * (1.0 - p["glasses_shape"]))
    ).square().square()
    worn = p["wears_glasses"] * m["glasses_on"]
    rim = (1.0 - (frame - 1.0).abs() * 2.3).clamp_(0.0, 1.0)
    bridge = _inside(torch.minimum(1.1 - (y + 2.0 + 0.02 * c.x.square()).abs(), 6.0 - side), c)
    lenses = torch.zeros(len(worn), c.y.shape[1], c.x.shape[2], device=c.x.device)
    lenses[:, rows] = ((1.0 - frame) * 4.0).clamp_(0.0, 1.0) * worn
    return {"glasses": _Part(rows, torch.maximum(rim, bridge) * worn * 0.9)}, lenses


def _worn(p: Values, m: Values, half: Tensor, chin: Tensor, c: Canvas) -> dict[str, _Part]:
    """Return hat and face mask where anybody of the batch wears one."""
    parts: dict[str, _Part] = {}
    side = c.x.abs()
    if bool((m["hat"] > 0).any()):
        # A cap comes down to the brow and juts out below; a knitted hat is round and sits higher.
        cap = (m["hat_shape"] > 0.5).float()
        line = p["brow_y"] - 11.0 + 2.5 * m["hat_line"] - (4.0 * cap + 1.5) * (c.x / 34.0).square()
        top = p["crown_y"] - 7.0
        width = p["face_width"] + 4.5 + 1.5 * cap
        dome = curves.outline(
            c.y,
            top,
            torch.full_like(top, -14.0),
            line.amax(2, keepdim=True) + 30.0,
            width,
            p["crown_square"],
            p["crown_square"] * 1.6,
            0.0 * top,
        )
        hat = _inside(torch.minimum(line - c.y, dome - side), c) * m["hat"]
        parts["hat"] = _Part(_ALL, hat)
    if bool((m["mask"] > 0).any()):
        rows, y = _window(c, 0.0, BOTTOM)
        upper = p["nose_length"] * 0.45 + 1.5 * m["mask_line"] + 5.0 * (1.0 - curves.bell(side / 14.0))
        cloth = torch.minimum(torch.minimum(y - upper, chin + 3.0 - y), half[:, rows] - 1.5 - side)
        parts["mask"] = _Part(rows, _inside(cloth, c) * m["mask"])
    return parts


def _body(p: Values, half: Tensor, chin: Tensor, c: Canvas) -> dict[str, _Part]:
    rows, y = _window(c, 16.0, BOTTOM)
    side = c.x.abs()
    lobe = (1.0 - ((c.y - 8.0) / p["ear_size"]).square()).clamp(min=0.0).sqrt()
    head = _inside(half + (p["ear_out"] + 2.5).clamp(min=0.5) * lobe - side, c)
    shoulder = chin + 9.0 + 0.28 * side + 9.0 * curves.bell(side / 15.0)
    throat = p["neck_width"] + 0.01 * (y - 40.0).clamp(min=0.0).square()
    return {
        "skin": _Part(_ALL, head),
        "clothes": _Part(rows, _inside(y - shoulder, c)),
        "neck": _Part(rows, _inside(torch.minimum(throat - side, y - 20.0), c)),
    }


def _height(who: Values, now: Values, c: Canvas, half: Tensor, chin: Tensor) -> Tensor:
    p, m = who, now
    t = ((c.y - 4.0) / (0.5 * (chin - p["crown_y"][:, :, None]) + 10.0)).abs().clamp(max=1.0)
    vault = p["depth"][:, :, None] * (1.0 - t**2.6).sqrt()
    # Close to an ellipse, but with a finite slope at the rim, so that a turned head stays one surface.
    # Below the chin the neck goes on.
    neck = 0.9 * p["neck_width"][:, :, None] * ((c.y - chin + 4.0) / 8.0).clamp(0.0, 1.0)
    rim = (1.0 - (c.x / torch.maximum(half, neck).clamp(min=4.0)).square()).clamp_(min=0.0)
    round_ = (1.7 - 0.7 * rim).mul_(rim)
    nose, wide, mouth, lip = p["nose_length"], p["nose_width"], p["mouth_y"], p["lip_lower"]
    at = curves.nose(p)
    bridge, smile, line = p["nose_bridge_width"], m["smile"], p["mouth_width"]
    fold = -p["fold_depth"].clamp(min=0.0) * (0.6 + smile.clamp(min=0.0))
    middle: list[Bump] = [
        (*at.root, bridge * 0.8, 6.0, p["nose_bridge"] * 0.55),
        (*at.bridge, bridge, nose * 0.28, p["nose_bridge"] * 0.75),
        (*at.tip, wide * 0.5, 4.0, p["nose_tip"]),
        (0.0, nose + 8.0, 1.5, 4.0, -0.9),
        (0.0, mouth - p["lip_upper"] * 0.5, line * 0.55, 2.0, 2.0),
        (0.0, mouth + lip * 0.6, line * 0.5, 2.4, 2.6),
        (0.0, mouth, line * 0.6, 1.1, -1.8),
        (0.0, mouth + lip + 5.0, 10.0, 3.0, -2.4),
        (0.0, p["chin_y"] - 8.0, 9.0, 6.0, p["chin_bump"]),
        (0.0, -9.0, 4.0, 5.0, p["brow_ridge"] * 0.8),
        (0.0, p["mouth_y"] - 4.0, 17.0, 9.0, 3.0),
    ]
    sides: list[Bump] = [
        (p["eye_x"] - 1.0, -2.0, 8.0, 5.0, -p["socket"]),
        (p["eye_x"], 0.0, 5.0, 3.4, 2.6),
        (15.0, p["brow_y"] + 1.0, 10.0, 3.5, p["brow_ridge"]),
        (24.0, 17.0, 8.5, 7.0, p["cheekbone"]),
        (20.0, 20.0, 7.0, 6.0, 2.2 * smile),
        (22.0, 30.0, 9.0, 10.0, 3.0 * m["puff"].clamp(min=-0.4)),
        (24.0, 37.0, 8.0, 9.0, -p["cheek_hollow"]),
        (35.0, -22.0, 6.0, 12.0, -2.0),
        (*at.wing, 2.5, 2.7, 3.6),
        (wide + 3.0, nose + 1.0, 1.8, 3.0, fold),
        (wide * 0.6 + line * 0.55, (nose + mouth) * 0.5, 1.9, 4.0, fold),
        (line + 3.5, mouth - 1.0, 2.0, 4.0, fold),
        (p["eye_x"] - 2.0, 8.0, 7.0, 1.6, -p["under_eye"]),
    ]
    cx, cy, size = p["relief"].view(-1, 3, 14, 1).unbind(1)
    relief = gaussians(c, 20.0 * cx, 10.0 + 24.0 * cy, torch.full_like(cx, 6.5), torch.full_like(cx, 6.5), 1.1 * size)
    return vault * round_ + bumps(c, middle, sides) + relief


def _hollows(who: Values, now: Values, c: Canvas) -> Tensor:
    p = who
    nose, wide, mouth = p["nose_length"], p["nose_width"], p["mouth_y"]
    lines = 0.16 * torch.sigmoid(2.0 * (p["age"] + p["wrinkles"]) - 1.2)
    at = curves.nose(p)
    middle: list[Bump] = [
        (*at.base, 5.0, 1.7, 0.28),
        (0.0, mouth + p["lip_lower"] + 3.5, 8.0, 1.8, 0.16),
        (0.0, mouth, p["mouth_width"] * 0.55, 1.0, 0.2),
        (0.0, -19.5, 15.0, 0.9, lines + 0.05 * now["brow_raise"].clamp(min=0.0)),
        (0.0, -24.5, 17.0, 0.9, lines + 0.05 * now["brow_raise"].clamp(min=0.0)),
        (0.0, -30.0, 15.0, 0.9, lines),
        (0.0, -8.0, 0.9, 3.5, lines + 0.12 * now["frown"].clamp(min=0.0)),
    ]
    sides: list[Bump] = [
        (*at.nostril, 1.7, 1.15, 0.85),
        (wide * 1.02, nose - 0.5, 0.9, 3.0, 0.32),
        (p["eye_x"] - 5.0, -2.5, 5.5, 3.5, 0.22),
        (p["eye_x"] - 3.0, 5.5, 5.5, 2.0, 0.3 * p["under_eye"].clamp(min=0.0)),
        (p["eye_x"], -4.0, 8.0, 2.2, 0.14),
        (wide + 3.5, nose + 3.0, 1.2, 3.5, 0.12 + 0.1 * now["smile"].clamp(min=0.0)),
        (
            wide * 0.6 + p["mouth_width"] * 0.55,
            (nose + mouth) * 0.5,
            1.2,
            3.5,
            0.12 + 0.1 * now["smile"].clamp(min=0.0),
        ),
        (p["mouth_width"] + 1.6, mouth, 1.3, 1.6, 0.25),
        (p["eye_x"] + p["eye_width"] + 3.5, 2.0, 3.0, 0.8, 0.7 * lines),
        (p["eye_x"] + p["eye_width"] + 3.5, -1.0, 3.0, 0.8, 0.7 * lines),
    ]
    return bumps(c, middle, sides).clamp_(0.0, 0.9)


def _column(values: list[Tensor | float], batch: int, device: torch.device) -> Tensor:
    """Return ``[B, K, 1]`` of numbers and of vectors ``[B or 1, 1]``."""
    plain = [0.0 if isinstance(value, Tensor) else value for value in values]
    column = torch.tensor(plain, device=device).repeat(batch, 1)
    for place, value in enumerate(values):
        if isinstance(value, Tensor):
            column[:, place : place + 1] = value
    return column[:, :, None]
