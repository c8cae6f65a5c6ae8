"""``xzoo landmarks``: what is told is what is drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

WORDS = ("--model", "landmarker", "--pretrained", "no")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(np.full((90, 60), 100, np.uint8)).save(path)
    return path


def test_points_are_told_in_pixels_and_drawn_there(xzoo, picture, tmp_path):
    done = xzoo("landmarks", picture, *WORDS, "--points", "5", "--out", tmp_path / "drawn.png", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (len(told["points"]), len(told["inside"]), len(told["deviation"])) == (5, 5, 5)
    drawn = np.asarray(Image.open(tmp_path / "drawn.png"))
    assert drawn.shape == (450, 300, 3)  # five times as large
    x, y = told["points"][told["inside"].index(True)]
    assert tuple(drawn[int((y + 0.5) * 5), int((x + 0.5) * 5)]) == (255, 60, 40)
    assert (drawn == 100).all(2).mean() > 0.9
    text = xzoo("landmarks", picture, *WORDS)
    assert text.code == 0
    assert len(text.out.splitlines()) == 68


def test_a_box_moves_the_crop(xzoo, picture):
    box = json.loads(xzoo("landmarks", picture, *WORDS, "--box", "30", "50", "20", "20", "--json").out)
    assert all(20 < x < 60 and 40 < y < 80 for x, y in box["points"])


def test_wrong_calls(xzoo, picture, tmp_path):
    assert "PNG" in xzoo("landmarks", picture, *WORDS, "--out", tmp_path / "x.jpg").err
    done = xzoo("landmarks", picture, "--model", "bd_student", "--pretrained", "no")
    assert (done.code, "It is no landmark network" in done.err) == (2, True)
    assert xzoo("landmarks", tmp_path / "nowhere.png", *WORDS).code == 1
    assert xzoo("landmarks", picture, *WORDS, "--passes", "0").code == 2
