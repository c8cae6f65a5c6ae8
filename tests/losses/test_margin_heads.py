"""Margin heads: their margins, shards, and classes shared out to processes."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xzoo import errors, losses

HEADS = ["arcface", "cosface", "adaface", "subcentre"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 6, 2, -1, 4, 3])


def head(name: str, **options: Any) -> Any:
    made: Any = losses.create(name, **{"classes": 7, "width": 5, **options})
    return made.double()


def slow(name: str, made: Any, rows: Tensor) -> Tensor:
    """The cross entropy row by row, for quality 0 or that of the running statistics after this batch."""
    eps = 1e-3 if name == "adaface" else 1e-4
    lengths = rows.detach().norm(dim=1).clamp(0.001, 100)
    mean = 0.01 * lengths.mean() + 0.99 * 20
    std = 0.01 * lengths.std() + 0.99 * 100
    values = []
    for i, y in enumerate(LABELS.tolist()):
        if y < 0:
            continue
        cosines = []
        for centres in made.kernel:
            best = max(F.normalize(rows[i], dim=0) @ F.normalize(c, dim=0) for c in centres)
            cosines.append(best.clamp(-1 + eps, 1 - eps))
        angle, m = torch.acos(cosines[y]), made.margin
        if name == "cosface":
            right = cosines[y] - m
        elif name == "adaface":
            k = (0.333 * (lengths[i] - mean) / (std + 1e-3)).clamp(-1, 1)
            right = torch.cos((angle - m * k).clamp(eps, math.pi - eps)) - (m + m * k)
        else:
            right = torch.cos((angle + m).clamp(eps, math.pi - eps))
        logits = made.scale * torch.stack([right if k == y else c for k, c in enumerate(cosines)])
        values.append(logits.logsumexp(0) - logits[y])
    return torch.stack(values).mean()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_head_and_its_gradients_equal_the_formula_in_loops_in_any_number_of_shards(name: str, shards: int) -> None:
    made = head(name, shards=shards)
    rows = (20 * noise(6, 5)).requires_grad_()
    wanted = slow(name, made, rows)
    plain = torch.autograd.grad(wanted, [rows, made.kernel])
    found = made(rows, labels=LABELS)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
    for ours, theirs in zip(torch.autograd.grad(found, [rows, made.kernel]), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_straight_through_changes_the_gradient_and_not_the_value() -> None:
    exact, through = head("arcface"), head("arcface", gradient="straight_through")
    rows = noise(6, 5).requires_grad_()
    labels = LABELS.clamp(min=0)
    torch.testing.assert_close(exact(rows, labels=labels), through(rows, labels=labels))
    logits = through.logits(rows, labels=labels)
    cosines = F.normalize(rows, dim=1) @ through.kernel[:, 0].T
    ours, theirs = (
        torch.autograd.grad(logits.sum(), rows, retain_graph=True)[0],
        torch.autograd.grad(64 * cosines.sum(), rows, retain_graph=True)[0],
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(torch.autograd.grad(exact.logits(rows, labels=labels).sum(), rows)[0], ours)


def test_adaface_leaves_its_statistics_alone_in_evaluation() -> None:
    made = head("adaface")
    made(noise(6, 5), labels=LABELS)
    before = made.mean.clone(), made.std.clone()
    made.eval()(noise(6, 5), labels=LABELS)
    assert (made.mean, made.std) == before


def test_adaface_with_every_image_of_one_length_is_finite() -> None:
    rows = F.normalize(noise(4, 5), dim=1)
    assert torch.isfinite(head("adaface")(rows, labels=torch.arange(4)))
    assert torch.isfinite(head("adaface")(rows[:1], labels=torch.arange(1)))


def test_a_wrong_label_finds_another_centre_of_its_class() -> None:
    made = head("subcentre", centres=2, classes=2, margin=0.0)
    with torch.no_grad():
        made.kernel.copy_(torch.eye(5)[:4].view(2, 2, 5))
    logits = made.logits(torch.eye(5, dtype=torch.float64)[1:2], labels=torch.tensor([0]))
    assert logits[0, 0].item() == pytest.approx(64, rel=1e-3)
    assert logits[0, 1].item() == pytest.approx(0, abs=1e-9)


def test_rows_without_a_label_count_nothing() -> None:
    made, rows = head("cosface"), noise(6, 5)
    kept = LABELS >= 0
    torch.testing.assert_close(made(rows, labels=LABELS), made(rows[kept], labels=LABELS[kept]))
    assert made(rows, labels=torch.full((6,), -1)).item() == 0


@pytest.mark.parametrize("options", [{"classes": 0}, {"classes": 3, "shards": 4}], ids=str)
def test_a_head_without_classes_or_with_too_many_shards_is_refused(options: Any) -> None:
    with pytest.raises(errors.OptionError, match="classes=<number of identities>"):
        losses.create("arcface", **options)


def test_a_head_across_processes_needs_them() -> None:
    with pytest.raises(errors.OptionError, match="accelerate launch"):
        losses.create("arcface", classes=3, across=True)


def test_shards_never_keep_the_logits_of_all_classes_for_the_backward_pass() -> None:
    def kept(shards: int) -> int:
        made, sizes = head("arcface", classes=4000, shards=shards), []

        def note(x: Tensor) -> Tensor:
            sizes.append(x.numel())
            return x

        rows = noise(64, 5).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            value = made(rows, labels=torch.arange(64))
        value.backward()
        return max(sizes)

    assert kept(1) >= 64 * 4000
    assert kept(20) <= 4000 * 5


def _worker(rank: int, size: int, port: int, folder: str) -> None:
    from torch import distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    net = nn.Linear(3, 5).double()
    with torch.no_grad():
        net.weight.copy_(noise(5, 3, seed=4))
        net.bias.zero_()
    made = head("adaface", across=True, shards=2)
    value = made(net(noise(6, 3, seed=2)[rank * 3 : rank * 3 + 3]), labels=LABELS[rank * 3 : rank * 3 + 3])
    value.backward()
    dist.all_reduce(net.weight.grad)  # what DDP does
    torch.save(
        {"value": value.detach(), "net": net.weight.grad / size, "kernel": made.kernel.grad, "first": made.first},
        Path(folder) / f"{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_half_the_classes_each_give_the_value_and_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_worker, args=(2, port, str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    net = nn.Linear(3, 5).double()
    with torch.no_grad():
        net.weight.copy_(noise(5, 3, seed=4))
        net.bias.zero_()
    whole = head("adaface")
    value = whole(net(noise(6, 3, seed=2)), labels=LABELS)
    value.backward()
    assert [part["first"] for part in found] == [0, 3]
    for part in found:
        torch.testing.assert_close(part["value"], value.detach())
        torch.testing.assert_close(part["net"], net.weight.grad)
    torch.testing.assert_close(torch.cat([part["kernel"] for part in found]), whole.kernel.grad)
