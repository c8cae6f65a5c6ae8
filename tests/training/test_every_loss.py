"""Every loss of the registry trains a student by a recipe: hooks, labels, row numbers and adapters reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xzoo
from xzoo import losses
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import check
from xzoo.training import checkpoint, engine, fit


class Rich(nn.Module):
    """A network with a map, tokens, points and an embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, width, 4, 4)
        self.tokens = nn.Linear(width, width)
        self.points = nn.Sequential(nn.Linear(width, 15), nn.Unflatten(1, (5, 3)))
        self.last = nn.Linear(width, 12)

    def forward(self, images: Tensor) -> Tensor:
        x = self.map(images)
        x = self.tokens(x.flatten(2).transpose(1, 2)).mean(1)
        return self.last(x) + 0.01 * self.points(x).sum((1, 2))[:, None]


MODULE = {"maps": ":network.map", "tokens": ":network.tokens", "points": ":network.points"}
OPTIONS: dict[str, dict[str, Any]] = {
    "crd": {"negatives": 4, "width": 6},
    "wcord_global": {"negatives": 4, "width": 6},
    "rcd": {"negatives": 4, "width": 6},
    "gkd_qsd": {"masked_weight": 0.0},
    "cmkic": {"positives": 1},
    "proto_ssl": {"classes": 12},  # it takes the student's output for class scores
}


def recipe(name: str) -> dict[str, Any]:
    entry = losses.get(name)
    module = MODULE.get(entry.inputs, "")
    second = "student.target" if entry.labels in ("match", "subject") else f"teacher.source{module}"
    on = [f"student.source{module}", second]
    if name in ("arcface", "cosface", "adaface", "subcentre", "softmax", "ce"):
        on = on[:1]
    if name in ("deen_cpm",):
        on = ["student.both"]
    if name == "idkl_centre":  # halves of one batch are two spectra
        on = ["student.both:network.points.0", "student.both"]
    if name == "idkl_heads":  # five features of each image
        on = ["student.source:network.points", "student.target:network.points"]
    term = {"name": name, "on": on, "options": OPTIONS.get(name, {})}
    stage = {"name": "only", "train": {"groups": "all"}, "teacher": "given", "losses": [term], "steps": 2}
    stage["batch"] = {"sampler": "balanced", "size": 8, "per_subject": 2}
    stage["optimiser"] = {"lr": 1e-3}
    if entry.labels == "match":
        stage["batch"] = {"sampler": "pairs", "size": 8}
    return {"recipe": "one", "summary": "One loss.", "student": "given", "stages": [stage]}


@pytest.fixture(scope="module")
def networks() -> tuple[Embedder, Embedder]:
    xzoo.register("rich", lambda: Rich(10), input={"size": [3, 16, 16]}, replace=True)
    xzoo.register("richer", lambda: Rich(16), input={"size": [3, 16, 16]}, replace=True)
    torch.manual_seed(0)
    return xzoo.create("rich"), xzoo.create("richer")


@pytest.mark.parametrize("name", sorted(set(losses.LOSSES) - {"dikd"}))  # needs landmarks: test_landmarks.py
def test_a_recipe_of_this_loss_fits_trains_and_can_be_stopped(
    name: str, networks: tuple[Embedder, Embedder], manifest: Manifest, tmp_path: Path
) -> None:
    student, teacher = engine.frozen_copy(networks[0]), engine.frozen_copy(networks[1])
    plan = check(recipe(name), name)
    fit.check(plan, student=student, teacher=teacher)
    images = engine.Images(manifest.select(split="train"), student)

    def begun() -> engine.Progress:
        network = engine.frozen_copy(student).requires_grad_(True)
        return engine.begin(plan.stages[0], network, images, source="VIS", seed=0, teachers={"teacher": teacher})

    whole, first = begun(), begun()
    steps = list(engine.run(whole))
    # Where all rows are taken for one class there is nothing yet to tell apart.
    assert name == "proto_ssl" or any(
        not torch.equal(p, student.get_parameter(key)) for key, p in whole.parameters.items()
    )
    next(engine.run(first))
    checkpoint.write(tmp_path / "state.safetensors", 0, first)
    again = begun()
    checkpoint.restore(checkpoint.read(tmp_path / "state.safetensors"), again)
    (last,) = engine.run(again)
    assert last.loss == steps[-1].loss
    for key, parameter in whole.trained().items():
        assert torch.equal(again.trained()[key], parameter), key
