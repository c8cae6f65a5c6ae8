"""Recipes for faces of few pixels: they run, each switch does what it says, and teachers are asked once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import xzoo
from xzoo import errors, recipes
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Head, Recipe, check
from xzoo.training import distill, fit
from xzoo.training.bridge import Bridge
from xzoo.training.looks import Looks, shown
from xzoo.training.run import Run

SUBJECTS = 8


class Wise(nn.Module):
    """A fixed random network with a batch norm, for a teacher of 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.last = nn.Linear(24 * 16, 48)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(images).flatten(1))
        return out


@pytest.fixture(scope="module")
def teacher() -> Embedder:
    xzoo.register("wise", Wise, input={"size": [3, 32, 32]}, replace=True)
    torch.manual_seed(5)
    return xzoo.create("wise")


@pytest.fixture(scope="module")
def visible(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eight subjects with six pictures; the last two subjects are ``test``."""
    folder = tmp_path_factory.mktemp("visible")
    random = np.random.default_rng(0)
    lines = ["path,subject,spectrum,split"]
    for person in range(SUBJECTS):
        face = random.uniform(40, 215, (5, 5, 3))
        for sample in range(6):
            name = f"p{person}_{sample}.png"
            pixels = (face + random.normal(0, 12, face.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(folder / name)
            lines.append(f"{name},p{person},VIS,{'test' if person >= SUBJECTS - 2 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return Manifest.read(folder / "manifest.csv")


def short(name: str, steps: int = 3, **changes: Any) -> Recipe:
    plan = recipes.load(name)
    sizes = {f"stages.{stage.name}.batch.{key}": value for stage in plan.stages for key, value in (("size", 12),)}
    steps_of = {f"stages.{stage.name}.steps": steps for stage in plan.stages}
    calm = {f"stages.{stage.name}.optimiser.lr": 0.01 for stage in plan.stages}
    return plan.with_({**sizes, **steps_of, **calm, **changes})


def run(name: str | Recipe, visible: Manifest, output: Path, **given: Any) -> Run:
    plan = short(name) if isinstance(name, str) else name
    return distill(recipe=plan, data=visible, output=output, cache=output.parent / "cache", evaluate=False, **given)


@pytest.mark.parametrize("name", ["bridge_distill", "aird", "selective_distill"])
def test_a_recipe_trains_the_student_of_sixteen_pixels_and_repeats_to_the_bit(
    name: str, visible: Manifest, teacher: Embedder, tmp_path: Path
) -> None:
    first, second = (run(name, visible, tmp_path / str(n), teacher=teacher) for n in (1, 2))
    assert first.model.card.name == "bd_student"
    assert first.model.preprocess.size == (3, 16, 16)
    for key, tensor in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[key], tensor), key
    steps = [row for row in first.metrics if "loss" in row]
    assert all(np.isfinite(row["loss"]) for row in steps)
    names = {"bridge_distill": {"identity", "mimic"}, "aird": {"identity", "instance", "relation"}}
    assert set(steps[-1]["terms"]) == names.get(name, {"identity", "regress"})


@pytest.mark.parametrize("name", ["fskd", "crfr"])
def test_a_recipe_of_equal_networks_fits_its_networks(name: str) -> None:
    plan = recipes.load(name)
    fit.check(plan, teacher="adaface_ir_50" if name == "fskd" else None)
    view = plan.stages[0].views.named["low"]
    assert view.drawn


def test_a_bridge_fits_a_teacher_that_is_only_named() -> None:
    fit.check(recipes.load("bridge_distill"), teacher="edgeface_xxs")


def test_the_first_step_leaves_the_teachers_weights_and_statistics_alone(
    visible: Manifest, teacher: Embedder, tmp_path: Path
) -> None:
    found = run("bridge_distill", visible, tmp_path / "run", teacher=teacher)
    saved = xzoo.hub.read(found.folder / "stages" / "bridge.safetensors")
    own = teacher.state_dict()
    assert {key.removeprefix("base.") for key in saved if key.startswith("base.")} == set(own)
    assert all(torch.equal(saved[f"base.{key}"], tensor) for key, tensor in own.items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    fresh = Bridge(teacher, Head(width=256)).state_dict()
    assert saved["bridge.0.weight"].shape == fresh["bridge.0.weight"].shape == (256, 48)


def test_a_frozen_base_answers_each_picture_once_and_trains_where_it_is_asked(teacher: Embedder) -> None:
    bridge = Bridge(xzoo.training.engine.frozen_copy(teacher), Head(width=8)).train()
    calls: list[int] = []
    bridge.base.register_forward_hook(lambda _m, given, _o: calls.append(len(given[0])))
    infer = bridge.base.infer
    bridge.base.infer = lambda batch: (calls.append(len(batch)), infer(batch))[1]  # type: ignore[method-assign]
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    bridge(images[:4])
    bridge(images[[3, 3, 4, 5]])
    assert sum(calls) == 6
    assert not bridge.base.training and bridge.bridge.training
    assert bridge.groups()["bridge"] == [
        f"bridge.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "3.weight", "3.bias")
    ]
    bridge.base.requires_grad_(True)
    bridge.train()
    bridge(images[:4]).sum().backward()
    assert bridge.base.training and next(bridge.base.parameters()).grad is not None


def test_the_second_run_never_asks_the_teachers(
    visible: Manifest, teacher: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("aird", visible, tmp_path / "one", teacher=teacher)
    monkeypatch.setattr("xzoo.training.engine._run", lambda *_: pytest.fail("a teacher was asked"))
    second = run("aird", visible, tmp_path / "two", teacher=teacher)
    assert [row["loss"] for row in first.metrics] == [row["loss"] for row in second.metrics]


def test_no_weight_on_mimicking_is_plain_classification(visible: Manifest, teacher: Embedder, tmp_path: Path) -> None:
    without = short("bridge_distill", **{"stages.resolution.losses.mimic.weight": 0.0})
    tree = short("bridge_distill").model_dump(mode="json")
    tree["stages"][1]["losses"] = [term for term in tree["stages"][1]["losses"] if term["id"] == "identity"]
    plain = check(tree, "plain")
    one, two = (run(plan, visible, tmp_path / n, teacher=teacher) for plan, n in ((without, "one"), (plain, "two")))
    for key, tensor in one.model.state_dict().items():
        assert torch.equal(two.model.state_dict()[key], tensor), key


SWITCHES: dict[str, dict[str, Any]] = {
    "last block": {"stages.bridge.train.groups": "all"},
    "decoder": {"stages.bridge.losses.structure.name": "decoded"},
    "narrow": {"stages.bridge.head": {"width": 32}},
    "sum": {"stages.resolution.losses.mimic.options.reduction": "sum"},
    "unit": {"stages.resolution.losses.mimic.options.space": "unit"},
    **{head: {"stages.resolution.losses.identity.name": head} for head in ("cosface", "arcface", "adaface")},
}


@pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES)
def test_every_switch_of_the_bridge_trains(
    changes: dict[str, Any], visible: Manifest, teacher: Embedder, tmp_path: Path
) -> None:
    found = run(short("bridge_distill", 2, **changes), visible, tmp_path / "run", teacher=teacher)
    assert all(np.isfinite(row["loss"]) for row in found.metrics)


@pytest.mark.parametrize(
    ("place", "name", "options"),
    [
        ("instance", "mse", {"space": "unit"}),
        ("instance", "infonce_x", {"temperature": 0.07}),
        ("relation", "rcd", {"largest": 32}),
        ("relation", "sp", {}),
        ("relation", "ird", {"temperature": 0.2}),
    ],
    ids=str,
)
def test_every_variant_of_both_levels_trains(
    place: str, name: str, options: Any, visible: Manifest, teacher: Embedder, tmp_path: Path
) -> None:
    tree = short("aird", 2).model_dump(mode="json")
    term = next(term for term in tree["stages"][0]["losses"] if term["id"] == place)
    term |= {"name": name, "options": options}
    found = run(check(tree, "variant"), visible, tmp_path / "run", teacher=teacher)
    assert all(np.isfinite(row["loss"]) for row in found.metrics)


def test_a_head_teaches_and_is_no_outcome() -> None:
    tree = recipes.load("bridge_distill").model_dump(mode="json")
    tree["stages"] = tree["stages"][:1]
    with pytest.raises(errors.RecipeError, match="nobody learns from it"):
        check(tree, "alone")


@pytest.mark.parametrize(
    ("view", "says"),
    [
        ({"degrade": {"name": "bicubic"}}, "close: bicubic_r"),
        ({"degrade": {"name": "bicubic_r", "options": {"sizes": 3}}}, "size"),
        ({"pixels": 8, "degrade": {"name": "bicubic_r"}}, "write one of them"),
    ],
    ids=["name", "option", "two ways"],
)
def test_a_view_of_no_known_degradation_is_refused(view: dict[str, Any], says: str) -> None:
    tree = recipes.load("crfr").model_dump(mode="json")
    tree["stages"][0]["views"]["named"]["low"] = view
    with pytest.raises(errors.RecipeError, match=says):
        check(tree, "wrong")


def test_a_teacher_who_is_shown_random_losses_of_resolution_cannot_be_cached() -> None:
    tree = recipes.load("crfr").model_dump(mode="json")
    tree["stages"][0] |= {"cache": True}
    tree["stages"][0]["views"]["bank"] = 2
    tree["stages"][0]["losses"][1]["on"] = ["student.low", "teacher.low"]
    with pytest.raises(errors.RecipeError, match="at random"):
        check(tree, "loose")


class _Raw:
    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.pixels[rows]


def looked(degrade: dict[str, Any], index: int = 0, seed: int = 0) -> Tensor:
    plan = recipes.load("crfr").stages[0].views.model_dump()
    plan["flip"] = 0.0
    plan["named"]["low"]["degrade"] = degrade
    from xzoo.data.samplers import Batch
    from xzoo.recipes.schema import Views
    from xzoo.training.looks import ALONE

    pixels = torch.randint(256, (16, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rows, none = np.arange(16), np.empty(0, np.int64)
    batch = Batch(rows, none, rows, none, None)
    return shown(Looks(Views(**plan), seed), batch, index, ALONE).picture(_Raw(pixels), "low")


def test_a_degraded_view_has_the_networks_size_and_follows_seed_and_step() -> None:
    found = looked({"name": "bicubic_r", "options": {"size": 16}})
    assert found.shape == (16, 3, 112, 112)
    assert found.float().std() < 45  # of noise of 74 grey values, sixteen pixels a side leave less
    drawn = {"name": "rand5_r_up", "options": {"sizes": [14, 28]}}
    assert torch.equal(looked(drawn, 3), looked(drawn, 3))
    assert not torch.equal(looked(drawn, 3), looked(drawn, 4))
    assert not torch.equal(looked(drawn, 3), looked(drawn, 3, seed=1))


def test_the_curriculum_shrinks_more_faces_as_training_goes_on() -> None:
    whole = looked({"name": "area_cubic", "options": {"size": 112, "down": "nearest", "up": "nearest"}})

    def changed(index: int) -> int:
        return sum(int((looked({"name": "crfr_pow2"}, index + n) != whole).flatten(1).any(1).sum()) for n in range(6))

    early, late = changed(0), changed(35_000 * 9 // 16)
    assert early < 30 < late
