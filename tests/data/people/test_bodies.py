import itertools

import pytest
import torch

from xzoo.data.people import body as module
from xzoo.data.people.bands import SPECTRA
from xzoo.data.people.body import bodies, body_boxes, body_labels
from xzoo.data.people.clothes import AIR, fabrics
from xzoo.data.people.gait import JOINTS
from xzoo.data.people.traits import SESSION
from xzoo.errors import OptionError

SMALL, TINY = (192, 64), (96, 32)


def people(subjects, samples, size=SMALL, phase=None):
    return module._people(0, torch.as_tensor(subjects), torch.as_tensor(samples), size[1] / size[0], phase)


def drawn(found, spectrum, size=SMALL, mark=None):
    f = module.frame(found.where, size[0], size[1], size[1] / size[0])
    return module._figure(found, f, spectrum, mark=mark)


def zeros(count):
    return torch.zeros(count, dtype=torch.int64)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_same_numbers_give_the_same_picture_whatever_the_batch(spectrum):
    subjects, samples = torch.arange(19), torch.arange(19) % 11
    first = bodies(subjects, samples, spectrum, size=SMALL)
    assert first.shape == (19, 3, *SMALL) and first.dtype == torch.uint8
    assert torch.equal(first, bodies(subjects, samples, spectrum, size=SMALL))
    alone = torch.cat([bodies(subjects[i : i + 1], samples[i : i + 1], spectrum, size=SMALL) for i in (0, 7, 18)])
    # Vector units round the last bit by the place in the batch; a grey level may tip.
    assert (alone.int() - first[[0, 7, 18]].int()).abs().max() <= 1


def test_other_seeds_subjects_and_samples_give_other_pictures():
    one = bodies(torch.tensor([4]), zeros(1), "LWIR", size=SMALL).float()
    for subject, sample, seed in ((5, 0, 0), (4, 1, 0), (4, 0, 1)):
        other = bodies(torch.tensor([subject]), torch.tensor([sample]), "LWIR", size=SMALL, seed=seed).float()
        assert (one - other).abs().mean() > 3.0


@pytest.mark.parametrize("size", [(384, 128), (256, 128), (96, 32), (130, 131)])
def test_pictures_have_the_size_that_was_asked_for(size):
    assert bodies(torch.arange(2), zeros(2), "VIS", size=size).shape == (2, 3, *size)


def test_nobody_is_an_empty_batch():
    assert bodies(zeros(0), zeros(0), "LWIR").shape == (0, 3, 384, 128)
    known = body_labels(zeros(0), zeros(0))
    assert known.body_box.shape == (0, 4) and known.keypoints.shape == (0, len(JOINTS), 2)


@pytest.mark.parametrize(
    ("box", "parts", "above_chin"),
    [
        ("body_box", ("legs", "feet", "trunk", "skirt", "arms", "hands", "neck"), False),
        ("face_box", ("head",), True),
        ("torso_box", ("trunk",), False),
        ("lower_body_box", ("legs", "feet", "skirt"), False),
    ],
)
def test_boxes_hold_the_part_that_is_drawn_and_little_else(box, parts, above_chin):
    size = (256, 86)
    subjects, samples = torch.arange(24), torch.arange(24) * 3
    found = people(subjects, samples, size)
    cover = drawn(found, "LWIR", size, mark=parts).seen[:, 0] > 0.6
    if above_chin:
        rows = (torch.arange(size[0]) + 0.5) / size[0]
        cover &= (rows[None] < found.where.chin[:, 1:2])[:, :, None]
    known = getattr(body_labels(subjects, samples, size=size), box)
    loose = []
    for mask, (left, top, right, bottom) in zip(cover, known.tolist(), strict=True):
        y, x = torch.nonzero(mask, as_tuple=True)
        if len(y) == 0:
            continue
        assert x.min() >= left - 2 and x.max() <= right + 2
        assert y.min() >= top - 2 and y.max() <= bottom + 2
        # The top of the legs is below a hem.
        loose.append(max(x.min() - left, right - x.max(), bottom - y.max()))
    assert len(loose) > 20
    assert sorted(loose)[len(loose) // 2] < 8


def test_joints_lie_on_the_drawn_body():
    size = (256, 86)
    subjects, samples = torch.arange(24), torch.arange(24) * 5
    found = people(subjects, samples, size)
    cover = drawn(found, "LWIR", size).cover
    known = body_labels(subjects, samples, size=size)
    x = known.keypoints[..., 0].round().long()
    y = known.keypoints[..., 1].round().long()
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    hit = cover[torch.arange(24)[:, None].expand_as(x)[inside], y[inside], x[inside]] > 0.4
    assert hit.float().mean() > 0.97


def test_a_nose_is_visible_from_the_front_and_not_from_behind():
    subjects = torch.arange(64)
    known = body_labels(subjects, zeros(64))
    nose = known.visible[:, JOINTS.index("nose")]
    yaw = known.pose[:, 0].abs()
    assert (yaw < 30).sum() > 5 and (yaw > 150).sum() > 3
    assert nose[yaw < 30].float().mean() > 0.8
    # The head turns farther than the trunk.
    assert nose[yaw > 150].float().mean() < 0.15


def test_yaw_is_positive_when_the_chest_points_to_the_right():
    found = people(torch.arange(64), torch.arange(64))
    where = found.where
    ahead = where.joints[:, JOINTS.index("left_toe"), 0] - where.joints[:, JOINTS.index("left_ankle"), 0]
    known = body_labels(torch.arange(64), torch.arange(64))
    side = (known.pose[:, 0].abs() - 90).abs() < 40
    assert side.sum() > 5
    assert torch.equal(ahead[side] > 0, known.pose[side, 0] > 0)


def test_prints_fade_from_vis_over_nir_and_are_gone_in_heat():
    """Drawn without light, noise and background: only cloth with and without its print."""
    worn = people(torch.arange(60), zeros(60)).worn
    printed = (worn["stripes"] + worn["checks"] + worn["blocks"] + worn["upright"])[:, 0] > 0
    found = people(torch.arange(60)[printed][:12], zeros(12), TINY)
    plain = {name: torch.zeros_like(value) for name, value in found.worn.items() if name in PRINTS}
    contrast = {}
    for spectrum in SPECTRA:
        with_print = drawn(found, spectrum, TINY).seen
        without = drawn(found._replace(worn=found.worn | plain), spectrum, TINY).seen
        change = (with_print - without).abs().mean((1, 2, 3))
        contrast[spectrum] = float((change / without.abs().mean((1, 2, 3))).mean())
    assert contrast["VIS"] > 3 * contrast["NIR"] > 9 * contrast["SWIR"]
    assert contrast["MWIR"] == contrast["LWIR"] == 0.0


PRINTS = ("stripes", "upright", "checks", "logo", "blocks", "side_stripe")


def test_colours_do_not_reach_the_thermal_bands():
    found = people(torch.arange(12), zeros(12))
    other = {name: value.flip(1) * 0.5 for name, value in found.worn.items() if name.startswith("colour_")}
    for spectrum in ("MWIR", "LWIR"):
        assert torch.equal(drawn(found, spectrum).seen, drawn(found._replace(worn=found.worn | other), spectrum).seen)
    changed = drawn(found._replace(worn=found.worn | other), "VIS").seen - drawn(found, "VIS").seen
    assert changed.abs().mean() > 0.01


def test_a_coat_hides_heat_that_a_shirt_shows():
    found = people(torch.arange(12), zeros(12))
    worn = found.worn | {"ambient": torch.full_like(found.worn["ambient"], 5.0)}
    warm = {}
    for name, clo in (("shirt", 0.15), ("coat", 1.9)):
        dressed = found._replace(worn=worn | {"top_clo": torch.full_like(worn["hem"], clo), "open": 0 * worn["hem"]})
        trunk = drawn(dressed, "LWIR", mark=("trunk",)).seen[:, 0] > 0.9
        warm[name] = float(drawn(dressed, "LWIR").seen[:, 0][trunk].mean())
    assert warm["shirt"] > warm["coat"] + 4.0


def test_cloth_temperature_is_two_resistances_in_series():
    found = people([0], [0])
    worn = found.worn | {"ambient": torch.tensor([[10.0]]), "top_clo": torch.tensor([[AIR]])}
    value, through = fabrics(worn, "LWIR")["top"]
    # As much cloth as air: halfway between 10 and 34 degrees.
    assert float(value + through * (34.0 - value)) == pytest.approx(22.0)


def test_skin_is_bright_in_nir_dark_in_swir_and_warm_in_heat():
    found = people(torch.arange(12), zeros(12))
    level = {}
    for spectrum in SPECTRA:
        figure = drawn(found, spectrum)
        neck = drawn(found, spectrum, mark=("neck",)).seen[:, 0] > 0.9
        trunk = drawn(found, spectrum, mark=("trunk",)).seen[:, 0] > 0.9
        level[spectrum] = tuple(float(figure.seen.mean(1)[part].mean()) for part in (neck, trunk))
    assert level["NIR"][0] > 1.3 * level["VIS"][0]
    assert level["SWIR"][0] < 0.4 * level["SWIR"][1]
    for spectrum in ("MWIR", "LWIR"):
        assert 30.0 < level[spectrum][0] < 37.0
        assert level[spectrum][0] > level[spectrum][1] + 2.0


def test_hands_and_hair_are_cooler_than_the_neck():
    found = people(torch.arange(12), zeros(12))
    seen = drawn(found, "LWIR").seen[:, 0]
    hands = seen[drawn(found, "LWIR", mark=("hands",)).seen[:, 0] > 0.9].mean()
    neck = seen[drawn(found, "LWIR", mark=("neck",)).seen[:, 0] > 0.9].mean()
    assert neck - hands > 1.0


def test_a_session_changes_the_clothes_and_not_the_build():
    subjects = torch.arange(40)
    first = people(subjects, zeros(40))
    later = people(subjects, zeros(40) + SESSION - 1)
    other = people(subjects, zeros(40) + SESSION)
    for name, value in first.worn.items():
        assert torch.equal(value, later.worn[name]), name
    assert (first.worn["colour_top"] - other.worn["colour_top"]).abs().sum(1).gt(0.01).float().mean() > 0.9
    assert (first.worn["collar"] != other.worn["collar"]).float().mean() > 0.3
    for name in ("sleeve", "legs", "skirt", "top_clo", "ambient"):
        assert not torch.equal(first.worn[name], other.worn[name]), name
    for name, value in first.b.items():
        assert torch.equal(value, other.b[name]), name


def test_phase_walks_on_and_comes_back_after_one_stride():
    subjects, samples = torch.full((3,), 8), torch.full((3,), 2)
    where = people(subjects, samples, phase=torch.tensor([0.0, 0.5, 1.0])).where
    ankle = where.joints[:, JOINTS.index("left_ankle")]
    assert (ankle[0] - ankle[1]).abs().max() > 0.02
    assert torch.allclose(where.joints[0], where.joints[2], atol=1e-5)


def test_both_feet_never_sink_and_one_of_them_stands():
    found = people(torch.arange(100), torch.arange(100))
    feet = [JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "toe")]
    # In the frame of the body the lowest point touches the ground; here it is the lowest in the picture or nearly.
    lowest = found.where.joints[:, feet, 1].amax(1)
    assert (lowest > found.where.joints[:, :, 1].amax(1) - 1e-6).all()


def test_distance_takes_detail_and_contrast():
    subjects = torch.arange(12)
    detail = []
    for distance in (None, 30.0, 500.0):
        picture = bodies(subjects, zeros(12), "LWIR", distance=distance).float()[:, 0]
        detail.append(float((picture[:, 2:-2, 2:] - picture[:, 2:-2, :-2])[:, 60:-60].abs().quantile(0.98)))
    assert detail[0] > detail[1] > detail[2]
    assert float(body_labels(subjects, zeros(12), distance=500.0).distance[0]) == 500.0
    near = body_labels(subjects, zeros(12)).distance
    assert near.min() >= 3.0 and near.max() <= 12.0


def test_identity_shows_in_heat_within_a_session_and_across():
    """Plain pixels, smoothed and normalised."""
    count, size = 40, (96, 32)

    def looks(samples):
        found = []
        for sample in samples:
            picture = bodies(torch.arange(count), torch.full((count,), sample), "LWIR", size=size).float()[:, :1]
            flat = torch.nn.functional.avg_pool2d(picture, 2).flatten(1)
            found.append(torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True)))
        return found

    def beaten(probes):
        """Return the share of other people who look less like the probe than the person does; half by chance."""
        score = torch.stack([a @ b.T for a, b in itertools.product(probes, gallery)]).amax(0)
        return float((score.diagonal()[:, None] > score).float().sum() / (count * (count - 1)))

    gallery = looks((0, 2, 4))
    same, other = beaten(looks((1, 3, 5))), beaten(looks((SESSION, SESSION + 2, SESSION + 4)))
    # Two standard errors above one half: 0.5 + 2 * sqrt(1 / 12 / 40).
    assert same > 0.66 and other > 0.592


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"spectrum": "UV"}, "UV"),
        ({"size": (31, 128)}, "31"),
        ({"size": (384, 2048)}, "2048"),
        ({"size": 112}, "112"),
        ({"size": (384.0, 128)}, "384.0"),
        ({"camera": "kodak"}, "kodak"),
        ({"distance": -3.0}, "-3.0"),
        ({"phase": torch.zeros(3)}, "phase"),
        ({"samples": torch.zeros(3, dtype=torch.int64)}, "one length"),
        ({"subjects": torch.zeros(2)}, "integer"),
    ],
)
def test_impossible_requests_are_refused_by_name(change, word):
    asked = {"subjects": torch.arange(2), "samples": zeros(2), "spectrum": "VIS"} | change
    with pytest.raises(OptionError, match=word):
        bodies(**asked)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_people():
    subjects, samples = torch.arange(8), zeros(8)
    here = bodies(subjects, samples, "LWIR").float()
    there = bodies(subjects, samples, "LWIR", device="cuda").float().cpu()
    assert (here - there).abs().mean() < 2.0


@pytest.mark.parametrize(("spectrum", "distance"), [("VIS", 500.0), ("LWIR", 30.0)])
def test_boxes_alone_are_those_of_the_labels_in_every_band_and_at_any_distance(spectrum: str, distance: float) -> None:
    who, view = torch.arange(6), {"size": (70, 40), "seed": 3, "phase": torch.linspace(0, 1, 6)}
    known = body_labels(who, who, spectrum=spectrum, distance=distance, **view)
    found = body_boxes(who, who, **view)
    assert sorted(found) == sorted(name for name in known._fields if name.endswith("_box"))
    assert all(torch.equal(box, getattr(known, name)) for name, box in found.items())
    assert all(box.shape == (0, 4) for box in body_boxes(who[:0], who[:0]).values())
