"""From a canvas to a picture: pose, background, path, optics and sensor."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.bands import REFLECTED
from xzoo.data.people.curves import bell
from xzoo.data.people.draws import fields, noise_rows, uniforms
from xzoo.data.people.surface import LEFT, SPAN, TOP, Canvas, gaussians
from xzoo.data.people.traits import Values

__all__ = ["BITS", "CAMERAS", "FACE_METRES", "Camera", "Path", "compose", "expose", "path_at", "pose_grid"]

_STEPS = 3
_EYES = (56.0, 51.6)
"""Where the point between the eyes falls in the 112 x 112 template."""

BITS = (8, 14, 16)
"""Depths of a picture: 8 after gain control, 14 and 16 as raw counts of the sensor."""


class Camera(NamedTuple):
    """A sensor of one band. Lengths are pixels of a picture that is 112 wide."""

    columns: int  # what it resolves across the picture
    blur: float  # standard deviation of the optics
    noise: float  # of full scale, or kelvin
    pattern: float  # the same unit, fixed to the sensor
    dead: float  # share of pixels that are stuck
    contrast: float = 0.0  # emissive bands: slope of the automatic gain control, 1 / kelvin
    detail: float = 0.0  # emissive bands: share of local contrast enhancement, mean
    black_hot: bool = False


CAMERAS: dict[str, dict[str, Camera]] = {
    "house": {
        "VIS": Camera(112, 0.45, 0.006, 0.0, 0.0),
        "NIR": Camera(112, 0.55, 0.006, 0.001, 0.0),
        "SWIR": Camera(112, 0.60, 0.004, 0.001, 0.0002),
        "MWIR": Camera(112, 0.55, 0.03, 0.02, 0.0002, 0.25, 0.40),
        "LWIR": Camera(112, 0.70, 0.06, 0.04, 0.0002, 0.25, 0.45),
    },
    "blackhot_lowres": {
        "VIS": Camera(84, 0.70, 0.012, 0.0, 0.0),
        "NIR": Camera(72, 0.80, 0.015, 0.006, 0.0002),
        "SWIR": Camera(56, 0.80, 0.020, 0.012, 0.0010),
        "MWIR": Camera(44, 0.80, 0.05, 0.06, 0.0010, 0.50, 0.60, True),
        "LWIR": Camera(36, 0.90, 0.08, 0.10, 0.0010, 0.55, 0.65, True),
    },
}
"""Cameras by name and band: those the house weights were trained on, and others they never saw."""


class Path(NamedTuple):
    """What the air and the lens do to a picture on the way."""

    columns: float  # what is resolved across a picture of 112, at most
    warp: float  # standard deviation of the wander of image points by turbulence, pixels of 112
    blur: float  # standard deviation of what the exposure averages, pixels of 112
    contrast: float  # share of the contrast that arrives


_REACH = {"VIS": 70.0, "NIR": 66.0, "SWIR": 60.0, "MWIR": 45.0, "LWIR": 30.0}
"""Columns across a face at 30 m, seen by cameras that frame whole people: pixels are fewer where waves are longer."""


FACE_METRES = 0.2
"""Width of what a picture of a face shows."""

_WAVE = {"VIS": 0.55, "NIR": 0.85, "SWIR": 1.5, "MWIR": 4.0, "LWIR": 10.0}
"""Middle of each band, micrometres."""

_TURBULENCE = 3e-14
"""Refractive-index structure constant of the air, m^(-2/3): a mild day a few metres above the ground, where 1e-14 to
1e-13 are usual by day."""

_LENS = 0.15
"""Width of a long lens, metres."""


def path_at(distance: float | None, spectrum: str) -> Path:
    """Return what a distance in metres does; None is a camera at arm's length.

    Turbulence moves and blurs image points as in a long exposure through air of
    one strength, half of the variance each: a width of 0.98 lambda / r0 with
    ``r0 = (0.423 k^2 Cn2 distance) ** (-3 / 5)`` (Fried, *J. Opt. Soc. Am.* 56,
    1966), so less at long wavelengths. A lens of finite width blurs long ones
    more: 1.03 lambda / D between half maxima (Airy's disc; Goodman, *Introduction
    to Fourier Optics*, 4.4). Haze takes contrast exponentially (Koschmieder). The
    strength, that half, the lens and the pixels are ours.
    """
    if distance is None:
        return Path(112.0, 0.0, 0.0, 1.0)
    wave = _WAVE[spectrum] * 1e-6
    coherence = (0.423 * (2.0 * math.pi / wave) ** 2 * _TURBULENCE * distance) ** -0.6
    at_face = distance / 2.355 * (112.0 / FACE_METRES)  # from an angle between half maxima to a deviation in pixels
    air, lens = 0.98 * wave / coherence * at_face, 1.03 * wave / _LENS * at_face
    return Path(
        columns=min(112.0, _REACH[spectrum] * (30.0 / max(distance, 1.0)) ** 0.33),
        warp=air * math.sqrt(0.5),
        blur=math.hypot(air * math.sqrt(0.5), lens),
        contrast=math.exp(-distance / 1500.0),
    )


def pose_grid(now: Values, height: Tensor, size: int) -> Tensor:
    """Return where on the canvas each pixel looks, ``[B, size, size, 2]`` for ``grid_sample``.

    The head turns about the plane of the eyes, so that these stay where the
    template wants them. A pixel sees the canvas point that lands on it: the
    inverse of a shift by height is found in ``_STEPS`` damped fixed-point steps.
    """
    line = (torch.arange(size, device=height.device, dtype=torch.float32) + 0.5) * (112.0 / size)
    zoom = torch.exp(now["zoom"])[:, :, None]
    roll = now["roll"][:, :, None]
    x = (line[None, None, :] - _EYES[0] - now["shift_x"][:, :, None]) / zoom
    y = (line[None, :, None] - _EYES[1] - now["shift_y"][:, :, None]) / zoom
    x, y = x * roll.cos() + y * roll.sin(), y * roll.cos() - x * roll.sin()
    yaw, pitch = now["yaw"][:, :, None], now["pitch"][:, :, None]
    coarse, level = relief(height)
    unit, middle = 2.0 / SPAN, (LEFT + SPAN / 2, TOP + SPAN / 2)
    grid = torch.stack([(x / yaw.cos() - middle[0]) * unit, (y / pitch.cos() - middle[1]) * unit], dim=3)
    slide = torch.stack([yaw.tan(), pitch.tan()], dim=3) * unit
    level_grid, lift = grid, torch.zeros_like(x)
    for step in range(_STEPS):
        found = _look(coarse, grid)[:, 0].sub_(level[:, :, None])
        lift = found if step == 0 else lift.lerp(found, 0.6)
        grid = level_grid - lift[..., None] * slide
    return grid


def relief(height: Tensor) -> tuple[Tensor, Tensor]:
    """Return the height that poses turn, ``[B, 1, 32, 32]``, and the height of the axis they turn about, ``[B, 1]``.

    A coarse height has no cliffs, so every pixel finds one point; what it loses is below a pixel.
    """
    coarse = F.adaptive_avg_pool2d(height[:, None], 32)
    return coarse, 0.85 * coarse[:, :, 15:17, 15:17].mean((2, 3))


def place(now: Values, height: Tensor, points: Tensor, size: int) -> Tensor:
    """Return where in the picture points of the canvas land, ``[B, N, 2]``: the way back of ``pose_grid``.

    Args:
        now: The moment.
        height: Of the canvas, ``[B, G, G]``.
        points: Template pixels, ``[B, N, 2]``.
        size: Side of the picture.

    Returns:
        x and y in pixels; the middle of the first pixel is at 0.
    """
    coarse, level = relief(height)
    unit = torch.tensor([LEFT + SPAN / 2, TOP + SPAN / 2], device=points.device)
    lift = _look(coarse, ((points - unit) * (2.0 / SPAN))[:, :, None])[:, 0, :, 0] - level
    yaw, pitch, roll = now["yaw"], now["pitch"], now["roll"]
    x = points[..., 0] * yaw.cos() + lift * yaw.sin()
    y = points[..., 1] * pitch.cos() + lift * pitch.sin()
    x, y = x * roll.cos() - y * roll.sin(), y * roll.cos() + x * roll.sin()
    zoom = torch.exp(now["zoom"])
    placed = torch.stack([x * zoom + _EYES[0] + now["shift_x"], y * zoom + _EYES[1] + now["shift_y"]], dim=2)
    return placed * (size / 112.0) - 0.5


def compose(seen: Tensor, grid: Tensor, spectrum: str, draws: Tensor, covered: Tensor, path: Path) -> Tensor:
    """Return the scene that a sensor sees: the posed face before its background, ``[B, C, S, S]``.

    Args:
        seen: From ``bands.radiance``: light or kelvin, and coverage, on the canvas.
        grid: From ``pose_grid``.
        spectrum: The band.
        draws: Standard normal numbers ``[B, 64]``.
        covered: 1 where something stands between face and camera, ``[B, 1]``.
        path: The way from the face to the camera.
    """
    size = grid.shape[1]
    if path.warp:
        grid = grid + _wander(draws, size) * (path.warp * 2.0 / SPAN)
    picture = _look(seen, grid)
    cover = picture[:, -1:]
    behind = _behind(size, spectrum, draws)
    picture = picture[:, :-1] + (1.0 - cover) * behind
    if bool((covered > 0).any()):
        picture = torch.where(covered[:, :, None, None] > 0, _occlude(picture, spectrum, draws), picture)
    if path.contrast < 1.0:
        picture = picture.lerp(picture.mean((2, 3), keepdim=True), 1.0 - path.contrast)
    return picture


def expose(
    scene: Tensor,
    spectrum: str,
    camera: Camera,
    draws: Tensor,
    *,
    path: Path | None = None,
    bits: int = 8,
    sensor: int = 0,
) -> Tensor:
    """Return the picture that a sensor makes of a scene.

    Args:
        scene: Linear light about 0 to 1 (``[B, 3, H, W]`` in VIS, one channel in NIR and SWIR), or kelvin
            above 0 C (``[B, 1, H, W]`` in MWIR and LWIR).
        spectrum: The band.
        camera: The sensor.
        draws: Standard normal numbers ``[B, 64]``, the same as in ``compose``.
        path: The way to the camera; None is arm's length.
        bits: One of ``BITS``.
        sensor: Which specimen: fixed pattern and dead pixels belong to it.

    Returns:
        uint8 ``[B, 3, H, W]`` (equal channels where the band has one) at 8 bits; int32 ``[B, C, H, W]`` raw counts
        otherwise: of full scale in reflective bands, 40 mK (14 bits) or 10 mK (16 bits) above 0 K in emissive ones.
    """
    path = path or path_at(None, spectrum)
    picture = _optics(scene, camera, path, draws)
    if spectrum in REFLECTED:
        return _light(picture, camera, draws, bits, sensor)
    return _thermal(picture, camera, draws, bits, sensor)


def _optics(scene: Tensor, camera: Camera, path: Path, draws: Tensor) -> Tensor:
    """Blur by lens, air and motion, and average into what the sensor resolves."""
    high, wide = scene.shape[2:]
    still = (camera.blur + 0.30 * draws[:, 40].abs()).square() + path.blur**2
    # One picture in four is taken of a head in motion; which way is drawn too.
    fast = (draws[:, 46] > 0.67).float()[:, None] * torch.stack([draws[:, 47].abs(), 0.5 * draws[:, 48].abs()], 1) * 2.2
    unit = wide / 112.0 if high == wide else wide / 64.0
    across = _blur(wide, still.sqrt() * unit, fast[:, 0] * unit)
    down = _blur(high, still.sqrt() * unit, fast[:, 1] * unit)
    share = min(camera.columns, path.columns) / 112.0
    if share < 1.0:
        across = _resolve(wide, max(2, round(share * wide)), scene.device) @ across
        down = _resolve(high, max(2, round(share * high)), scene.device) @ down
    return down[:, None] @ scene @ across.transpose(1, 2)[:, None]


def _light(picture: Tensor, camera: Camera, draws: Tensor, bits: int, sensor: int) -> Tensor:
    batch, channels, high, wide = picture.shape
    exposure = torch.exp(0.22 * draws[:, 38])[:, None, None, None]
    picture = picture * exposure
    level = (camera.noise * (1.0 + draws[:, 41].abs()))[:, None]
    noise = (noise_rows(_unit(draws[:, 42]), channels * high * wide) * level).view(batch, channels, high, wide)
    if camera.pattern:
        picture = picture + camera.pattern * _fixed(sensor, high, wide, picture.device)
    if bits > 8:
        full = 2**bits - 1
        counts = ((picture + noise) * (0.6 * full)).round_().clamp_(0, full)
        return _dead(counts, camera, sensor, full).to(torch.int32)
    # A sensor without colour shows its counts more plainly than a photograph does.
    gamma = torch.exp(0.10 * draws[:, 39] - (0.62 if channels == 3 else 0.30))[:, None, None, None]
    if channels == 1:
        # A sensor that sees one number sets its own gain: dark skin fills the range all the same.
        mean = picture.mean((2, 3), keepdim=True).clamp(min=0.02)
        picture = picture * (0.36 / mean) ** 0.75
    picture = picture.clamp_(1e-3, 1.4) ** gamma
    picture = _dead((picture + noise).mul_(255.0), camera, sensor, 255.0)
    return _to_bytes(picture).expand(-1, 3, -1, -1).contiguous()


def _thermal(picture: Tensor, camera: Camera, draws: Tensor, bits: int, sensor: int) -> Tensor:
    batch, _, high, wide = picture.shape
    picture = picture[:, 0] + camera.pattern * _fixed(sensor, high, wide, picture.device)
    level = camera.noise * torch.exp(0.4 * draws[:, 41])[:, None, None]
    picture += level * noise_rows(_unit(draws[:, 42]), high * wide).view(batch, high, wide)
    if bits > 8:
        counts = ((picture + 273.15) * (25.0 if bits == 14 else 100.0)).round_().clamp_(0, 2**bits - 1)
        return _dead(counts[:, None], camera, sensor, 2.0**bits - 1).to(torch.int32)

    # Gain control: a window around the warm part of the picture, and some local contrast.
    mean = picture.mean((1, 2), keepdim=True)
    face = torch.sigmoid(2.0 * (picture - mean))
    warm = (picture * face).sum((1, 2), keepdim=True) / face.sum((1, 2), keepdim=True)
    unit = min(high, wide) / 112.0 if high == wide else wide / 64.0
    reach = torch.exp(0.25 * draws[:, 49]) * 7.0 * unit
    local = picture - _blur(high, reach) @ picture @ _blur(wide, reach)
    detail = (camera.detail + 0.25 * draws[:, 43]).clamp(0.0, 1.0)[:, None, None]
    gain = camera.contrast * torch.exp(0.28 * draws[:, 44])[:, None, None]
    level = (1.0 - 0.7 * detail) * (picture - warm) + 1.8 * detail * local
    grey = torch.tanh(gain * level + 0.2 + 0.2 * draws[:, 45, None, None]).mul_(0.47).add_(0.5)
    if camera.black_hot:
        grey = 1.0 - grey
    grey = _dead(grey.mul_(255.0)[:, None], camera, sensor, 255.0)
    return _to_bytes(grey).expand(-1, 3, -1, -1).contiguous()


def _fixed(sensor: int, high: int, wide: int, device: torch.device) -> Tensor:
    """Return the fixed pattern of a specimen, ``[H, W]``: pixels and, fainter, columns."""
    start = torch.full((1,), (0.6180339887 * (sensor % 1000 + 1)) % 1.0, device=device)
    own = noise_rows(start, high * wide + wide)
    return own[0, : high * wide].view(high, wide) * 0.6 + own[0, high * wide :]


def _dead(counts: Tensor, camera: Camera, sensor: int, full: float) -> Tensor:
    """Return the counts with the specimen's stuck pixels, half of them dark and half bright."""
    if not camera.dead:
        return counts
    where, level = _stuck(sensor % 1000, camera.dead, counts.shape[-2], counts.shape[-1], str(counts.device))
    counts.flatten(-2)[..., where] = level * full
    return counts


@functools.lru_cache(maxsize=64)
def _stuck(sensor: int, share: float, high: int, wide: int, device: str) -> tuple[Tensor, Tensor]:
    one = torch.tensor([sensor])
    u = uniforms(97, one, one * 0, 1, high * wide)[0]
    where = torch.nonzero(u < share)[:, 0]
    level = (uniforms(97, one, one * 0, 2, high * wide)[0][where] < 0.5).float()
    return where.to(device), level.to(device)


def _wander(draws: Tensor, size: int) -> Tensor:
    """Return smooth random shifts ``[B, S, S, 2]`` of unit variance: image points dancing in warm air."""
    starts = _unit(draws[:, 50:58])
    line = torch.stack([fields(starts[:, :4], 128), fields(starts[:, 4:], 128)], dim=1)
    smooth = F.avg_pool2d(line[:, :, 8:120, 8:120], 8)
    found = F.interpolate(smooth, size=(size, size), mode="bicubic", align_corners=False)
    return (found * 1.3).permute(0, 2, 3, 1)


def _behind(size: int, spectrum: str, draws: Tensor) -> Tensor:
    """Return the background of each band, ``[B, C, S, S]``."""
    blobs, colour = _backdrop(size, draws)
    texture = fields(_unit(draws[:, 31:35]), size)[:, None]
    rough = 0.045 * draws[:, 35, None, None, None].abs()
    if spectrum == "VIS":
        return (blobs + colour + rough * texture).clamp_(0.02, 1.0)
    if spectrum in REFLECTED:
        return (blobs + colour[:, :1] + rough * texture).clamp_(0.02, 1.0)
    ambient = (22.0 + 2.0 * draws[:, 38])[:, None, None, None]
    return ambient + 1.2 * (blobs + colour[:, :1] + rough * texture)


def _occlude(picture: Tensor, spectrum: str, draws: Tensor) -> Tensor:
    """Return the pictures with something in front: an edge of cloth, a hand or a post."""
    size = picture.shape[2]
    line = (torch.arange(size, device=draws.device, dtype=torch.float32) + 0.5) * (112.0 / size) - 56.0
    share = (cover(line[None, None, :], line[None, :, None], draws) * (size / 112.0) + 0.5).clamp(0.0, 1.0)[:, None]
    shade = 1.0 + 0.1 * fields(_unit(draws[:, 31:35]).flip(1), size)[:, None]
    if spectrum in REFLECTED:
        colour = (0.4 + 0.2 * draws[:, 26:29] + 0.1 * draws[:, 62:63]).clamp(0.05, 0.95)
        thing = (colour if picture.shape[1] == 3 else colour[:, :1])[:, :, None, None] * shade
    else:
        thing = (27.0 + 3.0 * draws[:, 62, None, None, None]) * (1.0 + 0.05 * (shade - 1.0))
    return picture.lerp(thing.expand_as(picture), share)


def cover(x: Tensor, y: Tensor, draws: Tensor) -> Tensor:
    """Return how far inside the thing in front a place of the picture lies, negative outside, in template pixels.

    Args:
        x: From the middle of the picture to the right, ``[B or 1, N, M]``.
        y: Downwards, of a shape that broadcasts with ``x``.
        draws: Standard normal numbers ``[B, 64]``.
    """
    turn, edge = 3.0 * draws[:, 59, None, None], 26.0 + 10.0 * draws[:, 60, None, None]
    depth = x * turn.cos() + y * turn.sin() - edge - 3.0 * torch.sin(0.09 * (y * turn.cos() - x * turn.sin()))
    return torch.minimum(depth, 26.0 + 10.0 * draws[:, 61, None, None] - depth)


def _backdrop(size: int, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return five soft blobs on a slope ``[B, 1, S, S]``, and a colour ``[B, 3, 1, 1]``."""
    line = (torch.arange(size, device=draws.device, dtype=torch.float32) + 0.5) * (112.0 / size) - 56.0
    field = Canvas(line[None, None, :], line[None, :, None], 112.0 / size)
    cx, cy, sx, sy, amplitude = (draws[:, 5 * k : 5 * k + 5, None] for k in range(5))
    blobs = gaussians(field, 45.0 * cx, 45.0 * cy, 10.0 + 12.0 * sx.abs(), 10.0 + 20.0 * sy.abs(), 0.2 * amplitude)
    colour = 0.42 + 0.20 * draws[:, 25:26] + 0.07 * draws[:, 26:29]
    tilt = 0.08 * (draws[:, 29, None, None] * field.x + draws[:, 30, None, None] * field.y) / 56.0
    return (blobs + tilt)[:, None], colour[:, :, None, None]


def _blur(size: int, sigma: Tensor, motion: Tensor | None = None) -> Tensor:
    """Return blurs as matrices ``[B, S, S]``: Gaussians of ``sigma`` pixels, dragged along ``motion`` pixels."""
    line = torch.arange(size, device=sigma.device)
    if motion is None:
        spread = bell(line / sigma[:, None])
    else:
        half = 0.5 * motion.clamp(min=0.05)[:, None]
        spread = torch.special.ndtr((line + half) / sigma[:, None]) - torch.special.ndtr((line - half) / sigma[:, None])
    # Row i is the symmetric spread cut so that its middle lies at i.
    weights = torch.cat([spread.flip(1), spread[:, 1:]], dim=1).unfold(1, size, 1).flip(1)
    return weights / weights.sum(2, keepdim=True)


def _resolve(size: int, columns: int, device: torch.device) -> Tensor:
    """Return the matrix ``[S, S]`` that averages into ``columns`` cells and draws these back linearly."""
    line = torch.eye(size, device=device)[None]
    few = F.interpolate(line, size=columns, mode="area" if size % columns == 0 else "linear", align_corners=None)
    many = F.interpolate(few, size=size, mode="linear", align_corners=False)
    return many[0].T


def _look(field: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(field, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _unit(normal: Tensor) -> Tensor:
    # The bank is addressed by numbers in (0, 1).
    found: Tensor = torch.special.ndtr(normal)
    return found


def _to_bytes(picture: Tensor) -> Tensor:
    return picture.add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
