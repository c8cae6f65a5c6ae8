"""Train the house weights for whole people, on generated people alone.

    OMP_NUM_THREADS=1 python scripts/train_body.py vis        # tag vis_v1, from nothing
    OMP_NUM_THREADS=1 python scripts/train_body.py bands      # tag synth_v1, from vis_v1

A part vision transformer of four blocks learns in two stages, in minutes of one core. From random weights it does not
by the recipe ``body_md``: embeddings of everybody begin nearly the same, where a batch-hard hinge with margin 0 is
lowest already. Full training with contrast stayed there as well (150 steps, at chance). What leads away is where it
starts (``start``): patch filters that are the principal components of patches, positions that are waves, part tokens
that stand in their band of the picture, and queries that look for keys like themselves. Then:

``vis``: pictures of the same moment of life (one day, two poses, near and from 500 m), VIS alone. Supervised
contrast (Khosla et al., arXiv 2004.11362) over many strangers in a batch, with a warm-up, while a layer on top tells
what the generator knows of the person and the clothes: numbers by the hundred from each picture, where a choice among
strangers gives one. This is the place of the paper's pretraining on LUPerson, and tag ``vis_v1``.

``bands``: the same contrast inside each of two bands, drawn anew for every batch, and from one to the other.
This is tag ``synth_v1``. Contrast over all five bands at once fell back to chance within a hundred steps.

The recipe ``body_md``, the paper's own losses, starts from ``vis_v1`` in ``xzoo reproduce body``. Nobody drawn here
is drawn for any figure. A log goes to ``scripts/logs``; its last line holds figures of the files that were written.
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
import torch
from torch import Tensor
from torch.nn import functional as F
from train_house import HELD_OUT, ROOT, WORLD, Log

import xzoo
from xzoo.catalog.names import SPECTRA
from xzoo.data.people import bodies
from xzoo.data.people.clothes import wardrobe
from xzoo.data.people.gait import BUILD, build
from xzoo.data.people.traits import SESSION, person
from xzoo.evaluation import Pixels, retrieval, wilson
from xzoo.losses.contrastive import infonce, supcon

NAME, SIZE, DEPTH = "body_md_tiny", (192, 64), 4
FIRST = 5_000_000
"""Subjects from here on: apart from the strangers who are measured, and from those of the tables."""
FAR = {"VIS": 500.0, "NIR": 30.0, "SWIR": 30.0, "MWIR": 30.0, "LWIR": 30.0}
"""Metres of every second picture, as in IJB-MDF; the others are near."""
GALLERY = "gallery "
OTHER_DAYS = True
"""Whether strangers are also met in the clothes of another day."""
LASTING = ("factor", "bald", "long_hair", "beard", "melanin", "hair_dark")
"""What is told of a person besides the build."""


class Stage(NamedTuple):
    """A stretch of training."""

    name: str
    tag: str
    bands: tuple[str, ...]
    first: int  # the first of the subjects
    subjects: int
    people: int  # in a batch, each near and far in two bands of all, or in the only one
    steps: int
    rate: float


STAGES = {
    "vis": Stage("vis", "vis_v1", ("VIS",), FIRST, 6_000, 48, 1_000, 8e-4),
    "bands": Stage("bands", "synth_v1", SPECTRA, FIRST + 10_000, 1_000, 30, 450, 5e-4),
}


def main() -> None:
    options = _options()
    stage = STAGES[options.stage]
    stage = stage._replace(
        subjects=max(64, round(stage.subjects * options.scale)), steps=round(stage.steps * options.scale)
    )
    torch.manual_seed(options.seed)
    log = Log(options.logs / f"{NAME}.{stage.tag}.jsonl")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    log.write(event="start", name=NAME, seed=options.seed, world=WORLD, size=SIZE, depth=DEPTH, **versions)
    built: dict[str, Any] = {"input_size": SIZE, "depth": DEPTH, "drop_path": 0.0}
    earlier = options.weights / f"{NAME}.{STAGES['vis'].tag}.safetensors"
    first = stage.name == "vis"
    model: Any = xzoo.create("part_vit_tiny", pretrained=False if first else str(earlier), **built)
    seen = strangers()
    before = {"random" if first else "start": figures(model, seen), "pixels": pixels(seen)}
    log.write(event="before", **before)
    began = time.process_time()
    pictures, known = drawn(stage)
    log.write(event="pictures", **stage._asdict(), seconds=_since(began))
    if first:
        some = torch.arange(min(200, stage.subjects))
        start(model, augment(batch([pictures["VIS"]], some), torch.Generator()))
    learn(model, stage, pictures, known, log, seen, seed=options.seed + 1 - first, began=began)
    found = figures(_kept(model, options.weights / f"{NAME}.{stage.tag}.safetensors", stage.tag), seen)
    log.write(event="figures", subjects=len(HELD_OUT), seconds=_since(began), trained=found, **before)
    print(json.dumps(found, indent=2))


@torch.no_grad()
def start(model: Any, images: Tensor, *, alike: float = 0.3, place: float = 0.7, share: float = 0.5) -> None:
    """Give a random network a start that it can learn from in minutes.

    Queries and keys are the same rotation, after "Mimetic Initialization of Self-Attention Layers" (Trockman and
    Kolter, arXiv 2305.09828); the rest is plain.

    Args:
        model: A ``part_vit``.
        images: Float ``[N, 3, H, W]`` in 0..1, whose patches tell what is to be seen.
        alike: How much attention goes to what is like the token itself.
        place: Size of the positions, where patches have size 1.
        share: Of each residual branch.
    """
    net, wide = model.backbone, model.width

    def rotation() -> Tensor:
        return torch.linalg.qr(torch.randn(wide, wide))[0]

    patches = F.unfold((images - 0.5) / 0.5, 16, stride=16).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    power, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    power, axes = power.flip(0)[:wide], axes.flip(1)[:, :wide]
    filters = (axes * (power + 1e-4 * power[0]) ** -0.35).T  # not wholly whitened: what is rare stays small
    filters = rotation() @ (filters / ((patches - mean) @ filters.T).square().mean().sqrt())
    net.patch_embed.proj.weight.copy_(filters.view_as(net.patch_embed.proj.weight))
    net.patch_embed.proj.bias.copy_(-filters @ mean)

    rows, columns = net.patch_embed.grid_size
    down, across = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    speed = math.pi / 2 * 2 ** torch.linspace(0, 3, wide // 8)
    angles = torch.cat([part.reshape(-1, 1) * speed for part in (2 * down, 2 * down + 0.3, across, 2 * across)], 1)
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    waves = waves - waves.mean(0)
    waves = (waves / waves.square().mean().sqrt() * place) @ rotation()
    lines = waves.view(rows, columns, wide)
    bands = ((0, rows // 4), (rows // 6, rows * 7 // 12), (rows // 2, rows))  # head, trunk, legs
    parts = torch.stack([lines[first:last].mean((0, 1)) for first, last in bands])
    parts = parts / parts.square().mean(1, keepdim=True).sqrt() * place
    whole = 0.3 * place * torch.randn(1, wide)
    net.pos_embed.copy_(torch.cat([whole, parts, waves])[None])
    net.cls_token.zero_()
    net.reg_token.zero_()

    for block in net.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        turn = rotation() * alike**0.5
        block.attn.qkv.weight[: 2 * wide] = torch.cat([turn, turn])
        block.attn.proj.weight.mul_(share)
        block.mlp.fc2.weight.mul_(share)


def learn(
    model: Any,
    stage: Stage,
    pictures: dict[str, Tensor],
    known: Tensor,
    log: Log,
    seen: dict[str, Tensor],
    *,
    seed: int,
    began: float,
) -> None:
    """Teach the network one stage; ``known`` is what the generator knows of each subject, ``[N, T]``, standardised."""
    model.train()
    tell = torch.nn.Linear(2 * model.width, known.shape[1])
    tensors = [*model.parameters(), *tell.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": [tensor for tensor in tensors if tensor.ndim >= 2], "weight_decay": 0.05},
            {"params": [tensor for tensor in tensors if tensor.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    chance = torch.Generator().manual_seed(seed)
    recent: list[tuple[float, float, float]] = []
    for step in range(stage.steps):
        rate = stage.rate * min(1.0, (step + 1) / 40) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / stage.steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        who = torch.randperm(len(known), generator=chance)[: stage.people]
        places = torch.randperm(len(stage.bands), generator=chance)[:2].tolist() if len(stage.bands) > 1 else [0]
        images = batch([pictures[stage.bands[place]] for place in places], who)
        found = model(augment(images, chance).sub_(0.5).div_(0.5))
        twice = who.repeat(2)
        sides = found.chunk(len(places))
        # Inside each band as well: across bands alone, a network that knows one of them does best by telling nobody.
        apart = torch.stack([supcon(side, labels=twice) for side in sides]).mean()
        over = infonce(*sides, labels=twice, temperature=0.1) if len(sides) > 1 else apart.new_zeros(())
        wrong = F.mse_loss(tell(found), known[who].repeat(2 * len(sides), 1))
        loss = apart + over + wrong
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 5.0)
        optimiser.step()
        recent.append((apart.item(), over.item(), wrong.item()))
        if not math.isfinite(loss.item()):
            raise SystemExit(f"the loss is {loss.item()} at step {step} of stage {stage.name}")
        if (step + 1) % 50 == 0:
            means = [round(sum(column) / len(recent), 4) for column in zip(*recent, strict=True)]
            facts: dict[str, object] = {"contrast": means[0], "across": means[1], "told": means[2]}
            if (step + 1) % 200 == 0:
                model.eval()
                facts |= {band: row["rank1"] for band, row in figures(model, seen).items()}
                model.train()
            log.write(event="step", stage=stage.name, step=step + 1, **facts, lr=round(rate, 7), seconds=_since(began))
            recent = []
    model.eval()


def batch(bands: list[Tensor], who: Tensor) -> Tensor:
    """Return near and far pictures of some subjects, float ``[bands * 2 * P, 3, H, W]`` in 0..1, band by band."""
    parts = [pictures[who, view].expand(-1, 3, -1, -1) for pictures in bands for view in range(2)]
    return torch.cat(parts).float() / 255.0


def augment(images: Tensor, chance: torch.Generator) -> Tensor:
    """Return pictures ``[B, 3, H, W]`` in 0..1 as another box, light and camera would give them."""
    count, _, high, wide = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=chance)

    def each(low: float, high: float) -> Tensor:
        return uniform(low, high)[:, None, None, None]

    zoom, aspect, none = uniform(-0.07, 0.07).exp(), uniform(-0.05, 0.05).exp(), torch.zeros(count)
    side = torch.where(uniform(0, 1) < 0.5, 1.0, -1.0)  # of two mirror images
    rows = [side * zoom * aspect, none, uniform(-0.10, 0.10), none, zoom / aspect, uniform(-0.04, 0.04)]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    grey = images.mean(1, keepdim=True)
    images = torch.where(each(0, 1) < 0.4, grey, images)
    images = (images.clamp(1e-3, 1.0) ** each(-0.4, 0.4).exp() - 0.5) * each(-0.5, 0.3).exp() + 0.5 + each(-0.12, 0.12)
    x, y = torch.arange(wide) / wide, torch.arange(high) / high
    columns = (x - uniform(0, 1)[:, None]).abs() < uniform(0.05, 0.3)[:, None]
    lines = (y - uniform(0, 1)[:, None]).abs() < uniform(0.03, 0.12)[:, None]
    covered = lines[:, :, None] & columns[:, None, :] & (uniform(0, 1) < 0.3)[:, None, None]
    return torch.where(covered[:, None], each(0, 1), images).clamp(0, 1)


def drawn(stage: Stage) -> tuple[dict[str, Tensor], Tensor]:
    """Return two pictures of each subject by band, uint8 ``[N, 2, 1 or 3, H, W]``, and what is known ``[N, T]``."""
    who = torch.arange(stage.first, stage.first + stage.subjects)
    pictures = {}
    for place, band in enumerate(stage.bands):
        views = []
        for moment, distance in ((place, None), ((place + 5) % SESSION, FAR[band])):
            parts = []
            for some in who.split(64):
                seen = bodies(some, torch.full_like(some, moment), band, size=SIZE, seed=WORLD, distance=distance)
                parts.append(seen if band == "VIS" else seen[:, :1])
            views.append(torch.cat(parts))
        pictures[band] = torch.stack(views, 1)
    return pictures, _known(who, colours=stage.bands == ("VIS",))


def _known(who: Tensor, *, colours: bool) -> Tensor:
    """Return what the generator knows of people and of what they wear on the first day, standardised."""
    lasting = person(WORLD, who)
    body = build(WORLD, who, lasting["factor"])
    worn = wardrobe(WORLD, who, torch.zeros_like(who), body, lasting["factor"])
    columns = [lasting[name] for name in LASTING] + [body[name] for name in BUILD]
    columns += [value for name, value in worn.items() if colours or not name.startswith("colour_")]
    table = torch.cat(columns, 1)
    return ((table - table.mean(0)) / table.std(0).clamp(min=1e-3)).clamp(-4, 4)


# --- figures -----------------------------------------------------------------------------------


def strangers() -> dict[str, Tensor]:
    """Return pictures of the strangers, uint8 ``[N, 3, H, W]``: galleries, one picture each, and two probes of each.

    Probes are other moments of the gallery's day, by band; ``BAND, other day`` wear what another day brought.
    """
    who = torch.tensor(HELD_OUT)
    found = {}
    for band in SPECTRA:
        found[f"{GALLERY}{band}"] = bodies(who, torch.zeros_like(who), band, size=SIZE, seed=WORLD)
        kinds = {band: (3, 6)} | ({f"{band}, other day": (SESSION + 3, 2 * SESSION + 6)} if OTHER_DAYS else {})
        for name, moments in kinds.items():
            samples = torch.tensor(moments).repeat(len(who))
            found[name] = bodies(who.repeat_interleave(2), samples, band, size=SIZE, seed=WORLD)
    return found


def figures(model: Any, seen: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return what a network finds of each kind of probe in VIS, and of each band ``in itself``."""
    embedded = {name: model.embed(images).numpy() for name, images in seen.items()}
    pairs = {name: (name, f"{GALLERY}VIS") for name in seen if not name.startswith(GALLERY)}
    pairs |= {f"{band} in itself": (band, f"{GALLERY}{band}") for band in SPECTRA if band != "VIS"}
    return {name: compare(embedded[probe], embedded[gallery]) for name, (probe, gallery) in pairs.items()}


def pixels(seen: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return what grey values find, at the best of several sizes for each kind of probe."""
    found: dict[str, dict[str, Any]] = {}
    for wide in (4, 6, 8, 12, 16):
        size = (wide * SIZE[0] // SIZE[1], wide)
        small = {
            name: F.interpolate(images.float(), size=size, mode="area").round().to(torch.uint8)
            for name, images in seen.items()
        }
        for name, row in figures(Pixels(wide), small).items():
            if name not in found or row["rank1"] > found[name]["rank1"]:
                found[name] = row | {"size": size}
    return found


def compare(probes: np.ndarray[Any, Any], gallery: np.ndarray[Any, Any]) -> dict[str, Any]:
    who = np.arange(len(gallery))
    search = retrieval(probes, gallery, np.repeat(who, len(probes) // len(gallery)), who)
    hits = round(float(search.cmc[0]) * search.n_query)
    return {
        "rank1": round(float(search.cmc[0]), 4),
        "rank1_interval": [round(end, 4) for end in wilson(hits, search.n_query)],
        "rank5": round(float(search.cmc[4]), 4),
        "map": round(search.mean_ap, 4),
        "n_probe": search.n_query,
        "n_gallery": len(gallery),
    }


def _kept(model: Any, out: Path, tag: str) -> Any:
    """Write a network in half precision, and return what the file holds: figures belong to it."""
    state = {name: value.detach().to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(state, out, metadata={"format": "pt", "licence": "Apache-2.0", "tag": f"{NAME}.{tag}"})
    return xzoo.create("part_vit_tiny", pretrained=str(out), input_size=SIZE, depth=DEPTH)


def _since(began: float) -> int:
    return round(time.process_time() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="shortens the stage")
    parser.add_argument("--weights", type=Path, default=ROOT / "xzoo" / "weights")
    parser.add_argument("--logs", type=Path, default=ROOT / "scripts" / "logs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
