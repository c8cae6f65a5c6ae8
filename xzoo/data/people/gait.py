"""How a body is built and how it stands and walks, as joints in the picture.

Lengths are shares of the stature; means follow the segment lengths of Drillis
and Contini (1966) as printed in Winter, *Biomechanics and Motor Control of
Human Movement*. Walking is a pair of sinusoids at the hips, a knee that bends
most in early swing (Perry, *Gait Analysis*, 1992) and arms in opposition; the
amplitudes, the posture and the timing are a person's own. Spreads, where
no source is named, are our choice.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from xzoo.data.people.draws import normals, uniforms
from xzoo.data.people.traits import Values

__all__ = ["BUILD", "JOINTS", "Pose", "build", "pose"]

BUILD = {
    "stature": (1.69, 0.065, 0.65),
    "hip_height": (0.525, 0.017, 0.1),
    "knee_height": (0.282, 0.009, 0.1),
    "trunk": (0.300, 0.009, 0.1),
    "shoulder": (0.104, 0.008, 0.55),
    "hip_joint": (0.050, 0.004, -0.1),
    "upper_arm": (0.178, 0.008, 0.1),
    "forearm": (0.146, 0.007, 0.1),
    "hand": (0.068, 0.005, 0.1),
    "foot": (0.135, 0.008, 0.1),
    "neck": (0.050, 0.012, 0.0),
    "head": (1.0, 0.055, -0.1),
    "hips_wide": (0.098, 0.008, -0.25),
    "waist_wide": (0.080, 0.007, 0.35),
    "chest_wide": (0.091, 0.006, 0.45),
    "hips_deep": (0.068, 0.006, -0.1),
    "waist_deep": (0.058, 0.006, 0.2),
    "chest_deep": (0.066, 0.006, 0.1),
    "bust": (0.012, 0.008, -0.85),
    "seat": (0.014, 0.006, -0.2),
    "mass": (0.0, 1.0, 0.1),
    "muscle": (0.0, 1.0, 0.4),
    "thigh_thick": (0.049, 0.004, -0.1),
    "calf_thick": (0.032, 0.003, 0.1),
    "arm_thick": (0.026, 0.003, 0.3),
    "neck_thick": (0.034, 0.0025, 0.7),
    "slouch": (0.03, 0.05, 0.0),
    "head_forward": (0.018, 0.012, 0.0),
    "shoulder_slope": (0.032, 0.009, 0.1),
    "tilt": (0.0, 0.012, 0.0),
    "arm_carry": (0.12, 0.05, 0.25),
    "toe_out": (0.12, 0.09, 0.1),
    "knock_knees": (0.0, 0.008, -0.1),
    "stride": (0.36, 0.07, 0.1),
    "arm_swing": (0.33, 0.14, 0.0),
    "elbow": (0.32, 0.16, 0.0),
    "knee_lift": (0.92, 0.14, 0.0),
    "arm_lag": (0.0, 0.25, 0.0),
    "uneven": (0.0, 0.12, 0.0),
    "twist": (0.08, 0.04, 0.0),
    "fit": (0.0, 1.0, 0.0),
    "bold": (0.0, 1.0, 0.0),
    "long_coat": (0.0, 1.0, 0.0),
    "hand_cold": (2.6, 1.2, -0.3),
    "arm_cold": (1.0, 0.5, 0.0),
    "leg_cold": (1.6, 0.6, 0.0),
    "trunk_warm": (0.0, 0.35, 0.0),
}
"""The lasting traits of a body: mean, spread and loading as in ``traits.PERSON``, with the same factor."""

JOINTS = (
    "crown",
    "nose",
    "neck",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_toe",
    "right_toe",
)
"""The keypoints of a body; left and right are the person's own."""

_SIDE, _BACK = 0.16, 0.26
"""Shares of samples seen from a side and from behind."""


class Pose(NamedTuple):
    """Bodies as joints in the picture.

    Lengths are picture heights, from the middle of the top edge, x to the right, y down, z to the camera.
    """

    joints: Tensor  # [B, len(JOINTS), 3]
    pelvis: Tensor  # [B, 3]: between the hips
    chin: Tensor  # [B, 3]
    hands: Tensor  # [B, 2, 3]: tips of left and right
    scale: Tensor  # [B, 1]: picture heights per stature
    squeeze: Tensor  # [B, 1]: how much a wide box was narrowed to the shape of the picture, at most 1
    turn: Tensor  # [B, 1]: of the trunk, radians: 0 towards the camera, pi away
    face_turn: Tensor  # [B, 1]: of the head
    pitch: Tensor  # [B, 1]: how far the camera looks down
    lean: Tensor  # [B, 1]: roll of the trunk in the picture


def build(seed: int, subjects: Tensor, factor: Tensor) -> Values:
    """Return the lasting traits of each body, the rows of ``BUILD`` and the blocks ``warm_spots`` and ``folds``.

    Args:
        seed: The world.
        subjects: Subject numbers, int64 ``[B]``.
        factor: What ties masculine traits together, from ``traits.person``.
    """
    still = torch.zeros_like(subjects)
    z = normals(seed, subjects, still, 61, len(BUILD))
    mean, spread, loading, own = _table(str(z.device))
    rows = mean + spread * (loading * factor + own * z).clamp(-2.7, 2.7)
    values = dict(zip(BUILD, torch.split(rows, 1, dim=1), strict=True))
    # Weight and muscle thicken everything at once.
    heavy = values["mass"].clamp(min=0.0) + 0.55 * values["mass"].clamp(max=0.0)
    bulk = 1.0 + 0.12 * heavy + 0.03 * values["muscle"]
    for name in ("hips_wide", "waist_wide", "waist_deep", "hips_deep", "thigh_thick", "chest_deep"):
        values[name] = values[name] * bulk
    limb = 1.0 + 0.08 * heavy + 0.07 * values["muscle"]
    for name in ("calf_thick", "arm_thick", "neck_thick"):
        values[name] = values[name] * limb
    values["chest_wide"] = values["chest_wide"] * (1.0 + 0.06 * heavy + 0.03 * values["muscle"])
    values["waist_wide"] = values["waist_wide"] * (1.0 + 0.06 * heavy)
    values["waist_deep"] = values["waist_deep"] * (1.0 + 0.09 * values["mass"].clamp(min=-1.0))
    values["bust"] = values["bust"].clamp(min=0.0)
    values["shoulder"] = values["shoulder"] * (1.0 + 0.03 * values["muscle"])
    values["warm_spots"] = normals(seed, subjects, still, 62, 4 * 10)
    return values


def pose(
    seed: int,
    subjects: Tensor,
    samples: Tensor,
    b: Values,
    *,
    aspect: float,
    phase: Tensor | None = None,
) -> Pose:
    """Return where the joints of each body are in its picture.

    Args:
        seed: The world.
        subjects: Subject numbers, int64 ``[B]``.
        samples: Sample numbers, int64 ``[B]``.
        b: The builds.
        aspect: Width of the picture over its height.
        phase: Strides walked since the sample began, float ``[B]``; nobody stands then.
    """
    u = uniforms(seed, subjects, samples, 63, 8)
    z = normals(seed, subjects, samples, 64, 16).clamp_(-2.6, 2.6)
    side = torch.where(u[:, 1:2] < 0.5, 1.0, -1.0)
    turn = torch.zeros_like(side)
    turn = torch.where(u[:, :1] < _SIDE, side * (math.pi / 2), turn)
    turn = torch.where(u[:, :1] > 1.0 - _BACK, math.pi * side, turn) + 0.24 * z[:, :1]
    face_turn = turn + 0.22 * z[:, 1:2]
    pitch = (0.10 + 0.08 * z[:, 2:3]).clamp(-0.05, 0.35)
    moving = torch.where(u[:, 2:3] < 0.22, 0.10, 1.0)
    cycle = 2 * math.pi * u[:, 3:4]
    if phase is not None:
        moving = torch.ones_like(moving)
        cycle = cycle + 2 * math.pi * phase.to(cycle)[:, None]
    parts = _skeleton(b, cycle, moving, u, z)

    names = list(parts)
    points = torch.stack([parts[name] for name in names], dim=1)
    sine, cosine = turn.sin(), turn.cos()
    # The head turns about its own axis.
    x = points[:, :, 0] * cosine + points[:, :, 2] * sine
    deep = -points[:, :, 0] * sine + points[:, :, 2] * cosine
    chin = names.index("chin")
    nose = names.index("nose")
    reach = points[:, nose, 2:3] - points[:, chin, 2:3]
    x[:, nose] = x[:, chin] + (reach * face_turn.sin())[:, 0]
    deep[:, nose] = deep[:, chin] + (reach * face_turn.cos())[:, 0]
    y = -points[:, :, 1] * pitch.cos() + deep * pitch.sin()
    deep = deep * pitch.cos() + points[:, :, 1] * pitch.sin()
    roll = 0.03 * z[:, 3:4]
    x, y = x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos()

    # The box around the body fills the picture, a little loosely; some boxes cut the feet off.
    fill = 0.905 + 0.025 * z[:, 4:5] + torch.where(u[:, 4:5] < 0.07, 0.12, 0.0)
    top, bottom = y[:, names.index("crown")][:, None], y.amax(1, keepdim=True) + 0.012
    scale = fill / (bottom - top)
    left, right = x.amin(1, keepdim=True) - 0.05, x.amax(1, keepdim=True) + 0.05
    squeeze = (0.95 * aspect / (scale * (right - left))).clamp(0.55, 1.0)
    start = (0.5 - 0.5 * fill.clamp(max=0.96) + 0.012 * z[:, 5:6]).clamp(min=0.012)
    x = (x - 0.5 * (left + right)) * scale + 0.02 * z[:, 6:7] * aspect
    y = (y - top) * scale + start
    placed = torch.stack([x, y, deep * scale], dim=2)
    at = {name: placed[:, i] for i, name in enumerate(names)}
    return Pose(
        torch.stack([at[name] for name in JOINTS], dim=1),
        at["pelvis"],
        at["chin"],
        torch.stack([at["left_hand"], at["right_hand"]], dim=1),
        scale,
        squeeze,
        turn,
        face_turn,
        pitch,
        roll,
    )


def _skeleton(b: Values, cycle: Tensor, moving: Tensor, u: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Return the joints in the frame of the body, ``[B, 3]`` each: x to its left, y up from the ground, z ahead."""
    zero = torch.zeros_like(cycle)
    swing = b["stride"].clamp(min=0.1) * moving * (1.0 + 0.08 * z[:, 8:9])
    legs: dict[str, Tensor] = {}
    pelvis = torch.cat([zero, b["hip_height"], zero], dim=1)
    for name, sign in (("left", 1.0), ("right", -1.0)):
        angle = cycle + (0.0 if sign > 0 else math.pi) + sign * b["uneven"]
        thigh = swing * (angle.cos() + 0.12)
        bend = 0.07 + b["knee_lift"] * moving * (-(angle - 0.05).sin()).clamp(min=0.0).square()
        bend = bend + 0.14 * moving * (angle - 0.3).sin().clamp(min=0.0)
        hip = pelvis + torch.cat([sign * b["hip_joint"], zero, zero], dim=1)
        knee_out = sign * (0.004 - b["knock_knees"])
        length = b["hip_height"] - b["knee_height"]
        knee = hip + torch.cat([knee_out, -length * thigh.cos(), length * thigh.sin()], dim=1)
        shank = thigh - bend
        length = b["knee_height"] - 0.04
        ankle = knee + torch.cat([-0.5 * knee_out, -length * shank.cos(), length * shank.sin()], dim=1)
        # The heel lifts behind, the toes lift before the foot lands.
        drop = (-0.75 * shank).clamp(-0.25, 0.9)
        out = sign * b["toe_out"]
        ahead = 0.76 * b["foot"] * drop.cos()
        sole = -0.026 * drop.cos() - 0.76 * b["foot"] * drop.sin()
        toe = ankle + torch.cat([ahead * out.sin(), sole, ahead * out.cos()], dim=1)
        legs |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle, f"{name}_toe": toe}
    lowest = torch.stack([legs[k][:, 1] - (0.036 if "ankle" in k else 0.012) for k in legs], dim=1).amin(1)
    lift = torch.stack([zero[:, 0], -lowest, zero[:, 0]], dim=1)
    legs = {name: joint + lift for name, joint in legs.items()}
    pelvis = pelvis + lift

    lean = b["slouch"] + 0.05 * moving + 0.03 * z[:, 9:10]
    sway = 0.012 * moving * cycle.sin() + 0.2 * b["tilt"]
    neck = pelvis + torch.cat([sway, b["trunk"] * lean.cos(), b["trunk"] * lean.sin()], dim=1)
    twist = b["twist"] * moving * (cycle + math.pi).cos()
    chin = neck + torch.cat([zero, b["neck"] * 0.35, b["head_forward"] + 0.3 * lean * b["neck"]], dim=1)
    head = 0.130 * b["head"]
    body = legs | {"pelvis": pelvis, "neck": neck, "chin": chin}
    body["crown"] = chin + torch.cat([zero, 0.985 * head, zero], dim=1)
    body["nose"] = chin + torch.cat([zero, 0.35 * head, 0.55 * head], dim=1)
    for i, (name, sign) in enumerate((("left", 1.0), ("right", -1.0))):
        across = b["shoulder"]
        shoulder = neck + torch.cat(
            [sign * across * twist.cos(), -b["shoulder_slope"] + sign * b["tilt"], -sign * across * twist.sin()], dim=1
        )
        angle = cycle + (math.pi if sign > 0 else 0.0) + b["arm_lag"]
        forward = b["arm_swing"].clamp(min=0.02) * moving * (angle.cos() * 1.1 + 0.1) + 0.06 * z[:, 10 + i : 11 + i]
        elbow = (b["elbow"] + 0.5 * forward.clamp(min=0.0)).clamp(min=0.05)
        carry = b["arm_carry"].clamp(min=0.02) + 0.03 * b["mass"].clamp(min=0.0) + 0.04 * z[:, 12 + i : 13 + i].abs()
        inward = zero + 0.12
        # One arm may hold a telephone to the ear, both hands may be in the pockets.
        phone = ((u[:, 5 + i : 6 + i] < 0.03) & (u[:, 7:8] >= 0.08)).float()
        pocket = (u[:, 7:8] < 0.08).float()
        forward = forward.lerp(zero + 0.55, phone).lerp(zero - 0.30, pocket)
        elbow = elbow.lerp(zero + 2.35, phone).lerp(zero + 0.75, pocket)
        carry = carry.lerp(zero + 0.30, torch.maximum(phone, pocket))
        inward = inward.lerp(zero + 0.55, phone).lerp(zero + 0.50, pocket)
        down, ahead = b["upper_arm"] * forward.cos(), b["upper_arm"] * forward.sin()
        joint = shoulder + torch.cat([sign * down * carry.sin(), -down * carry.cos(), ahead], dim=1)
        reach = forward + elbow
        for part, length in (("wrist", b["forearm"]), ("hand", b["forearm"] + b["hand"])):
            down, ahead = length * reach.cos(), length * reach.sin()
            aside = sign * (
                down.clamp(min=0.0) * carry.sin() - length * inward * (0.4 + reach.sin().clamp(min=0.0)) * 0.8
            )
            body[f"{name}_{part}"] = joint + torch.cat([aside, -down, ahead], dim=1)
        body[f"{name}_shoulder"], body[f"{name}_elbow"] = shoulder, joint
    return body


@functools.cache
def _table(device: str) -> tuple[Tensor, ...]:
    rows = [(mean, spread, loading, (1 - loading**2) ** 0.5) for mean, spread, loading in BUILD.values()]
    return torch.tensor(rows, device=device).T.unbind()
