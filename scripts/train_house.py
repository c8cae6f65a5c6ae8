"""Train the house weights on generated people alone.

    OMP_NUM_THREADS=2 python scripts/train_house.py hybrid_fr           # the VIS network, the teacher of the others
    OMP_NUM_THREADS=2 python scripts/train_house.py hybrid_fr_t2v       # LWIR to VIS, by the recipe xedgeface
    OMP_NUM_THREADS=2 python scripts/train_house.py hybrid_fr_n2v       # NIR to VIS
    OMP_NUM_THREADS=2 python scripts/train_house.py hybrid_fr_x2v       # every band to VIS
    OMP_NUM_THREADS=2 python scripts/train_house.py hybrid_fr_t2t       # LWIR to LWIR, by a lesson of its own

``hybrid_fr`` learns to say, of a picture that was cropped askew, blurred,
covered or lit anew, what the edges of the person's untouched pictures are
like: histograms of gradient directions (Dalal and Triggs, CVPR 2005), reduced
to as many numbers as the embedding has, half from the picture at hand and half
the mean over other days of the same person. That is hundreds of numbers to
learn from each picture, where a choice among strangers gives one, so it learns
something in the hour that a CPU can be spared; and edges mean the same on
faces that no generator drew. Pictures are 64 x 64, a third of the cost of 112,
and that is what the house networks take.

The others start from ``hybrid_fr``. Those that end in ``2v`` follow the shipped
recipe on pairs of other generated people. ``hybrid_fr_t2t`` has a lesson like
the first, in LWIR: a picture of a turned head is to say what the edges of the
same moment are like from the front, which the generator can draw and no camera
can take. Weights go to ``xzoo/weights``, a log to
``scripts/logs``; its last line holds figures on people kept out of training.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import xzoo
from xzoo.data import people
from xzoo.data.people import SPECTRA, faces
from xzoo.data.people.traits import SESSION
from xzoo.evaluation import Pixels, retrieval, verification, wilson
from xzoo.evaluation.pixels import SIZES

ROOT = Path(__file__).resolve().parents[1]
TEACHER, TAG = "hybrid_fr", "synth_v2"
ADAPTED = {"hybrid_fr_t2v": ("LWIR",), "hybrid_fr_n2v": ("NIR",), "hybrid_fr_x2v": SPECTRA[1:]}
THERMAL = "hybrid_fr_t2t"
WORLD = 104_729  # the generator's seed here; demos and tests use others, and so meet nobody twice
HELD_OUT = range(1_000_000, 1_000_200)
FEATURES = 512


class Stage(NamedTuple):
    """A stretch of training at one picture size."""

    size: int
    first: int  # the first of the subjects
    subjects: int  # or, where apart is not a day, sittings: two of each subject
    pictures: int  # of each
    steps: int
    batch: int
    rate: float
    spectrum: str = "VIS"
    apart: int = SESSION  # samples from one picture to the next: days, or moments of one day
    pose: float = 1.0  # how far heads turn
    frontal: bool = False  # whether to say what the moment is like from the front


STAGES = (Stage(64, 0, 20_000, 4, 5_200, 96, 1.5e-3), Stage(64, 20_000, 11_520, 4, 2_000, 96, 8e-4))
THERMAL_STAGES = (Stage(64, 50_000, 6_000, 2, 1_000, 96, 8e-4, "LWIR", 3, 1.4, frontal=True),)


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    log = Log(options.logs / f"{options.name}.{TAG}.jsonl")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    log.write(
        event="start", name=options.name, seed=options.seed, world=WORLD, threads=torch.get_num_threads(), **versions
    )
    out = options.weights / f"{options.name}.{TAG}.safetensors"
    trained = options.weights / f"{TEACHER}.{TAG}.safetensors"
    if options.name == TEACHER:
        model = teach(log, options.seed, options.scale)
    elif options.name == THERMAL:
        model = teach(log, options.seed, options.scale, THERMAL_STAGES, xzoo.create(TEACHER, pretrained=str(trained)))
    else:
        model = adapt(options, log)
    save_half(model, out, f"{options.name}.{TAG}")
    # The figures belong to the file: half precision, read back.
    final: Any = xzoo.create(TEACHER, pretrained=str(out))
    bands = ("LWIR",) if options.name == THERMAL else ("VIS", *ADAPTED.get(options.name, ()))
    enrolled = "LWIR" if options.name == THERMAL else "VIS"
    if options.name != TEACHER:
        start: Any = xzoo.create(TEACHER, pretrained=str(trained))
        log.write(event="unadapted", subjects=len(HELD_OUT), house=figures(start, bands, "house", enrolled))
    found = {camera: figures(final, bands, camera, enrolled) for camera in ("house", "blackhot_lowres")}
    log.write(event="figures", subjects=len(HELD_OUT), **found)
    print(json.dumps(found, indent=2))


def teach(log: Log, seed: int, scale: float, stages: tuple[Stage, ...] | None = None, start: Any | None = None) -> Any:
    """Return a network taught what edges are like, from nothing or from ``start``; ``scale`` shortens every stage."""
    model: Any = (start or xzoo.create("edgeface_xxs")).train()
    model.to(memory_format=torch.channels_last)
    if start is None:
        _start(model)
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    basis, seen, began = None, 0, time.perf_counter()
    for place, stage in enumerate(stages or STAGES):
        stage = stage._replace(subjects=max(64, round(stage.subjects * scale)), steps=round(stage.steps * scale))
        pictures, targets, basis = _lesson(stage, basis)
        log.write(event="pictures", **stage._asdict(), seconds=round(time.perf_counter() - began))
        optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        )
        chance = torch.Generator().manual_seed(seed + place)
        recent: list[float] = []
        for step in (bar := tqdm(range(stage.steps), unit="step", desc=f"{stage.size} px")):
            rate = stage.rate * min(1.0, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / stage.steps)))
            for group in optimiser.param_groups:
                group["lr"] = rate
            who = torch.randint(stage.subjects, (stage.batch // 2,), generator=chance)
            when = torch.rand(len(who), stage.pictures, generator=chance).argsort(1)[:, :2]
            drawn = pictures[who[:, None], when].flatten(0, 1).expand(-1, 3, -1, -1)
            goal = targets[who].float()
            own = torch.gather(goal, 1, when[:, :, None].expand(-1, -1, FEATURES))
            goal = (0.4 * own + 0.6 * goal.mean(1, keepdim=True)).flatten(0, 1)
            images = augment(drawn.float() / 255.0, chance).sub_(0.5).div_(0.5)
            found = model(images.contiguous(memory_format=torch.channels_last))
            apart = 1.0 - F.cosine_similarity(found, goal).mean()
            loss = 4.0 * (apart + 0.2 * F.mse_loss(found, goal))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            seen += len(images)
            recent.append(apart.item())
            if not math.isfinite(loss.item()):
                raise SystemExit(f"the loss is {loss.item()} at step {step} of {stage.size} px")
            if (step + 1) % 50 == 0:
                seconds = round(time.perf_counter() - began)
                facts = {"size": stage.size, "apart": round(sum(recent) / len(recent), 4), "images": seen}
                log.write(event="step", step=step + 1, **facts, lr=round(rate, 7), seconds=seconds)
                bar.set_postfix(**facts)
                recent = []
    if start is None:
        _even_out(model, pictures, chance)
    return model.eval()


@torch.no_grad()
def _even_out(model: Any, pictures: Tensor, chance: torch.Generator, people: int = 1500, power: float = 0.2) -> None:
    """Fold a partial whitening of the embedding into the last layer, by the covariance over generated people.

    A few directions (hair, light) would outweigh the many others. How far to go
    was chosen on training subjects.
    """
    model.eval()
    seen = []
    for part in pictures[:people].split(50):
        images = augment(part.flatten(0, 1).float() / 255.0, chance).sub_(0.5).div_(0.5)
        seen.append(model(images.contiguous(memory_format=torch.channels_last)).double())
    found = torch.cat(seen)
    mean = found.mean(0)
    power_of, axes = torch.linalg.eigh((found - mean).T @ (found - mean) / len(found))
    turn = (axes * (power_of.clamp(min=0.0) + power_of.mean()) ** -power) @ axes.T
    last = model.backbone.head.fc
    weight, bias = turn @ last.weight.double(), turn @ (last.bias.double() - mean)
    last.weight.copy_(weight)
    last.bias.copy_(bias)


def _lesson(stage: Stage, basis: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return pictures uint8 ``[N, K, 3, S, S]``, what to say of each ``[N, K, FEATURES]``, and the basis of that."""
    count, each = stage.subjects, stage.pictures
    pictures = torch.empty(count, each, 3 if stage.spectrum == "VIS" else 1, stage.size, stage.size, dtype=torch.uint8)
    edges = torch.empty(count, each, 1800, dtype=torch.float16)
    sittings = 1 if stage.apart == SESSION else 2
    later = torch.arange(each) * stage.apart
    view: dict[str, Any] = {"spectrum": stage.spectrum, "size": stage.size, "seed": WORLD}
    for start in tqdm(range(0, count, 64), desc=f"drawing at {stage.size} px", unit="block"):
        rows = torch.arange(start, min(start + 64, count))
        subjects, samples = stage.first + rows // sittings, rows % sittings * SESSION
        numbers = subjects.repeat_interleave(each), (samples[:, None] + later).flatten()
        drawn = faces(*numbers, pose=stage.pose, **view)
        pictures[start : start + 64] = drawn.view(len(rows), each, *drawn.shape[1:])[:, :, : pictures.shape[2]]
        drawn = faces(*numbers, pose=0.0, **view) if stage.frontal else drawn
        edges[start : start + 64] = gradients(drawn).view(len(rows), each, -1).half()
    if basis is None:
        some = edges[:4000].flatten(0, 1).float()
        mean = some.mean(0)
        power, axes = torch.linalg.eigh((some - mean).T @ (some - mean) / len(some))
        power, axes = power.flip(0)[:FEATURES], axes.flip(1)[:, :FEATURES]
        axes = axes * power**-0.2  # some whitening: the few strongest directions are hair and light
        axes = axes / ((some - mean) @ axes).square().mean().sqrt()
        basis = (mean, axes)
    mean, axes = basis
    targets = torch.cat([((part.flatten(0, 1).float() - mean) @ axes).half() for part in edges.split(1000)])
    return pictures, targets.view(count, each, FEATURES), basis


def gradients(images: Tensor, side: int = 64, cell: int = 8, bins: int = 8) -> Tensor:
    """Return histograms of gradient directions over overlapping cells, ``[B, 1800]``, of uint8 pictures."""
    grey = (images.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    if grey.shape[-1] != side:
        grey = F.interpolate(grey, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    grey = F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
    dx = F.pad(grey[:, :, :, 2:] - grey[:, :, :, :-2], (1, 1, 0, 0))
    dy = F.pad(grey[:, :, 2:] - grey[:, :, :-2], (0, 0, 1, 1))
    size = (dx * dx + dy * dy).sqrt()
    place = (torch.atan2(dy, dx) % (2 * math.pi)) / (2 * math.pi) * bins
    low = place.floor()
    found = torch.zeros(len(images), bins, side, side)
    found.scatter_add_(1, low.long() % bins, size * (1 - (place - low)))
    found.scatter_add_(1, (low.long() + 1) % bins, size * (place - low))
    found = F.avg_pool2d(found, cell, cell // 2)
    strength = found.square().sum(1, keepdim=True)
    around = F.avg_pool2d(F.pad(strength, (1, 1, 1, 1), mode="replicate"), 3, 1).sqrt()
    return (found / (around + 0.1 * around.mean((1, 2, 3), keepdim=True))).sqrt().flatten(1)


def augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Return pictures ``[B, 3, S, S]`` in 0..1 as a careless camera and crop would give them."""
    count, _, high, wide = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=chance)

    def each(low: float, high: float) -> Tensor:
        return uniform(low, high)[:, None, None, None]

    zoom, aspect, turn = uniform(-0.22, 0.16).exp(), uniform(-0.08, 0.08).exp(), uniform(-0.1, 0.1)
    rows = [aspect / zoom, turn, uniform(-0.12, 0.12), -turn, 1 / zoom / aspect, uniform(-0.14, 0.14)]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    images = torch.where(each(0, 1) < 0.6, luma, images)
    images = (images.clamp(1e-3, 1.0) ** each(-0.4, 0.4).exp() - 0.5) * each(-0.5, 0.35).exp() + 0.5 + each(-0.15, 0.15)
    down, across = torch.linspace(-1, 1, high)[:, None], torch.linspace(-1, 1, wide)
    images = images.clamp(0, 1) * (1 + each(-0.3, 0.3) * across + each(-0.2, 0.2) * down)
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = torch.where(each(0, 1) < 0.3, soft, images)
    x, y = torch.arange(wide) / wide, torch.arange(high) / high
    columns = (x - uniform(0, 1)[:, None]).abs() < uniform(0.04, 0.2)[:, None]
    lines = (y - uniform(0, 1)[:, None]).abs() < uniform(0.04, 0.2)[:, None]
    covered = lines[:, :, None] & columns[:, None, :] & (uniform(0, 1) < 0.3)[:, None, None]
    images = torch.where(covered[:, None], each(0, 1), images)
    return (images + torch.randn(images.shape, generator=chance) * each(0, 0.03)).clamp(0, 1)


def _start(model: Any) -> None:
    """Give every layer outputs of its inputs' size, and the residual branches a real share.

    timm starts EdgeNeXt close to the identity (weights of 0.02, branches of 1e-6),
    which suits runs a thousand times as long.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    for name, parameter in model.named_parameters():
        if name.endswith((".gamma", ".gamma_xca")):
            torch.nn.init.constant_(parameter, 0.3)


def adapt(options: argparse.Namespace, log: Log) -> Any:
    """Return ``hybrid_fr`` taught other bands by the shipped recipe, on pairs of people it has not met."""
    bands = ("VIS", *ADAPTED[options.name])
    folder = options.work / f"{options.name}.people"
    people.write(folder, subjects=options.subjects, samples=4, spectra=bands, seed=WORLD + 1, splits={"train": 1.0})
    teacher: Any = xzoo.create(TEACHER, pretrained=str(options.weights / f"{TEACHER}.{TAG}.safetensors"))
    began = time.perf_counter()
    facts = {"recipe": "xedgeface", "steps": options.steps, "subjects": options.subjects, "spectra": bands}
    run = xzoo.finetune(
        teacher,
        folder,
        recipe=facts["recipe"],
        steps=options.steps,
        lr=options.rate,
        batch=options.batch,
        seed=options.seed,
        output=options.work / f"{options.name}.run",
        evaluate=False,
    )
    model: Any = xzoo.create(run.folder)
    (adapter,) = model.adapters
    xzoo.adapters.merge(model, adapter)
    log.write(
        event="adapted", **facts, lr=options.rate, batch=options.batch, seconds=round(time.perf_counter() - began)
    )
    return model


def figures(model: Any, bands: tuple[str, ...], camera: str, enrolled: str = "VIS") -> dict[str, object]:
    """Return what held-out people say: probes of each band against one picture each of the band enrolled."""
    subjects = torch.tensor(HELD_OUT)
    gallery = _pictures(subjects, [0], enrolled, camera)
    found: dict[str, object] = {}
    for band in bands:
        probes = _pictures(subjects, [SESSION, 2 * SESSION], band, camera)
        found[f"{band}_to_{enrolled}"] = compare(model, probes, gallery, subjects)
        every = [compare(Pixels(size), probes, gallery, subjects) | {"size": size} for size in SIZES]
        found[f"{band}_to_{enrolled}_pixels"] = max(every, key=lambda row: row["rank1"])
    return found


def compare(model: Any, probes: Tensor, gallery: Tensor, subjects: Tensor) -> dict[str, Any]:
    side = model.preprocess.size[1]
    shrink = [images if side == 112 else _resize(images, side) for images in (probes, gallery)]
    probe, enrolled = (model.embed(images).numpy() for images in shrink)
    who = np.repeat(subjects.numpy(), len(probes) // len(subjects))
    search = retrieval(probe, enrolled, who, subjects.numpy())
    pairs = verification(probe, enrolled, who, subjects.numpy())
    hits = round(float(search.cmc[0]) * search.n_query)
    return {
        "rank1": round(float(search.cmc[0]), 4),
        "rank1_interval": [round(end, 4) for end in wilson(hits, search.n_query)],
        "rank5": round(float(search.cmc[4]), 4),
        "auc": round(pairs.auc, 4),
        "eer": round(pairs.eer, 4),
        "tar": {f"{far:g}": None if tar is None else round(tar, 4) for far, tar in pairs.tar.items()},
        "n_probe": search.n_query,
        "n_gallery": len(subjects),
        "n_genuine": pairs.n_genuine,
        "n_impostor": pairs.n_impostor,
    }


def _pictures(subjects: Tensor, samples: list[int], spectrum: str, camera: str) -> Tensor:
    each = subjects.repeat_interleave(len(samples))
    return faces(each, torch.tensor(samples).repeat(len(subjects)), spectrum, seed=WORLD, camera=camera)


def _resize(images: Tensor, side: int) -> Tensor:
    small = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).to(torch.uint8)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=(TEACHER, *ADAPTED, THERMAL))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help=f"shortens the lessons of {TEACHER} and {THERMAL}")
    parser.add_argument("--steps", type=int, default=1200, help="of the adaptation")
    parser.add_argument("--subjects", type=int, default=600, help="of the adaptation")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of the adaptation")
    parser.add_argument("--batch", type=int, default=40, help="pairs in a step of the adaptation")
    parser.add_argument("--weights", type=Path, default=ROOT / "xzoo" / "weights")
    parser.add_argument("--logs", type=Path, default=ROOT / "scripts" / "logs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "house", help="people and runs of the adaptation")
    return parser.parse_args()


def save_half(model: torch.nn.Module, file: Path, tag: str) -> None:
    """Write weights in half precision; whole numbers stay what they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().contiguous()
        for name, value in model.state_dict().items()
    }
    safetensors.torch.save_file(state, file, metadata={"format": "pt", "licence": "Apache-2.0", "tag": tag})


class Log:
    """A file of JSON lines, begun anew."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        path.write_text("")

    def write(self, **facts: object) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
