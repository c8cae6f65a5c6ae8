"""What each band shows and hides, and that the bands are as far apart as in nature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xzoo.data.people import SPECTRA, faces
from xzoo.data.people.bands import radiance
from xzoo.data.people.cameras import CAMERAS, expose, path_at
from xzoo.data.people.draws import normals
from xzoo.data.people.labels import face_labels
from xzoo.data.people.surface import LAYERS, canvas, surface
from xzoo.data.people.traits import POSE, SESSION, moment, person, session_of
from xzoo.errors import OptionError
from xzoo.evaluation.pixels import edge_histograms

CROWD = torch.arange(24)


def gradients(images: torch.Tensor) -> torch.Tensor:
    """Return histograms of edge directions at half the size, centred over the set."""
    found = edge_histograms(F.avg_pool2d(images.float().mean(1, keepdim=True), 2))
    return F.normalize(found - found.mean(0))


def canvases(spectrum: str, subjects: torch.Tensor, samples: torch.Tensor):
    who, now = person(5, subjects), moment(5, subjects, samples, nuisances=0.0)
    c = canvas(64, subjects.device)
    face = surface(who, now, c)
    scene = 0.0 * normals(5, subjects, samples, 21, 12)
    seen = radiance(who, now, face, c, scene, spectrum)
    return who, now, face, seen[:, :-1], seen[:, -1]


def level(spectrum: str, layer: str, subjects: torch.Tensor = CROWD) -> torch.Tensor:
    """Return what each person's ``layer`` shows on average, ``[B]``; NaN where nobody has it."""
    _, _, face, seen, _ = canvases(spectrum, subjects, torch.zeros_like(subjects))
    share = (face.layers[:, LAYERS.index(layer)] > 0.95).float() * (face.lenses < 0.05)
    return (seen.mean(1) * share).sum((1, 2)) / share.sum((1, 2))


def spread(values: torch.Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.std() / values.mean())


def test_skin_tone_is_of_less_account_the_longer_the_wave():
    tones = [spread(level(band, "skin")) for band in ("VIS", "NIR", "SWIR")]
    assert tones[0] > 2.5 * tones[1] and tones[1] > tones[2], tones


def test_skin_is_bright_in_nir_and_dark_in_swir_against_hair_and_cloth():
    skin = {band: float(level(band, "skin").nanmean()) for band in ("NIR", "SWIR")}
    hair = {band: float(level(band, "hair").nanmean()) for band in ("NIR", "SWIR")}
    assert skin["NIR"] > 1.4 * hair["NIR"], (skin, hair)
    assert skin["SWIR"] < 0.4 * hair["SWIR"]
    assert skin["SWIR"] < 0.25 * float(level("SWIR", "clothes").nanmean())


@pytest.mark.parametrize("band", ["MWIR", "LWIR"])
def test_hair_and_clothes_are_cooler_than_skin(band):
    skin = level(band, "skin")
    assert torch.nanmean(skin - level(band, "hair")) > 2.0
    assert torch.nanmean(skin - level(band, "clothes")) > 2.0


def test_glass_is_clear_in_swir_dims_in_mwir_and_is_opaque_in_lwir():
    crowd = torch.arange(200)
    worn = person(5, crowd)["wears_glasses"] * moment(5, crowd, crowd * 0, nuisances=0.0)["glasses_on"]
    wearers = torch.nonzero(worn[:, 0])[:8, 0]
    seen = {}
    for band in ("MWIR", "LWIR"):
        who, now, face, kelvin, _ = canvases(band, wearers, torch.zeros_like(wearers))
        inside = face.lenses > 0.99
        bare = canvases(band, wearers, torch.zeros_like(wearers))[2]
        assert inside.sum((1, 2)).min() > 12
        seen[band] = [float(picture[0][mask].std()) for picture, mask in zip(kelvin, inside, strict=True)]
        assert bare.lenses.max() > 0.99
    assert max(seen["LWIR"]) < 0.01 < 0.1 * min(seen["MWIR"])
    _, _, face, light, _ = canvases("SWIR", wearers, torch.zeros_like(wearers))
    assert min(float(picture[0][mask].std()) for picture, mask in zip(light, face.lenses > 0.99, strict=True)) > 1e-3


@pytest.mark.parametrize("band", SPECTRA)
def test_light_moves_in_reflecting_bands_alone(band):
    subjects = torch.arange(4)
    who, now = person(5, subjects), moment(5, subjects, subjects * 0, nuisances=0.0)
    c = canvas(64, subjects.device)
    face = surface(who, now, c)
    scene = torch.zeros(4, 12)
    moved = scene.clone()
    moved[:, 0:2] = 1.5
    skin = (face.layers[:, LAYERS.index("skin")] == 1.0)[:, None] & (face.lenses == 0)[:, None]
    change = (radiance(who, now, face, c, moved, band) - radiance(who, now, face, c, scene, band)).abs()
    change = (change * skin).max()
    if band == "LWIR":
        assert change == 0
    else:
        assert change > 0.05


def test_colour_of_clothes_fades_in_nir_and_is_gone_in_heat():
    subjects = torch.arange(48)
    worn = []
    for band in SPECTRA:
        who, now = person(5, subjects), moment(5, subjects, subjects * 0)
        bright = {name: torch.full_like(now[name], 1.0) for name in ("colour_0", "colour_1", "colour_2")}
        dark = {name: -value for name, value in bright.items()}
        c = canvas(64, subjects.device)
        face = surface(who, now, c)
        cloth = face.layers[:, LAYERS.index("clothes")] > 0.9
        scene = torch.zeros(48, 12)
        pair = [radiance(who, now | dye, face, c, scene, band)[:, :-1].mean(1)[cloth].mean() for dye in (bright, dark)]
        worn.append(float((pair[0] - pair[1]).abs() / pair[0].abs()))
    vis, nir, swir, mwir, lwir = worn
    assert vis > 0.5 > nir > 0.05
    assert (swir, mwir, lwir) == (0.0, 0.0, 0.0)


def test_a_session_keeps_the_day_and_another_changes_it():
    subjects, day = torch.zeros(3, dtype=torch.int64), torch.tensor([0, SESSION - 1, SESSION])
    now = moment(1, subjects, day)
    assert session_of(day).tolist() == [0, 0, 1]
    for name in ("warmth", "hair_change", "colour_0", "hat", "glasses_on"):
        assert now[name][0] == now[name][1]
    assert now["warmth"][0] != now["warmth"][2]
    assert now["yaw"][0] != now["yaw"][1]


def test_a_track_moves_smoothly_from_one_sample_to_the_next():
    steps = 9
    subjects, samples = torch.full((steps,), 3), torch.full((steps,), 4)
    phase = torch.linspace(0, 1, steps)
    yaw = moment(2, subjects, samples, phase=phase)["yaw"][:, 0]
    ends = moment(2, subjects[:2], torch.tensor([4, 5]))["yaw"][:, 0]
    assert torch.allclose(yaw[[0, -1]], ends)
    assert torch.allclose(yaw.diff(), (ends[1] - ends[0]).expand(steps - 1) / (steps - 1), atol=1e-6)


def test_no_nuisances_make_two_samples_one_picture_but_for_the_camera():
    pair = faces(torch.zeros(2, dtype=torch.int64), torch.tensor([0, 40]), "LWIR", nuisances=0.0)
    far = faces(torch.zeros(2, dtype=torch.int64), torch.tensor([0, 40]), "LWIR")
    difference = (pair[0].float() - pair[1].float())[:, 20:100, 20:90].abs().mean()
    assert difference < 0.5 * (far[0].float() - far[1].float())[:, 20:100, 20:90].abs().mean()


def test_a_moment_seen_from_the_front_differs_from_itself_by_the_turn_alone():
    subjects, samples = torch.arange(6), torch.full((6,), 3)
    turned, front = moment(2, subjects, samples), moment(2, subjects, samples, pose=0.0)
    differ = {name for name in turned if not torch.equal(turned[name], front[name])}
    assert differ == set(POSE)
    assert not any(front[name].any() for name in POSE)
    assert torch.allclose(moment(2, subjects, samples, pose=2.0)["yaw"], 2 * turned["yaw"])
    assert not face_labels(subjects, samples, pose=0.0).pose.any()
    assert torch.equal(faces(subjects, samples, "LWIR", pose=1.0), faces(subjects, samples, "LWIR"))
    # Left and right halves of a face from the front are more alike than of a turned one.
    half = {pose: faces(subjects, samples, "LWIR", pose=pose).float()[:, 0, 30:100] for pose in (0.0, 2.0)}
    uneven = {pose: (seen - seen.flip(-1)).abs().mean() for pose, seen in half.items()}
    assert uneven[0.0] < uneven[2.0]


@pytest.mark.parametrize("band", SPECTRA)
def test_distance_takes_detail(band):
    near, middle, away = (
        faces(torch.arange(8), torch.zeros(8, dtype=torch.int64), band, distance=distance, bits=16).float()
        for distance in (None, 30, 500)
    )
    detail = [float((images - F.avg_pool2d(images, 5, 1, 2)).abs().median()) for images in (near, middle, away)]
    assert detail[0] > detail[1] > detail[2]


@pytest.mark.parametrize("bits", [14, 16])
def test_raw_counts_are_temperatures_in_heat_and_light_elsewhere(bits):
    who, when = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    warm = faces(who, when, "LWIR", bits=bits)
    assert warm.dtype == torch.int32
    assert warm.shape == (4, 1, 112, 112)
    celsius = warm.float() / (25.0 if bits == 14 else 100.0) - 273.15
    assert 30 < celsius[:, 0, 50:60, 50:62].median() < 37
    assert 15 < celsius.flatten().quantile(0.02) < 28
    light = faces(who, when, "SWIR", bits=bits)
    assert 0.02 * 2**bits < light.float().mean() < 0.9 * 2**bits


def test_stuck_pixels_stay_with_the_specimen():
    camera = CAMERAS["blackhot_lowres"]["LWIR"]
    scene = torch.full((2, 1, 112, 112), 30.0)
    one = expose(scene, "LWIR", camera, torch.randn(2, 64), bits=16, sensor=1)
    other = expose(scene, "LWIR", camera, torch.randn(2, 64), bits=16, sensor=2)
    stuck = (one == 0) | (one == 65535)
    assert 0 < stuck[0].sum() < 40
    assert torch.equal(stuck[0], stuck[1])
    assert not torch.equal(stuck[0], ((other == 0) | (other == 65535))[0])


def test_turbulence_grows_with_distance_and_falls_with_the_wave():
    wander = [path_at(500, band).warp for band in SPECTRA]
    assert wander == sorted(wander, reverse=True)
    assert path_at(30, "VIS").warp < 0.25 * path_at(500, "VIS").warp
    assert path_at(None, "VIS").warp == 0


def test_air_spreads_a_point_as_fried_computed():
    # k = 2 pi / 0.55 um; r0 = (0.423 k^2 3e-14 500)^(-3/5) = 17.75 mm; 0.98 lambda / r0 500 m = 15.18 mm at the face,
    # half of whose variance moves the point.
    path = path_at(500, "VIS")
    assert 2.355 * path.warp * 200.0 / 112.0 * 2**0.5 == pytest.approx(15.18, abs=0.02)
    # The spread grows with the distance to the power 8/5 and falls with the wave to the power 1/5.
    assert path.warp / path_at(100, "VIS").warp == pytest.approx(5**1.6)
    assert path.warp / path_at(500, "LWIR").warp == pytest.approx((10 / 0.55) ** 0.2)


def test_a_lens_blurs_long_waves_as_airy_computed():
    # 1.03 10 um / 0.15 m 500 m = 34.33 mm between half maxima, beside the air's share.
    path = path_at(500, "LWIR")
    lens = 2.355 * (path.blur**2 - path.warp**2) ** 0.5 * 200.0 / 112.0
    assert lens == pytest.approx(34.33, abs=0.02)
    assert path_at(500, "VIS").blur < 1.1 * path_at(500, "VIS").warp


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"distance": 0}, "distance=0"),
        ({"distance": "far"}, "far"),
        ({"bits": 12}, "bits=12"),
        ({"nuisances": -1}, "nuisances=-1"),
        ({"pose": 3.0}, "pose=3.0"),
        ({"phase": torch.zeros(3)}, "phase"),
        ({"spectrum": "UV"}, "UV"),
        ({"camera": "phone"}, "phone"),
        ({"size": 7}, "size=7"),
    ],
)
def test_impossible_views_are_refused(options, word):
    wanted = {"spectrum": "LWIR"} | options
    with pytest.raises(OptionError, match=word):
        faces(torch.arange(2), torch.arange(2), **wanted)


@pytest.mark.slow
def test_bands_are_as_far_apart_as_in_nature():
    """One plain feature, 300 strangers: the order of Table IV of arXiv 2503.10931."""
    count, halves = 300, {}
    who = torch.arange(count) + 9000
    gallery = {band: gradients(faces(who, torch.zeros_like(who), band, seed=11, nuisances=0.5)) for band in SPECTRA}
    for sample in (1, 2, 3):
        for band in SPECTRA:
            probe = gradients(faces(who, torch.full_like(who, sample), band, seed=11, nuisances=0.5))
            for other in SPECTRA:
                hits = (probe @ gallery[other].T).argmax(1) == torch.arange(count)
                halves.setdefault((other, band), []).append(hits.float().mean().item())
    rank = {pair: float(np.mean(values)) for pair, values in halves.items()}
    print({f"{a}-{b}": round(value, 3) for (a, b), value in rank.items()})
    assert rank["MWIR", "LWIR"] > 1.5 * rank["VIS", "LWIR"]
    assert rank["VIS", "NIR"] > rank["VIS", "SWIR"] > rank["VIS", "MWIR"]
