"""What a step of the engine costs beside the same step written by hand with torch and peft.

Both sides train the same LoRA (same layers, rank and alpha) on a copy of the
same network, on the same decoded images, in batches of the same pairs, with
the same views, losses and optimiser. Rounds of the two are interleaved, in turns
first and second, and medians of all steps are compared: machines drift. CPU
time is judged, since other programs do not count in it; wall time is printed too.

    python benchmarks/finetune_overhead.py [--rounds 6] [--steps 5] [--batch 24] [--pretrained FILE]

Prints the two medians and their ratio; exits with 1 where it is above 1.03.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from turns import ratio_of

import xzoo
from xzoo import adapters, recipes
from xzoo.data.augment import Augment, generator
from xzoo.data.manifest import Manifest
from xzoo.data.samplers import PairSampler
from xzoo.families.base import Embedder
from xzoo.training import engine

BUDGET = 1.03
SUBJECTS = 64


def pictures(folder: Path) -> Manifest:
    """Write pairs of noise: what is in an image does not change what a step costs."""
    random = np.random.default_rng(0)
    for subject in range(SUBJECTS):
        for spectrum in ("VIS", "LWIR"):
            target = folder / f"s{subject:03d}" / spectrum
            target.mkdir(parents=True)
            Image.fromarray(random.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(target / "0.png")
    return Manifest.read(folder)


def plain_loop(base: Embedder, images: Tensor, sampler: PairSampler, batch: int) -> Iterator[None]:
    """Train a LoRA as one would without xzoo: torch, peft, and nothing in between."""
    augment = Augment(flip=0.5)
    base.requires_grad_(False)
    teacher = copy.deepcopy(base).eval()
    config = LoraConfig(r=8, lora_alpha=16, target_modules=base.lora_targets)
    model = inject_adapter_in_model(config, base)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    step = 0
    while True:
        pairs = sampler.batch(step)
        rows = torch.from_numpy(np.concatenate([pairs.source, pairs.target]))
        views = augment(images[rows], generator(0, step)).float().div_(127.5).sub_(1)
        source, target = model(views).split(batch)
        with torch.no_grad():
            kept = teacher(views[:batch])
        sign = torch.from_numpy(pairs.same).float() * 2 - 1
        loss = F.cosine_embedding_loss(source, target, sign) + 1 - F.cosine_similarity(source, kept).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        loss.item()
        step += 1
        yield


def engine_loop(base: Embedder, manifest: Manifest, batch: int) -> Iterator[None]:
    """Train the same by the engine."""
    plan = recipes.load("xedgeface").with_(
        {
            "stages.*.train": {"lora": {"rank": 8}},
            "stages.*.optimiser": {"lr": 1e-3, "clip": 5.0},
            "stages.*.batch.size": batch,
            "stages.*.steps": 10**9,
        }
    )
    stage = plan.stages[0]
    images, teacher = engine.Images(manifest, base), engine.frozen_copy(base)
    adapters.add(base, "lora", rank=8)
    steps = engine.run(engine.begin(stage, base, images, teacher=teacher, source="VIS", seed=0))
    for _ in steps:
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--model", default="edgeface_xxs")
    parser.add_argument("--pretrained", default=None)
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        manifest = pictures(Path(folder))
        model = xzoo.create(chosen.model, pretrained=chosen.pretrained or False)
        images = engine.Images(manifest, model)[torch.arange(len(manifest))]
        sampler = PairSampler(manifest, batch=chosen.batch, positive=0.5)
        sides = {
            "by hand": plain_loop(copy.deepcopy(model), images, sampler, chosen.batch),
            "engine": engine_loop(copy.deepcopy(model), manifest, chosen.batch),
        }
        for loop in sides.values():
            next(loop)
        ratio = ratio_of(sides, chosen.rounds * chosen.steps)
    print(f"budget of the CPU ratio: {BUDGET}")
    return int(ratio > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
