from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from xzoo.data import Manifest, people
from xzoo.data.people.cameras import pose_grid
from xzoo.data.people.surface import LAYERS, canvas, surface
from xzoo.data.people.traits import PERSON, moment, person
from xzoo.errors import DiskFull, OptionError

WHO, WHEN = torch.arange(5), torch.zeros(5, dtype=torch.int64)


@pytest.mark.parametrize("spectrum", people.SPECTRA)
@pytest.mark.parametrize("size", [32, 64, 112])
def test_faces_are_bytes_of_the_asked_size(spectrum, size):
    drawn = people.faces(WHO, WHEN, spectrum, size=size)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (5, 3, size, size)
    assert drawn.float().std((1, 2, 3)).min() > 15, "a flat picture is not a face"


@pytest.mark.parametrize("spectrum", people.SPECTRA)
@pytest.mark.parametrize("camera", people.CAMERAS)
def test_a_face_does_not_depend_on_its_batch(spectrum, camera):
    together = people.faces(torch.arange(40), torch.arange(40) % 3, spectrum, size=64, camera=camera)
    for row in (0, 17, 39):
        alone = people.faces(torch.tensor([row]), torch.tensor([row % 3]), spectrum, size=64, camera=camera)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"samples": WHEN + 1}, {"subjects": WHO + 5}],
    ids=["another world", "another moment", "another person"],
)
def test_seed_subject_and_sample_each_change_the_face(other):
    plain = {"subjects": WHO, "samples": WHEN, "spectrum": "VIS", "size": 48}
    changed = people.faces(**(plain | other)).float()
    assert ((people.faces(**plain).float() - changed).abs().mean((1, 2, 3)) > 5).all()


def test_thermal_pictures_are_grey_and_visible_ones_are_not():
    vis, lwir = (people.faces(WHO, WHEN, spectrum) for spectrum in ("VIS", "LWIR"))
    assert torch.equal(lwir[:, 0], lwir[:, 1])
    assert torch.equal(lwir[:, 0], lwir[:, 2])
    assert not torch.equal(vis[:, 0], vis[:, 2])


def test_light_is_of_no_account_in_the_thermal_band():
    # Many moments of one head in one pose: VIS differs with the light, LWIR far less.
    def spread(spectrum: str) -> float:
        samples = torch.arange(64)
        pose = moment(0, torch.full_like(samples, 3), samples)
        frontal = samples[(pose["yaw"].abs() < 0.12)[:, 0] & (pose["pitch"].abs() < 0.1)[:, 0]]
        drawn = people.faces(torch.full_like(frontal, 3), frontal, spectrum).float().mean(1)
        left, right = drawn[:, 35:85, 20:50].mean((1, 2)), drawn[:, 35:85, 62:92].mean((1, 2))
        return (left - right).std().item()

    assert spread("VIS") > 2 * spread("LWIR")


def test_both_spectra_show_one_geometry():
    # Where the geometry says skin, the thermal picture is warm and the visible one is not backdrop.
    who, now = person(0, WHO), moment(0, WHO, WHEN)
    face = surface(who, now, canvas(128, torch.device("cpu")))
    skin = face.layers[:, [LAYERS.index("skin")]]
    seen = F.grid_sample(skin, pose_grid(now, face.height, 112), align_corners=False)[:, 0]
    warm, lit = people.faces(WHO, WHEN, "LWIR").float()[:, 0], people.faces(WHO, WHEN, "VIS").float()
    for i in range(len(WHO)):
        inside, outside = seen[i] > 0.9, seen[i] < 0.1
        assert warm[i][inside].mean() - warm[i][outside].mean() > 20
        assert (lit[i][:, inside].mean(1) - lit[i][:, outside].mean(1)).abs().max() > 10


def test_layers_never_cover_more_than_the_whole():
    shares = surface(person(0, WHO), moment(0, WHO, WHEN), canvas(96, torch.device("cpu"))).layers
    assert shares.shape[1] == len(LAYERS)
    assert shares.min() >= 0
    assert shares.sum(1).max() <= 1 + 1e-5


def test_people_have_more_than_forty_independent_traits():
    subjects = torch.arange(2000)
    traits = torch.cat([person(0, subjects)[name] for name in PERSON], dim=1)
    singular = torch.linalg.svdvals((traits - traits.mean(0)) / traits.std(0)) / 2000**0.5
    assert (singular > 0.5).sum() > 40


def test_eyes_stand_near_the_template():
    who, now = person(0, torch.arange(200)), moment(0, torch.arange(200), torch.arange(200))
    surfaces = surface(who, now, canvas(64, torch.device("cpu")))
    eyes = F.grid_sample(
        surfaces.layers[:, [LAYERS.index("irises")]], pose_grid(now, surfaces.height, 112), align_corners=False
    )[:, 0]
    rows = torch.arange(112) + 0.5
    mass = eyes.sum((1, 2))
    seen = mass > 4  # spectacles, closed lids and fringes hide some
    x, y = ((eyes.sum(1) @ rows) / mass)[seen], ((eyes.sum(2) @ rows) / mass)[seen]
    assert seen.sum() > 100
    assert (x - 56).abs().median() < 5
    assert (y - 51.6).abs().median() < 4


def test_a_written_folder_is_a_manifest_with_subjects_in_one_split_each(tmp_path):
    path = people.write(tmp_path / "people", subjects=8, samples=2, size=32, progress=False)
    manifest = Manifest.read(path)
    assert path == tmp_path / "people" / "manifest.csv"
    assert len(manifest) == 8 * 2 * 2
    split = {name: {row.subject for row in manifest.select(split=name).rows} for name in ("train", "test")}
    assert (len(split["train"]), len(split["test"])) == (6, 2)
    assert not split["train"] & split["test"]
    assert sorted({row.spectrum for row in manifest.rows}) == ["LWIR", "VIS"]
    assert {row.camera for row in manifest.rows} == {"colour", "house"}


def test_a_written_picture_is_the_drawn_one(tmp_path):
    path = people.write(
        tmp_path / "p", subjects=3, samples=1, size=48, seed=4, camera="blackhot_lowres", progress=False
    )
    drawn = people.faces(torch.tensor([2]), torch.tensor([1000]), "LWIR", size=48, seed=4, camera="blackhot_lowres")
    assert np.array_equal(np.asarray(Image.open(path.parent / "p00002/LWIR/000.png")), drawn[0, 0].numpy())


def test_more_subjects_leave_the_first_ones_as_they_were(tmp_path):
    few = people.write(tmp_path / "few", subjects=2, samples=1, size=32, progress=False).parent
    many = people.write(tmp_path / "many", subjects=4, samples=2, size=32, progress=False).parent
    for name in ("p00000/VIS/000.png", "p00001/LWIR/000.png"):
        assert (few / name).read_bytes() == (many / name).read_bytes()


def test_the_other_camera_is_black_hot():
    warm, cold = (people.faces(WHO, WHEN, "LWIR", camera=camera).float() for camera in people.CAMERAS)
    centre = (slice(None), 0, slice(50, 90), slice(40, 72))
    rim = (slice(None), 0, slice(0, 112), slice(0, 6))
    assert (warm[centre].mean() > warm[rim].mean()) and (cold[centre].mean() < cold[rim].mean())


BAD = [
    ("band", {"spectra": ["VIS", "UV"]}, "UV"),
    ("no band", {"spectra": []}, "spectra"),
    ("camera", {"camera": "hose"}, "hose"),
    ("tiny", {"size": 8}, "size"),
    ("huge", {"size": 4096}, "size"),
    ("half a pixel", {"size": 64.5}, "size"),
    ("nobody", {"subjects": 0}, "subjects"),
    ("a flag for a number", {"subjects": True}, "subjects"),
    ("no samples", {"samples": 0}, "samples"),
    ("no splits", {"splits": {}}, "splits"),
    ("negative share", {"splits": {"train": 1.0, "test": -0.5}}, "splits"),
    ("more splits than people", {"subjects": 2, "splits": {"a": 1, "b": 1, "c": 1}}, "splits"),
]


@pytest.mark.parametrize(("options", "word"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_impossible_people_are_refused_and_nothing_is_written(tmp_path, options, word):
    with pytest.raises(OptionError, match=word):
        people.write(tmp_path / "people", progress=False, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="already holds something"):
        people.write(tmp_path, subjects=2, size=32, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_too_little_room_is_told_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DiskFull, match="MB are needed"):
        people.write(tmp_path / "people", subjects=4, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_midway_leaves_nothing_behind(tmp_path, monkeypatch):
    saved: list[Path] = []

    def save(self: Image.Image, path: Path) -> None:
        saved.append(path)
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(DiskFull):
        people.write(tmp_path / "people", subjects=4, size=32, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("subjects", "samples"),
    [(WHO, WHEN[:3]), (WHO.float(), WHEN), (WHO[None], WHEN[None])],
    ids=["two lengths", "not whole", "not a vector"],
)
def test_faces_want_two_integer_vectors_of_one_length(subjects, samples):
    with pytest.raises(OptionError, match="integer vectors"):
        people.faces(subjects, samples, "VIS")
