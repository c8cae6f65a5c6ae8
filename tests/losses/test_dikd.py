"""Dual injection: who learns from which term, held to the table of the specification, and every term by hand."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from xzoo import errors, losses
from xzoo.losses.dikd import Dikd, still_statistics
from xzoo.losses.landmarks import wing

POINTS = 5
OFF: dict[str, Any] = {"alpha": 0.0, "beta": 0.0}


class Net(nn.Module):
    """An encoder to maps and a head to points, with batch norm in both."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))
        self.last = nn.Linear(width, 3 * POINTS)

    def project(self, maps: Tensor) -> Tensor:
        out: Tensor = self.last(self.mix(maps).mean((2, 3)))
        return out.view(-1, POINTS, 3)


class Scene(NamedTuple):
    """A frozen RGB network, a thermal one in training, registered pictures and their truth."""

    rgb: Net
    thermal: Net
    x_r: Tensor
    x_t: Tensor
    truth: Tensor


@pytest.fixture
def scene() -> Scene:
    torch.manual_seed(0)
    rgb, thermal = Net().requires_grad_(False).eval(), Net().train()
    x_r = torch.randn(4, 3, 8, 8)
    return Scene(rgb, thermal, x_r, 1 - x_r + 0.3 * torch.randn(4, 3, 8, 8), torch.rand(4, POINTS, 2))


def run(scene: Scene, **options: Any) -> tuple[Tensor, Dikd]:
    loss = Dikd(side=16.0, **options)
    with torch.no_grad():
        teacher = scene.rgb.encoder(scene.x_r)
    heads = {"student_head": still_statistics(scene.thermal), "teacher_head": scene.rgb.project}
    return loss(scene.thermal.encoder(scene.x_t), teacher, truth=scene.truth, **heads), loss


def learns(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


ROUTING = [
    # term alone, encoder of the student learns, head of the student learns
    pytest.param({"beta": 0, "a_con": 0}, False, True, id="forward injection, truth"),
    pytest.param({"beta": 0, "a_gt": 0}, True, True, id="forward injection, consistency"),
    pytest.param({"alpha": 0}, True, False, id="reverse injection, response"),
    pytest.param({"alpha": 0, "b_con": 0, "b_gt": 1}, True, False, id="reverse injection, truth"),
    pytest.param({**OFF, "gamma": 1}, True, False, id="features"),
    pytest.param({**OFF, "delta": 1}, True, True, id="response"),
]


@pytest.mark.parametrize("kind", ["wing", "gnll"])
@pytest.mark.parametrize(("options", "encoder", "head"), ROUTING)
def test_each_term_alone_reaches_whom_the_table_says(
    scene: Scene, kind: Any, options: dict[str, Any], encoder: bool, head: bool
) -> None:
    frozen = {name: tensor.clone() for name, tensor in scene.rgb.state_dict().items()}
    value, loss = run(scene, task=kind, **options)
    assert len(loss.parts) == 1
    value.backward()
    assert learns(scene.thermal.encoder) is encoder
    assert (learns(scene.thermal.mix) or learns(scene.thermal.last)) is head
    if not head:
        assert all(p.grad is None for p in [*scene.thermal.mix.parameters(), *scene.thermal.last.parameters()])
    if not encoder:
        assert all(p.grad is None for p in scene.thermal.encoder.parameters())
    assert all(p.grad is None for p in scene.rgb.parameters())
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in scene.rgb.state_dict().items())


def test_the_task_loss_teaches_encoder_and_head(scene: Scene) -> None:
    wing(scene.thermal.project(scene.thermal.encoder(scene.x_t)), scene.truth).backward()
    assert learns(scene.thermal.encoder) and learns(scene.thermal.last)


def test_consistency_reaches_the_head_through_the_students_own_answer_only(scene: Scene) -> None:
    value, _ = run(scene, beta=0, a_gt=0)
    value.backward()
    got = scene.thermal.last.weight.grad
    other = copy.deepcopy(scene.thermal)
    other.zero_grad()
    with torch.no_grad():
        goal = other.project(scene.rgb.encoder(scene.x_r))
    wing(other.project(other.encoder(scene.x_t)), goal, side=16.0).backward()
    torch.testing.assert_close(got, other.last.weight.grad)


def test_reverse_injection_changes_with_the_encoder_and_not_with_the_students_head(scene: Scene) -> None:
    before, _ = run(scene, alpha=0)
    with torch.no_grad():
        scene.thermal.last.weight.add_(1.0)
    same, _ = run(scene, alpha=0)
    with torch.no_grad():
        scene.thermal.encoder[0].weight.add_(0.5)  # type: ignore[operator]
    other, _ = run(scene, alpha=0)
    assert before.item() == same.item() != other.item()


def test_injection_leaves_the_running_averages_of_the_head_alone(scene: Scene) -> None:
    plain = copy.deepcopy(scene.thermal)
    plain.encoder(scene.x_t)
    run(scene)
    for name, buffer in scene.thermal.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name), rtol=0, atol=0, msg=name)
    assert all(m.momentum == 0.1 for m in scene.thermal.modules() if isinstance(m, nn.BatchNorm2d))


def test_every_term_is_what_the_formula_says(scene: Scene) -> None:
    weights = {
        "alpha": 0.5,
        "beta": 2.0,
        "gamma": 3.0,
        "delta": 0.7,
        "a_gt": 0.3,
        "a_con": 0.9,
        "b_con": 1.1,
        "b_gt": 0.2,
    }
    value, loss = run(scene, **weights)
    rgb, thermal, truth = scene.rgb, scene.thermal, scene.truth
    f_r, f_t = rgb.encoder(scene.x_r), thermal.encoder(scene.x_t)

    def far(a: Tensor, b: Tensor) -> Tensor:
        u = 16 * (a[..., :2] - b[..., :2]).abs()
        c = 10 - 10 * torch.log(torch.tensor(1 + 10 / 2))
        return torch.where(u < 10, 10 * torch.log(1 + u / 2), u - c).mean()

    p_t, p_r, p_fi, p_ri = thermal.project(f_t), rgb.project(f_r), thermal.project(f_r), rgb.project(f_t)
    by_hand = {
        "fi_gt": far(p_fi, truth),
        "fi_con": far(p_t, p_fi),
        "ri_con": far(p_ri, p_r),
        "ri_gt": far(p_ri, truth),
        "fd": (f_t - f_r).square().mean(),
        "ld": far(p_t, p_r),
    }
    for name, wanted in by_hand.items():
        torch.testing.assert_close(loss.parts[name], wanted.detach(), msg=name)
    total = 0.5 * (0.3 * by_hand["fi_gt"] + 0.9 * by_hand["fi_con"]) + 3 * by_hand["fd"] + 0.7 * by_hand["ld"]
    total = total + 2 * (1.1 * by_hand["ri_con"] + 0.2 * by_hand["ri_gt"])
    torch.testing.assert_close(value, total)


def test_gaussian_heads_are_compared_by_the_divergence_of_their_gaussians(scene: Scene) -> None:
    _, loss = run(scene, task="gnll", alpha=0, beta=0, delta=1)
    p_t, p_r = scene.thermal.project(scene.thermal.encoder(scene.x_t)), scene.rgb.project(scene.rgb.encoder(scene.x_r))
    s_t, s_r = p_t[..., 2].exp(), p_r[..., 2].exp()  # student and teacher
    apart = (p_t[..., :2] - p_r[..., :2]).square().sum(2)
    by_hand = 2 * (s_t / s_r).log() + (2 * s_r**2 + apart) / (2 * s_t**2) - 1
    torch.testing.assert_close(loss.parts["ld"], by_hand.mean().detach())


def test_pairs_without_truth_still_teach_by_what_asks_for_none(scene: Scene) -> None:
    scene.truth[:] = float("nan")
    value, loss = run(scene, b_gt=1)
    value.backward()
    assert loss.parts["fi_gt"] == loss.parts["ri_gt"] == 0 < loss.parts["fi_con"]
    assert all(p.grad is None or p.grad.isfinite().all() for p in scene.thermal.parameters())
    assert learns(scene.thermal.encoder)


@pytest.mark.parametrize("kind", ["wing", "gnll"])
def test_the_teachers_response_stands_for_unknown_points_of_forward_injection(scene: Scene, kind: Any) -> None:
    whole = scene.truth.clone()
    whole[1:] = scene.rgb.project(scene.rgb.encoder(scene.x_r))[1:, :, :2]
    scene.truth[1:] = float("nan")
    filled = run(scene, task=kind, unknown="response")[1].parts
    torch.testing.assert_close(filled["fi_gt"], run(scene._replace(truth=whole), task=kind)[1].parts["fi_gt"])
    skipped = run(scene, task=kind)[1].parts
    assert filled["fi_gt"] != skipped["fi_gt"]
    assert all(torch.equal(filled[name], skipped[name]) for name in ("fi_con", "ri_con"))


def test_channel_statistics_of_the_injected_map_are_the_teachers(scene: Scene) -> None:
    seen: list[Tensor] = []
    loss = Dikd(alpha=0, align="channel_stats")
    f_r, f_t = scene.rgb.encoder(scene.x_r), scene.thermal.encoder(scene.x_t)

    def head(maps: Tensor) -> Tensor:
        seen.append(maps)
        return scene.rgb.project(maps)

    loss(f_t, f_r, student_head=scene.thermal.project, teacher_head=head)
    for figure in (torch.mean, torch.std):
        torch.testing.assert_close(figure(seen[1], dim=(0, 2, 3)), figure(f_r, dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_networks_of_two_kinds_need_adapters_which_learn_with_the_student(scene: Scene) -> None:
    small = Net(width=4).train()
    unlike = scene._replace(thermal=small)
    with pytest.raises(errors.OptionError, match="align: adapter"):
        run(unlike)
    value, loss = run(unlike, align="adapter")
    value.backward()
    assert learns(small.encoder) and learns(small.last) and learns(loss.adapt) and learns(loss.back)
    assert not any(p.requires_grad for p in scene.rgb.parameters())


def test_without_heads_only_features_are_compared() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(losses.create("dikd", gamma=2.0)(a, b), 2 * (a - b).square().mean())


def test_points_without_a_deviation_cannot_be_compared_as_gaussians(scene: Scene) -> None:
    maps = torch.randn(2, 6, 4, 4)

    def flat(x: Tensor) -> Tensor:
        return scene.rgb.project(x)[..., :2]

    with pytest.raises(errors.OptionError, match="ln s"):
        Dikd(alpha=0, distance="gaussian")(maps, maps, student_head=flat, teacher_head=flat)
