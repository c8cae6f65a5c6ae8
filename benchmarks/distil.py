"""What a step of distillation costs: by the engine and by hand, with the teacher's answers cached and without.

One thread, one machine, sides in turns step by step, medians of CPU time (other programs do not
count in it). The teacher is EdgeFace-Base at 112 pixels with random weights; the students are a plain
convolutional network of 0.2 M parameters at 32 pixels, or an EdgeFace-XS at 112. "By hand" is
the same student, loss, pictures and optimiser in a plain torch loop whose teacher's embeddings
lie in a tensor; the engine's figure beside it is that of the cached stage.

    python benchmarks/distil.py [--steps 20] [--batch 64] [--student small|xs]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

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


def build_small() -> nn.Module:
    parts: list[nn.Module] = []
    for wide, step in ((3, 1), (32, 2), (48, 1), (48, 2), (96, 2)):
        after = {3: 32, 32: 48, 48: 48 if step == 1 else 96, 96: 96}[wide]
        parts += [nn.Conv2d(wide, after, 3, step, 1, bias=False), nn.GroupNorm(8, after), nn.GELU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 512))


def pictures(folder: Path) -> Manifest:
    random, lines = np.random.default_rng(0), ["path,subject,spectrum"]
    for number in range(IMAGES):
        Image.fromarray(random.integers(0, 256, (112, 112, 3), np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{number // 4},VIS")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return Manifest.read(folder / "m.csv")


def stage(batch: int, cache: bool) -> Stage:
    return Stage.model_validate(
        {
            "name": "distil",
            "train": {"groups": "all"},
            "teacher": "given",
            "cache": cache,
            "batch": {"sampler": "images", "size": batch},
            "views": {"flip": 0.0},
            "losses": [{"name": "cosine", "on": ["student.source", "teacher.source"]}],
            "optimiser": {"lr": 1e-3, "clip": 5.0},
            "steps": 10**9,
        }
    )


def by_engine(plan: Stage, student: Embedder, teacher: Embedder, data: Manifest, cache: Path) -> Iterator[None]:
    student.requires_grad_(True)
    images = engine.Images(data, student)
    options = engine.Options(cache=cache)
    progress = engine.begin(plan, student, images, source="VIS", seed=0, teachers={"teacher": teacher}, options=options)
    for _ in engine.run(progress):
        yield


def by_hand(batch: int, student: Embedder, goals: Tensor, data: Manifest) -> Iterator[None]:
    student.requires_grad_(True).eval()
    images = engine.Images(data, student)[torch.arange(len(data))]
    sampler, augment = ImageSampler(data, batch=batch), Augment(flip=0.0)
    trained = list(student.parameters())
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    step = 0
    while True:
        rows = torch.from_numpy(sampler.batch(step).source)
        views = augment(images[rows], generator(0, step)).float().div_(127.5).sub_(1)
        loss = 1 - F.cosine_similarity(student(views), goals[rows]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        loss.item()
        step += 1
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--live", type=int, default=3, help="steps of the side whose teacher runs each time")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--student", choices=("small", "xs"), default="small")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    xzoo.register("small_32", build_small, input={"size": [3, 32, 32]})
    student = xzoo.create("small_32" if chosen.student == "small" else "edgeface_xs_gamma_06")
    teacher = xzoo.create("edgeface_base").requires_grad_(False)
    print(f"student: {sum(p.numel() for p in student.parameters()) / 1e6:.2f} M parameters, batch {chosen.batch}")
    with tempfile.TemporaryDirectory() as folder:
        data = pictures(Path(folder))
        cache = Path(folder) / "cache"
        live = by_engine(stage(chosen.batch, False), copy.deepcopy(student), teacher, data, cache)
        cached = by_engine(stage(chosen.batch, True), copy.deepcopy(student), teacher, data, cache)
        hand = by_hand(chosen.batch, copy.deepcopy(student), torch.randn(IMAGES, 512), data)
        for _ in range(IMAGES // chosen.batch + 2):  # the first epoch asks the teacher
            next(cached)
        next(hand)
        sides = {"live": live, "cached": cached, "by hand": hand}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for turn in range(chosen.steps):
            for name in sorted(sides, reverse=bool(turn % 2)):
                if name == "live" and turn >= chosen.live:
                    continue
                began = time.process_time(), time.perf_counter()
                next(sides[name])
                spent[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    for place, kind in enumerate(("CPU", "wall")):
        median = {name: statistics.median(times[place] for times in values) for name, values in spent.items()}
        for name, value in median.items():
            print(f"{kind:5} {name:8} {1e3 * value:9.2f} ms a step (median of {len(spent[name])})")
        print(f"{kind:5} live / cached {median['live'] / median['cached']:.1f}")
        print(f"{kind:5} cached / by hand {median['cached'] / median['by hand']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
