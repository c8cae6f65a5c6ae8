"""Features by module path, and adapters where they differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xzoo import errors, losses
from xzoo.losses.hooks import Adapted, Capture, Pairs, shapes


def net(width: int, stride: int = 1) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.Sequential(nn.ReLU(), nn.Conv2d(width, 2 * width, 3, padding=1, stride=stride)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 5),
    )


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_features_are_what_the_modules_gave_out_with_their_gradients() -> None:
    student = net(4)
    with Capture(student, ["0", "1.1", ""]) as features:
        out = student(IMAGES)
    torch.testing.assert_close(features["0"], student[0](IMAGES))
    assert features["1.1"].shape == (4, 8, 8, 8)
    assert features[""] is out
    features["1.1"].square().mean().backward()
    assert student[0].weight.grad is not None


def test_leaving_takes_the_hooks_away_even_after_an_error() -> None:
    student = net(4)
    with pytest.raises(RuntimeError), Capture(student, ["0"]):
        student(torch.zeros(1, 7, 8, 8))
    assert not student[0]._forward_hooks


def test_unknown_path_names_the_nearest() -> None:
    with pytest.raises(errors.NotFound, match="1.1"):
        Capture(net(4), ["1.11"])


def test_a_feature_that_was_not_captured_says_why() -> None:
    features = Capture(net(4), ["0"])
    with pytest.raises(errors.NotFound, match="has not run"):
        features["0"]
    with pytest.raises(errors.NotFound, match="not among the captured"):
        features["1"]


def test_the_first_of_several_outputs_is_the_feature_and_other_things_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self, out: Any) -> None:
            super().__init__()
            self.out = out

        def forward(self, x: torch.Tensor) -> Any:
            return self.out

    pair, text = Odd((IMAGES, 3)), Odd("no")
    with Capture(pair, [""]) as features:
        pair(IMAGES)
    assert features[""] is IMAGES
    with Capture(text, [""]), pytest.raises(errors.OptionError, match="str"):
        text(IMAGES)


def test_shapes_are_found_on_the_meta_device_and_modes_are_left_alone() -> None:
    student = net(4, 2).to("meta").train()
    student[0].eval()
    found = shapes(student, ["0", "1", "4"], torch.empty(4, 3, 8, 8, device="meta"))
    assert [tuple(found[path]) for path in ("0", "1", "4")] == [(4, 4, 8, 8), (4, 8, 4, 4), (4, 5)]
    assert [m.training for m in student] == [False, True, True, True, True]


def test_pairs_of_modules_of_any_shape_are_compared_and_their_adapters_learn() -> None:
    student, teacher = net(4, 2), net(6)
    taken = Capture(student, ["0", "1"]), Capture(teacher, ["0", "1"])
    pairs = Pairs(losses.create("mse"), {"0": "0", "1": "1"})
    with taken[0] as ours, taken[1] as theirs:
        student(IMAGES)
        teacher(IMAGES)
        pairs.prepare(ours, theirs)
        parameters = list(pairs.parameters())
        optimiser = torch.optim.Adam([*student.parameters(), *parameters], lr=0.01)
        values = []
        for _ in range(30):
            student(IMAGES)
            value = pairs(ours, theirs)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(value.item())
    assert len(parameters) == 6
    assert values[-1] < 0.7 * values[0]
    assert teacher[0].weight.grad is None


def test_pairs_are_the_sum_over_pairs() -> None:
    ours, theirs = ({"a": torch.randn(4, 3, 5, 5), "b": torch.randn(4, 6)} for _ in range(2))
    mse = losses.create("mse")
    pairs = Pairs(mse, {"a": "a", "b": "b"})
    torch.testing.assert_close(pairs(ours, theirs), mse(ours["a"], theirs["a"]) + mse(ours["b"], theirs["b"]))


def test_a_loss_that_learns_has_a_copy_for_each_pair() -> None:
    ours = {"a": torch.randn(4, 3, 6, 6), "b": torch.randn(4, 5, 3, 3)}
    theirs = {"a": torch.randn(4, 4, 6, 6), "b": torch.randn(4, 7, 3, 3)}
    pairs = Pairs(losses.create("fitnets"), {"a": "a", "b": "b"})
    pairs.prepare(ours, theirs)
    widths = sorted(p.shape[0] for name, p in pairs.named_parameters() if name.endswith("0.weight"))
    assert widths == [4, 7]
    assert torch.isfinite(pairs(ours, theirs))


def test_a_loss_of_all_levels_is_given_them_together() -> None:
    ours = {"a": torch.randn(4, 3, 6, 6), "b": torch.randn(4, 5, 3, 3)}
    theirs = {"a": torch.randn(4, 4, 6, 6), "b": torch.randn(4, 7, 3, 3)}
    pairs = Pairs(losses.create("reviewkd"), {"a": "a", "b": "b"}, together=True)
    pairs.prepare(ours, theirs)
    alone: Any = losses.create("reviewkd")
    wanted = alone(list(ours.values()), list(theirs.values()))
    torch.testing.assert_close(pairs(ours, theirs), wanted)
    plain = Pairs(losses.create("at"), {"a": "a", "b": "b"}, together=True)
    torch.testing.assert_close(plain(ours, theirs), losses.create("at")([*ours.values()], [*theirs.values()]))


def test_a_loss_with_its_own_adapters_is_not_wrapped_again() -> None:
    with pytest.raises(errors.OptionError, match="Fitnets"):
        Adapted(losses.create("fitnets"))
