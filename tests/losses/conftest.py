"""Inputs that are the same on every machine, and the comparison with a slow formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

Compute = Callable[..., Tensor]


def _sines(*shape: int, a: float, b: float, c: float = 1.0) -> Tensor:
    """``c sin(a k + b)`` with ``k`` the row-major number of the entry, float64."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return (c * torch.sin(a * k + b)).reshape(shape)


def value_and_gradients(compute: Compute, inputs: Sequence[Any]) -> tuple[Tensor, list[Tensor | None]]:
    """The loss and its gradient with respect to every tensor of floats among the inputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = compute(*leaves)
    assert value.shape == ()
    return value.detach(), list(torch.autograd.grad(value, leaves, allow_unused=True))


def _agree(loss: Compute, slow: Compute, *inputs: Tensor, detached: Sequence[int] = (), rtol: float = 1e-7) -> None:
    """Require the same value and gradients; inputs numbered in ``detached`` must receive none from the loss."""
    (value, gradients), (wanted, plain) = (value_and_gradients(f, inputs) for f in (loss, slow))
    torch.testing.assert_close(value, wanted, rtol=rtol, atol=1e-10)
    for number, (found, right) in enumerate(zip(gradients, plain, strict=True)):
        if number in detached:
            assert found is None or not found.any(), f"input {number} received a gradient"
        else:
            assert found is not None
            torch.testing.assert_close(found, right, rtol=max(rtol, 1e-6), atol=1e-9)


@pytest.fixture(scope="session")
def sines() -> Callable[..., Tensor]:
    return _sines


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    return _agree


@pytest.fixture
def z() -> tuple[Tensor, Tensor]:
    return _sines(8, 10, a=0.7, b=0.1, c=2), _sines(8, 10, a=0.5, b=1.9, c=3)


@pytest.fixture
def e() -> tuple[Tensor, Tensor]:
    return _sines(8, 16, a=0.37, b=0.2), _sines(8, 16, a=0.29, b=1.1) + 0.1 * _sines(8, 16, a=1.3, b=0)


@pytest.fixture
def f() -> tuple[Tensor, Tensor, Tensor]:
    """A student's map, a teacher's of another shape, and one of the same shape."""
    return (
        _sines(4, 6, 8, 8, a=0.11, b=0),
        _sines(4, 12, 4, 4, a=0.17, b=0.5),
        _sines(4, 6, 8, 8, a=0.13, b=0.7),
    )
