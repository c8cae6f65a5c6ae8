"""Losses of landmarks, against published values, plain versions and cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xzoo import errors, losses
from xzoo.losses.landmarks import CONTOURS, CORNERS, gaussian_maps

NAMES = ("wing", "smooth_l1", "gnll", "anisotropic")


def golden() -> tuple[Tensor, Tensor]:
    k = torch.arange(20, dtype=torch.float64)
    truth = 0.5 + 0.3 * (0.6 * k + 0.1).sin()
    told = truth + 0.05 * (1.1 * k + 0.4).sin()
    log = 0.1 * (0.8 * torch.arange(10, dtype=torch.float64)).cos()
    return torch.cat([told.view(2, 5, 2), log.view(2, 5, 1)], 2), truth.view(2, 5, 2)


def drawn(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    told = torch.rand(3, count, 3, generator=generator, dtype=torch.float64)
    return told, told[..., :2] + 0.1 * torch.randn(3, count, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("wing", {"units": "unit"}, 0.1577524612),
        ("wing", {}, 15.3994412028),
        ("smooth_l1", {"units": "unit"}, 0.0006247027),
        ("smooth_l1", {"side": 256}, 7.6563458266),
        ("gnll", {}, 0.0360782879),
        ("anisotropic", {"chain": True}, 0.0015967852),
    ],
)
def test_golden_values(name: str, options: dict[str, object], value: float) -> None:
    assert losses.create(name, **options)(*golden()).item() == pytest.approx(value, abs=1e-9)


def test_wing_worked_by_hand() -> None:
    told, truth = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.0, 0.0]]])
    near = losses.create("wing", side=2)(told, truth)  # errors of 0 and 2 pixels
    assert near.item() == pytest.approx(10 * math.log(2) / 2)
    far = losses.create("wing", side=30)(told, truth)  # 0 and 30
    assert far.item() == pytest.approx((30 - 10 + 10 * math.log(6)) / 2)


def test_a_gaussian_is_likeliest_at_the_size_of_its_errors() -> None:
    truth = torch.zeros(1, 1, 2)
    value = {s: losses.create("gnll")(torch.tensor([[[0.3, 0.4, math.log(s)]]]), truth).item() for s in (0.2, 0.3, 0.5)}
    assert value[0.5] == pytest.approx(math.log(0.25) + 0.5)
    sure = torch.tensor(math.log(0.25 / 2) / 2).exp().item()  # d/ds of 2 ln s + r^2 / (2 s^2): s^2 = r^2 / 2
    least = losses.create("gnll")(torch.tensor([[[0.3, 0.4, math.log(sure)]]]), truth).item()
    assert least < min(value.values())


def plain_anisotropic(told: Tensor, truth: Tensor) -> float:
    total = 0.0
    for ours, real in zip(told[..., :2].tolist(), truth.tolist(), strict=True):
        for point in range(len(real)):
            tangent = None
            for places, closed in CONTOURS.get(len(real), ()):
                if point in places and point not in CORNERS[len(real)]:
                    at, last = point - places[0], len(places) - 1
                    before = places[at - 1] if at > 0 or closed else point
                    after = places[(at + 1) % len(places)] if at < last or closed else point
                    step = [real[after][axis] - real[before][axis] for axis in (0, 1)]
                    tangent = [value / math.hypot(*step) for value in step]
            u = [ours[point][axis] - real[point][axis] for axis in (0, 1)]
            if tangent is None:
                total += u[0] ** 2 + u[1] ** 2
            else:
                slide = u[0] * tangent[0] + u[1] * tangent[1]
                total += slide**2 / 16 + (u[0] ** 2 + u[1] ** 2 - slide**2) / 4
    return total / len(truth)


@pytest.mark.parametrize("count", [5, 54, 68, 70])
def test_anisotropic_is_the_plain_one(count: int) -> None:
    told, truth = drawn(count)
    assert losses.create("anisotropic")(told, truth).item() == pytest.approx(plain_anisotropic(told, truth))


def test_sliding_along_the_jaw_costs_a_quarter_of_leaving_it() -> None:
    truth = torch.zeros(1, 68, 2)
    truth[..., 0] = torch.arange(68.0)
    along, across = truth.clone(), truth.clone()
    along[0, 8, 0] += 1
    across[0, 8, 1] += 1
    loss = losses.create("anisotropic")
    assert (loss(along, truth).item(), loss(across, truth).item()) == (1 / 16, 1 / 4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name: str) -> None:
    told, truth = drawn(68)
    assert torch.autograd.gradcheck(lambda x: losses.create(name)(x, truth), told.requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_points_that_nobody_marked_are_left_out_and_the_truth_is_not_moved(name: str) -> None:
    told, truth = drawn(10)
    truth[:, 3, 0] = torch.nan
    kept = [point for point in range(10) if point != 3]
    told.requires_grad_()
    truth.requires_grad_()
    value = losses.create(name)(told, truth)
    value.backward()
    assert value.item() == pytest.approx(losses.create(name)(told[:, kept], truth[:, kept]).item())
    assert told.grad is not None and torch.isfinite(told.grad).all() and not told.grad[:, 3].any()
    assert truth.grad is None
    assert losses.create(name)(told, torch.full_like(truth, torch.nan)).item() == 0


def test_maps_of_heat() -> None:
    points = torch.tensor([[[2.0, 1.0], [torch.nan, 0.0]]])
    maps = gaussian_maps(points, (4, 5), sigma=1.5)
    assert maps.shape == (1, 2, 4, 5)
    assert maps[0, 0, 1, 2] == 1
    assert maps[0, 0, 3, 3].item() == pytest.approx(math.exp(-5 / 4.5))
    told = torch.zeros(1, 2, 4, 5, requires_grad=True)
    value = losses.create("heatmap")(told, maps)
    assert value.item() == pytest.approx(maps[0, 0].square().mean().item())
    value.backward()
    assert told.grad is not None
    assert torch.allclose(told.grad[0, 0], -2 * maps[0, 0] / 20)
    assert not told.grad[0, 1].any()


def test_what_does_not_fit_is_refused() -> None:
    told, truth = drawn(5)
    with pytest.raises(errors.OptionError, match="x, y and ln s"):
        losses.create("gnll")(told[..., :2], truth)
    with pytest.raises(errors.OptionError, match="entry by entry"):
        losses.create("wing")(told[:, :4], truth)
    with pytest.raises(errors.OptionError, match="px, unit"):
        losses.create("wing", units="pixels")
    with pytest.raises(errors.OptionError, match="above 0"):
        losses.create("anisotropic", across=0)
