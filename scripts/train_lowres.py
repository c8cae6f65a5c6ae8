"""Train the house weights for faces of 16 pixels, on generated people alone.

    OMP_NUM_THREADS=1 python scripts/train_lowres.py lrfr_bridge_16     # both steps of the recipe bridge_distill
    OMP_NUM_THREADS=1 python scripts/train_lowres.py lrfr_aird_16       # the recipe aird

The student is ``bd_student`` at 16x16, the teacher ``hybrid_fr`` at 64x64, which was taught on generated people as
well. Nobody drawn here was drawn for the teacher. Losses, their weights and the optimisers are those of the shipped
recipes; batches and steps are shorter (``BATCH``, ``STEPS``), for two minutes of one core or eleven. Weights go to
``xzoo/weights``, a log to ``scripts/logs``; its last line holds figures of the file that was written.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from train_house import HELD_OUT, ROOT, TEACHER, WORLD, Log, compare, save_half

import xzoo
from xzoo import hub, recipes
from xzoo.data.degrade import BicubicNative, through
from xzoo.data.people import faces
from xzoo.data.people.traits import SESSION
from xzoo.evaluation import Pixels
from xzoo.recipes.schema import Recipe
from xzoo.training import lowres

TAG, SIDE, DRAWN, KEPT = "synth_v1", 16, 64, 32
NAMES = {"lrfr_bridge_16": "bridge_distill", "lrfr_aird_16": "aird"}
FIRST = 2_000_000
"""Subjects from here on: apart from those of the teacher, and from the strangers who are measured."""
BATCH = 128
STEPS = {"lrfr_bridge_16": 1_500, "lrfr_aird_16": 2_500}
SUBJECTS = {"lrfr_bridge_16": 2_000, "lrfr_aird_16": 6_000}
HEAD_STEPS = 400


def main() -> None:
    options = _options()
    log = Log(options.logs / f"{options.name}.{TAG}.jsonl")
    plan = planned(options.name, options.steps or STEPS[options.name])
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    log.write(event="start", name=options.name, seed=options.seed, world=WORLD, **versions)
    log.write(event="recipe", **plan.model_dump(mode="json"))
    began = time.process_time()
    subjects = options.subjects or SUBJECTS[options.name]
    lesson = learnt(subjects, options.days, options.work)
    log.write(event="lesson", subjects=subjects, days=options.days, first=FIRST, seconds=_since(began))
    torch.manual_seed(options.seed)
    student: Any = xzoo.create("bd_student", input_size=SIDE)
    for stage in plan.stages:
        recent: list[dict[str, float]] = []

        def report(
            step: int, values: dict[str, float], stage: Any = stage, recent: list[dict[str, float]] = recent
        ) -> None:
            recent.append(values)
            if (step + 1) % 50 == 0:
                means = {key: round(sum(row[key] for row in recent) / len(recent), 4) for key in values}
                log.write(event="step", stage=stage.name, step=step + 1, **means, seconds=_since(began))
                recent.clear()

        if stage.head is not None:
            lesson = lowres.bridge(stage, lesson, seed=options.seed, report=report)
        else:
            lowres.teach(stage, student, lesson, seed=options.seed, report=report)
    out = options.weights / f"{options.name}.{TAG}.safetensors"
    save_half(student, out, f"{options.name}.{TAG}")
    # The figures belong to the file: half precision, read back.
    final: Any = xzoo.create("bd_student", pretrained=str(out))
    found = {camera: figures(final, camera) for camera in ("house", "blackhot_lowres")}
    log.write(event="figures", subjects=len(HELD_OUT), seconds=_since(began), **found)
    print(json.dumps(found, indent=2))


def planned(name: str, steps: int) -> Recipe:
    """Return the shipped recipe with this script's batches and steps."""
    plan = recipes.load(NAMES[name])
    changes: dict[str, Any] = {f"stages.{plan.stages[-1].name}.steps": steps, "stages.*.batch.size": BATCH}
    if name == "lrfr_bridge_16":
        changes |= {"stages.bridge.steps": HEAD_STEPS, "stages.resolution.optimiser.lr": 0.05}
    return plan.with_(changes)


def learnt(subjects: int, days: int, work: Path) -> lowres.Lesson:
    """Return pictures at ``KEPT`` pixels and what the teacher said of them at ``DRAWN``; kept for the other student."""
    file = work / f"lesson_{subjects}_{days}.safetensors"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        pictures, who = lowres.draw(FIRST, subjects, days, size=DRAWN, seed=WORLD)
        asked = lowres.lesson(xzoo.create(TEACHER, pretrained=True), pictures, who)
        small = torch.cat([BicubicNative(size=KEPT)(part) for part in pictures.split(500)])
        hub.write({"pictures": small, "subjects": who, "answers": asked.answers}, file)
    kept = hub.read(file)
    return lowres.Lesson(kept["pictures"], kept["subjects"], kept["answers"])


def figures(model: Any, camera: str) -> dict[str, object]:
    """Return what strangers of 16 pixels say: two probes of each against one picture of each, all of 16 pixels."""
    gallery, probes = strangers(camera)
    subjects = torch.tensor(HELD_OUT)
    small = BicubicNative(size=SIDE)
    teacher: Any = xzoo.create(TEACHER, pretrained=True)
    large = [through(images, [SIDE] * len(images)) for images in (probes, gallery)]
    return {
        "VIS_16": compare(model, small(probes), small(gallery), subjects),
        "VIS_16_teacher": compare(teacher, *large, subjects),
        "VIS_64_teacher": compare(teacher, probes, gallery, subjects),
        "VIS_16_pixels": compare(Pixels(SIDE), small(probes), small(gallery), subjects),
    }


def strangers(camera: str) -> tuple[Tensor, Tensor]:
    """Return gallery and probes at ``DRAWN`` pixels: one day of each stranger, and two others."""
    who = torch.tensor(HELD_OUT)
    gallery = faces(who, torch.zeros_like(who), "VIS", size=DRAWN, seed=WORLD, camera=camera)
    days = torch.tensor([SESSION, 2 * SESSION]).repeat(len(who))
    return gallery, faces(who.repeat_interleave(2), days, "VIS", size=DRAWN, seed=WORLD, camera=camera)


def _since(began: float) -> int:
    return round(time.process_time() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, help="people who are learnt from")
    parser.add_argument("--days", type=int, default=2, help="pictures of each, on days of their own")
    parser.add_argument("--steps", type=int, help="of the student")
    parser.add_argument("--weights", type=Path, default=ROOT / "xzoo" / "weights")
    parser.add_argument("--logs", type=Path, default=ROOT / "scripts" / "logs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "house", help="pictures and answers are kept here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
