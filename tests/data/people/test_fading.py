"""What fades out stays a number that a processor works with quickly, and blurs are what their formulas say."""

from __future__ import annotations

import math

import pytest
import torch

from xzoo.data.people import cameras, draws
from xzoo.data.people.curves import bell
from xzoo.data.people.surface import bumps, canvas, gaussians

SMALLEST = torch.finfo(torch.float32).tiny


def test_a_bell_is_that_of_gauss_and_never_denormal():
    far = torch.linspace(-40, 40, 801)
    found, exact = bell(far), torch.exp(-0.5 * far.double().square())
    assert torch.allclose(found.double(), exact, atol=1e-17, rtol=1e-5)
    assert found.min() ** 2 > SMALLEST, "products of two of them are numbers as well"


def test_sums_of_bumps_hold_no_denormal_number():
    where = canvas(128, torch.device("cpu"))
    one = torch.ones(2, 1, 1)
    found = gaussians(where, -60 * one, -60 * one, 1.2 * one, 0.9 * one, 0.02 * one)
    assert ((found == 0) | (found.abs() > SMALLEST)).all()
    exact = 0.02 * torch.exp(-0.5 * (((where.x + 60) / 1.2) ** 2 + ((where.y + 60) / 0.9) ** 2).double())
    assert torch.allclose(found.double(), exact.expand(2, -1, -1), atol=1e-18, rtol=1e-4)


def test_bumps_take_numbers_and_vectors_and_stand_on_both_sides():
    where, wide = canvas(16, torch.device("cpu")), torch.tensor([[3.0], [5.0]])
    found = bumps(where, [(0.0, wide, wide, 4.0, 1.0)], [(20.0, -wide, 6.0, wide, wide)])
    for row, width in enumerate((3.0, 5.0)):
        for place in ((0, 0), (7, 9), (12, 3)):
            x, y = float(where.x[0, 0, place[1]]), float(where.y[0, place[0], 0])
            terms = [
                (0.0, width, width, 4.0, 1.0),
                (20.0, -width, 6.0, width, width),
                (-20.0, -width, 6.0, width, width),
            ]
            exact = sum(a * math.exp(-(((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) / 2) for cx, cy, sx, sy, a in terms)
            assert found[row, place[0], place[1]].item() == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("motion", [None, torch.tensor([0.0, 4.0])])
def test_a_blur_weighs_by_distance_and_sums_to_one(motion):
    sigma = torch.tensor([0.6, 7.0])
    found = cameras._blur(40, sigma, motion)
    for row in range(2):
        half = 0.5 * max(0.05, 0.0 if motion is None else float(motion[row]))

        def weight(apart: int, row: int = row, half: float = half) -> float:
            at = [(apart + side * half) / float(sigma[row]) for side in (1, -1)]
            if motion is None:
                return math.exp(-0.5 * (apart / float(sigma[row])) ** 2)
            return 0.5 * (math.erf(at[0] / math.sqrt(2)) - math.erf(at[1] / math.sqrt(2)))

        for line in (0, 11, 39):
            every = [weight(abs(line - place)) for place in range(40)]
            wanted = torch.tensor([one / sum(every) for one in every])
            assert torch.allclose(found[row, line], wanted, atol=2e-6)
    assert ((found == 0) | (found > SMALLEST)).all()


def test_fields_are_the_windows_that_their_numbers_name():
    starts = torch.rand(5, 4, generator=torch.Generator().manual_seed(3))
    one, two = draws._tiles("cpu")
    found = draws.fields(starts, 128)
    for row, place in enumerate((starts * (1024 - 128)).long().tolist()):
        for down, across in ((0, 0), (17, 90), (127, 127)):
            exact = (one[place[0] + down, place[1] + across] + two[place[2] + down, place[3] + across]) * 0.5**0.5
            assert found[row, down, across].item() == pytest.approx(exact.item(), rel=1e-6)
