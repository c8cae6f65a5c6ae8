"""Who a person is and what a moment does to the face, as named numbers.

Lengths are pixels of the 112 x 112 ArcFace template, measured from the point
between the eyes, x to the right and y downwards; angles are radians and
temperatures kelvin. A table row is ``name: (mean, spread, loading)``: a trait
is ``mean + spread * (loading * factor + sqrt(1 - loading**2) * normal)``.
Proportions follow adult anthropometry (Farkas, *Anthropometry of the Head and
Face*, 1994) at 35 px for the distance between the pupils.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from xzoo.data.people.draws import normals, uniforms

__all__ = ["DAY", "MOMENT", "PERSON", "POSE", "SESSION", "Values", "moment", "person", "session_of"]

Values = dict[str, Tensor]
"""Named numbers, each ``[B, 1]``."""

PERSON = {
    "eye_x": (17.6, 0.9, 0.1),
    "eye_width": (8.4, 0.7, 0.0),
    "eye_height": (3.4, 0.55, -0.3),
    "eye_slant": (0.04, 0.07, 0.0),
    "eye_fold": (3.4, 1.1, 0.0),
    "iris_radius": (3.5, 0.2, 0.0),
    "brow_y": (-10.5, 1.7, 0.45),
    "brow_slope": (-0.06, 0.09, 0.2),
    "brow_arch": (1.8, 0.9, -0.5),
    "brow_thickness": (1.9, 0.65, 0.6),
    "brow_inner": (6.8, 1.7, -0.3),
    "brow_outer": (27.5, 1.7, 0.1),
    "nose_length": (20.0, 2.2, 0.3),
    "nose_width": (8.8, 1.35, 0.35),
    "nose_bridge": (10.0, 2.4, 0.3),
    "nose_tip": (12.5, 2.4, 0.25),
    "nose_bridge_width": (4.2, 0.7, 0.2),
    "nose_shift": (0.0, 0.55, 0.0),
    "mouth_y": (40.0, 2.2, 0.2),
    "mouth_width": (14.8, 1.6, 0.15),
    "lip_upper": (3.0, 0.9, -0.4),
    "lip_lower": (4.3, 1.1, -0.3),
    "lip_bow": (1.0, 0.5, -0.2),
    "mouth_curve": (0.2, 0.9, 0.0),
    "chin_y": (63.5, 3.4, 0.4),
    "face_width": (41.5, 2.2, 0.35),
    "wide_y": (-2.0, 5.0, 0.0),
    "jaw_square": (2.9, 0.5, 0.55),
    "jaw_taper": (0.14, 0.07, -0.45),
    "cheek_hollow": (0.0, 1.3, 0.2),
    "crown_y": (-60.0, 3.5, 0.0),
    "crown_square": (2.4, 0.25, 0.0),
    "depth": (46.0, 3.5, 0.0),
    "brow_ridge": (2.0, 1.2, 0.65),
    "socket": (5.0, 1.4, 0.2),
    "cheekbone": (4.0, 1.7, 0.0),
    "chin_bump": (4.0, 1.8, 0.5),
    "fold_depth": (0.9, 0.6, 0.15),
    "ear_size": (12.0, 1.6, 0.35),
    "ear_out": (3.2, 1.9, 0.1),
    "neck_width": (29.0, 2.6, 0.75),
    "hairline_y": (-38.0, 4.5, -0.2),
    "hairline_peak": (0.0, 2.8, 0.2),
    "hairline_recess": (5.0, 5.0, 0.55),
    "hair_side": (4.0, 2.0, -0.3),
    "hair_top": (8.0, 3.5, -0.3),
    "fringe_slant": (0.0, 0.09, 0.0),
    "hair_grey": (0.0, 1.0, 0.1),
    "melanin": (0.0, 1.0, 0.0),
    "redness": (0.0, 1.0, 0.0),
    "hair_dark": (0.0, 1.0, 0.0),
    "hair_red": (0.0, 1.0, 0.0),
    "iris_dark": (0.0, 1.0, 0.0),
    "lip_colour": (0.0, 1.0, -0.3),
    "under_eye": (0.5, 0.35, 0.1),
    "skin_warmth": (34.0, 0.5, 0.0),
    "nose_cold": (2.2, 1.0, 0.0),
    "cheek_cold": (0.9, 0.7, 0.0),
    "canthus_warm": (1.4, 0.4, 0.0),
    "brow_cold": (1.5, 0.5, 0.4),
    "hair_cold": (5.5, 1.3, -0.2),
    "ear_cold": (1.6, 1.2, 0.0),
    "lip_warm": (0.3, 0.5, 0.0),
    "forehead_warm": (0.4, 0.5, 0.0),
    "socket_warm": (0.9, 0.4, 0.0),
    "chin_cold": (0.5, 0.6, 0.0),
    "mottle": (0.75, 0.3, 0.0),
    "mottle_wide": (0.5, 0.25, 0.0),
    "texture": (0.055, 0.03, 0.2),
    "brow_bushy": (0.25, 0.15, 0.4),
    "wrinkles": (0.0, 0.5, 0.0),
    "stubble": (0.0, 1.0, 0.6),
}
"""The traits of a person; the factor is one that ties masculine traits together."""

MOMENT = {
    "yaw": (0.0, 0.23),
    "pitch": (0.0, 0.14),
    "roll": (0.0, 0.06),
    "zoom": (0.02, 0.055),
    "shift_x": (0.0, 1.6),
    "shift_y": (0.0, 1.6),
    "smile": (0.3, 0.8),
    "jaw_open": (-0.3, 0.8),
    "pucker": (0.0, 0.5),
    "brow_raise": (0.0, 1.1),
    "frown": (0.0, 0.6),
    "lids": (0.0, 0.45),
    "gaze_x": (0.0, 0.8),
    "gaze_y": (0.0, 0.4),
    "puff": (0.0, 0.4),
    "squint": (0.0, 0.4),
}
"""What one sample does to any person: pose and expression."""

POSE = ("yaw", "pitch", "roll", "shift_x", "shift_y")
"""The rows of ``MOMENT`` that turn the head and move it in the picture; their means are zero."""

DAY = {
    "warmth": (0.0, 0.5),
    "nose_chill": (0.0, 1.0),
    "flush": (0.0, 0.4),
    "sweat": (0.0, 0.35),
    "hair_change": (0.0, 0.8),
    "hair_grown": (0.0, 1.0),
    "shave": (0.0, 0.8),
    "colour_0": (0.0, 1.0),
    "colour_1": (0.0, 1.0),
    "colour_2": (0.0, 1.0),
    "hat_line": (0.0, 1.0),
    "mask_line": (0.0, 1.0),
    "cloth_cold": (0.0, 1.0),
}
"""What a day does to any person: heat after exertion or cold, hair, shaving, clothes."""

SESSION = 8
"""Samples of one session: sample ``s`` belongs to session ``s // 8``."""

HAT_RATE, MASK_RATE, GLASSES_RATE, COVER_RATE = 0.09, 0.04, 0.85, 0.08
"""How often a session has a hat, a mask, or the glasses of those who have some; how often a sample is covered."""

_PATTERN = 28
_VESSELS = 5


def person(seed: int, subjects: Tensor) -> Values:
    """Return the lasting traits of each subject.

    Besides the rows of ``PERSON``: the shares ``bald``, ``long_hair``, ``beard``,
    ``moustache``, ``wears_glasses`` and ``fringe`` in [0, 1], and the blocks of
    numbers ``relief``, ``pattern``, ``vessels``, ``marks``, ``strands`` and
    ``windows`` that shape the individual surface, thermal pattern, skin marks,
    hair, and the fields of skin tone and skin heat.
    """
    still = torch.zeros_like(subjects)
    z = normals(seed, subjects, still, 1, len(PERSON) + 2)
    factor, age = z[:, :1].sign() * 0.8 + 0.6 * z[:, :1], z[:, 1:2]
    mean, spread, loading, own = _table(str(z.device))
    rows = mean + spread * (loading * factor + own * z[:, 2:]).clamp(-2.7, 2.7)
    values = dict(zip(PERSON, torch.split(rows, 1, dim=1), strict=True))
    u = torch.unbind(uniforms(seed, subjects, still, 2, 8)[:, :, None], dim=1)
    man = torch.sigmoid(4 * factor)
    values["factor"], values["age"] = factor, age
    values["bald"] = (u[0] < 0.16 * man * torch.sigmoid(2 * age + 1)).float()
    values["long_hair"] = (u[1] < 0.62 * (1 - man) + 0.06).float() * (1 - values["bald"])
    values["beard"] = (u[2] < 0.42 * man).float() * (0.35 + 0.65 * u[3])
    values["moustache"] = torch.maximum(values["beard"], (u[4] < 0.16 * man).float() * 0.9)
    values["wears_glasses"] = (u[5] < 0.18).float()
    values["fringe"] = (u[6] < 0.22).float() * (1 - values["bald"])
    values["glasses_shape"] = u[7]
    for stream, (name, count) in enumerate(
        {"relief": 3 * 14, "pattern": 4 * _PATTERN, "vessels": 5 * _VESSELS, "marks": 4 * 8, "strands": 24}.items(), 3
    ):
        values[name] = normals(seed, subjects, still, stream, count)
    values["windows"] = uniforms(seed, subjects, still, 8, 8)
    return values


def session_of(samples: Tensor) -> Tensor:
    """Return the session of each sample, int64 ``[B]``."""
    return torch.div(samples, SESSION, rounding_mode="floor")


def moment(
    seed: int,
    subjects: Tensor,
    samples: Tensor,
    *,
    phase: Tensor | None = None,
    nuisances: float = 1.0,
    pose: float = 1.0,
) -> Values:
    """Return what one sample does to the face, the rows of ``MOMENT`` and ``DAY``, and what is worn.

    The shares ``glasses_on``, ``hat`` and ``mask`` belong to the session,
    ``covered`` (something between face and camera) to the sample. The spectrum
    takes no part: the same sample in two spectra is one moment seen by two cameras.

    Args:
        seed: The world.
        subjects: Subject numbers, int64 ``[B]``.
        samples: Sample numbers, int64 ``[B]``.
        phase: How far each moment has moved on to the next sample, float ``[B]`` in [0, 1]: frames of a track.
        nuisances: Scales all spreads and rates; 0 is a passport picture.
        pose: Scales the rows of ``POSE`` once more; 0 is the same moment seen from the front.
    """
    z = normals(seed, subjects, samples, 11, len(MOMENT)).clamp(-2.6, 2.6)
    if phase is not None:
        after = normals(seed, subjects, samples + 1, 11, len(MOMENT)).clamp(-2.6, 2.6)
        z = z.lerp(after, phase.to(z.dtype)[:, None])
    days = session_of(samples)
    day = normals(seed, subjects, days, 13, len(DAY)).clamp(-2.6, 2.6)
    values: Values = {}
    for table, rows in ((MOMENT, z), (DAY, day)):
        mean, spread = torch.tensor(list(table.values()), device=rows.device).T
        values |= zip(table, torch.split(mean + nuisances * spread * rows, 1, dim=1), strict=True)
    for name in POSE:
        values[name] = values[name] * pose
    u = uniforms(seed, subjects, days, 12, 4)
    values["glasses_on"] = (u[:, :1] < GLASSES_RATE).float()
    values["hat"] = (u[:, 1:2] < HAT_RATE * nuisances).float()
    values["hat_shape"] = u[:, 2:3]
    values["mask"] = (u[:, 3:4] < MASK_RATE * nuisances).float()
    values["covered"] = (uniforms(seed, subjects, samples, 14, 1) < COVER_RATE * nuisances).float()
    return values


@functools.cache
def _table(device: str) -> tuple[Tensor, ...]:
    """Return the columns of ``PERSON``, and what each loading leaves to the trait itself."""
    rows = [(mean, spread, loading, (1 - loading**2) ** 0.5) for mean, spread, loading in PERSON.values()]
    return torch.tensor(rows, device=device).T.unbind()
