from __future__ import annotations

import pytest
import torch

from xzoo.data.people.cameras import pose_grid
from xzoo.data.people.labels import face_labels
from xzoo.data.people.landmarks import FLIP54, FLIP68, POINTS54, five, landmarks
from xzoo.data.people.surface import LAYERS, canvas, surface
from xzoo.data.people.traits import moment, person

SIZE = 224
"""Distances are measured in a picture twice as fine as the 112 pixels they are stated in."""


def test_flips_return_and_the_54_points_are_the_published_ones():
    assert [FLIP68[i] for i in FLIP68] == list(range(68))
    assert [FLIP54[i] for i in FLIP54] == list(range(54))
    published = [*range(16, -1, -1), 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 27, 28, 29, 30, 35, 34, 33, 32, 31]
    published += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 50, 49, 48, 51, 52, 53]
    assert list(FLIP54) == published
    assert list(POINTS54) == [*range(49), 51, 54, 57, 62, 66]


def test_points_of_a_symmetric_face_mirror_into_each_other():
    who, now = _people(6)
    who["nose_shift"] = torch.zeros_like(who["nose_shift"])
    points = landmarks(who, now)
    mirrored = points[:, FLIP68] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(points, mirrored, atol=1e-4)


def test_points_stand_in_the_order_of_the_300w_face():
    points = landmarks(*_people(40))
    x, y = points.unbind(2)
    for first, last in ((17, 21), (22, 26), (31, 35), (48, 54), (60, 64)):
        row = x[:, first : last + 1]
        assert (row.diff(dim=1) > 0).all(), "from the subject's right to the left"
    assert (x[:, 55:60].diff(dim=1) < 0).all()
    assert (x[:, :8] < -5).all()
    assert (x[:, 9:17] > 5).all()
    assert (y[:, :9].diff(dim=1) > 0).all()
    assert (y[:, 27:31].diff(dim=1) > 0).all()
    assert (y[:, [8]] > y.index_select(1, torch.tensor([i for i in range(68) if i != 8]))).all(), "the chin is lowest"
    for upper, lower in (((37, 38, 43, 44), (41, 40, 47, 46)), ((49, 50, 51, 52, 53), (59, 58, 57, 56, 55))):
        assert (y[:, upper] < y[:, lower]).all()
    assert (y[:, 61:64] < y[:, [67, 66, 65]]).all()
    assert (x[:, 36] < x[:, 39]).all()
    assert (x[:, 42] < x[:, 45]).all()
    assert x[:, 30].abs().max() < 2
    steps = points[:, :17].diff(dim=1).norm(dim=2)
    assert (steps.amax(1) / steps.amin(1)).max() < 1.1, "the jaw is marked at equal distances"


def test_five_points_are_eye_means_nose_tip_and_mouth_corners():
    points = torch.arange(136.0).reshape(1, 68, 2)
    expected = [[77.0, 78.0], [89.0, 90.0], [60.0, 61.0], [96.0, 97.0], [108.0, 109.0]]
    assert five(points)[0].tolist() == expected


def test_average_face_stands_near_the_arcface_template():
    subjects = torch.arange(100)
    points = face_labels(subjects, subjects * 0).points5.mean(0)
    template = torch.tensor([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
    assert (points - template).abs().max() < 5


@pytest.mark.parametrize(
    ("feature", "mean", "most"),
    [
        ("jaw", 0.6, 2.5),
        ("brows", 0.4, 1.5),
        ("lids", 0.5, 1.5),
        ("tip of the nose", 0.5, 1.0),
        ("ridge of the nose", 0.5, 1.5),
        ("nostrils", 0.5, 1.5),
        ("lips", 0.5, 2.0),
        ("inner lips", 0.5, 2.0),
    ],
)
def test_points_lie_on_the_drawn_feature(feature, mean, most):
    found = torch.cat(list(_drawn()[feature]))
    assert len(found) > 50
    assert found.mean() < mean
    assert found.quantile(0.995) < most


def _people(count: int):
    subjects = torch.arange(count)
    return person(3, subjects), moment(3, subjects, subjects % 5)


def _drawn(cache={}) -> dict[str, list[torch.Tensor]]:  # noqa: B006
    """Return the distances of visible points from the features as the picture draws them, in pixels at 112."""
    if cache:
        return cache
    subjects = torch.arange(52)
    samples = subjects % 9
    # Nothing over the features: what hides them is tested elsewhere.
    bare = {"bald": 1.0, "long_hair": 0.0, "beard": 0.0, "moustache": 0.0, "wears_glasses": 0.0, "stubble": -5.0}
    bare |= {"ear_out": -9.0}
    off = {"hat": 0.0, "mask": 0.0, "covered": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xzoo.data.people.labels.person", lambda *a, **k: _set(person(*a, **k), bare))
        patch.setattr("xzoo.data.people.labels.moment", lambda *a, **k: _set(moment(*a, **k), off))
        labels = face_labels(subjects, samples, size=SIZE)
    who, now = _set(person(0, subjects), bare), _set(moment(0, subjects, samples), off)
    plain = canvas(256, torch.device("cpu"))
    face = surface(who, now, plain)
    tip = face.height - surface(_set(who, {"nose_tip": 0.0}), now, plain).height
    nose = face.height - surface(_set(who, {"nose_tip": 0.0, "nose_bridge": 0.0}), now, plain).height
    ridge = ((nose == nose.amax(2, keepdim=True)) & (nose > 1.0)).float()
    grid = pose_grid(now, face.height, SIZE)
    layer = dict(zip(LAYERS, face.layers.unbind(1), strict=True))
    eye = layer["pupils"] + layer["irises"] + layer["scleras"]
    lips = layer["lips"] / 0.9 + layer["mouth"] + layer["teeth"]
    head = 1.0 - layer["clothes"] - layer["neck"] - layer["back_hair"] - (1.0 - face.layers.sum(1))
    colours = torch.stack(
        [
            head,
            layer["brows"],
            layer["lashes"],
            eye + layer["lashes"],
            tip,
            ridge,
            face.hollows,
            lips,
            layer["mouth"] + layer["teeth"],
        ],
        dim=1,
    )
    seen = torch.nn.functional.grid_sample(colours, grid, padding_mode="border", align_corners=False)
    found: dict[str, list[torch.Tensor]] = {}
    for points, visible, (skin, brow, lash, lid, top, run, hollow, mouth, inner) in zip(
        labels.points68, labels.visible68, seen, strict=True
    ):

        def measure(name, where, spots, points=points, visible=visible):
            rows = torch.tensor([i for i in spots if visible[i]], dtype=torch.int64)
            if len(rows) and where.any():
                pixels = where.nonzero().flip(1).float()
                found.setdefault(name, []).append(torch.cdist(points[rows], pixels).amin(1) * 112 / SIZE)

        measure("jaw", _edge(skin > 0.5), range(1, 16))
        measure("brows", brow > 0.5 * brow.max(), range(17, 27))
        measure("lids", lash > 0.5, (37, 38, 43, 44))
        measure("lids", _edge(lid > 0.25), (36, 39, 40, 41, 42, 45, 46, 47))
        measure("tip of the nose", top == top.max(), [30])
        measure("ridge of the nose", run > 0.2, range(27, 31))
        measure("nostrils", hollow > 0.5, (32, 34))
        measure("lips", _edge(mouth > 0.5), range(48, 60))
        measure("inner lips", inner > 0.25, range(60, 68))
    cache.update(found)
    return found


def _edge(inside):
    padded = torch.nn.functional.pad(inside[None, None].float(), (1, 1, 1, 1), mode="replicate")
    return inside & (torch.nn.functional.avg_pool2d(padded, 3, 1)[0, 0] < 0.999)


def _set(values, changed):
    return values | {name: torch.full_like(values[name], value) for name, value in changed.items()}
