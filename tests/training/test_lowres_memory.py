"""Both steps of bridge distillation and FaceBN, end to end on twenty made-up identities, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xzoo
from xzoo import errors, recipes
from xzoo.adapters import facebn
from xzoo.data.augment import Augment
from xzoo.data.degrade import BicubicNative
from xzoo.evaluation import retrieval
from xzoo.recipes.schema import Recipe, check
from xzoo.training import lowres
from xzoo.training.lowres import Lesson
from xzoo.training.lowres_tables import ARMS, _hits, ablation, gains

SUBJECTS = 20


def portraits(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth random prototypes with random gain, smooth and white noise: ``uint8 [N, 3, 32, 32]``."""
    shapes, drawn = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    base = F.interpolate(torch.randn(SUBJECTS, 3, 4, 4, generator=shapes), 32, mode="bicubic", align_corners=False)
    who = torch.arange(count) % SUBJECTS
    gain = 1 + 0.2 * torch.randn(count, 1, 1, 1, generator=drawn)
    smooth = F.interpolate(torch.randn(count, 3, 5, 5, generator=drawn), 32, mode="bicubic", align_corners=False)
    faces = gain * base[who] + 0.3 * smooth + 0.1 * torch.randn(count, 3, 32, 32, generator=drawn)
    return (127.5 + 40 * faces).round().clamp(0, 255).to(torch.uint8), who


@pytest.fixture(scope="module")
def told() -> Lesson:
    """800 pictures, and what a fixed random convolutional network says of them, 512 standardised numbers."""
    torch.manual_seed(3)
    teacher = nn.Sequential(nn.Conv2d(3, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
    teacher = nn.Sequential(teacher, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, 512)).eval()
    pictures, who = portraits(800, 1)
    with torch.no_grad():
        answers = torch.stack([teacher(x.float() / 127.5 - 1) for x in (pictures, pictures.flip(3))])
    return Lesson(pictures, who, (answers - answers[0].mean(0)) / answers[0].std(0))


def planned(mimic: float) -> Recipe:
    rate = {"lr": 0.05, "clip": 5.0, "schedule": "constant", "milestones": [], "weight_decay": 0.0}
    tree = recipes.load("bridge_distill").model_dump(mode="json")
    for stage, steps in zip(tree["stages"], (100, 200), strict=True):
        stage["optimiser"] |= rate
        stage["steps"], stage["batch"]["size"] = steps, 64
    return check(tree, "toy").with_({"stages.resolution.losses.mimic.weight": mimic})


def taught(told: Lesson, mimic: float) -> tuple[Any, list[float], Lesson]:
    plan = planned(mimic)
    bridged = lowres.bridge(plan.stages[0], told)
    torch.manual_seed(0)
    student: Any = xzoo.create("bd_student")
    course: list[float] = []
    still = Augment(flip=0.0)
    lowres.teach(plan.stages[1], student, bridged, augment=still, report=lambda _, row: course.append(row["mimic"]))
    return student, course, bridged


@pytest.mark.slow
def test_a_student_mimics_the_bridge_is_recognised_by_and_bears_another_sensor(told: Lesson) -> None:
    student, course, bridged = taught(told, 1.0)
    assert bridged.answers.shape == (2, 800, 256)
    assert sum(course[-10:]) / 10 < 0.1 * course[0]
    shrink = BicubicNative(size=16)
    (clean, _), (faces, who) = portraits(SUBJECTS, 3), portraits(400, 4)
    gallery = student.embed(shrink(clean))

    def rank1(pictures: Tensor) -> float:
        return float(retrieval(student.embed(pictures), gallery, who, torch.arange(SUBJECTS)).cmc[0])

    other = shrink(lowres.sensor(faces, 0.3, 0.5))
    assert rank1(shrink(faces)) > 0.9
    before = rank1(other)
    assert before < 0.5
    facebn.collect(student, other, prior=0.0)
    assert rank1(other) > 0.9


@pytest.mark.slow
def test_without_its_weight_mimicry_is_not_learnt(told: Lesson) -> None:
    _, course, _ = taught(told, 0.0)
    assert sum(course[-10:]) / 10 > 0.5 * course[0]


def test_losses_of_other_views_and_stages_without_a_head_are_refused(told: Lesson) -> None:
    stage = recipes.load("crfr").stages[0]
    with pytest.raises(errors.RecipeError, match="one view"):
        lowres.teach(stage, xzoo.create("bd_student"), told)
    with pytest.raises(errors.RecipeError, match="no head"):
        lowres.bridge(stage, told)


def test_gains_are_differences_with_intervals_and_say_when_they_are_none() -> None:
    owner = np.repeat(np.arange(50), 2)
    none, all_ = np.zeros((100, 2)), np.stack([np.zeros(100), np.ones(100)], 1)
    arms = tuple(ARMS)
    hits = {(arm, way, "shifted"): none for arm in arms for way in ("none",)}
    hits |= {(arm, "none", "as trained"): none for arm in arms}
    hits |= {(arms[1], "alpha", "shifted"): all_, (arms[0], "alpha", "shifted"): none}
    found = {(gain.text, gain.rank): gain for gain in gains(hits, owner, ["alpha"])}
    adapted = found["FaceBN alpha over none, sensor shifted", 10]
    assert (adapted.gain, adapted.interval, adapted.holds) == (1.0, (1.0, 1.0), True)
    assert not found["FaceBN alpha over none, sensor shifted", 1].holds
    assert not found["AIRD over instance alone, sensor as trained", 10].holds


def test_a_probe_is_found_within_a_rank_and_ties_count_against_it() -> None:
    gallery = torch.eye(12)
    probes = torch.zeros(3, 12)
    probes[0, 0] = 1.0  # nearest to its own
    probes[1, :9] = torch.linspace(1.0, 0.2, 9)  # eight before its own, at the ninth
    owner = np.array([0, 8, 11])  # the third is as near to all
    assert _hits(probes, gallery, owner).tolist() == [[1, 1], [0, 1], [0, 0]]


def test_the_ablation_has_a_row_for_each_arm_way_and_sensor() -> None:
    found = ablation(people=8, strangers=6, steps=2, batch=8, modes=("prior_count",))
    assert [(row.arm, row.adapted, row.sensor) for row in found.rows] == [
        (arm, way, sensor)
        for arm in ARMS
        for way, sensor in (("none", "as trained"), ("none", "shifted"), ("prior_count", "shifted"))
    ]
    assert all(0 <= row.interval[0] <= row.rank1 <= row.interval[1] <= 1 for row in found.rows)
    assert all(row.rank1 <= row.rank10 == 1 for row in found.rows)  # of six people the own one is among ten
    assert len(found.gains) == 8
    assert found.facts["operator"]["operator"] == "bicubic_r"
    assert found.facts["teacher_weights"] == "synth_v2"  # it has learnt something that can be taught
    assert found.facts["teacher_found"]["10"] == 1
    with pytest.raises(errors.OptionError, match="one seed"):
        ablation(people=1)
