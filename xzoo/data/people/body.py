"""Bodies from numbers: whole people in five bands, and what is known about them.

The same subjects as ``faces``: the head of a body carries the face, the hair
and the skin of its subject. Identity is in build, proportions, posture, gait
and habits of dress; a session (``traits.SESSION`` samples) changes the clothes
and the state of the day; a sample changes view, gait phase and surroundings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.bands import REFLECTED, SPECTRA, radiance
from xzoo.data.people.cameras import CAMERAS, FACE_METRES, Path, expose, path_at
from xzoo.data.people.clothes import fabrics, wardrobe
from xzoo.data.people.curves import bell
from xzoo.data.people.draws import noise_rows, normals, uniforms
from xzoo.data.people.figure import (
    CHIN,
    TRUNK_END,
    Figure,
    Frame,
    Head,
    draw,
    frame,
    head,
    head_unit,
    outline,
    skirt_rows,
    trunk_rows,
)
from xzoo.data.people.gait import JOINTS, Pose, build, pose
from xzoo.data.people.render import check, check_numbers, check_view
from xzoo.data.people.surface import LAYERS, SPAN, TOP, Canvas, canvas, gaussians, surface
from xzoo.data.people.traits import Values, moment, person, session_of
from xzoo.errors import OptionError

__all__ = ["BodyLabels", "bodies", "body_boxes", "body_labels"]

_CHUNK = 8
"""Bodies drawn at once: larger batches leave the processor's cache and are slower."""

_COARSE = 0.75
"""Cells of the canvas per pixel: what the optics blur anyway is not drawn."""

_METRES = 0.6
"""Width of what a picture of a body shows."""
_FACE_CELLS = 64
_PRINTS = {"VIS": 1.0, "NIR": 1.0, "SWIR": 1.0, "MWIR": 0.0, "LWIR": 0.0}
_OCCLUDED = 0.16
_LAMP_FALLS = 0.55

_GAIN = 0.40
"""Clothes and skin span more kelvin than a face, and automatic gain control makes room for them."""


class _People(NamedTuple):
    """Everything that the numbers decide about a batch."""

    who: Values
    now: Values
    b: Values
    worn: Values
    where: Pose


class BodyLabels(NamedTuple):
    """What is known about ``B`` bodies. Tensors are on the device of the subjects' numbers.

    Pixels: the middle of the first pixel is at 0. Boxes are left, top, right,
    bottom, cut at the edges of the picture; they hold the part whether or not
    something stands in front of it.
    """

    body_box: Tensor
    """Float ``[B, 4]``: head to foot, with arms, without what is carried."""
    face_box: Tensor
    """Float ``[B, 4]``: the head from crown to chin with its hair, also when seen from behind."""
    torso_box: Tensor
    """Float ``[B, 4]``: the trunk from the base of the neck to the hips, without arms."""
    lower_body_box: Tensor
    """Float ``[B, 4]``: from the hips to the toes, with what hangs there."""
    keypoints: Tensor
    """Float ``[B, 17, 2]``: x and y of ``gait.JOINTS``; left and right are the person's own."""
    visible: Tensor
    """Bool ``[B, 17]``: inside the picture, and no other part of the body or thing in front of it."""
    pose: Tensor
    """Float ``[B, 3]`` degrees: yaw of the trunk, 0 towards the camera, positive when the chest points to the
    right of the picture, 180 away; pitch of the camera, positive downwards; roll, positive clockwise."""
    distance: Tensor
    """Float ``[B]``: metres to the camera."""
    session: Tensor
    """Int64 ``[B]``."""


@torch.inference_mode()
def bodies(
    subjects: Tensor,
    samples: Tensor,
    spectrum: str,
    *,
    size: tuple[int, int] = (384, 128),
    seed: int = 0,
    camera: str = "house",
    distance: float | None = None,
    phase: Tensor | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """Draw generated people from head to foot, each filling its picture.

    A picture depends on ``(seed, subject, sample, spectrum, camera, size,
    distance, phase)`` alone, not on its batch. The same sample of a subject in
    two spectra is one moment (view, gait, clothes) seen by two cameras; lights,
    surroundings and sensor noise belong to each spectrum.

    Args:
        subjects: Subject numbers, integers ``[B]``, any of 2**63.
        samples: Sample numbers, integers ``[B]``.
        spectrum: One of ``bands.SPECTRA``.
        size: Height and width of the pictures in pixels, each 32 to 1024. A body too wide for the shape of the
            picture is narrowed, as a detector's box is when it is resized.
        seed: The world; another seed has other people.
        camera: The set of sensors, one of ``cameras.CAMERAS``.
        distance: Metres between body and camera, whose lens still fills the picture; None is a few metres.
        phase: Strides walked since the sample began, float ``[B]``, 1 is left and right step: frames of a track.
        device: Where to draw; the device of ``subjects`` if None.

    Returns:
        RGB pictures, uint8 ``[B, 3, H, W]``, with equal channels where the band has one.

    Raises:
        OptionError: A spectrum, camera, size or distance that does not exist, or ``subjects`` and ``samples``
            that are not integer vectors of one length.
    """
    high, wide = _check(subjects, samples, spectrum, size, camera, distance, phase)
    device = torch.device(device) if device is not None else subjects.device
    path = _same_lens(path_at(distance, spectrum))
    parts = []
    for some, which, walked in _chunks(subjects, samples, phase, device):
        people = _people(seed, some, which, wide / high, walked)
        scene = _scene(seed, some, which, people, spectrum, (high, wide), path)
        sensor = CAMERAS[camera][spectrum]
        sensor = sensor._replace(contrast=_GAIN * sensor.contrast)
        draws = normals(seed, some, which, 81 + 2 * SPECTRA.index(spectrum), 64).clamp_(-2.6, 2.6)
        parts.append(expose(scene, spectrum, sensor, draws, path=path, sensor=seed))
    return torch.cat(parts) if parts else torch.empty(0, 3, high, wide, dtype=torch.uint8, device=device)


@torch.inference_mode()
def body_labels(
    subjects: Tensor,
    samples: Tensor,
    *,
    spectrum: str = "VIS",
    size: tuple[int, int] = (384, 128),
    seed: int = 0,
    distance: float | None = None,
    phase: Tensor | None = None,
) -> BodyLabels:
    """Return what is known about the bodies that ``bodies`` draws from the same numbers.

    Args:
        subjects: Subject numbers, integers ``[B]``.
        samples: Sample numbers, integers ``[B]``.
        spectrum: The band, to which the things in front of a body belong.
        size: Height and width of the pictures.
        seed: The world.
        distance: As for ``bodies``; None is a few metres, drawn by the sample.
        phase: As for ``bodies``.

    Raises:
        OptionError: Where ``bodies`` refuses the same numbers.
    """
    high, wide = _check(subjects, samples, spectrum, size, "house", distance, phase)
    parts = [
        _label(seed, some, which, _people(seed, some, which, wide / high, walked), spectrum, (high, wide), distance)
        for some, which, walked in _chunks(subjects, samples, phase, subjects.device)
    ]
    if not parts:
        parts = [_none(subjects.device)]
    return BodyLabels(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.inference_mode()
def body_boxes(
    subjects: Tensor,
    samples: Tensor,
    *,
    size: tuple[int, int] = (384, 128),
    seed: int = 0,
    phase: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the boxes of ``body_labels`` alone, by their names there: nothing is drawn for them.

    They are the same in every band and at any distance. Arguments and errors as there.
    """
    high, wide = _check(subjects, samples, "VIS", size, "house", None, phase)
    parts = [
        _boxes(_people(seed, some, which, wide / high, walked), (high, wide))
        for some, which, walked in _chunks(subjects, samples, phase, subjects.device)
    ]
    parts = parts or [{name: torch.empty(0, 4, device=subjects.device) for name in BodyLabels._fields[:4]}]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _none(device: torch.device) -> BodyLabels:
    box = torch.empty(0, 4, device=device)
    count = len(JOINTS)
    return BodyLabels(
        box,
        box,
        box,
        box,
        torch.empty(0, count, 2, device=device),
        torch.empty(0, count, dtype=torch.bool, device=device),
        torch.empty(0, 3, device=device),
        torch.empty(0, device=device),
        torch.empty(0, dtype=torch.int64, device=device),
    )


def _label(
    seed: int,
    subjects: Tensor,
    samples: Tensor,
    people: _People,
    spectrum: str,
    size: tuple[int, int],
    distance: float | None,
) -> BodyLabels:
    where = people.where
    points = _to_pixels(people, size, where.joints[:, :, 0], where.joints[:, :, 1])
    degrees = torch.cat([_half_turn(where.turn), where.pitch, where.lean], dim=1).rad2deg()
    near = 3.0 + 9.0 * uniforms(seed, subjects, samples, 67, 1)[:, 0]
    return BodyLabels(
        **_boxes(people, size),
        keypoints=points,
        visible=_visible(seed, subjects, samples, people, spectrum, size, points),
        pose=degrees,
        distance=near if distance is None else torch.full_like(near, distance),
        session=session_of(samples),
    )


def _to_pixels(people: _People, size: tuple[int, int], x: Tensor, y: Tensor) -> Tensor:
    high, wide = size
    squeeze = people.where.squeeze.view(-1, *[1] * (x.ndim - 1))
    return torch.stack([(x * squeeze * (high / wide) + 0.5) * wide - 0.5, y * high - 0.5], dim=-1)


def _boxes(people: _People, size: tuple[int, int]) -> dict[str, Tensor]:
    high, wide = size

    def box(left: Tensor, top: Tensor, right: Tensor, bottom: Tensor) -> Tensor:
        across, down = torch.cat([left, right], dim=1), torch.cat([top, bottom], dim=1)
        corners = _to_pixels(people, size, across, down).flatten(1)
        least, most = torch.tensor([-0.5], device=left.device), torch.tensor([wide, high] * 2, device=left.device) - 0.5
        return corners.clamp(least, most)

    trunk, legs, arms, face = (f(people) for f in (_trunk_reach, _legs_reach, _arms_reach, _face_reach))
    every = torch.stack([trunk, legs, arms, face], dim=1)
    body = torch.cat([every[:, :, :2].amin(1), every[:, :, 2:].amax(1)], dim=1)
    parts = {"body_box": body, "face_box": face, "torso_box": trunk, "lower_body_box": legs}
    return {name: box(*part.split(1, dim=1)) for name, part in parts.items()}


def _half_turn(turn: Tensor) -> Tensor:
    """Return angles in [-pi, pi)."""
    return torch.remainder(turn + math.pi, 2 * math.pi) - math.pi


def _reach(points: Tensor, radius: Tensor) -> Tensor:
    """Return left, top, right, bottom of circles, ``[B, 4]``: centres ``[B, N, 2 or 3]``, one radius ``[B, 1]``."""
    x, y = points[:, :, 0], points[:, :, 1]
    return torch.stack([(x - radius).amin(1), (y - radius).amin(1), (x + radius).amax(1), (y + radius).amax(1)], dim=1)


def _rows_between(top: Tensor, bottom: Tensor, count: int = 33) -> Tensor:
    line = torch.linspace(0.0, 1.0, count, device=top.device)[None, :, None]
    return top + (bottom - top) * line


def _trunk_reach(p: _People) -> Tensor:
    pelvis, neck = p.where.pelvis, p.where.joints[:, JOINTS.index("neck")]
    top = pelvis[:, 1:2] + (neck[:, 1:2] - pelvis[:, 1:2]) * 1.12
    bottom = pelvis[:, 1:2] + p.worn["hem"].clamp(*TRUNK_END) * p.where.scale
    t = trunk_rows(p.b, p.worn, p.where, _rows_between(top[:, :, None], bottom[:, :, None]))
    left, right = (t.centre - t.half).amin(1), (t.centre + t.half).amax(1)
    return torch.cat([left, top, right, bottom], dim=1)


def _legs_reach(p: _People) -> Tensor:
    joints = p.where.joints
    thick = (p.b["thigh_thick"] + 0.6 * p.worn["lower_loose"]) * p.where.scale
    thin = (0.7 * p.b["thigh_thick"] + 1.4 * p.worn["lower_loose"]) * p.where.scale
    upper = [JOINTS.index(name) for name in ("left_hip", "right_hip")]
    lower = [JOINTS.index(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle")]
    toes = [JOINTS.index("left_toe"), JOINTS.index("right_toe")]
    sole = 0.021 * p.where.scale
    reach = [_reach(joints[:, upper], 1.05 * thick), _reach(joints[:, lower], thin), _reach(joints[:, toes], sole)]
    middle, half, top, bottom = skirt_rows(
        p.b, p.worn, p.where, _rows_between(*skirt_rows(p.b, p.worn, p.where, p.where.pelvis[:, 1:2, None])[2:])
    )
    there = bottom[:, :, 0] > top[:, :, 0]
    skirt = torch.cat([(middle - half).amin(1), top[:, :, 0], (middle + half).amax(1), bottom[:, :, 0]], dim=1)
    reach.append(torch.where(there, skirt, reach[0]))
    every = torch.stack(reach, dim=1)
    return torch.cat([every[:, :, :2].amin(1), every[:, :, 2:].amax(1)], dim=1)


def _arms_reach(p: _People) -> Tensor:
    names = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist")]
    points = torch.cat([p.where.joints[:, [JOINTS.index(name) for name in names]], p.where.hands], dim=1)
    return _reach(points, (1.12 * p.b["arm_thick"] + p.worn["top_loose"]) * p.where.scale)


def _face_reach(p: _People) -> Tensor:
    top = _head(p, "LWIR")
    unit, chin = head_unit(p.b, p.where), p.where.chin
    cells = top.half.shape[1]
    line = TOP + (torch.arange(cells, device=unit.device) + 0.5) * (SPAN / cells)
    there = (top.half > 1.0) & (line < CHIN)
    sides = outline(top, p.where.face_turn, line[None, :, None].expand(len(unit), -1, 1))
    crown = torch.where(there, line, CHIN).amin(1, keepdim=True) - 0.5 * SPAN / cells
    left = torch.where(there, sides.left[:, :, 0], 0.0).amin(1, keepdim=True)
    right = torch.where(there, sides.right[:, :, 0], 0.0).amax(1, keepdim=True)
    return torch.cat(
        [chin[:, :1] + left * unit, chin[:, 1:2] + (crown - CHIN) * unit, chin[:, :1] + right * unit, chin[:, 1:2]],
        dim=1,
    )


def _visible(
    seed: int,
    subjects: Tensor,
    samples: Tensor,
    p: _People,
    spectrum: str,
    size: tuple[int, int],
    points: Tensor,
) -> Tensor:
    """Return which joints nothing hides, ``[B, 17]``: what is drawn there is no more than a limb in front of them."""
    high, wide = size
    inside = (points > -0.5).all(2) & (points[..., 0] < wide - 0.5) & (points[..., 1] < high - 0.5)
    f = frame(p.where, 192, max(16, round(192 * wide / high)), wide / high)
    figure = _figure(p, f, "LWIR")
    grid = (points + 0.5) / torch.tensor([wide / 2, high / 2], device=points.device) - 1.0
    deep = F.grid_sample(figure.deep[:, None], grid[:, :, None], mode="nearest", align_corners=False)[:, 0, :, 0]
    limb = torch.stack([p.b["thigh_thick"] if "hip" in name else 1.1 * p.b["calf_thick"] for name in JOINTS], dim=1)
    limb = (limb[:, :, 0] + p.worn["lower_loose"]) * p.where.scale
    # Crown, nose and neck lie under a head that is round.
    limb[:, :3] = torch.tensor([0.10, 0.03, 0.06], device=limb.device) * p.where.scale
    seen = deep < p.where.joints[:, :, 2] + 1.5 * limb
    light, chance = _draws(seed, subjects, samples, spectrum)
    thing = _thing(light, chance, 192, f.x.shape[2])
    free = F.grid_sample(thing[:, None], grid[:, :, None], mode="nearest", align_corners=False)[:, 0, :, 0] < 0.5
    return inside & seen & free


def _same_lens(path: Path) -> Path:
    """Return the path for a picture of a body by the lens that ``path_at`` means for one of a face.

    Pixels of 112 across a face become pixels of 64 across a body.
    """
    smaller = 64.0 / 112.0 * FACE_METRES / _METRES
    return path._replace(
        columns=min(112.0, path.columns * _METRES / FACE_METRES), warp=path.warp * smaller, blur=path.blur * smaller
    )


def _people(seed: int, subjects: Tensor, samples: Tensor, aspect: float, phase: Tensor | None) -> _People:
    who, now = person(seed, subjects), moment(seed, subjects, samples)
    b = build(seed, subjects, who["factor"])
    worn = wardrobe(seed, subjects, session_of(samples), b, who["factor"])
    return _People(who, now, b, worn, pose(seed, subjects, samples, b, aspect=aspect, phase=phase))


def _scene(
    seed: int, subjects: Tensor, samples: Tensor, people: _People, spectrum: str, size: tuple[int, int], path: Path
) -> Tensor:
    """Return what reaches the lens, ``[B, C, H, W]``: linear light, or kelvin above 0 C."""
    high, wide = size
    rows, columns = max(32, round(high * _COARSE)), max(16, round(wide * _COARSE))
    f = frame(people.where, rows, columns, wide / high)
    figure = _figure(people, f, spectrum)
    light, chance = _draws(seed, subjects, samples, spectrum)
    behind, thing = _surroundings(people, spectrum, light, chance, rows, columns)
    folds = _noise(chance[:, 0], 26, 14, rows, columns) + 0.6 * _noise(chance[:, 1], 60, 26, rows, columns)
    seen = _lit(figure, folds, spectrum, light)
    picture = seen + (1.0 - figure.cover)[:, None] * behind
    picture = _occluded(picture, thing, light, chance, rows, columns)
    if path.contrast < 1.0:
        picture = picture.lerp(picture.mean((2, 3), keepdim=True), 1.0 - path.contrast)
    if path.warp:
        shift = torch.stack([_noise(chance[:, k], 24, 8, rows, columns) for k in (2, 3)], dim=3)
        line = [(torch.arange(n, device=light.device) + 0.5) * (2.0 / n) - 1.0 for n in (rows, columns)]
        still = torch.stack([line[1].expand(rows, -1), line[0][:, None].expand(-1, columns)], dim=2)
        unit = torch.tensor([2.0 / 64.0, 2.0 / 64.0 * wide / high], device=light.device)
        picture = F.grid_sample(
            picture, still + path.warp * unit * shift, mode="bilinear", padding_mode="border", align_corners=False
        )
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False)


def _draws(seed: int, subjects: Tensor, samples: Tensor, spectrum: str) -> tuple[Tensor, Tensor]:
    """Return what decides light and surroundings: normal ``[B, 64]`` and uniform ``[B, 12]`` numbers."""
    stream = 71 + 2 * SPECTRA.index(spectrum)
    light = normals(seed, subjects, samples, stream, 64).clamp_(-2.2, 2.2)
    return light, uniforms(seed, subjects, samples, stream + 1, 12)


def _figure(people: _People, f: Frame, spectrum: str, mark: tuple[str, ...] | None = None) -> Figure:
    heat = spectrum not in REFLECTED
    worn = dict(people.worn)
    top = _head(people, spectrum)
    if heat:
        # The day warms or cools the limbs more than the head.
        chill = ((31.0 - worn["ambient"]) / 15.0 - 0.25 * worn["exertion"]).clamp(0.15, 2.2)
        # Walls and air are warmer than the weather.
        worn["ambient"] = 0.5 * worn["ambient"] + 10.0
    else:
        chill = torch.zeros_like(worn["ambient"])
    return draw(
        people.b,
        worn,
        people.where,
        f,
        fabrics(worn, spectrum),
        top,
        heat=heat,
        print_share=_PRINTS[spectrum],
        chill=chill,
        mark=mark,
    )


def _head(people: _People, spectrum: str) -> Head:
    c = canvas(_FACE_CELLS, people.where.scale.device)
    face = surface(people.who, people.now, c)
    for name in ("neck", "clothes"):
        face.layers[:, LAYERS.index(name)] = 0.0
    even = torch.zeros(len(people.where.scale), 12, device=people.where.scale.device)
    return head(face, radiance(people.who, people.now, face, c, even, spectrum), people.who["bald"])


def _lit(figure: Figure, folds: Tensor, spectrum: str, light: Tensor) -> Tensor:
    """Return the figure under the light of its scene, times coverage."""
    wrinkle = folds * figure.cloth
    if spectrum == "LWIR":
        return figure.seen + (0.45 * wrinkle)[:, None]
    cover = figure.cover.clamp(min=0.05)
    nx = (figure.normal[:, 0] + 0.10 * wrinkle) / cover
    ny = (figure.normal[:, 1] + 0.06 * wrinkle) / cover
    nz = (1.0 - nx.square() - ny.square()).clamp_(min=0.02).sqrt_()
    lx, ly = 0.55 * light[:, 0, None, None], -0.45 + 0.30 * light[:, 1, None, None]
    lz = (0.75 + 0.2 * light[:, 2, None, None]).clamp(min=0.3)
    lambert = ((nx * lx + ny * ly + nz * lz) / (lx * lx + ly * ly + lz * lz).sqrt()).clamp_(min=0.0)
    if spectrum == "MWIR":
        return figure.seen + (0.4 * wrinkle + 2.0 * (lambert - 0.5) * figure.cover)[:, None]
    ambient = (0.45 + 0.12 * light[:, 3, None, None]).clamp(0.2, 0.75)
    shade = ambient * (0.55 + 0.45 * nz) + (1.15 - ambient) * lambert
    seen = figure.seen * shade[:, None]
    return seen * _tint(light) if spectrum == "VIS" else seen


def _tint(light: Tensor) -> Tensor:
    return 1.0 + 0.07 * light[:, 4:7, None, None] * torch.tensor([1.0, 0.3, 1.0], device=light.device)[:, None, None]


def _surroundings(
    people: _People, spectrum: str, light: Tensor, chance: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Return what is behind a body, ``[B, C, H, W]``, and the value of a thing in front, ``[B, C, 1, 1]``.

    A wall, a ground, upright structures and blobs of other brightness.
    """
    device = light.device
    x = ((torch.arange(columns, device=device) + 0.5) / columns - 0.5)[None, None, :]
    y = ((torch.arange(rows, device=device) + 0.5) / rows)[None, :, None]
    z = light[:, 8:, None, None]
    field = Canvas(x, y, 1.0 / rows)
    cx, cy, sx, sy, amount = (light[:, 8 + 6 * k : 14 + 6 * k, None] for k in range(5))
    blobs = gaussians(field, 0.4 * cx, 0.5 + 0.35 * cy, 0.08 + 0.10 * sx.abs(), 0.04 + 0.08 * sy.abs(), amount)
    uprights = torch.zeros(1, 1, columns, device=device)
    for k in range(3):
        edge = ((x - 0.35 * z[:, 30 + k]) * 60.0).clamp(-0.5, 0.5)
        uprights = uprights + z[:, 33 + k] * edge
    floor = ((y - 0.80 - 0.05 * z[:, 36]) * 45.0).clamp(0.0, 1.0)
    shadow = bell(x / 0.28) * bell((y - 0.95) / 0.03) * floor
    grain = _noise(chance[:, 4], 48, 20, rows, columns)
    detail = 0.5 * blobs + 0.45 * uprights * (1.0 - floor) + 0.13 * grain
    if spectrum in REFLECTED:
        wall, ground = (0.36 + 0.16 * z[:, 37]).clamp(0.06, 0.8), (0.33 + 0.12 * z[:, 38]).clamp(0.06, 0.7)
        base = torch.lerp(wall.expand(-1, rows, 1), ground.expand(-1, rows, 1), floor)
        level = (base * (1.0 + 0.45 * detail - 0.35 * shadow)).clamp(0.02, 1.0)[:, None]
        if spectrum == "NIR":
            # The lamp beside the camera lights what is near more than what is behind.
            level = level * _LAMP_FALLS
        thing = (0.30 + 0.18 * z[:, 39]).clamp(0.04, 0.8)[:, None]
        if spectrum == "VIS":
            hue = 1.0 + 0.07 * torch.stack([light[:, 50:53], light[:, 53:56]], dim=1)[..., None, None]
            level = level * torch.lerp(hue[:, 0], hue[:, 1], floor[:, None]) * _tint(light)
            thing = thing * hue[:, 0]
        return level, thing
    air = (0.5 * people.worn["ambient"] + 9.0)[:, :, None] + 0.8 * z[:, 37]
    level = air + 0.8 * detail + (0.9 * z[:, 38]) * floor + 0.5 * shadow
    return level[:, None], (air + 1.2 * z[:, 39])[:, None]


def _occluded(picture: Tensor, thing: Tensor, light: Tensor, chance: Tensor, rows: int, columns: int) -> Tensor:
    """Put a post, a low wall or a bush before some bodies."""
    if not bool((chance[:, 5] < _OCCLUDED).any()):
        return picture
    mask = _thing(light, chance, rows, columns)[:, None]
    if picture.shape[1] == 3:
        thing = thing * (1.0 + 0.15 * _noise(chance[:, 6], 60, 24, rows, columns)[:, None])
    return picture.lerp(thing.expand_as(picture), mask.expand_as(picture))


def _thing(light: Tensor, chance: Tensor, rows: int, columns: int) -> Tensor:
    """Return how much of each cell a thing in front covers, ``[B, rows, columns]``; most bodies have none."""
    some = chance[:, 5] < _OCCLUDED
    x = ((torch.arange(columns, device=light.device) + 0.5) / columns - 0.5)[None, None, :]
    y = ((torch.arange(rows, device=light.device) + 0.5) / rows)[None, :, None]
    ragged = _noise(chance[:, 6], 60, 24, rows, columns)
    kind = chance[:, 7, None, None]
    top = 0.68 + 0.20 * chance[:, 8, None, None]
    centre, width = chance[:, 9, None, None] - 0.5, 0.05 + 0.09 * chance[:, 10, None, None]
    post = (width - (x - centre).abs()) * columns
    wall = (y - top) * rows
    bush = (y - top + 0.05 + 0.03 * ragged - 0.5 * (x - centre).abs()) * rows
    inside = torch.where(kind < 0.35, post.expand_as(bush), torch.where(kind < 0.65, wall.expand_as(bush), bush))
    return (inside + 0.5).clamp_(0.0, 1.0) * some[:, None, None]


def _noise(starts: Tensor, down: int, across: int, rows: int, columns: int) -> Tensor:
    """Return smooth noise ``[B, rows, columns]`` of about unit variance, with waves of ``rows / down`` cells."""
    coarse = noise_rows(starts, down * across).view(-1, 1, down, across)
    return F.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)[:, 0]


def _chunks(
    subjects: Tensor, samples: Tensor, phase: Tensor | None, device: torch.device
) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    count = _CHUNK if device.type == "cpu" else 256
    who, which = subjects.to(device, torch.int64), samples.to(device, torch.int64)
    walked = None if phase is None else phase.to(device, torch.float32)
    return [
        (who[i : i + count], which[i : i + count], None if walked is None else walked[i : i + count])
        for i in range(0, len(who), count)
    ]


def _check(
    subjects: Tensor,
    samples: Tensor,
    spectrum: str,
    size: tuple[int, int],
    camera: str,
    distance: float | None,
    phase: Tensor | None,
) -> tuple[int, int]:
    check(spectrum, 112, camera)
    check_numbers(subjects, samples)
    check_view(distance, 8, phase, 1.0, 1.0, len(subjects))
    possible = isinstance(size, tuple | list) and len(size) == 2
    if not possible or any(isinstance(n, bool) or not isinstance(n, int) or not 32 <= n <= 1024 for n in size):
        raise OptionError(
            f"size={size!r} of generated bodies",
            why="must be height and width, whole pixels from 32 to 1024",
            do="size=(384, 128)",
        )
    return size[0], size[1]
