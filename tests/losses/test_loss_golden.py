"""Losses and heads against the outputs and gradients of published implementations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from xzoo import losses

# File, loss, options of the loss, relative tolerance of the value (the files are float32).
FILES = [
    ("kd", "kd", {"temperature": 4}),
    ("rkd", "rkd", {"distance_weight": 25, "angle_weight": 50}),
    ("pkt", "pkt", {}),
    ("similarity_preserving", "sp", {}),
    ("attention_transfer", "at", {"power": 2}),
    ("triplet_batch_hard", "triplet", {"margin": 0.3}),
    ("triplet_weighted_regularized", "triplet_wrt", {}),
    ("deen_cpm", "deen_cpm", {"margin": 0.2}),
]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["config"])  # noqa: SIM118


@pytest.mark.parametrize(("file", "name", "options"), FILES, ids=[row[0] for row in FILES])
def test_loss_and_gradient_equal_the_published_code(file: str, name: str, options: Any, golden: Path) -> None:
    data, config = read(golden / f"{file}.safetensors")
    student = data["student"].requires_grad_()
    labels = {"labels": torch.tensor(config["labels"])} if "labels" in config else {}
    teacher = [data["teacher"]] if "teacher" in data else []
    value = losses.create(name, **options)(student, *teacher, **labels)
    value.backward()
    torch.testing.assert_close(value.detach(), data["loss"][0], rtol=1e-6, atol=1e-8)
    largest = data["grad_student"].abs().max()
    torch.testing.assert_close(student.grad / largest, data["grad_student"] / largest, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("arcface", {}), ("cosface", {}), ("adaface", {"h": 0.333, "t_alpha": 1.0})],
    ids=["arcface", "cosface", "adaface"],
)
@pytest.mark.parametrize("shards", [1, 3])
def test_head_gives_the_published_logits_loss_and_gradient(name: str, options: Any, shards: int, golden: Path) -> None:
    data, config = read(golden / f"head_{name}.safetensors")
    head: Any = losses.create(name, classes=10, width=32, margin=config["m"], scale=config["s"], **options)
    sharded: Any = losses.create(name, classes=10, width=32, margin=config["m"], shards=shards, **options)
    with torch.no_grad():
        for one in (head, sharded):
            one.kernel.copy_(data["kernel"].T[:, None])
    labels, rows = data["labels"].long(), data["embeddings"].requires_grad_()
    torch.testing.assert_close(head.logits(rows, labels=labels, norms=data["norms"]), data["logits"])
    value = sharded(rows, labels=labels, norms=data["norms"])
    value.backward()
    torch.testing.assert_close(value.detach(), data["loss"][0], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(rows.grad, data["grad"], rtol=1e-4, atol=1e-5)
