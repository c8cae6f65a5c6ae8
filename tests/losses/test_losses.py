"""Losses against torch's own, a slow formula and hand-computed cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xzoo import errors, losses


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def slow_infonce(source: Tensor, target: Tensor, labels: list[int], temperature: float) -> Tensor:
    """Compute the formula row by row, as it is printed."""

    def one_way(queries: Tensor, keys: Tensor) -> Tensor:
        total = torch.zeros((), dtype=queries.dtype)
        for i, query in enumerate(queries):
            scores = [torch.exp(query @ key / query.norm() / key.norm() / temperature) for key in keys]
            own = sum(s for s, label in zip(scores, labels, strict=True) if label == labels[i])
            total = total - torch.log(own / sum(scores))
        return total / len(queries)

    return (one_way(target, source) + one_way(source, target)) / 2


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2], [3, 3, 3, 3, 3, 1]], ids=str)
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_infonce_and_its_gradient_equal_the_slow_formula(labels: list[int], temperature: float) -> None:
    gradients = []
    values = []
    for compute in (
        lambda s, t: losses.create("infonce", temperature=temperature)(s, t, labels=torch.tensor(labels)),
        lambda s, t: slow_infonce(s, t, labels, temperature),
    ):
        source, target = (x.clone().requires_grad_() for x in batch())
        value = compute(source, target)
        value.backward()
        values.append(value.detach())
        gradients.append(torch.cat([source.grad, target.grad]))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_infonce_of_two_orthogonal_pairs_has_the_value_worked_out_by_hand() -> None:
    rows = torch.eye(2)
    assert float(losses.create("infonce", temperature=1.0)(rows, rows, labels=torch.tensor([0, 1]))) == pytest.approx(
        math.log(1 + math.exp(-1))
    )


def test_infonce_is_zero_when_everybody_is_a_partner() -> None:
    source, target = batch()
    value = losses.create("infonce")(source, target, labels=torch.zeros(6))
    assert float(value) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
def test_contrastive_cosine_and_its_gradient_equal_the_printed_formula(margin: float) -> None:
    labels = torch.tensor([1, 0, 1, 0, 0, 1])
    source, target = (x.requires_grad_() for x in batch())
    value = losses.create("contrastive_cosine", margin=margin)(source, target, labels=labels)
    cosines = (source * target).sum(1) / source.norm(dim=1) / target.norm(dim=1)
    plain = torch.where(labels == 1, 1 - cosines, (cosines - margin).clamp(min=0)).mean()
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(torch.autograd.grad(value, source), torch.autograd.grad(plain, source))


@pytest.mark.parametrize(
    ("label", "margin", "value"), [(1, 0.0, 0.4), (0, 0.0, 0.6), (0, 0.5, 0.1), (0, 0.7, 0.0)], ids=str
)
def test_contrastive_cosine_of_one_pair_at_cosine_three_fifths(label: int, margin: float, value: float) -> None:
    source, target = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    loss = losses.create("contrastive_cosine", margin=margin)(source, target, labels=torch.tensor([label]))
    assert float(loss) == pytest.approx(value, abs=1e-6)


def test_cosine_is_zero_at_the_teacher_whatever_the_lengths() -> None:
    student, _ = batch()
    assert float(losses.create("cosine")(student, 3 * student)) == pytest.approx(0, abs=1e-12)


def test_cosine_sends_no_gradient_to_the_teacher() -> None:
    student, teacher = (x.requires_grad_() for x in batch())
    losses.create("cosine")(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(errors.NotFound, match="infonce"):
        losses.create("infonc")


def test_unknown_option_of_a_loss_names_the_nearest() -> None:
    with pytest.raises(errors.OptionError, match="temperature"):
        losses.create("infonce", temprature=0.1)
