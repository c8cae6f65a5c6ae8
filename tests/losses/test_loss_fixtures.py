"""Losses against numbers that reference code gave in float64 for inputs of sines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import losses
from xzoo.losses import ckd, mutual, reuse
from xzoo.losses.moments import wkd_terms
from xzoo.losses.relations import rcd

PAIRS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
Y = torch.arange(8)

# Loss, options, which inputs, labels, value.
VALUES: list[tuple[str, dict[str, Any], str, Tensor | None, float]] = [
    ("kd", {"temperature": 4}, "z", None, 2.4917498721),
    ("kd", {"temperature": 1}, "z", None, 1.4708264321),
    ("dkd", {"alpha": 1, "beta": 8, "temperature": 4}, "z", Y, 19.5842432993),
    ("dkd", {"alpha": 1, "beta": 0}, "z", Y, 0.2810826907),
    ("dkd", {"alpha": 0, "beta": 1}, "z", Y, 2.4128950761),
    ("fitnets", {}, "fg", None, 1.0204788453),
    ("reviewkd", {}, "fg", None, 0.7942543197),
    ("at", {}, "ft", None, 0.0034595074),
    ("at", {"form": "code"}, "fg", None, 0.0004840290),
    ("at", {"form": "paper"}, "fg", None, 0.1746267715),
    ("rkd", {}, "e", None, 18.5913326026),
    ("rkd", {"distance_weight": 1, "angle_weight": 0}, "e", None, 0.2182650051),
    ("rkd", {"distance_weight": 0, "angle_weight": 1}, "e", None, 0.2626941495),
    ("sp", {}, "ft", None, 0.1550377129),
    ("pkt", {}, "e", None, 0.0508815105),
    ("cc", {}, "e", None, 8.8370674299),
    ("nst", {}, "ft", None, 0.8106586392),
    ("embed_distill", {"metric": "cosine"}, "e", None, 0.9053358424),
    ("embed_distill", {"metric": "l2"}, "e", None, 3.4453805197),
    ("embed_distill", {"metric": "mse"}, "e", None, 0.8980374280),
    ("cosine", {}, "e", None, 0.9053358424),
    ("mse", {}, "e", None, 0.8980374280),
    ("infonce_x", {"temperature": 0.07}, "e", None, 10.0482155797),
    ("infonce", {"temperature": 0.07}, "e", Y, 10.0482155797),
    ("coral", {}, "e", None, 0.0145467738),
    ("coral_mean", {}, "e", None, 0.2952443031),
    ("mmd", {}, "e", None, 1.1095029760),
    ("mkmmd", {"alphas": [0.5, 1, 2]}, "e", None, 0.5350335792),
    ("supcon", {"temperature": 0.1}, "e_s", PAIRS, 0.6416009469),
    ("ntxent", {"temperature": 0.07}, "e_s", PAIRS, 0.5713984141),
    ("srrl", {}, "fg", None, 0.0273623080),
    ("bicross_nce", {}, "e", None, 5.3492598933),
    ("wcord", {"iterations": 1000}, "e", None, 0.4921080913),
    ("wcord", {"epsilon": 0.1, "iterations": 1000}, "e", None, 0.5065916952),
    ("wcord", {"epsilon": 1, "iterations": 1000}, "e", None, 0.7771111200),
]


@pytest.mark.parametrize(
    ("name", "options", "inputs", "labels", "wanted"), VALUES, ids=[f"{row[0]} {row[1]} {row[2]}" for row in VALUES]
)
def test_loss_has_the_value_of_the_reference_code(
    name: str, options: Any, inputs: str, labels: Tensor | None, wanted: float, z: Any, e: Any, f: Any
) -> None:
    tensors = {"z": z, "e": e, "e_s": e[:1], "ft": f[:2], "fg": (f[0], f[2])}[inputs]
    given = {} if labels is None else {"labels": labels}
    assert losses.create(name, **options)(*tensors, **given).item() == pytest.approx(wanted, abs=6e-11, rel=1e-10)


def test_wcord_by_its_defaults_is_within_a_ten_millionth_of_the_converged_cost(e: Any) -> None:
    assert losses.create("wcord")(*e).item() == pytest.approx(0.4921080913, rel=1e-7)


def test_wcord_goes_to_the_exact_transport_as_entropy_goes(e: Any) -> None:
    """The exact cost is that of an independent solver (POT)."""
    near = losses.create("wcord", epsilon=0.002, iterations=5000)(*e).item()
    assert near == pytest.approx(0.4742314667, abs=1e-4)
    assert abs(near - 0.4742314667) < abs(losses.create("wcord", epsilon=0.01)(*e).item() - 0.4742314667) / 10


@pytest.mark.parametrize(("grid", "mean", "std"), [(1, 0.1641738480, 0.0057304031), (4, 4.7940988993, 0.3355314383)])
def test_wkd_terms_have_the_values_of_the_reference_code(grid: int, mean: float, std: float, f: Any) -> None:
    found = wkd_terms(f[0], f[2], grid=grid)
    assert [x.item() for x in found] == pytest.approx([mean, std], abs=6e-11, rel=1e-10)
    whole = losses.create("wkd_f", grid=grid)(f[0], f[2]).item()
    assert whole == pytest.approx(8 * mean + std, rel=1e-9)


def test_ckd_has_the_values_of_the_reference_code(sines: Any) -> None:
    x, y = sines(2, 12, 16, a=0.19, b=0.3), sines(2, 12, 16, a=0.31, b=0.8)
    style, content = 0.0565722846, 1.9676691349
    assert ckd.style(x, y).item() == pytest.approx(style, abs=6e-11)
    assert ckd.content(x, y).item() == pytest.approx(content, abs=6e-11)
    assert losses.create("ckd")(x, y).item() == pytest.approx(0.01 * style + 0.1 * content, abs=1e-10)


def test_masked_mutual_has_the_values_of_the_reference_code(sines: Any) -> None:
    first, second = sines(2, 5, 4, 6, a=0.33, b=0.1, c=2), sines(2, 5, 4, 6, a=0.27, b=0.6, c=2)
    labels = (torch.arange(48) % 5).reshape(2, 4, 6)
    loss = losses.create("masked_mutual")
    one, two = 0.0685398647, 0.0812728620
    assert loss(first, second, labels=labels).item() == pytest.approx(one, abs=6e-11)
    assert loss(second, first, labels=labels).item() == pytest.approx(two, abs=6e-11)
    both = losses.create("masked_mutual", both=True)
    assert both(first, second, labels=labels).item() == pytest.approx(one + two, abs=1e-10)
    masks = [mask.mean().item() for mask in mutual.reliability(first, second, labels)]
    assert masks == pytest.approx([0.1777087679, 0.2121191784], abs=6e-11)
    assert losses.create("kd", temperature=1)(first, second).item() == pytest.approx(0.9427872666, abs=6e-11)


def test_gkd_qsd_has_the_values_of_the_reference_code(sines: Any) -> None:
    student, teacher = sines(2, 9, 16, a=0.21, b=0.4), sines(2, 9, 24, a=0.17, b=0.9)
    loss: Any = losses.create("gkd_qsd")
    loss.prepare(student, teacher)
    with torch.no_grad():
        for layer, a in ((loss.feature.query, 0.09), (loss.feature.value, 0.13)):
            layer.weight.copy_(sines(24, 16, a=a, b=0.2, c=0.2))
            layer.bias.zero_()
    assert loss(student, teacher).item() == pytest.approx(0.5119778075, abs=6e-11)
    assert loss.feature(student, teacher).mean().item() == pytest.approx(0.0006212587, abs=6e-11)


def test_crosskd_aligns_as_the_reference_code(f: Any) -> None:
    aligned = reuse.crosskd_align(f[0], f[2])
    found = [aligned.mean(), aligned.square().sum(), aligned.flatten()[0], aligned.flatten()[-1]]
    wanted = [0.0003572905, 771.7626223961, 0.1634493959, -0.8768413329]
    assert [x.item() for x in found] == pytest.approx(wanted, abs=6e-11, rel=1e-12)


def test_crd_has_both_terms_and_constants_of_the_reference_code(e: Any, sines: Any) -> None:
    loss: Any = losses.create("crd", num_samples=20, width=16)
    loss.prepare(*e)
    loss.student_memory.copy_(F.normalize(sines(20, 16, a=0.23, b=0.4), dim=1))
    loss.teacher_memory.copy_(F.normalize(sines(20, 16, a=0.41, b=0.9), dim=1))
    columns = torch.stack([Y, (Y + 9) % 20, (Y + 13) % 20, (Y + 17) % 20], 1)
    found = loss.sides(F.normalize(e[0], dim=1), F.normalize(e[1], dim=1), columns)
    assert found.tolist() == pytest.approx([16.5953023874, 11.8183336642], abs=6e-11)
    assert found.sum().item() == pytest.approx(28.4136360516, abs=6e-11)
    assert loss.z.tolist() == pytest.approx([2558546.7973679509, 1254814.0801101152], rel=1e-14)


T = torch.tensor([[1.0, 0], [0, 1], [-1, 0]], dtype=torch.float64)
S = torch.tensor([[0.8, 0.2], [0.1, 0.9], [-0.7, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("cosine", {}, 0.03894291172099714),
        ("mse", {"reduction": "batchmean"}, 0.09333333333333334),
        ("mse", {"reduction": "sum"}, 0.28),
        ("sp", {}, 0.03597232071053379),
        ("rkd", {"distance_weight": 1, "angle_weight": 0}, 3.9467369847e-04),
        ("rkd", {"distance_weight": 0, "angle_weight": 1}, 9.1444336540e-04),
        ("ird", {"temperature": 0.2}, 0.2619895775708742),
    ],
    ids=str,
)
def test_three_rows_have_the_worked_values(name: str, options: Any, wanted: float) -> None:
    assert losses.create(name, **options)(S, T).item() == pytest.approx(wanted, rel=1e-10)


def test_relational_contrast_of_three_rows_has_the_worked_values() -> None:
    positive, negative = rcd(S, T, labels=torch.arange(3))
    assert positive.item() == pytest.approx(5.0238203287e-05, rel=1e-10)
    assert negative.item() == pytest.approx(5.1228929579674, rel=1e-13)
    assert (positive + negative).item() == pytest.approx(5.1229431961707, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("adaface", {}, [[32.464951, 28.621670, 0], [0, 13.047874, 51.200001]]),
        ("arcface", {}, [[36.514, 28.622, 0], [0, 9.1526, 51.2]]),
        ("cosface", {}, [[31.6433, 28.6217, 0], [0, 12.8, 51.2]]),
    ],
    ids=["adaface", "arcface", "cosface"],
)
def test_head_of_three_axes_has_the_worked_logits(name: str, options: Any, wanted: list[list[float]]) -> None:
    head: Any = losses.create(name, classes=3, width=4, **options)
    with torch.no_grad():
        head.kernel.copy_(torch.eye(4)[:3, None])
    features = torch.tensor([[2.0, 1, 0, 0], [0, 3, 4, 0]])
    found = head.logits(features, labels=torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-3)
    if name == "adaface":
        assert (head.mean.item(), head.std.item()) == pytest.approx((19.836180, 99.019547), abs=1e-5)
