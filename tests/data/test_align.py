"""Alignment of faces by five points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from xzoo.data.align import ARCFACE, EYES, aligned
from xzoo.data.images import load_raw
from xzoo.data.manifest import Manifest, Row
from xzoo.data.preprocess import Preprocess
from xzoo.errors import ImageError, OptionError


def dots(points, size=(240, 200)):
    """Draw a round dot of its own brightness at each point; coordinates name the middle of a pixel."""
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.zeros((*size, 3))
    for (px, py), value in zip(points, (250, 210, 170, 130, 90), strict=False):
        picture += value * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18)[..., None]
    return picture.clip(0, 255).astype(np.uint8)


def centres(picture, expected, reach=6):
    grey = picture[..., 0].astype(float)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    found = []
    for px, py in expected:
        near = grey * ((x - px) ** 2 + (y - py) ** 2 < reach**2)
        found.append(((near * x).sum() / near.sum(), (near * y).sum() / near.sum()))
    return np.array(found)


def test_points_that_fit_the_template_leave_the_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert np.array_equal(aligned(picture, ARCFACE, (112, 112)), picture)


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (224, 224)], ids=str)
def test_a_turned_and_scaled_face_lands_on_the_template(size):
    turn = 1.4 * np.exp(0.3j)
    moved = [turn * complex(*point) + complex(40, 15) for point in ARCFACE]
    points = [(z.real, z.imag) for z in moved]
    scale = size[0] / 112
    expected = [(x * scale - (size[0] - size[1]) / 2, y * scale) for x, y in ARCFACE]
    found = centres(aligned(dots(points), points, size), expected, reach=6 * scale)
    assert np.abs(found - expected).max() < 0.35 * scale


def test_the_fit_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    points = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(ARCFACE, rng.normal(0, 3, (5, 2)), strict=True)]
    rows, right = [], []
    for (x, y), (u, v) in zip(points, ARCFACE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    expected = [(a * x - b * y + c, b * x + a * y + d) for x, y in points]
    shifted = [(x + 60, y + 60) for x, y in points]
    found = centres(aligned(dots(shifted), shifted, (112, 112)), expected)
    assert np.abs(found - expected).max() < 0.35


def test_eye_centres_land_where_the_institute_of_xedgeface_puts_them():
    assert EYES == ((40.0, 55.0), (72.0, 55.0))
    marks = ((83.0, 71.0), (121.0, 60.0))
    found = centres(aligned(dots(marks), marks, (112, 112), "eyes_112_2pt"), EYES)
    assert np.abs(found - EYES).max() < 0.3
    # Thirty-two pixels apart, whatever they were: a point a third of the way between them stays there.
    third = tuple(a + (b - a) / 3 for a, b in zip(*marks, strict=True))
    moved = aligned(dots([third]), marks, (112, 112), "eyes_112_2pt")
    assert np.abs(centres(moved, [(40 + 32 / 3, 55)]) - (40 + 32 / 3, 55)).max() < 0.3
    large = centres(aligned(dots(marks), marks, (224, 192), "eyes_112_2pt"), [(64, 110), (128, 110)], reach=12)
    assert np.abs(large - [(64, 110), (128, 110)]).max() < 0.6


def test_a_network_that_is_aligned_by_eyes_takes_two_points_or_the_first_two_of_five(tmp_path):
    points = tuple((x + 40.0, y + 20.0) for x, y in ARCFACE)
    Image.fromarray(dots(points)).save(tmp_path / "a.png")
    rows = tuple(Row("a.png", "ann", "VIS", landmarks=marks) for marks in (points, points[:2], points[:3], None))
    five, two, three, none = load_raw(Manifest(rows, tmp_path), Preprocess(alignment="eyes_112_2pt"))
    assert torch.equal(five, two) and torch.equal(three, none) and not torch.equal(two, none)
    assert np.abs(centres(two.permute(1, 2, 0).numpy(), EYES) - EYES).max() < 0.3


@pytest.mark.parametrize("points", [ARCFACE[:4], ((3.0, 3.0),) * 5, (*ARCFACE[:4], (np.nan, 1.0))])
def test_points_that_make_no_face_are_refused(points):
    with pytest.raises(ImageError, match="five points"):
        aligned(np.zeros((8, 8, 3), np.uint8), points, (112, 112))


def test_only_networks_that_ask_for_it_get_aligned_faces(tmp_path):
    points = tuple((x + 40.0, y + 20.0) for x, y in ARCFACE)
    Image.fromarray(dots(points)).save(tmp_path / "a.png")
    rows = tuple(Row("a.png", "ann", "VIS", landmarks=marks) for marks in (points, None, points[:4]))
    manifest = Manifest(rows, tmp_path)
    plain = load_raw(manifest, Preprocess())
    assert (plain[0] == plain[1]).all()
    moved = load_raw(manifest, Preprocess(alignment="arcface_112_5pt"))
    found = centres(moved[0].permute(1, 2, 0).numpy(), ARCFACE)
    assert np.abs(found - ARCFACE).max() < 0.3
    assert (moved[1] == plain[1]).all() and (moved[2] == plain[1]).all()


def test_an_unknown_alignment_is_refused():
    with pytest.raises(OptionError, match=r"alignment='mtcnn'[\s\S]*arcface_112_5pt, eyes_112_2pt"):
        Preprocess(alignment="mtcnn")
