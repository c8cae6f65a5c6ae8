"""What a step of distillation costs: by the engine and by hand, with the teacher's answers cached and without.

One thread, one machine, sides in turns step by step, medians of CPU time (other programs do not
count in it) and of wall time. The teacher is EdgeFace-Base at 112 pixels with random weights. The students:

    small  a plain convolutional network of 0.2 M parameters at 32 pixels
    xs     EdgeFace-XS at 112 pixels: 1.8 M parameters, 0.15 G multiplications a picture
    sized  a plain convolutional network of as many parameters and multiplications, also at 112

The sides: "live" asks the teacher in each step, "live bf16" (``--bf16``) asks it in half precision
(``teacher_precision``; what ``auto`` would choose here is printed), "cached" is the same stage from its second epoch
on, "by hand" is the same student, loss, pictures and optimiser in a plain torch loop whose teacher's embeddings
lie in a tensor, and "teacher" is the teacher's forward pass alone, whose share of a step without cache is all that a
cache can save: 1 + teacher / by hand is printed beside live / cached. With ``--peer PYTHON``, an interpreter that has
torchdistill beside what xzoo needs, its loop does the same work on the same pictures, already decoded (version 1.1.5
has no cache of teachers).

    python benchmarks/distil.py [--steps 20] [--batch 64] [--student small|xs|sized] [--compile] [--bf16]
                                [--peer PYTHON]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import xzoo
from xzoo.data.augment import Augment, generator
from xzoo.data.manifest import Manifest
from xzoo.data.samplers import ImageSampler
from xzoo.families.base import Embedder
from xzoo.recipes.schema import Stage
from xzoo.training import engine

IMAGES = 256


def plain(*layers: tuple[int, int]) -> nn.Module:
    """Return 3x3 convolutions of so many channels and such a stride, each with a norm, and a linear embedding."""
    parts: list[nn.Module] = []
    wide = 3
    for after, stride in layers:
        parts += [nn.Conv2d(wide, after, 3, stride, 1, bias=False), nn.GroupNorm(8, after), nn.GELU()]
        wide = after
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 512))


def build_small() -> nn.Module:
    return plain((32, 1), (48, 2), (48, 1), (96, 2), (96, 2))


def build_sized() -> nn.Module:
    return plain((32, 2), (64, 2), (96, 1), (160, 2), (224, 2), (256, 1), (256, 1))


STUDENTS = {"small": "small_32", "xs": "edgeface_xs_gamma_06", "sized": "sized_112"}


def pictures(folder: Path, count: int = IMAGES) -> Manifest:
    random, lines = np.random.default_rng(0), ["path,subject,spectrum"]
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (112, 112, 3), np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{number // 4},VIS")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return Manifest.read(folder / "m.csv")


def stage(batch: int, cache: bool, precision: str = "float32") -> Stage:
    return Stage.model_validate(
        {
            "name": "distil",
            "train": {"groups": "all"},
            "teacher": "given",
            "cache": cache,
            "teacher_precision": precision,
            "batch": {"sampler": "images", "size": batch},
            "views": {"flip": 0.0},
            "losses": [{"name": "cosine", "on": ["student.source", "teacher.source"]}],
            "optimiser": {"lr": 1e-3, "clip": 5.0},
            "steps": 10**9,
        }
    )


def by_engine(
    plan: Stage, student: Embedder, teacher: Embedder, data: Manifest, cache: Path, compiled: bool
) -> Iterator[None]:
    student.requires_grad_(True)
    images = engine.Images(data, student)
    options = engine.Options(cache=cache, compile=compiled)
    progress = engine.begin(plan, student, images, source="VIS", seed=0, teachers={"teacher": teacher}, options=options)
    for _ in engine.run(progress):
        yield


def by_hand(batch: int, student: Embedder, goals: Tensor, data: Manifest, compiled: bool) -> Iterator[None]:
    student.requires_grad_(True).eval()
    forward: Any = torch.compile(student) if compiled else student
    images = engine.Images(data, student)[torch.arange(len(data))]
    sampler, augment = ImageSampler(data, batch=batch), Augment(flip=0.0)
    trained = list(student.parameters())
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    step = 0
    while True:
        rows = torch.from_numpy(sampler.batch(step).source)
        views = augment(images[rows], generator(0, step)).float().div_(127.5).sub_(1)
        loss = 1 - F.cosine_similarity(forward(views), goals[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        loss.item()
        step += 1
        yield


def by_teacher(batch: int, teacher: Embedder) -> Iterator[None]:
    inputs = torch.rand(batch, 3, 112, 112) * 2 - 1
    while True:
        with torch.no_grad():
            teacher(inputs)
        yield


class Pairs(torch.utils.data.Dataset[Any]):
    """The decoded pictures as torchdistill takes them: one of each size, and a label that nobody uses."""

    def __init__(self, small: Tensor, large: Tensor) -> None:
        self.small, self.large = small, large

    def __len__(self) -> int:
        return len(self.small)

    def __getitem__(self, row: int) -> tuple[tuple[Tensor, Tensor], int]:
        return (self.small[row], self.large[row]), 0


def by_torchdistill(batch: int, student: Embedder, teacher: Embedder, data: Manifest) -> Iterator[None]:
    """Distil by ``DistillationBox`` and the loop of its examples, with the same loss and optimiser."""
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.core.interfaces.registry import register_forward_proc_func
    from torchdistill.losses.registry import register_mid_level_loss

    @register_forward_proc_func  # type: ignore[untyped-decorator, unused-ignore]
    def first(model: Any, pictures: Any, targets: Any = None, supp_dict: Any = None) -> Tensor:
        return model(pictures[0].float().div_(127.5).sub_(1))  # type: ignore[no-any-return]

    @register_forward_proc_func  # type: ignore[untyped-decorator, unused-ignore]
    def second(model: Any, pictures: Any, targets: Any = None, supp_dict: Any = None) -> Tensor:
        return model(pictures[1].float().div_(127.5).sub_(1))  # type: ignore[no-any-return]

    @register_mid_level_loss  # type: ignore[untyped-decorator, unused-ignore]
    class CosineLoss(nn.Module):
        def forward(self, student: Any, teacher: Any, *_: Any, **__: Any) -> Tensor:
            return 1 - F.cosine_similarity(student["."]["output"], teacher["."]["output"]).mean()

    every = torch.arange(len(data))
    pairs = Pairs(engine.Images(data, student)[every], engine.Images(data, teacher)[every])
    config = {
        "num_epochs": 10**9,
        "train_data_loader": {
            "dataset_id": "pairs",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": batch, "num_workers": 0},
        },
        "teacher": {"forward_proc": "second", "requires_grad": False},
        "student": {"forward_proc": "first"},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": 1e-3, "weight_decay": 0.0}, "max_grad_norm": 5.0},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"cosine": {"criterion": {"key": "CosineLoss", "kwargs": {}}, "weight": 1.0}}},
        },
    }
    student.requires_grad_(True).eval()
    here = torch.device("cpu")
    box = DistillationBox(teacher.eval(), student, {"pairs": pairs}, config, here, None, False, 1)
    while True:
        for pictures, targets, more in box.train_data_loader:
            box.pre_forward_process()
            loss = box.forward_process(pictures, targets, more)
            box.post_forward_process(loss)
            loss.item()
            yield


def timed(loop: Iterator[None]) -> tuple[float, float]:
    """Return the CPU and wall seconds of a step."""
    began = time.process_time(), time.perf_counter()
    next(loop)
    return time.process_time() - began[0], time.perf_counter() - began[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--live", type=int, default=3, help="steps of the sides whose teacher runs each time")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--images", type=int, default=IMAGES, help="an epoch: the teacher is asked for each of them once"
    )
    parser.add_argument("--bf16", action="store_true", help="also ask the teacher in half precision")
    parser.add_argument("--student", choices=STUDENTS, default="small")
    parser.add_argument("--compile", action="store_true", help="run all students but torchdistill's compiled")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter with torchdistill")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    xzoo.register("small_32", build_small, input={"size": [3, 32, 32]})
    xzoo.register("sized_112", build_sized, input={"size": [3, 112, 112]})
    student = xzoo.create(STUDENTS[chosen.student])
    teacher = xzoo.create("edgeface_base").requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        data = pictures(Path(folder), chosen.images)
        if chosen.as_peer:
            loop = by_torchdistill(chosen.batch, student, teacher, data)
            next(loop)
            print(json.dumps([timed(loop) for _ in range(chosen.live)]))
            return 0
        weights = sum(p.numel() for p in student.parameters())
        print(f"student: {weights / 1e6:.2f} M parameters, batch {chosen.batch}{', compiled' * chosen.compile}")
        auto = engine.precision_of("auto", torch.device("cpu"), kept=False)
        print(f"a teacher that is not kept, teacher_precision auto: {auto} on this machine")
        cache = Path(folder) / "cache"

        def engine_side(keep: bool, precision: str = "float32") -> Iterator[None]:
            plan = stage(chosen.batch, keep, precision)
            return by_engine(plan, copy.deepcopy(student), teacher, data, cache, chosen.compile)

        sides = {
            "live": engine_side(False),
            **({"live bf16": engine_side(False, "bf16")} if chosen.bf16 else {}),
            "cached": engine_side(True),
            "by hand": by_hand(chosen.batch, copy.deepcopy(student), torch.randn(len(data), 512), data, chosen.compile),
            "teacher": by_teacher(chosen.batch, teacher),
        }
        for _ in range(len(data) // chosen.batch + 1):  # the first epoch asks the teacher
            next(sides["cached"])
        for loop in sides.values():
            next(loop)
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for turn in range(chosen.steps):
            for name in sorted(sides, reverse=bool(turn % 2)):
                if name in ("cached", "by hand") or turn < chosen.live:
                    spent[name].append(timed(sides[name]))
    if chosen.peer:
        words = [chosen.peer, __file__, "--as-peer", "--live", str(chosen.live)]
        words += ["--batch", str(chosen.batch), "--student", chosen.student, "--images", str(chosen.images)]
        root = str(Path(__file__).resolve().parents[1])
        done = subprocess.run(
            words, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": root}
        )
        spent["torchdistill"] = [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]
    for place, kind in enumerate(("CPU", "wall")):
        median = {name: statistics.median(times[place] for times in values) for name, values in spent.items()}
        for name, value in median.items():
            print(f"{kind:5} {name:12} {1e3 * value:9.2f} ms a step (median of {len(spent[name])})")
        for name in ("live", "live bf16", "torchdistill"):
            if name in median:
                print(f"{kind:5} {name} / cached {median[name] / median['cached']:.2f}")
        print(f"{kind:5} 1 + teacher / by hand {1 + median['teacher'] / median['by hand']:.2f}")
        print(f"{kind:5} cached / by hand {median['cached'] / median['by hand']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
