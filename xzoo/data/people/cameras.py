"""From a frontal canvas to a picture: pose, background, optics and sensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.draws import noise_rows
from xzoo.data.people.surface import LEFT, SPAN, TOP, Canvas, gaussians
from xzoo.data.people.traits import Values

__all__ = ["CAMERAS", "Camera", "photograph", "pose_grid", "thermogram"]

_STEPS = 3
_EYES = (56.0, 51.6)
"""Where the point between the eyes falls in the 112 x 112 template."""


class Camera(NamedTuple):
    """A thermal sensor; the colour camera beside it is always the same."""

    columns: int  # what it resolves across the picture
    blur: float  # standard deviation of the optics in pixels at 112
    noise: float  # kelvin
    pattern: float  # kelvin, fixed to the sensor
    contrast: float  # slope of the automatic gain control, 1 / kelvin
    detail: float  # share of local contrast enhancement, mean
    black_hot: bool


CAMERAS = {
    "house": Camera(112, 0.7, 0.06, 0.04, 0.28, 0.35, False),
    "blackhot_lowres": Camera(36, 0.9, 0.08, 0.10, 0.55, 0.65, True),
}
"""Thermal sensors by name: the one that house weights were trained on, and one they never saw."""


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
    # A coarse height has no cliffs, so every pixel finds one point; what it loses is below a pixel.
    coarse = F.adaptive_avg_pool2d(height[:, None], 32)
    level = 0.85 * coarse[:, :, 15:17, 15:17].mean((2, 3))[:, :, None]
    unit, middle = 2.0 / SPAN, (LEFT + SPAN / 2, TOP + SPAN / 2)
    grid = torch.stack([(x / yaw.cos() - middle[0]) * unit, (y / pitch.cos() - middle[1]) * unit], dim=3)
    slide = torch.stack([yaw.tan(), pitch.tan()], dim=3) * unit
    level_grid, lift = grid, torch.zeros_like(x)
    for step in range(_STEPS):
        found = _look(coarse, grid)[:, 0].sub_(level)
        lift = found if step == 0 else lift.lerp(found, 0.6)
        grid = level_grid - lift[..., None] * slide
    return grid


def photograph(seen: Tensor, grid: Tensor, draws: Tensor) -> Tensor:
    """Return the pictures of the colour camera, uint8 ``[B, 3, S, S]``.

    Args:
        seen: Linear colour and coverage on the canvas, ``[B, 4, G, G]``.
        grid: From ``pose_grid``.
        draws: Standard normal numbers ``[B, 48]``.
    """
    batch, size = len(seen), grid.shape[1]
    picture = _look(seen, grid)
    cover = picture[:, 3:]
    picture = picture[:, :3] + (1.0 - cover) * _backdrop(size, draws[:, :38]).clamp_(0.02, 1.0)
    exposure = torch.exp(0.22 * draws[:, 38])[:, None, None, None]
    gamma = torch.exp(0.10 * draws[:, 39] - 0.62)[:, None, None, None]
    picture = (picture * exposure).clamp_(1e-3, 1.4) ** gamma
    blur = _blur(size, (0.45 + 0.30 * draws[:, 40].abs()) * size / 112.0)
    picture = blur[:, None] @ picture @ blur.transpose(1, 2)[:, None]
    level = (0.006 + 0.006 * draws[:, 41].abs())[:, None]
    noise = noise_rows(_unit(draws[:, 42]), 3 * size * size) * level
    return _to_bytes(picture + noise.view(batch, 3, size, size))


def thermogram(seen: Tensor, grid: Tensor, draws: Tensor, camera: Camera, sensor: int) -> Tensor:
    """Return the pictures of a thermal camera, uint8 ``[B, 3, S, S]`` with equal channels.

    Args:
        seen: Temperature times coverage, and coverage, on the canvas, ``[B, 2, G, G]``.
        grid: From ``pose_grid``.
        draws: Standard normal numbers ``[B, 48]``.
        camera: The sensor.
        sensor: Which specimen: the fixed pattern belongs to it.
    """
    batch, size = len(seen), grid.shape[1]
    picture = _look(seen, grid)
    ambient = (22.5 + 1.5 * draws[:, 38])[:, None, None]
    backdrop = ambient + 1.2 * _backdrop(size, draws[:, :38])[:, 0]
    picture = picture[:, 0] + (1.0 - picture[:, 1]) * backdrop
    blur = _blur(size, (camera.blur + 0.35 * draws[:, 40].abs()) * size / 112.0)
    if camera.columns < 112:
        blur = _resolve(size, max(2, round(camera.columns * size / 112)), picture.device) @ blur
    picture = blur @ picture @ blur.transpose(1, 2)
    own = noise_rows(
        torch.full((1,), (0.6180339887 * (sensor % 1000 + 1)) % 1.0, device=picture.device), size * size + size
    )
    fixed = own[0, : size * size].view(size, size) * 0.6 + own[0, size * size :]
    picture = picture + camera.pattern * fixed
    level = camera.noise * torch.exp(0.4 * draws[:, 41])[:, None, None]
    picture += level * noise_rows(_unit(draws[:, 42]), size * size).view(batch, size, size)

    # Gain control: a window around the warm part of the picture, and some local contrast.
    mean = picture.mean((1, 2), keepdim=True)
    face = torch.sigmoid(2.0 * (picture - mean))
    warm = (picture * face).sum((1, 2), keepdim=True) / face.sum((1, 2), keepdim=True)
    wide = _blur(size, torch.full_like(draws[:, 43], 7.0 * size / 112.0))
    local = picture - wide @ picture @ wide.transpose(1, 2)
    detail = (camera.detail + 0.25 * draws[:, 43]).clamp(0.0, 1.0)[:, None, None]
    gain = camera.contrast * torch.exp(0.25 * draws[:, 44])[:, None, None]
    level = (1.0 - 0.7 * detail) * (picture - warm) + 1.6 * detail * local
    grey = torch.tanh(gain * level + 0.25 + 0.2 * draws[:, 45, None, None]).mul_(0.46).add_(0.5)
    if camera.black_hot:
        grey = 1.0 - grey
    return _to_bytes(grey)[:, None].expand(-1, 3, -1, -1).contiguous()


def _backdrop(size: int, draws: Tensor) -> Tensor:
    """Return ``[B, 3, S, S]``: a colour and five soft blobs."""
    line = (torch.arange(size, device=draws.device, dtype=torch.float32) + 0.5) * (112.0 / size) - 56.0
    field = Canvas(line[None, None, :], line[None, :, None], 112.0 / size)
    cx, cy, sx, sy, amplitude = (draws[:, 5 * k : 5 * k + 5, None] for k in range(5))
    blobs = gaussians(field, 45.0 * cx, 45.0 * cy, 10.0 + 12.0 * sx.abs(), 10.0 + 20.0 * sy.abs(), 0.2 * amplitude)
    colour = 0.42 + 0.20 * draws[:, 25:26] + 0.07 * draws[:, 26:29]
    tilt = 0.08 * (draws[:, 29, None, None] * field.x + draws[:, 30, None, None] * field.y) / 56.0
    return colour[:, :, None, None] + (blobs + tilt)[:, None]


def _blur(size: int, sigma: Tensor) -> Tensor:
    """Return Gaussian blurs as matrices ``[B, S, S]`` for ``sigma`` pixels ``[B]``."""
    line = torch.arange(size, device=sigma.device)
    bell = torch.exp(-0.5 * (line / sigma[:, None]) ** 2)
    weights = bell[:, (line[:, None] - line).abs()]
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
    return picture.mul(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
