"""Losses across resolutions, against plain versions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo import errors, losses
from xzoo.losses.lowres import selected


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_softmax_is_the_cross_entropy_of_a_linear_layer_and_leaves_unknown_rows_out() -> None:
    head: Any = losses.create("softmax", classes=3)
    rows, labels = drawn(5, 4), torch.tensor([0, 2, -1, 1, 1])
    found = head(rows, labels=labels)
    logits = rows @ head.layer.weight.T + head.layer.bias
    known = labels >= 0
    assert found.item() == pytest.approx(F.cross_entropy(logits[known], labels[known]).item(), rel=1e-12)
    assert head(rows[:1], labels=torch.tensor([-1])).item() == 0
    with pytest.raises(errors.OptionError, match="0 classes"):
        losses.create("softmax", classes=0)


def test_decoded_is_the_squared_distance_to_the_teachers_direction() -> None:
    loss: Any = losses.create("decoded")
    student, teacher = drawn(5, 3), drawn(5, 7, seed=1)
    loss.prepare(student, teacher)
    wanted = (F.normalize(teacher, dim=1) - loss.adapt(student)).square().sum(1).mean()
    assert loss(student, teacher).item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("name", ["softmax", "decoded"])
def test_gradient_reaches_the_student_and_every_parameter(name: str) -> None:
    torch.manual_seed(3)
    options: dict[str, Any] = {"classes": 3} if name == "softmax" else {}
    loss: Any = losses.create(name, **options)
    student, teacher = torch.randn(6, 5, requires_grad=True), torch.randn(6, 4)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    value = loss(student, labels=labels) if name == "softmax" else loss(student, teacher)
    value.backward()
    assert student.grad is not None and student.grad.any()
    assert list(loss.parameters())
    assert all(part.grad is not None and part.grad.any() for part in loss.parameters())


def test_hint_cosine_compares_whole_features() -> None:
    student, teacher = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4, seed=1)
    pairs = zip(student.flatten(1), teacher.flatten(1), strict=True)
    wanted = sum(1 - float(a @ b / a.norm() / b.norm()) for a, b in pairs) / 3
    assert losses.create("hint_cosine")(student, teacher).item() == pytest.approx(wanted, rel=1e-12)
    assert losses.create("hint_cosine")(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_fskd_cross_follows_its_formula_pair_by_pair() -> None:
    student, teacher = drawn(4, 3, 2, 2).abs(), drawn(4, 3, 2, 2, seed=1).abs()
    labels = torch.tensor([0, 0, 0, 1])

    def unit(x: Tensor) -> Tensor:
        return (x / x.norm()).flatten(1)

    def apart(a: Tensor, b: Tensor) -> float:
        return 1 - float((a * b).sum() / a.norm() / b.norm())

    values = []
    for i in range(4):
        for j in range(4):
            if i == j or labels[i] != labels[j]:
                continue
            hh = unit(teacher[i]).T @ unit(teacher[j])
            hl, lh = unit(teacher[i]).T @ unit(student[j]), unit(student[i]).T @ unit(teacher[j])
            ll = unit(student[i]).T @ unit(student[j])
            values.append((apart(hh, hl) + apart(hh, lh)) / 2 + apart(hh, ll))
    found = losses.create("fskd_cross")(student, teacher, labels=labels).item()
    assert found == pytest.approx(sum(values) / len(values), rel=1e-12)
    assert losses.create("fskd_cross")(student, teacher, labels=torch.arange(4)).item() == 0


def test_the_graph_chooses_clear_faces_and_not_the_same_twice() -> None:
    teacher = torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.7, 0.7], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    # The third lies between two subjects; of the first two, one says what the other says.
    assert selected(teacher, labels, share=0.75, redundancy=0.0).tolist() == [True, True, False, True]
    assert selected(teacher, labels, share=0.5, redundancy=5.0).sum() == 2
    assert selected(teacher, labels, share=0.5, redundancy=5.0)[3]
    assert selected(teacher, labels, share=0.01, redundancy=0.0).sum() == 1


def test_selective_regresses_the_chosen_rows_alone() -> None:
    student, teacher, labels = drawn(6, 3), drawn(6, 3, seed=1), torch.tensor([0, 0, 1, 1, 2, 2])
    chosen = selected(teacher, labels, share=0.5, redundancy=0.1)
    found = losses.create("selective", share=0.5)(student, teacher, labels=labels).item()
    assert found == pytest.approx((student - teacher)[chosen].square().sum(1).mean().item(), rel=1e-12)
    assert int(chosen.sum()) == 3


@pytest.mark.parametrize("name", ["decoded", "hint_cosine", "fskd_cross", "selective"])
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    shape = (4, 3, 2, 2) if losses.get(name).inputs in ("maps", "any") else (4, 3)
    student, teacher = drawn(*shape).requires_grad_(), drawn(*shape, seed=1).requires_grad_()
    given = {"labels": torch.tensor([0, 0, 1, 1])} if losses.get(name).labels == "class" else {}
    losses.create(name)(student, teacher, **given).backward()
    assert student.grad is not None and student.grad.any()
    assert teacher.grad is None


def test_the_neck_is_a_batch_norm_without_offset_before_a_layer_without_one():
    draw = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(6, 4, generator=draw) * 3 + 2, torch.tensor([0, 1, 2, 0, 1, -1])
    head = losses.create("softmax", classes=3, neck=True)
    head.prepare(rows)
    weight = head.layer.weight.detach()
    assert weight.std() < 0.003
    centred = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    logits = centred @ weight.T
    expected = sum(torch.logsumexp(logits[i], 0) - logits[i, labels[i]] for i in range(5)) / 5
    torch.testing.assert_close(head(rows, labels=labels), expected)
    trained = {name for name, parameter in head.named_parameters() if parameter.requires_grad}
    assert trained == {"layer.weight", "norm.weight"}
