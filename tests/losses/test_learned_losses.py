"""Losses that own parameters or memory: how they are made, what they compute, what they keep."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors, losses
from xzoo.losses.adapt import Learned, adapter
from xzoo.losses.relations import rcd


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


E, T = noise(6, 5), noise(6, 7, seed=1)
MAPS, WIDE = noise(3, 4, 6, 6), noise(3, 6, 3, 3, seed=1)
TOKENS, WORDS = noise(2, 9, 4), noise(2, 9, 6, seed=1)
LABELS, ROWS = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([3, 1, 4, 0, 5, 9])

# A case of each loss that learns: options, student, teacher, what comes with the batch.
CASES: dict[str, tuple[dict[str, Any], Any, Any, dict[str, Any]]] = {
    "embed_distill": ({}, E, T, {}),
    "rcd": ({"width": 8, "negatives": 2}, E, T, {"labels": LABELS}),
    "fitnets": ({}, MAPS, WIDE, {}),
    "vid": ({}, MAPS, WIDE, {}),
    "reviewkd": ({}, [MAPS, noise(3, 5, 3, 3)], [noise(3, 3, 6, 6, seed=2), WIDE], {}),
    "simkd": ({}, MAPS, WIDE, {}),
    "srrl": ({}, MAPS, WIDE, {"head": lambda x: x**2}),
    "crosskd": ({}, MAPS, WIDE, {"head": lambda x: x.mean((2, 3))}),
    "fpn_mimic": ({}, [MAPS, MAPS], [WIDE, MAPS], {}),
    "gkd_qsd": ({"prefix": 1}, TOKENS, WORDS, {"masked": 0.5 * TOKENS}),
    "crd": ({"num_samples": 10, "width": 4, "negatives": 5}, E, T, {"indices": ROWS}),
    "wcord_global": ({"num_samples": 10, "width": 4, "negatives": 5}, E, T, {"indices": ROWS}),
    "arcface": ({"classes": 4, "margin": 0.2, "scale": 3}, E, None, {"labels": LABELS}),
    "cosface": ({"classes": 4, "margin": 0.2, "scale": 3}, E, None, {"labels": LABELS}),
    "adaface": ({"classes": 4, "margin": 0.2, "scale": 3}, E, None, {"labels": LABELS}),
    "subcentre": ({"classes": 4, "margin": 0.2, "scale": 3}, E, None, {"labels": LABELS}),
}
NAMES = sorted(CASES)


def made(name: str, **more: Any) -> Any:
    options, student, teacher, _ = CASES[name]
    loss: Any = losses.create(name, **{**options, **more})
    loss.prepare(student, teacher)
    return loss


def call(loss: Any, name: str, student: Any = None) -> Tensor:
    _, ours, theirs, given = CASES[name]
    value: Tensor = loss(ours if student is None else student, theirs, **given)
    return value


def test_the_registry_says_which_losses_learn() -> None:
    of_few_pixels = {"decoded", "softmax"}  # in test_lowres_losses.py
    of_spectra = {"spectrum_head", "subject_spectrum", "mixer_identity", "idkl_heads"}  # in test_peer_losses.py
    of_landmarks = {"dikd"}  # in test_dikd.py
    elsewhere = of_few_pixels | of_spectra | of_landmarks
    assert set(CASES) | elsewhere == {name for name, entry in losses.LOSSES.items() if entry.learns}
    for name in NAMES:
        assert isinstance(made(name), nn.Module)
        assert list(made(name).parameters()), name


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_the_student_and_every_parameter(name: str) -> None:
    loss, student = made(name), copy.deepcopy(CASES[name][1])
    levels = student if isinstance(student, list) else [student]
    for level in levels:
        level.requires_grad_()
    call(loss, name, student).backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)
    assert [key for key, p in loss.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_derivative_of_the_value(name: str) -> None:
    loss, (_, student, teacher, given) = made(name), CASES[name]
    first = student[0] if isinstance(student, list) else student
    if name == "crd":
        call(loss, name)  # fixes the constants, which carry no gradient
    if name == "adaface":
        first, given = F.normalize(first, dim=1), given | {"norms": first.norm(dim=1)}  # neither do lengths

    def value(x: Tensor) -> Tensor:
        # A copy, because a call may move memories and running statistics.
        found: Tensor = copy.deepcopy(loss)([x, *student[1:]] if isinstance(student, list) else x, teacher, **given)
        return found

    x = first.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    direction = noise(*first.shape, seed=9)
    step = 1e-6
    slope = (value(first + step * direction) - value(first - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope.detach(), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_starting_values_follow_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = made(name).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator moved"
    torch.manual_seed(2)
    again, other = made(name).state_dict(), made(name, seed=5).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_goes_on_from_its_saved_state(name: str) -> None:
    one = made(name)
    call(one, name)
    two = made(name, seed=3)
    two.seed = one.seed
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(call(one, name), call(two, name), rtol=0, atol=0)


def test_parameters_before_the_shapes_are_known_are_refused_and_not_empty() -> None:
    loss: Any = losses.create("fitnets")
    with pytest.raises(errors.OptionError, match="prepare"):
        torch.optim.SGD(loss.parameters(), lr=0.1)
    loss.prepare(torch.empty(1, 4, 6, 6, device="meta"), torch.empty(1, 6, 3, 3, device="meta"))
    assert sum(p.numel() for p in loss.parameters()) > 0
    assert next(iter(loss.parameters())).device.type == "cpu"


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [
        ("fitnets", MAPS, noise(*MAPS.shape, seed=2)),
        ("embed_distill", E, noise(*E.shape, seed=2)),
        ("simkd", MAPS, noise(*MAPS.shape, seed=2)),
        ("reviewkd", MAPS, noise(*MAPS.shape, seed=2)),
    ],
    ids=["fitnets", "embed_distill", "simkd", "reviewkd"],
)
def test_equal_shapes_need_no_adapter_unless_one_is_asked_for(name: str, student: Tensor, teacher: Tensor) -> None:
    plain: Any = losses.create(name)
    plain.prepare(student, teacher)
    assert list(plain.parameters()) == []
    asked: Any = losses.create(name, adapter="always")
    assert torch.isfinite(asked(student, teacher))
    assert list(asked.parameters())


def test_an_adapter_that_is_forbidden_is_an_error() -> None:
    with pytest.raises(errors.OptionError, match="adapter='auto'"):
        losses.create("embed_distill", adapter="never")(E, T)


@pytest.mark.parametrize("grid", [3, 6, 12, 5, 1, 9], ids=lambda g: f"6 to {g}")
def test_fitnets_regressor_reaches_every_grid(grid: int) -> None:
    loss: Any = losses.create("fitnets")
    teacher = noise(3, 7, grid, grid)
    value = loss(MAPS, teacher)
    assert loss.adapt(MAPS).shape == teacher.shape
    torch.testing.assert_close(value, (loss.adapt(MAPS) - teacher).square().mean())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((2, 5), (2, 7)), ((2, 9, 4), (2, 16, 6)), ((2, 9, 4), (2, 5, 6)), ((2, 4, 6, 6), (2, 7, 9, 3))],
    ids=str,
)
def test_adapter_leads_to_the_teachers_shape(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    assert adapter(student, teacher)(torch.randn(student)).shape == teacher


def test_adapter_between_kinds_of_features_is_an_error() -> None:
    with pytest.raises(errors.OptionError, match=r"\[2, 5\].*\[2, 4, 6, 6\]"):
        adapter((2, 5), (2, 4, 6, 6))


def test_vid_is_the_gaussian_log_likelihood_per_channel() -> None:
    loss = made("vid")
    with torch.no_grad():
        loss.alpha.copy_(noise(6, seed=4))
    mean = loss.regressor(MAPS)
    variance = (1 + loss.alpha.exp()).log() + 1e-5
    values = [
        ((mean[b, c] - WIDE[b, c]) ** 2 / variance[c] + variance[c].log()).mean() / 2
        for b in range(3)
        for c in range(6)
    ]
    torch.testing.assert_close(call(loss, "vid"), torch.stack(values).mean())


def test_vid_starts_at_its_starting_variance() -> None:
    variance = F.softplus(made("vid", variance=5).alpha) + 1e-5
    torch.testing.assert_close(variance, torch.full_like(variance, 5))


def test_reviewkd_fuses_from_the_deepest_level_upwards() -> None:
    loss = made("reviewkd").eval()
    deep, shallow = loss.fusions
    _, (fine, coarse), (wide, goal), _ = CASES["reviewkd"]
    below = deep.enter(coarse)
    x = shallow.enter(fine)
    up = below.repeat_interleave(2, 2).repeat_interleave(2, 3)
    weights = shallow.attend(torch.cat([x, up], 1))
    fused = x * weights[:, :1] + up * weights[:, 1:]
    hcl = losses.create("reviewkd")
    wanted = hcl(deep.leave(below), goal) + losses.create("reviewkd")(shallow.leave(fused), wide)
    torch.testing.assert_close(call(loss, "reviewkd"), wanted)


def test_gkd_qsd_adds_its_three_terms() -> None:
    loss = made("gkd_qsd")
    token, patches = loss.token(TOKENS[:, :1], WORDS[:, :1]), loss.feature(TOKENS[:, 1:], WORDS[:, 1:])
    masked = loss.patch(0.5 * TOKENS[:, 1:], WORDS[:, 1:])
    terms = [
        F.mse_loss(token, WORDS[:, :1]),
        F.mse_loss(torch.cat([token, patches], 1), WORDS),
        F.mse_loss(masked, WORDS[:, 1:]),
    ]
    torch.testing.assert_close(call(loss, "gkd_qsd"), sum(terms))
    loss.weights = 2.0, 3.0, 4.0
    torch.testing.assert_close(call(loss, "gkd_qsd"), 2 * terms[0] + 3 * terms[1] + 4 * terms[2])


def test_rcd_with_every_negative_is_the_formula_in_loops() -> None:
    student, teacher = E, noise(6, 5, seed=1)
    loss: Any = losses.create("rcd", width=8, negatives=0, temperature=0.5)
    found = loss(student, teacher, labels=LABELS)
    s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    positive, negative = [], []
    for i in range(6):
        for j in range(6):
            if i == j:
                continue
            v = F.normalize(loss.own(t[i] - t[j]), dim=0)
            h = [torch.sigmoid(v @ F.normalize(loss.cross(t[i] - s[k]), dim=0) / 0.5) for k in range(6)]
            positive.append(-h[j].log())
            rivals = [k for k in range(6) if k not in (i, j) and LABELS[k] != LABELS[j]]
            negative.append(-sum((1 - h[k]).log() for k in rivals))
    torch.testing.assert_close(found, torch.stack(positive).mean() + torch.stack(negative).mean())


def test_rcd_draws_as_many_negatives_as_asked_and_none_of_the_same_subject() -> None:
    loss: Any = losses.create("rcd", negatives=2)
    kept = loss._draw(6, LABELS)
    assert int(loss.calls) == 1
    pairs = ~torch.eye(6, dtype=torch.bool)
    allowed = (LABELS[:, None] != LABELS[None])[None] & ~torch.eye(6, dtype=torch.bool)[:, None, :]
    assert ((kept & allowed).sum(2)[pairs] == 2).all()
    everything = rcd(E, noise(6, 5, seed=1), labels=LABELS)[1]
    some = rcd(E, noise(6, 5, seed=1), labels=LABELS, kept=kept)[1]
    assert 0 < some < everything


def test_crd_is_the_formula_in_loops_and_moves_its_memory_afterwards() -> None:
    loss = made("crd")
    ours, theirs = F.normalize(loss.student_embed(E), dim=1), F.normalize(loss.teacher_embed(T), dim=1)
    columns = copy.deepcopy(loss).draw(ROWS)
    memories = loss.teacher_memory.clone(), loss.student_memory.clone()
    wanted = torch.zeros((), dtype=torch.float64)
    for rows, memory in ((ours, memories[0]), (theirs, memories[1])):
        p = [[torch.exp(memory[k] @ rows[i] / 0.07) for k in columns[i]] for i in range(6)]
        z = torch.stack([x.detach() for row in p for x in row]).mean() * 10
        q = 5 / 10
        for row in p:
            own, *others = (x / z for x in row)
            wanted = wanted - (own / (own + q + 1e-7)).log() / 6
            wanted = wanted - sum((q / (x + q + 1e-7)).log() for x in others) / 6
    torch.testing.assert_close(call(loss, "crd"), wanted)
    moved = F.normalize(0.5 * memories[1][ROWS] + 0.5 * ours, dim=1)
    torch.testing.assert_close(loss.student_memory[ROWS], moved.detach())
    untouched = [k for k in range(10) if k not in ROWS.tolist()]
    assert torch.equal(loss.teacher_memory[untouched], memories[0][untouched])


def test_crd_fixes_its_constants_at_the_first_batch() -> None:
    loss = made("crd")
    call(loss, "crd")
    first = loss.z.clone()
    call(loss, "crd", 2 * E + 1)
    assert torch.equal(loss.z, first)
    assert (first > 0).all()


def test_crd_draws_evenly_and_never_the_image_itself() -> None:
    loss: Any = losses.create("crd", num_samples=5, negatives=4000)
    drawn = loss.draw(torch.tensor([0, 3]))
    assert drawn[:, 0].tolist() == [0, 3]
    for own, row in zip((0, 3), drawn[:, 1:], strict=True):
        counts = torch.bincount(row, minlength=5)
        assert counts[own] == 0
        assert (counts[[k for k in range(5) if k != own]] - 1000).abs().max() < 150


@pytest.mark.parametrize("name", ["crd", "wcord_global"])
def test_a_memory_without_a_number_of_images_is_refused_at_once(name: str) -> None:
    with pytest.raises(errors.OptionError, match="num_samples"):
        losses.create(name)


def test_wcord_global_is_experimental_and_its_critic_is_one_lipschitz() -> None:
    assert losses.get("wcord_global").experimental
    assert "xperimental" in (losses.get("wcord_global").function("wcord_global").__doc__ or "")
    loss = made("wcord_global")
    for _ in range(30):
        call(loss, "wcord_global")
    for layer in (loss.critic[0], loss.critic[2]):
        assert torch.linalg.matrix_norm(layer.weight, 2) <= 1 + 1e-3


def test_wcord_global_is_the_difference_of_two_means() -> None:
    loss = made("wcord_global", negative_weight=2).eval()
    ours, theirs = F.normalize(loss.student_embed(E), dim=1), F.normalize(loss.teacher_embed(T), dim=1)
    columns, memory = copy.deepcopy(loss).draw(ROWS), loss.teacher_memory.clone()
    pairs = [loss.critic(torch.cat([t, s])) for t, s in zip(theirs, ours, strict=True)]
    others = [loss.critic(torch.cat([memory[k], ours[i]])) for i in range(6) for k in columns[i, 1:]]
    wanted = 2 * torch.stack(others).mean() - torch.stack(pairs).mean()
    torch.testing.assert_close(call(loss, "wcord_global"), wanted)


def test_prototypes_follow_with_an_exponential_mean_once_seen() -> None:
    loss: Any = losses.create("prototypes", classes=3, momentum=0.9)
    first, second = noise(2, 4), noise(2, 4, seed=1)
    loss(first, labels=torch.tensor([0, 0]))
    torch.testing.assert_close(loss.prototypes[0], first.mean(0))
    loss(second, labels=torch.tensor([0, 1]))
    torch.testing.assert_close(loss.prototypes[0], 0.9 * first.mean(0) + 0.1 * second[0])
    torch.testing.assert_close(loss.prototypes[1], second[1])
    assert loss.seen.tolist() == [True, True, False]
    assert not list(loss.parameters())


def test_proto_ssl_learns_no_prototype_from_doubtful_rows() -> None:
    loss: Any = losses.create("proto_ssl", classes=3, threshold=0.9)
    logits = torch.tensor([[9.0, 0, 0], [0.1, 0, 0]], dtype=torch.float64)
    rows = noise(2, 4)
    loss(rows, logits)
    torch.testing.assert_close(loss.prototypes[0], rows[0])


def test_learned_losses_have_one_base_that_the_engine_can_ask() -> None:
    for name in NAMES:
        assert isinstance(made(name), Learned)
        assert made(name).ready
