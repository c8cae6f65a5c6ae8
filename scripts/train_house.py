"""Train the house weights ``hybrid_fr_t2v.synth_v1`` on generated faces alone.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python scripts/train_house.py

Every step draws subjects that were mostly never drawn before, two moments of
each in VIS and two in LWIR, and asks the network to tell who belongs together
across and within the spectra (supervised contrastive loss, Khosla et al.,
2020). So that it learns in minutes on a CPU, a linear head, thrown away at the
end, also reads from the embedding what the generator knows: the proportions of
head and features that both spectra show. Pictures start small and end at full size, because the network has no
fixed input size and small pictures cost a fifth. Writes the weights and a log
whose last line holds the figures on subjects kept out of training.
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
from xzoo.data.people import faces
from xzoo.data.people.traits import PERSON, person
from xzoo.evaluation import Pixels, retrieval, verification, wilson
from xzoo.evaluation.pixels import SIZES

NAME, TAG = "hybrid_fr_t2v", "synth_v1"
ROOT = Path(__file__).resolve().parents[1]
WORLD = 104_729  # the generator's seed here; demos and tests use others, and so meet nobody twice
TRAINED_SUBJECTS = 50_000
HELD_OUT = range(1_000_000, 1_000_200)
SHAPES = 46  # the first rows of PERSON are shape; colours and temperatures follow
SHARES = ("bald", "long_hair", "beard", "fringe")
SHAPE_WEIGHT = 4.0


class Stage(NamedTuple):
    """A stretch of training at one picture size."""

    steps: int
    size: int
    subjects: int  # per step, two pictures of each in each spectrum
    rates: tuple[float, float]  # learning rate at the start and the end


# At first the number of updates counts, so batches are small; later the number of strangers in each does.
STAGES = (Stage(1500, 64, 16, (1.5e-3, 4e-4)), Stage(350, 112, 24, (6e-4, 0.0)))


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    model: Any = xzoo.create(NAME).train()
    model.to(memory_format=torch.channels_last)
    _start(model)
    log = Log(options.log)
    log.write(event="start", **vars(options) | {"out": options.out.name, "log": options.log.name}, **_versions())

    reader = torch.nn.Linear(512, SHAPES + len(SHARES))
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2] + list(reader.parameters())
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    )
    chance = torch.Generator().manual_seed(options.seed)
    plan = [stage for stage in STAGES for _ in range(stage.steps)]
    bar, recent = tqdm(plan, unit="step"), []
    began, seen = time.perf_counter(), 0
    for step, stage in enumerate(bar):
        images, labels = _batch(stage.subjects, stage.size, chance)
        rate = _rate(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        # Whitened over the batch, embeddings cannot all become one; _settle() moves this into the last layer.
        embeddings = F.batch_norm(model(images), None, None, training=True)
        contrast = supervised_contrastive(embeddings, labels, temperature=0.1)
        shape = F.mse_loss(reader(embeddings), _shapes(labels))
        loss = contrast + SHAPE_WEIGHT * shape
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        seen += len(images)
        recent.append((contrast.item(), shape.item()))
        if not math.isfinite(loss.item()):
            raise SystemExit(f"the loss is {loss.item()} at step {step}")
        if (step + 1) % 20 == 0:
            means = [round(sum(column) / len(recent), 4) for column in zip(*recent, strict=True)]
            seconds, recent = time.perf_counter() - began, []
            facts = {"size": stage.size, "contrast": means[0], "shape": means[1]}
            log.write(event="step", step=step + 1, **facts, lr=round(rate, 7), seconds=round(seconds))
            bar.set_postfix(**facts, images_s=round(seen / seconds))

    _settle(model, chance)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(
        state, options.out, metadata={"format": "pt", "licence": "Apache-2.0", "tag": f"{NAME}.{TAG}"}
    )
    # The figures belong to the file: half precision, read back.
    final: Any = xzoo.create(NAME, pretrained=str(options.out))
    found = {camera: figures(final, camera) for camera in ("house", "blackhot_lowres")}
    log.write(event="figures", images=seen, subjects=len(HELD_OUT), **found)
    print(json.dumps(found, indent=2))


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


@torch.no_grad()
def _settle(model: Any, chance: torch.Generator, batches: int = 10) -> None:
    """Fold the whitening of training into the last layer, by the statistics of fresh pictures."""
    seen = torch.cat([model(_batch(STAGES[-1].subjects, STAGES[-1].size, chance)[0]) for _ in range(batches)])
    mean, deviation = seen.mean(0), seen.std(0)
    last = model.backbone.head.fc
    last.weight.div_(deviation[:, None])
    last.bias.sub_(mean).div_(deviation)


def supervised_contrastive(embeddings: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of one batch, every picture against every other.

    Args:
        embeddings: ``[B, D]``, any length.
        labels: ``[B]`` subjects; each at least twice.
        temperature: Divides the cosines.
    """
    units = F.normalize(embeddings, dim=1)
    itself = torch.eye(len(units), dtype=torch.bool)
    scores = (units @ units.T / temperature).masked_fill(itself, -torch.inf)
    mates = (labels[:, None] == labels[None, :]) & ~itself
    likely = scores - scores.logsumexp(1, keepdim=True)
    return -(likely.masked_fill(~mates, 0.0).sum(1) / mates.sum(1)).mean()


def figures(model: Any, camera: str) -> dict[str, object]:
    """Return what the held-out subjects say: LWIR probes against one VIS picture each, and VIS probes likewise."""
    subjects = torch.tensor(HELD_OUT)
    gallery = _pictures(subjects, [0], "VIS", camera)
    found: dict[str, object] = {}
    for band in ("LWIR", "VIS") if camera == "house" else ("LWIR",):
        probes = _pictures(subjects, [1, 2], band, camera)
        found[f"{band}_to_VIS"] = _compare(model, probes, gallery, subjects)
        every = [_compare(Pixels(size), probes, gallery, subjects) | {"size": size} for size in SIZES]
        found[f"{band}_to_VIS_pixels"] = max(every, key=lambda row: row["rank1"])
    return found


def _compare(model: Any, probes: Tensor, gallery: Tensor, subjects: Tensor) -> dict[str, Any]:
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


def _batch(count: int, size: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    subjects = torch.randperm(TRAINED_SUBJECTS, generator=chance)[:count].repeat(2)
    parts = []
    for spectrum in ("VIS", "LWIR"):
        samples = torch.randint(1 << 20, subjects.shape, generator=chance)
        drawn = faces(subjects, samples, spectrum, size=size, seed=WORLD)
        parts.append(_augment(drawn.float() / 255.0, chance))
    images = torch.cat(parts).sub_(0.5).div_(0.5)
    return images.contiguous(memory_format=torch.channels_last), subjects.repeat(2)


def _shapes(subjects: Tensor) -> Tensor:
    """Return what the generator knows of each subject's shape, ``[B, SHAPES + 4]``, about standard normal."""
    who = person(WORLD, subjects)
    rows = list(PERSON.items())[:SHAPES]
    shape = [(who[name] - mean) / spread for name, (mean, spread, _) in rows]
    return torch.cat(shape + [2.0 * who[name] - 1.0 for name in SHARES], dim=1)


def _augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Mirror, reframe, take colour, change contrast, and cover a part, each picture by its own chances."""
    count, _, height, width = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=chance)

    zoom, turn = uniform(0.86, 1.14), uniform(-0.08, 0.08)
    mirror = torch.where(uniform(0, 1) < 0.5, 1.0, -1.0)
    rows = [mirror * zoom, turn, uniform(-0.08, 0.08), -turn, zoom, uniform(-0.08, 0.08)]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), [count, 3, height, width], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    plain = (uniform(0, 1) < 0.35)[:, None, None, None]
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    images = torch.where(plain, luma, images)
    contrast, lift = uniform(0.6, 1.5)[:, None, None, None], uniform(-0.15, 0.15)[:, None, None, None]
    images = ((images - 0.5) * contrast + 0.5 + lift).clamp(0.0, 1.0)
    x, y = torch.arange(width) / width, torch.arange(height) / height
    across = (x - uniform(0, 1)[:, None]).abs() < uniform(0.04, 0.2)[:, None]
    down = (y - uniform(0, 1)[:, None]).abs() < uniform(0.04, 0.2)[:, None]
    covered = down[:, :, None] & across[:, None, :] & (uniform(0, 1) < 0.3)[:, None, None]
    return torch.where(covered[:, None], uniform(0, 1)[:, None, None, None], images)


def _rate(step: int, warm_up: int = 40) -> float:
    """Return the learning rate of a step: each stage warms up, then falls in a straight line."""
    for stage in STAGES:
        if step < stage.steps:
            first, last = stage.rates
            return min((step + 1) / warm_up, 1.0) * (first + (last - first) * step / stage.steps)
        step -= stage.steps
    return STAGES[-1].rates[1]


def _versions() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "threads": torch.get_num_threads(),
        "world": WORLD,
        "stages": [stage._asdict() for stage in STAGES],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "xzoo" / "weights" / f"{NAME}.{TAG}.safetensors")
    parser.add_argument("--log", type=Path, default=ROOT / "scripts" / "logs" / f"{NAME}.{TAG}.jsonl")
    return parser.parse_args()


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
