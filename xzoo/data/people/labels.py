"""What is known about a generated face: points, what hides them, box, pose, session, groups.

Pixels: the middle of the first pixel is at 0 in both directions, as OpenCV
counts and as the ArcFace template is used, so that a picture of ``size`` pixels
reaches from -0.5 to ``size - 0.5`` and mirrors at ``x' = size - 1 - x``. Right
and left are the subject's own; point 0 of each set is on the subject's right,
the left of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people import curves
from xzoo.data.people.bands import LENS_HEAT
from xzoo.data.people.cameras import cover, place, pose_grid, relief
from xzoo.data.people.landmarks import POINTS54, five, landmarks
from xzoo.data.people.render import blocks, cells, check, check_numbers, check_view, shots
from xzoo.data.people.surface import LAYERS, LEFT, SPAN, TOP, Surface, canvas, surface
from xzoo.data.people.traits import Values, moment, person, session_of

__all__ = ["Labels", "face_labels"]

_SEEN = 1.5
"""A point counts as not drawn where the nearest pixel shows a place farther from it, in template pixels."""

_HIDING = ("mask", "glasses", "hat", "hair")
"""Materials in front of every feature."""


_TRIES = 8
"""Steps of the search for where a place is drawn."""

_REACH = 2.0
"""Half the distance over which the slope of the head is taken, in template pixels."""

_THIRD = 0.43
"""Cuts of a standard normal number into thirds."""

_GROUPS = {
    "presentation": ("feminine", "masculine"),
    "age": ("younger", "middle", "older"),
    "skin": ("lighter", "medium", "darker"),
    "beard": ("none", "moustache", "beard"),
    "glasses": ("none", "glasses"),
    "hat": ("none", "hat"),
    "mask": ("none", "mask"),
}


class Labels(NamedTuple):
    """What is known about ``B`` faces. Tensors are on the device of the subjects' numbers."""

    points68: Tensor
    """Float ``[B, 68, 2]``, x and y in pixels, order of iBUG 300-W."""
    points54: Tensor
    """Float ``[B, 54, 2]``, order of SF-TL54: the first 49 of the 68, then 51, 54, 57, 62 and 66."""
    points5: Tensor
    """Float ``[B, 5, 2]``, order of the ArcFace template: right and left eye (mean of six lid points), tip of the
    nose, right and left corner of the mouth."""
    visible68: Tensor
    """Bool ``[B, 68]``: inside the picture, not turned away, and nothing in front of it."""
    visible54: Tensor
    """Bool ``[B, 54]``."""
    visible5: Tensor
    """Bool ``[B, 5]``."""
    face_box: Tensor
    """Float ``[B, 4]``: left, top, right, bottom in pixels, from hairline to chin without ears, cut at the picture."""
    pose: Tensor
    """Float ``[B, 3]`` degrees: yaw, positive when the nose points to the right of the picture (to the subject's
    left); pitch, positive downwards; roll, positive clockwise in the picture."""
    session: Tensor
    """Int64 ``[B]``."""
    groups: dict[str, list[str]]
    """Attributes that the face was drawn with, a list of ``B`` words for each of ``presentation``, ``age``, ``skin``,
    ``beard``, ``glasses``, ``hat`` and ``mask``."""


@torch.no_grad()
def face_labels(
    subjects: Tensor,
    samples: Tensor,
    *,
    spectrum: str = "VIS",
    size: int = 112,
    seed: int = 0,
    phase: Tensor | None = None,
    nuisances: float = 1.0,
    pose: float = 1.0,
) -> Labels:
    """Return what is known about the faces that ``faces`` draws from the same numbers.

    The points are marks of the drawn surface, turned as the picture turns it.
    A point is visible unless it lies outside the picture, the head hides it,
    or hair, a hat, a mask, a spectacle frame or the thing in front of the
    camera covers it; spectacle lenses cover it in the bands where they show
    mostly their own heat (MWIR and LWIR). A beard covers no point. Points are
    given whether visible or not.

    Age bands, skin tones and presentation are cuts of the generator's own
    numbers, not estimates of anybody: ``age`` and ``skin`` are thirds of a
    normal trait (cuts at -0.43 and 0.43), ``presentation`` is the sign of the
    factor that ties masculine traits together.

    Args:
        subjects: Subject numbers, integers ``[B]``.
        samples: Sample numbers, integers ``[B]``.
        spectrum: The band, which decides what lenses and the thing in front hide.
        size: Side of the pictures in pixels, 32 to 448.
        seed: The world.
        phase: As for ``faces``: how far each moment has moved on to the next sample, float ``[B]`` in [0, 1].
        nuisances: As for ``faces``.
        pose: As for ``faces``.

    Raises:
        OptionError: Where ``faces`` refuses the same numbers.
    """
    check(spectrum, size, "house")
    check_numbers(subjects, samples)
    check_view(None, 8, phase, nuisances, pose, len(subjects))
    device, count = subjects.device, len(subjects)
    subjects, samples = subjects.long(), samples.to(device).long()
    ahead = torch.zeros(count, device=device) if phase is None else phase.to(device)
    parts = []
    for some, which, when in blocks(subjects, samples, ahead):
        who = person(seed, some)
        now = moment(seed, some, which, phase=None if phase is None else when, nuisances=nuisances, pose=pose)
        parts.append(_label(who, now, shots(seed, some, which, spectrum), spectrum, size))
    points, seen, box, turns, codes = (torch.cat(column)[:count] for column in zip(*parts, strict=True))
    return Labels(
        points68=points,
        points54=points[:, list(POINTS54)],
        points5=five(points),
        visible68=seen[:, :68],
        visible54=seen[:, list(POINTS54)],
        visible5=seen[:, [68, 69, 30, 48, 54]],
        face_box=box,
        pose=turns,
        session=session_of(samples),
        groups={
            name: [words[i] for i in column]
            for (name, words), column in zip(_GROUPS.items(), codes.T.tolist(), strict=True)
        },
    )


def _label(who: Values, now: Values, shot: Tensor, spectrum: str, size: int) -> tuple[Tensor, ...]:
    """Return the 68 points, what is visible of them and of both eyes, the box, the pose and the groups."""
    c = canvas(cells(size), shot.device)
    face = surface(who, now, c)
    marks = landmarks(who, now)
    marks = torch.cat([marks, five(marks)[:, :2]], dim=1)
    grid = pose_grid(now, face.height, size)
    points, off = _find(now, face.height, grid, marks)
    seen = _visible(now, face, marks, points, shot, spectrum, size) & (off < _SEEN)
    points = points[:, :68]
    whole = torch.cat([points, place(now, face.height, _patch(who, now), size)], dim=1)
    box = torch.cat([whole.amin(1), whole.amax(1)], dim=1).clamp(-0.5, size - 0.5)
    turns = torch.rad2deg(torch.cat([now["yaw"], now["pitch"], now["roll"]], dim=1))
    return points, seen, box, turns, _codes(who, now)


def _find(now: Values, height: Tensor, grid: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the picture shows places of the canvas, and how far off the nearest such pixel looks ``[B, N]``.

    ``place`` is exact for a turned surface; ``pose_grid`` stops after a few steps, which moves steep places: the tip
    of a nose by a pixel or two, the far side of the jaw from behind the cheek to the outline of the head. The search
    starts there or at the nearest of some pixels, and what a pixel misses on the canvas leads on to where the place
    is drawn. A place drawn nowhere stays where ``place`` puts it.
    """
    size = grid.shape[1]
    field, wanted = grid.permute(0, 3, 1, 2), _unit(marks)

    def missed(points: Tensor) -> Tensor:
        return (wanted - _at(field, (points + 0.5) * (2.0 / size) - 1.0).transpose(1, 2)) * (SPAN / 2)

    turned = place(now, height, marks, size)
    stride = max(1, size // 28)
    few = grid[:, stride // 2 :: stride, stride // 2 :: stride]
    nearest = torch.cdist(wanted, few.flatten(1, 2)).argmin(2)
    pixels = torch.stack([nearest % few.shape[2], nearest // few.shape[2]], dim=2) * stride + float(stride // 2)
    left, other = missed(turned), missed(pixels)
    closer = (other.norm(dim=2) < left.norm(dim=2) - _SEEN)[..., None]
    found, left = torch.where(closer, pixels, turned), torch.where(closer, other, left)
    scale = torch.exp(now["zoom"])[..., None] * (size / 112.0)
    stretch = torch.stack([now["yaw"].cos(), now["pitch"].cos()], dim=2)
    turn, side = now["roll"].cos(), now["roll"].sin()
    pace = torch.full_like(left[..., :1], 0.7)
    for _ in range(_TRIES):
        x, y = (left * stretch).unbind(2)
        points = found + pace * scale * torch.stack([x * turn - y * side, y * turn + x * side], dim=2)
        after = missed(points)
        better = (after.norm(dim=2) < left.norm(dim=2))[..., None]
        found, left = torch.where(better, points, found), torch.where(better, after, left)
        pace = torch.where(better, pace, 0.5 * pace)
    off = left.norm(dim=2)
    return torch.where((off < _SEEN)[..., None], found, turned), off


def _visible(
    now: Values, face: Surface, marks: Tensor, points: Tensor, shot: Tensor, spectrum: str, size: int
) -> Tensor:
    inside = ((points >= -0.5) & (points < size - 0.5)).all(2)
    coarse, _ = relief(face.height)
    ahead = [
        (_at(coarse, _unit(marks + step)) - _at(coarse, _unit(marks - step)))[:, 0] / (2.0 * _REACH)
        for step in torch.tensor([[_REACH, 0.0], [0.0, _REACH]], device=marks.device)
    ]
    facing = 1.0 + ahead[0] * now["yaw"].tan() + ahead[1] * now["pitch"].tan()
    front = face.layers[:, [LAYERS.index(name) for name in _HIDING]].sum(1)
    front = torch.maximum(front, face.lenses * LENS_HEAT.get(spectrum, 0.0))
    # A mask ends a little inside the outline that it hides.
    inwards = marks.clone()
    inwards[:, :17, 0] *= 0.93
    inwards[:, :17, 1] -= 0.06 * marks[:, :17, 1].clamp(min=0.0)
    masks = face.layers[:, LAYERS.index("mask")]
    hidden = torch.maximum(_at(front[:, None], _unit(marks))[:, 0], _at(masks[:, None], _unit(inwards))[:, 0]) > 0.5
    across, down = ((points + 0.5) * (112.0 / size) - 56.0).unbind(2)
    covered = (cover(across[:, None], down[:, None], shot)[:, 0] > 0.0) & (now["covered"] > 0.0)
    seen: Tensor = inside & (facing > 0.0) & ~hidden & ~covered
    return seen


def _codes(who: Values, now: Values) -> Tensor:
    """Return the place of each face in each row of ``_GROUPS``, int64 ``[B, len(_GROUPS)]``."""
    facial = torch.where(who["beard"] > 0, 2, torch.where(who["moustache"] > 0, 1, 0))
    columns = {
        "presentation": who["factor"] > 0,
        "age": (who["age"] > -_THIRD).long() + (who["age"] > _THIRD),
        "skin": (who["melanin"] > -_THIRD).long() + (who["melanin"] > _THIRD),
        "beard": facial,
        "glasses": who["wears_glasses"] * now["glasses_on"] > 0,
        "hat": now["hat"] > 0,
        "mask": now["mask"] > 0,
    }
    return torch.cat([columns[name].long() for name in _GROUPS], dim=1)


def _patch(who: Values, now: Values) -> Tensor:
    """Return places all over the face from the hairline to the chin, ``[B, N, 2]``."""
    lowest = curves.chin(who, curves.mouth_gap(now))
    y = who["hairline_y"].lerp(lowest, torch.linspace(0.0, 1.0, 14, device=lowest.device)[None])
    half = curves.half_width(who, lowest, y).clamp(min=0.0)
    x = half[:, :, None] * torch.linspace(-1.0, 1.0, 9, device=lowest.device)
    return torch.stack([x, y[:, :, None].expand_as(x)], dim=3).flatten(1, 2)


def _unit(marks: Tensor) -> Tensor:
    """Return places of the canvas as ``grid_sample`` counts them."""
    middle = torch.tensor([LEFT + SPAN / 2, TOP + SPAN / 2], device=marks.device)
    return (marks - middle) * (2.0 / SPAN)


def _at(field: Tensor, places: Tensor) -> Tensor:
    """Return a field ``[B, C, H, W]`` at places ``[B, N, 2]`` in -1..1, ``[B, C, N]``."""
    return F.grid_sample(field, places[:, :, None], padding_mode="border", align_corners=False)[..., 0]
