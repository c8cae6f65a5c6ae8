"""``xzoo.distill``: recipes of several networks, stages and views, from YAML to a loadable student."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import xzoo
from xzoo import adapters, errors, losses
from xzoo.data.augment import generator
from xzoo.data.manifest import Manifest
from xzoo.families.base import Embedder, fingerprint
from xzoo.recipes.schema import Recipe, check
from xzoo.training import Run, distill, engine, work

SIDE = 16


def build_small(width: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.GELU(), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(width * 16, 8),
    )  # fmt: skip


@pytest.fixture
def small() -> Embedder:
    """A network of half the toy's picture size, with batch norm and dropout, and shorter embeddings."""
    xzoo.register("small", build_small, input={"size": [3, SIDE // 2, SIDE // 2]}, replace=True)
    torch.manual_seed(1)
    return xzoo.create("small")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XZOO_CACHE", str(tmp_path / "cache"))


def plan(*stages: dict[str, Any], **more: Any) -> Recipe:
    """Return a recipe of short stages."""
    plain: dict[str, Any] = {
        "name": "only",
        "train": {"groups": "all", "mode": "train"},
        "teacher": "given",
        "batch": {"sampler": "images", "size": 8},
        "views": {"flip": 0.5},
        "losses": [{"name": "embed_distill", "on": ["student.source", "teacher.source"]}],
        "optimiser": {"lr": 1e-2},
        "steps": 5,
    }
    return check({"recipe": "test", "summary": "A test.", "stages": [{**plain, **s} for s in stages], **more}, "test")


def weights(run: Run) -> dict[str, Tensor]:
    return load_file(run.folder / "student.safetensors")


def same(first: Run, second: Run) -> bool:
    ours, theirs = weights(first), weights(second)
    metrics = [(run.folder / "metrics.jsonl").read_bytes() for run in (first, second)]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours) and len({*metrics}) == 1


def test_a_student_learns_from_a_larger_teacher_of_another_size(
    toy: Embedder, small: Embedder, people: Path, tmp_path: Path
) -> None:
    before = fingerprint(toy)
    small.preprocess = replace(small.preprocess, stretch=True)
    run = distill(teacher=toy, student=small, recipe=plan({"steps": 40}), data=people, output=tmp_path / "run")
    assert run.facts["base"]["preprocess"] == {"stretch": True} and run.model.preprocess == small.preprocess
    losses_ = [row["loss"] for row in run.metrics]
    assert losses_[-1] < 0.5 * losses_[0]
    assert fingerprint(toy) == before
    model = xzoo.create(run.folder)
    assert fingerprint(model) != fingerprint(small)
    assert torch.equal(model(torch.ones(2, 3, 8, 8)), run.model(torch.ones(2, 3, 8, 8)))
    assert run.before and run.after and run.facts["state"] == "done"
    card = (run.folder / "README.md").read_text()
    assert "only.teacher" in card and f"| rank-1 | {run.before.rank1:.4f} | {run.after.rank1:.4f} |" in card


def test_steps_equal_the_same_loop_written_by_hand(
    toy: Embedder, small: Embedder, manifest: Manifest, tmp_path: Path
) -> None:
    recipe = plan(
        {
            "train": {"groups": "all"},
            "optimiser": {"name": "sgd", "lr": 1e-2, "momentum": 0.9},
            "losses": [
                {"name": "rkd", "on": ["student.source", "teacher.source"], "weight": 0.5},
                {"name": "fitnets", "on": ["student.source:network.0", "teacher.source:network.2"]},
            ],
        }
    )
    run = distill(teacher=toy, student=small, recipe=recipe, data=manifest, evaluate=False, output=tmp_path / "run")
    train = manifest.select(split="train")
    large, little = engine.Images(train, toy), engine.Images(train, small)
    sampler = engine.draw(recipe.stages[0], train, "VIS", 0)
    hint = losses.create("fitnets")
    hint.prepare(torch.empty(2, 4, 4, 4, device="meta"), torch.empty(2, 8, 4, 4, device="meta"))
    optimiser = torch.optim.SGD([*small.parameters(), *hint.parameters()], lr=1e-2, momentum=0.9)
    small.eval()
    for row in run.metrics:
        rows = torch.from_numpy(sampler.next_batch().source)
        flips = torch.rand(7, 8, generator=generator(0, row["step"] - 1))[0] < 0.5
        views = []
        for images in (little, large):
            raw = images[rows].clone()
            raw[flips] = raw[flips].flip(3)
            views.append(images.preprocess.normalise(raw))
        with torch.no_grad():
            maps = toy.network[:3](views[1])
            goal = toy(views[1])
        relation = losses.create("rkd")(small(views[0]), goal)
        mimic = hint(small.network[0](views[0]), maps)
        optimiser.zero_grad()
        (0.5 * relation + mimic).backward()
        optimiser.step()
        assert row["terms"] == pytest.approx({"rkd": relation.item(), "fitnets": mimic.item()}, rel=1e-4)
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, small.network.state_dict()[name], rtol=1e-3, atol=1e-4)


BRIDGE: tuple[dict[str, Any], ...] = (
    {
        "name": "first",
        "student": {"name": "toy", "pretrained": False},
        "teacher": "start",
        "train": {"groups": "norms"},
        "batch": {"sampler": "pairs", "size": 6},
        "losses": [
            {"name": "contrastive_cosine", "on": ["student.source", "student.target"]},
            {"name": "cosine", "on": ["student.source", "teacher.source"], "schedule": {"kind": "hold_cosine"}},
        ],
        "ema": 0.5,
        "steps": 4,
    },
    {
        "name": "second",
        "student": "given",
        "teacher": "none",
        "teachers": {"bridge": "stage:first", "strong": "given"},
        "cache": True,
        "batch": {"sampler": "pairs", "size": 6, "positive": 1.0, "accumulate": 2},
        "views": {"flip": 0.5, "bank": 2, "named": {"low": {"pixels": 4, "gamma": 0.2}, "seen": {"of": "target"}}},
        "losses": [
            {"name": "crd", "on": ["student.low", "bridge.source"], "options": {"negatives": 4}},
            {"name": "vid", "on": ["student.low:network.0", "strong.low:network.2"], "weight": 0.1},
            {"name": "arcface", "on": ["student.seen"], "weight": 0.1},
        ],
        "optimiser": {"name": "sgd", "lr": 1e-2, "schedule": "steps", "milestones": [0.5], "warmup": 2},
        "steps": 6,
    },
)


@pytest.mark.parametrize("after", [2, 4, 7], ids=lambda n: f"{n} of 10 steps")
def test_two_stages_stopped_anywhere_and_resumed_end_in_the_same_bytes(
    after: int, toy: Embedder, small: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"teacher": toy, "student": small, "recipe": plan(*BRIDGE), "data": people}
    whole = distill(**options, output=tmp_path / "whole", evaluate=False)
    plain, seen = engine._step, []

    def step(progress: engine.Progress) -> engine.Step:
        seen.append(1)
        if len(seen) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(progress)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_step", step)
        with pytest.raises(KeyboardInterrupt, match=f"stopped after {after} of 10 steps"):
            distill(**options, output=tmp_path / "run", evaluate=False, cache=tmp_path / "other cache")
    resumed = distill(**options, output=tmp_path / "run", evaluate=False, resume=True)
    assert same(whole, resumed)


def test_stages_leave_what_they_should(toy: Embedder, small: Embedder, people: Path, tmp_path: Path) -> None:
    run = distill(teacher=toy, student=small, recipe=plan(*BRIDGE), data=people, output=tmp_path / "run")
    assert [row["stage"] for row in run.metrics] == ["first"] * 4 + ["second"] * 6
    assert set(run.metrics[-1]["terms"]) == {"crd", "vid", "arcface"}
    assert [round(row["lr"] / 1e-2, 3) for row in run.metrics[4:]] == [0.5, 1, 1, 0.1, 0.1, 0.1]
    assert sorted(path.name for path in (run.folder / "stages").iterdir()) == [
        "first.safetensors",
        "second.safetensors",
    ]
    assert json.loads((run.folder / "run.json").read_text())["state"] == "done"
    assert run.model.card.name.endswith("small")  # the student of the last stage
    assert run.model(torch.zeros(2, 3, SIDE // 2, SIDE // 2)).shape == (2, 8)
    again = distill(student=run.folder, teacher=toy, recipe=plan({}), data=people, output=tmp_path / "again")
    assert again.before is not None and run.after is not None
    assert again.before.rank1 == run.after.rank1


def test_a_cached_teacher_gives_the_bits_of_one_that_runs(
    toy: Embedder, small: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = plan({"views": {"flip": 0.5, "bank": 3, "brightness": 0.1}, "cache": True, "steps": 12})
    live = kept.with_({"stages.only.cache": False})
    options: dict[str, Any] = {"teacher": toy, "student": small, "data": people, "evaluate": False}
    first = distill(recipe=live, output=tmp_path / "live", **options)
    assert not (tmp_path / "cache" / "teachers").exists()
    second = distill(recipe=kept, output=tmp_path / "cached", **options)
    assert same(first, second)

    def never(self: Any, batch: Tensor) -> Tensor:
        raise AssertionError("the teacher ran again")

    monkeypatch.setattr(Embedder, "infer", never)
    assert same(first, distill(recipe=kept, output=tmp_path / "third", **options))


def test_lora_is_merged_into_the_student(toy: Embedder, people: Path, tmp_path: Path) -> None:
    recipe = plan(
        {"train": {"lora": {"rank": 2}}, "teacher": "start", "losses": [
            {"name": "infonce_x", "on": ["student.source", "teacher.source"]},
        ]},
        student="given",
    )  # fmt: skip
    run = distill(student=toy, recipe=recipe, data=people, output=tmp_path / "run", evaluate=False)
    assert not run.model.adapters
    assert fingerprint(run.model) != fingerprint(toy)


def test_checkpoints_are_kept_on_time(
    toy: Embedder, small: Embedder, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CHECKPOINT_SECONDS", 0.0)
    options: dict[str, Any] = {"teacher": toy, "student": small, "data": people, "recipe": plan(*BRIDGE)}
    run = distill(**options, output=tmp_path / "run", evaluate=False)
    assert (run.folder / "checkpoint" / "state.safetensors").is_file()
    with pytest.raises(errors.RunError, match="seed: 0 then, 1 now"):
        distill(**options, output=run.folder, seed=1, resume=True)
    assert distill(**options, output=run.folder, resume=True) == Run.open(run.folder)


def test_precision_bf16_and_several_signals_train(toy: Embedder, small: Embedder, people: Path, tmp_path: Path) -> None:
    levels = "student.source:network.0+network.2", "teacher.source:network.0+network.2"
    recipe = plan(
        {"precision": "bf16", "losses": [{"name": "at", "on": levels, "weight": 100.0},
         {"name": "cosine", "on": ["student.source", "teacher.source"]}]}
    )  # fmt: skip
    run = distill(teacher=toy, student=small, recipe=recipe, data=people, output=tmp_path / "run", evaluate=False)
    assert all(F.relu(torch.tensor(row["terms"]["at"])) > 0 for row in run.metrics)


def test_a_student_with_an_adapter_is_sent_to_merge_it(toy: Embedder, people: Path, tmp_path: Path) -> None:
    adapters.add(toy, "lora", rank=2)
    with pytest.raises(errors.OptionError, match="merge"):
        distill(teacher=toy, student=toy, recipe=plan({}), data=people, output=tmp_path / "run")


def test_srrl_reads_the_student_through_the_teachers_last_layer(people: Path, tmp_path: Path) -> None:
    teacher, student = xzoo.create("edgeface_xxs"), xzoo.create("edgeface_xxs")
    term = {"name": "srrl", "on": [f"{who}.source:backbone.stages.3" for who in ("student", "teacher")]}
    stage = {"batch": {"sampler": "images", "size": 2}, "steps": 1, "train": {"groups": "s3"}}
    options: dict[str, Any] = {"teacher": teacher, "student": student, "data": people, "evaluate": False}
    first = distill(recipe=plan({**stage, "losses": [term]}), output=tmp_path / "plain", **options)
    second = distill(recipe=plan({**stage, "losses": [{**term, "head": True}]}), output=tmp_path / "head", **options)
    assert second.metrics[0]["loss"] > first.metrics[0]["loss"] >= 0
