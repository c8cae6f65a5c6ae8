"""What a training step of the body network costs: beside one written by hand, and in memory.

Time: a step of ``part_vit_base`` with LoRA by the engine (recipe ``body_md``) and by a loop of torch and peft alone:
the same layers, rank, images, batches, flips, losses and optimiser, on copies of one network. Steps are taken in turns;
medians are compared. CPU time is judged, since other programs do not count in it; wall time is printed too.

Memory: the peak of a process that takes two steps, less what it held before it built the network: full fine-tuning and
LoRA, each with and without checkpoints, with the same images in a batch. Every one is a process of its own.

    OMP_NUM_THREADS=2 python benchmarks/body.py [time] [memory] [--turns 8] [--batch 8] [--size 128x64]

Exits with 1 where the engine takes more than 1.03 of the loop's time, or LoRA with checkpoints more than 0.6 of the
memory of full fine-tuning.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from turns import ratio_of

import xzoo
from xzoo import adapters, recipes
from xzoo.data.augment import Augment, generator
from xzoo.data.manifest import Manifest
from xzoo.data.samplers import DomainSampler
from xzoo.families.base import Embedder
from xzoo.training import engine

TIME, MEMORY = 1.03, 0.6
RATE = 1e-5
"""So small that both sides keep near the same random weights: numbers that grow or vanish change what a step costs."""

SUBJECTS = 16
BANDS = ("VIS", "LWIR")


def pictures(folder: Path, size: tuple[int, int]) -> Manifest:
    """Write noise, twice of each person in each band: what is in an image does not change what a step costs."""
    random = np.random.default_rng(0)
    for subject in range(SUBJECTS):
        for spectrum in BANDS:
            target = folder / f"s{subject:03d}" / spectrum
            target.mkdir(parents=True)
            for sample in range(2):
                noise = random.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(noise).save(target / f"{sample}.png")
    return Manifest.read(folder)


def network(size: tuple[int, int], *, checkpointing: bool = False) -> Embedder:
    torch.manual_seed(0)
    return xzoo.create("part_vit_base", input_size=size, checkpointing=checkpointing)


def stage(batch: int) -> recipes.schema.Stage:
    optimiser = {"name": "sgd", "lr": RATE, "momentum": 0.9, "weight_decay": 1e-4}
    changes = {"batch.targets": ["LWIR"], "batch.size": batch, "steps": 10**9, "optimiser": optimiser}
    plan = recipes.load("body_md").with_({f"stages.adapt.{key}": value for key, value in changes.items()})
    return plan.stages[0]


def plain_loop(base: Embedder, images: Tensor, sampler: DomainSampler) -> Iterator[float]:
    """Train a LoRA as one would without xzoo: torch, peft, and nothing in between."""
    augment, mean = Augment(flip=0.5), 127.5
    base.requires_grad_(False).eval()
    config = LoraConfig(r=8, lora_alpha=16, target_modules=base.lora_targets)
    model = inject_adapter_in_model(config, base)
    neck = nn.BatchNorm1d(1536)
    neck.bias.requires_grad_(False)
    classifier = nn.Linear(1536, SUBJECTS, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    trained = [p for part in (model, neck, classifier) for p in part.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=RATE, momentum=0.9, weight_decay=1e-4, fused=True)
    step = 0
    while True:
        rows = sampler.batch(step)
        labels = torch.from_numpy(rows.source_subject)
        raw = augment(images[torch.from_numpy(rows.source)], generator(0, step))
        features = model(raw.float().div_(mean).sub_(1))
        same = labels[:, None] == labels[None]
        apart = torch.cdist(features, features)
        far = apart.masked_fill(~same, -torch.inf).amax(1)
        near = apart.masked_fill(same, torch.inf).amin(1)
        loss = F.cross_entropy(classifier(neck(features)), labels) + F.relu(far - near).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        yield loss.item()


def engine_loop(base: Embedder, manifest: Manifest, batch: int, *, lora: bool = True) -> Iterator[float]:
    """Train the same by the engine."""
    images = engine.Images(manifest, base)
    if lora:
        adapters.add(base, "lora", rank=8, alpha=16)
    else:
        base.requires_grad_(True)
    for step in engine.run(engine.begin(stage(batch), base, images, source="VIS", seed=0)):
        yield step.loss


def timed(turns: int, batch: int, size: tuple[int, int], folder: Path) -> int:
    """Compare medians of steps that are taken in turns, so that both sides meet the same moments of a busy machine."""
    manifest, model = pictures(folder, size), network(size)
    images = engine.Images(manifest, model)[torch.arange(len(manifest))]
    sampler = DomainSampler(manifest, BANDS, subjects=batch // 4, images=2)
    sides = {
        "by hand": plain_loop(copy.deepcopy(model), images, sampler),
        "engine": engine_loop(copy.deepcopy(model), manifest, batch),
    }
    for name, loop in sides.items():
        print(f"{name:14} loss {next(loop):.4f} at the first step")
    ratio = ratio_of(sides, turns)
    print(f"part_vit_base, {batch} images of {size[0]}x{size[1]}; budget of the CPU ratio: {TIME}")
    return int(ratio > TIME)


def child(kind: str, checkpointing: bool, batch: int, size: tuple[int, int], folder: Path) -> None:
    """Take two steps and print the peak of this process in bytes, less what it held before."""
    manifest = Manifest.read(folder)
    _warm()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps = engine_loop(network(size, checkpointing=checkpointing), manifest, batch, lora=kind == "lora")
    next(steps), next(steps)
    print(json.dumps(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)))


def _warm() -> None:
    """Load what is imported with the first adapter and the first step."""
    small = xzoo.create("part_vit_tiny", input_size=(32, 16), depth=1)
    adapters.add(small, "lora", rank=1)
    small(torch.zeros(1, 3, 32, 16)).sum().backward()


def remembered(batch: int, size: tuple[int, int], folder: Path) -> int:
    """Compare peaks of processes that train in one way each."""
    pictures(folder, size)
    peaks = {}
    for kind in ("full", "lora"):
        for checkpointing in (False, True):
            call = [sys.executable, __file__, "--child", kind, "--batch", str(batch), "--size", f"{size[0]}x{size[1]}"]
            call += ["--folder", str(folder), *(["--checkpointing"] if checkpointing else [])]
            done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            peaks[kind, checkpointing] = int(done.stdout.splitlines()[-1])
    whole = peaks["full", False]
    for (kind, checkpointing), peak in peaks.items():
        how = "with checkpoints" if checkpointing else ""
        print(f"peak  {kind:5} {how:17} {peak / 2**20:8.0f} MiB {peak / whole:8.3f}")
    print(f"part_vit_base, {batch} images of {size[0]}x{size[1]}, SGD with momentum; budget of LoRA: {MEMORY}")
    return int(peaks["lora", True] > MEMORY * whole)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="time|memory", help="by default both")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8, help="a multiple of 4: people, two bands, two images")
    parser.add_argument("--size", default="128x64")
    parser.add_argument("--child", choices=["full", "lora"], help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    parts = chosen.parts or ["time", "memory"]
    if unknown := set(parts) - {"time", "memory"}:
        parser.error(f"{' '.join(sorted(unknown))}: time, memory or both")
    height, width = (int(side) for side in chosen.size.split("x"))
    size = height, width
    if chosen.child:
        child(chosen.child, chosen.checkpointing, chosen.batch, size, chosen.folder)
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        # First, while this process is small: a child's peak begins at what its parent held.
        if "memory" in parts:
            failed |= remembered(chosen.batch, size, Path(folder) / "memory")
        if "time" in parts:
            failed |= timed(chosen.turns, chosen.batch, size, Path(folder) / "time")
    return failed


if __name__ == "__main__":
    sys.exit(main())
