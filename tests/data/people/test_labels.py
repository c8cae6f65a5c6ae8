from __future__ import annotations

import math

import pytest
import torch

from xzoo.data.people import face_labels, faces
from xzoo.data.people.landmarks import FLIP68, POINTS54, five
from xzoo.data.people.traits import SESSION, moment, person
from xzoo.errors import OptionError

WHO = torch.arange(12)
WHEN = WHO % 5

BARE = {
    "bald": 1.0,
    "long_hair": 0.0,
    "wears_glasses": 0.0,
}
STILL = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "zoom": -0.1, "shift_x": 0.0, "shift_y": 0.0}
NOTHING = {"hat": 0.0, "mask": 0.0, "covered": 0.0}


@pytest.fixture
def posed(monkeypatch):
    """Return labels of faces with some of their traits set by hand."""

    def labels(traits=None, now=None, subjects=WHO, person_of=person, moment_of=moment, **options):
        def set_(values, changed):
            return values | {name: torch.full_like(values[name], value) for name, value in (changed or {}).items()}

        monkeypatch.setattr("xzoo.data.people.labels.person", lambda *a, **k: set_(person_of(*a, **k), traits))
        monkeypatch.setattr("xzoo.data.people.labels.moment", lambda *a, **k: set_(moment_of(*a, **k), now))
        return face_labels(subjects, subjects % 5, **options)

    return labels


def test_labels_have_their_shapes_and_derive_from_the_68_points():
    labels = face_labels(WHO, WHEN)
    assert labels.points68.shape == (12, 68, 2)
    assert labels.points68.dtype == torch.float32
    assert torch.equal(labels.points54, labels.points68[:, list(POINTS54)])
    assert torch.equal(labels.points5, five(labels.points68))
    assert torch.equal(labels.visible54, labels.visible68[:, list(POINTS54)])
    assert torch.equal(labels.visible5[:, 2:], labels.visible68[:, [30, 48, 54]])
    assert (labels.visible68.dtype, labels.visible5.shape) == (torch.bool, (12, 5))
    assert (labels.face_box.shape, labels.pose.shape, labels.session.dtype) == ((12, 4), (12, 3), torch.int64)
    assert all(len(words) == 12 for words in labels.groups.values())


def test_labels_can_be_targets_of_a_training():
    labels = face_labels(WHO[:2], WHEN[:2])
    guess = torch.zeros(2, 68, 2, requires_grad=True)
    ((guess - labels.points68) ** 2).sum().backward()
    assert guess.grad is not None


def test_no_faces_have_no_labels():
    labels = face_labels(WHO[:0], WHO[:0])
    assert labels.points54.shape == (0, 54, 2)
    assert labels.groups["age"] == []


@pytest.mark.parametrize("spectrum", ["VIS", "LWIR"])
def test_labels_do_not_depend_on_the_batch(spectrum):
    subjects, samples = torch.arange(40), torch.arange(40) % 7
    together = face_labels(subjects, samples, spectrum=spectrum)
    for row in (0, 31, 39):
        alone = face_labels(subjects[row : row + 1], samples[row : row + 1], spectrum=spectrum)
        assert torch.equal(alone.points68[0], together.points68[row])
        assert torch.equal(alone.visible68[0], together.visible68[row])
        assert torch.equal(alone.face_box[0], together.face_box[row])
        assert {name: words[row] for name, words in together.groups.items()} == {
            name: words[0] for name, words in alone.groups.items()
        }


@pytest.mark.parametrize("size", [64, 160, 224])
def test_points_scale_with_the_picture(size):
    small, large = face_labels(WHO, WHEN), face_labels(WHO, WHEN, size=size)
    scaled = (large.points68 + 0.5) * (112 / size) - 0.5
    off = (scaled - small.points68)[:, 17:].norm(dim=2)
    # The canvas is finer under a larger picture, so equal up to its cells.
    assert off.mean() < 0.2
    assert off.max() < 1.5
    assert torch.allclose((large.face_box + 0.5) * (112 / size) - 0.5, small.face_box, atol=1.5)


def test_a_mirrored_face_has_mirrored_points(posed):
    def mirrored_person(*args, **options):
        who = person(*args, **options)
        relief = who["relief"].view(-1, 3, 14) * torch.tensor([-1.0, 1.0, 1.0])[:, None]
        return who | {"nose_shift": -who["nose_shift"], "relief": relief.flatten(1)}

    def mirrored_moment(*args, **options):
        now = moment(*args, **options)
        return now | {name: -now[name] for name in ("yaw", "roll", "shift_x", "gaze_x")}

    plain = posed(BARE, NOTHING)
    mirror = posed(BARE, NOTHING, person_of=mirrored_person, moment_of=mirrored_moment)
    flipped = plain.points68[:, FLIP68] * torch.tensor([-1.0, 1.0]) + torch.tensor([111.0, 0.0])
    off = (mirror.points68 - flipped).norm(dim=2)
    assert off[:, 17:].max() < 0.05
    assert off.median() < 0.01
    assert (mirror.visible68 == plain.visible68[:, FLIP68]).float().mean() > 0.98
    assert torch.allclose(mirror.pose, plain.pose * torch.tensor([-1.0, 1.0, -1.0]))


def test_signs_of_the_pose(posed):
    front = posed(BARE, STILL)
    eyes = front.points5[:, :2].mean(1)
    for turn, axis in (("yaw", 0), ("pitch", 1)):
        turned = posed(BARE, STILL | {turn: 0.3})
        assert (
            (turned.points68[:, 30] - turned.points5[:, :2].mean(1))[:, axis] > (front.points68[:, 30] - eyes)[:, axis]
        ).all()
        assert torch.allclose(turned.pose[:, axis], torch.full((12,), math.degrees(0.3)))
    tilted = posed(BARE, STILL | {"roll": 0.3})
    right, left = tilted.points5[:, 0], tilted.points5[:, 1]
    angle = torch.atan2((left - right)[:, 1], (left - right)[:, 0])
    assert torch.allclose(angle, torch.full((12,), 0.3), atol=0.04), "clockwise in a picture whose y points down"


def test_the_far_side_turns_out_of_sight(posed):
    shares = []
    for yaw in (0.0, 0.2, 0.4, 0.6):
        seen = posed(BARE, STILL | NOTHING | {"yaw": yaw}, subjects=torch.arange(24)).visible68.float().mean(0)
        # Looking to the right of the picture hides the subject's left.
        shares.append(seen[9:17].mean().item())
        assert seen[1:7].mean() > 0.9
        assert seen[31:36].mean() > 0.9
    assert shares[0] > 0.9
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.4


def test_what_is_worn_hides_what_is_under_it(posed):
    plain = BARE | {"bald": 1.0}
    bare = posed(plain, STILL | NOTHING).visible68
    masked = posed(plain, STILL | NOTHING | {"mask": 1.0}).visible68
    assert bare[:, 17:].all()
    assert not masked[:, 48:68].any()
    assert not masked[:, 5:12].any()
    assert masked[:, 36:48].all()

    fringe = BARE | {"bald": 0.0, "fringe": 1.0, "hairline_y": -17.0, "hairline_recess": 0.0, "fringe_slant": 0.0}
    hair = posed(fringe, STILL | NOTHING).visible68
    assert hair[:, 17:27].float().mean() < 0.2
    assert hair[:, 48:].all()

    glasses = plain | {"wears_glasses": 1.0}
    on = STILL | NOTHING | {"glasses_on": 1.0}
    for spectrum, clear in (("VIS", True), ("SWIR", True), ("LWIR", False)):
        labels = posed(glasses, on, spectrum=spectrum)
        assert (labels.visible68[:, 37:39].float().mean() > 0.9) == clear
        assert bool(labels.visible5[:, :2].all()) == clear
        assert bool(labels.visible5[:, :2].any()) == clear
        assert labels.visible68[:, 48:].all()
    off = posed(glasses, on | {"glasses_on": 0.0}, spectrum="LWIR")
    assert off.visible5.all()


def test_a_thing_in_front_hides_the_points_that_it_paints_over(posed, monkeypatch):
    subjects = torch.arange(32)
    clear = posed(BARE, NOTHING, subjects=subjects)
    behind = posed(BARE, NOTHING | {"covered": 1.0}, subjects=subjects)
    pictures = []
    for covered in (0.0, 1.0):
        monkeypatch.setattr(
            "xzoo.data.people.render.moment",
            lambda *a, covered=covered, **k: (m := moment(*a, **k)) | {"covered": torch.full_like(m["yaw"], covered)},
        )
        pictures.append(faces(subjects, subjects % 5, "VIS").float())
    changed = ((pictures[0] - pictures[1]).abs().amax(1, keepdim=True) > 12).float()
    at = (clear.points68 + 0.5) * (2 / 112) - 1
    painted = torch.nn.functional.grid_sample(changed, at[:, :, None], align_corners=False)[:, 0, :, 0] > 0.5
    lost = clear.visible68 & ~behind.visible68
    assert lost.any()
    assert not (behind.visible68 & ~clear.visible68).any()
    agree = (lost == painted)[clear.visible68].float().mean()
    assert agree > 0.95, "the labels hide what the picture hides"


def test_points_outside_the_picture_are_not_visible(posed):
    labels = posed(BARE, STILL | NOTHING | {"shift_x": 60.0})
    outside = labels.points68[..., 0] >= 111.5
    assert outside.any()
    assert not labels.visible68[outside].any()
    assert labels.face_box.max() <= 111.5


def test_the_box_holds_the_face():
    labels = face_labels(torch.arange(64), torch.arange(64) % 8)
    left, top, right, bottom = (side[:, None] for side in labels.face_box.T)
    x, y = labels.points68[:, 17:].unbind(2)
    inside = ((x >= -0.5) & (x < 111.5) & (y >= -0.5) & (y < 111.5)).logical_not()
    assert ((x >= left - 0.01) & (x <= right + 0.01) & (y >= top - 0.01) & (y <= bottom + 0.01) | inside).all()
    width, height = (right - left).mean(), (bottom - top).mean()
    assert 60 < width < 90
    assert 70 < height < 112


def test_groups_are_those_that_the_face_was_drawn_with():
    subjects = torch.arange(240)
    labels = face_labels(subjects, subjects * 0 + 1)
    who, now = person(0, subjects), moment(0, subjects, subjects * 0 + 1)
    groups = labels.groups
    assert [word == "masculine" for word in groups["presentation"]] == (who["factor"][:, 0] > 0).tolist()
    assert [word == "darker" for word in groups["skin"]] == (who["melanin"][:, 0] > 0.43).tolist()
    assert [word == "younger" for word in groups["age"]] == (who["age"][:, 0] <= -0.43).tolist()
    assert [word == "beard" for word in groups["beard"]] == (who["beard"][:, 0] > 0).tolist()
    assert [word == "glasses" for word in groups["glasses"]] == (who["wears_glasses"] * now["glasses_on"])[
        :, 0
    ].bool().tolist()
    for name in ("age", "skin"):
        shares = [groups[name].count(word) / 240 for word in set(groups[name])]
        assert len(shares) == 3
        assert min(shares) > 0.25


def test_sessions_and_frames_follow_the_moment():
    samples = torch.tensor([0, SESSION - 1, SESSION, 5 * SESSION + 3])
    assert face_labels(samples * 0, samples).session.tolist() == [0, 0, 1, 5]
    end = face_labels(WHO, WHEN * 0, phase=torch.ones(12))
    following = face_labels(WHO, WHEN * 0 + 1)
    half = face_labels(WHO, WHEN * 0, phase=torch.full((12,), 0.5))
    assert torch.allclose(end.pose, following.pose, atol=1e-4)
    assert torch.allclose(half.pose, (face_labels(WHO, WHEN * 0).pose + following.pose) / 2, atol=1e-3)


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        ((WHO, WHEN), {"spectrum": "UV"}),
        ((WHO, WHEN), {"size": 8}),
        ((WHO, WHEN[:3]), {}),
        ((WHO.float(), WHEN), {}),
        ((WHO, WHEN), {"phase": torch.zeros(3)}),
    ],
    ids=["spectrum", "size", "lengths", "kind", "phase"],
)
def test_what_faces_refuses_labels_refuse(numbers, options):
    with pytest.raises(OptionError):
        face_labels(*numbers, **options)
