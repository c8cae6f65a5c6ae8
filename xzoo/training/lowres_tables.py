"""What AIRD and bridge distillation are worth, run again: ablations on generated people, and published figures.

No accuracy of either paper could be verified (their texts are known by abstracts), so none is printed: what stands
beside ours is what they say of size and speed, and the boards of other networks on the same protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xzoo import adapters, errors, recipes
from xzoo.adapters import facebn
from xzoo.data.degrade import BicubicNative
from xzoo.data.people import faces
from xzoo.data.people.traits import SESSION
from xzoo.evaluation.intervals import Interval, bootstrap_ratio, by_subject
from xzoo.families.base import Embedder
from xzoo.models import create
from xzoo.recipes.schema import Recipe
from xzoo.training import lowres

__all__ = ["ARMS", "PUBLISHED", "PUBLISHED_BOARD", "SENSOR", "Gain", "Row", "Table", "ablation", "gains"]

SENSOR = (0.25, 0.6)
"""Gain and offset of the sensor that nobody was trained on: a quarter of the contrast, and bright."""

RANKS = (1, 10)
"""Ranks that are counted: the first says little of small students, of whom few faces find their own."""

ARMS = {"instance": 0.0, "instance + relation": 1.0}
"""Factor of the relation's weight in the recipe ``aird``."""

PUBLISHED: dict[str, dict[str, float]] = {
    "bridge distillation": {
        "parameters": 0.21e6,
        "memory_mb": 0.057,
        "gpu_faces_per_s": 14_705,
        "cpu_faces_per_s": 934,
        "phone_faces_per_s": 763,
    },
    "selective distillation": {"memory_mb": 0.15, "gpu_faces_per_s": 9_433, "cpu_faces_per_s": 418},
}
"""From the abstracts (arXiv 2409.11786, 1811.09998); devices and batches are not named there."""

PUBLISHED_BOARD: dict[str, dict[str, float]] = {
    "ViT-KPRPE AdaFace WebFace12M": {"lfw": 99.82, "tinyface_rank1": 76.10, "tinyface_rank5": 78.92},
    "IR-101 AdaFace WebFace12M": {"lfw": 99.82, "tinyface_rank1": 72.42, "tinyface_rank5": 74.81},
    "IR-101 AdaFace MS1MV2": {"lfw": 99.80, "tinyface_rank1": 68.11, "tinyface_rank5": 71.49},
    "IR-50 AdaFace MS1MV2": {"lfw": 99.85, "tinyface_rank1": 64.99, "tinyface_rank5": 68.88},
    "IR-18 AdaFace WebFace4M": {"lfw": 99.58, "tinyface_rank1": 66.07, "tinyface_rank5": 70.71},
    "IR-18 AdaFace CASIA": {"lfw": 99.22, "tinyface_rank1": 56.20, "tinyface_rank5": 61.43},
}
"""Networks of 112 pixels, in percent, from the board of CVLface at d3d09c9: what large networks reach there."""


class Row(NamedTuple):
    """One student, one way of adapting, probes of one sensor; shares found within ``RANKS``, over all seeds."""

    arm: str
    adapted: str
    sensor: str
    rank1: float
    interval: Interval
    rank10: float
    interval10: Interval
    probes: int


class Gain(NamedTuple):
    """What one change is worth: a difference of rank-1 or rank-10.

    Its interval draws subjects again with all their probes.
    """

    text: str
    rank: int
    gain: float
    interval: Interval

    @property
    def holds(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval[0] > 0


class Table(NamedTuple):
    """An ablation that was run."""

    rows: list[Row]
    gains: list[Gain]
    facts: dict[str, Any]


Hits = npt.NDArray[np.float64]


def ablation(
    *,
    people: int = 600,
    strangers: int = 800,
    steps: int = 300,
    batch: int = 64,
    seeds: Iterable[int] = (0,),
    modes: Sequence[str] = ("prior_count", "alpha", "ema", "adabn"),
    teacher: str = "hybrid_fr",
    report: Callable[[Row], None] | None = None,
) -> Table:
    """Teach ``bd_student`` at 16 pixels with and without relations; adapt it to another sensor, or not.

    Everybody is generated. The gallery is one day of each stranger on the sensor of training, with training's
    statistics; probes are two other days, on that sensor or on another (``SENSOR``). FaceBN takes its statistics
    from the probes, without labels.

    Args:
        people: Who is learnt from, two pictures each.
        strangers: Who is searched for.
        steps: Of each student.
        batch: Pictures in a step.
        seeds: One student of each arm for each.
        modes: Of FaceBN, besides none.
        teacher: A network of the catalogue with weights, of 64 pixels; how often it finds the sharp probes among
            the sharp gallery is told beside the table.
        report: Called with each row as it is known.

    Raises:
        OptionError: There are too few people, or no seed.
    """
    runs = list(seeds)
    if min(people, strangers) < 2 or not runs:
        raise errors.OptionError(
            f"people={people}, strangers={strangers}, seeds={runs}", why="Two people and one seed are the least."
        )
    master = create(teacher, pretrained=True)
    side = master.preprocess.size[1]
    lesson = lowres.lesson(master, *lowres.draw(3_000_000, people, 2, size=side, seed=31))
    shrink = BicubicNative(size=16)
    lesson = lesson._replace(pictures=torch.cat([BicubicNative(size=32)(part) for part in lesson.pictures.split(500)]))
    who = torch.arange(4_000_000, 4_000_000 + strangers)
    sharp = faces(who, torch.zeros_like(who), "VIS", size=side, seed=31)
    gallery = shrink(sharp)
    days = torch.tensor([SESSION, 2 * SESSION]).repeat(strangers)
    probes = faces(who.repeat_interleave(2), days, "VIS", size=side, seed=31)
    seen = {"as trained": shrink(probes), "shifted": shrink(lowres.sensor(probes, *SENSOR))}
    owner = np.repeat(np.arange(strangers), 2)
    known = _hits(master.embed(probes), master.embed(sharp), owner)
    hits: dict[tuple[str, str, str], list[Hits]] = {}
    for seed in runs:
        for arm, factor in ARMS.items():
            student = _student(_plan(factor, steps, batch), lesson, seed)
            enrolled = student.embed(gallery)
            for sensor, faces_of in seen.items():
                ways = ("none", *(modes if sensor == "shifted" else ()))
                for way in ways:
                    if way != "none":
                        facebn.collect(student, faces_of, name=way, mode=way)
                    hits.setdefault((arm, way, sensor), []).append(_hits(student.embed(faces_of), enrolled, owner))
                    if way != "none":
                        adapters.detach(student, way)
    rows = []
    for (arm, way, sensor), found in hits.items():
        mean = np.mean(found, axis=0)
        (one, ten), ends = mean.mean(0), by_subject({str(rank): mean[:, k] for k, rank in enumerate(RANKS)}, owner)
        rows.append(Row(arm, way, sensor, float(one), ends["1"], float(ten), ends["10"], len(mean)))
        if report is not None:
            report(rows[-1])
    facts = {
        "people": people,
        "strangers": strangers,
        "steps": steps,
        "seeds": runs,
        "teacher": teacher,
        "teacher_weights": master.origin.pretrained,
        "teacher_found": {str(rank): share for rank, share in zip(RANKS, known.mean(0).tolist(), strict=True)},
        "sensor": {"gain": SENSOR[0], "offset": SENSOR[1]},
        "operator": shrink.record(),
    }
    return Table(rows, gains({key: np.mean(found, axis=0) for key, found in hits.items()}, owner, modes), facts)


def _plan(factor: float, steps: int, batch: int) -> Recipe:
    plan = recipes.load("aird")
    weight = next(term.weight for term in plan.stages[0].losses if term.key == "relation")
    return plan.with_(
        {
            "stages.distil.steps": steps,
            "stages.distil.batch.size": batch,
            "stages.distil.losses.relation.weight": factor * weight,
        }
    )


def _student(plan: Recipe, lesson: lowres.Lesson, seed: int) -> Embedder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = create("bd_student", pretrained=False)
    return lowres.teach(plan.stages[0], student, lesson, seed=seed)


def _hits(probes: Tensor, gallery: Tensor, owner: npt.NDArray[Any]) -> Hits:
    """Return for each probe and each of ``RANKS`` whether its own picture is among so many; ties count against it."""
    scores = (probes @ gallery.T).numpy()
    own = scores[np.arange(len(owner)), owner].copy()
    scores[np.arange(len(owner)), owner] = -np.inf
    before = (scores >= own[:, None]).sum(1)
    hit: Hits = (before[:, None] < np.array(RANKS)).astype(np.float64)
    return hit


def gains(hits: dict[tuple[str, str, str], Hits], owner: npt.NDArray[Any], modes: Sequence[str]) -> list[Gain]:
    """Return what relations and each way of adapting are worth, from hits by arm, way and sensor."""
    plain, full = ARMS
    found: list[Gain] = []

    def add(text: str, better: tuple[str, str, str], worse: tuple[str, str, str]) -> None:
        apart = hits[better] - hits[worse]
        ends = bootstrap_ratio(apart, np.ones(len(apart)), owner)
        found.extend(Gain(text, rank, float(apart[:, k].mean()), ends[k]) for k, rank in enumerate(RANKS))

    for sensor in ("as trained", "shifted"):
        add(f"AIRD over instance alone, sensor {sensor}", (full, "none", sensor), (plain, "none", sensor))
    for mode in modes:
        add(f"FaceBN {mode} over none, sensor shifted", (full, mode, "shifted"), (full, "none", "shifted"))
    if modes:
        text = f"AIRD over instance alone, both with FaceBN {modes[0]}, sensor shifted"
        add(text, (full, modes[0], "shifted"), (plain, modes[0], "shifted"))
    return found
