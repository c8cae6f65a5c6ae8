"""Train the house weights for whole people, on generated people alone.

    OMP_NUM_THREADS=2 python scripts/train_body.py vis        # tag vis_v2, from nothing
    OMP_NUM_THREADS=2 python scripts/train_body.py bands      # tag synth_v1

A part vision transformer of four blocks learns in two stages, in an hour of two cores. From random weights it does
not: neither the recipe ``body_md`` nor contrast left chance across bands, and contrast in VIS led to colours of
clothes, which no other band shows. So it starts (``start``) from closed forms: it reads energies of edges without
their sign, place by place, along discriminants of people seen in VIS. A rate of 5e-4 took that start away within
200 steps. Then:

``vis``: pictures of one day in VIS alone, near and from 500 m. Supervised contrast (Khosla et al., arXiv 2004.11362)
over strangers in a batch, some pictures through a random tone curve (``looks``), while a layer on top tells what the
generator knows of the person and the clothes. This is the place of the paper's pretraining on LUPerson, and tag
``vis_v2``.

``bands``: the same, with a picture of everybody in each of the five bands. This is tag ``synth_v1``. The file that is
shipped started from ``vis_v1``, an earlier and shorter run of the first stage (4,000 people, 300 steps; its log is
kept). A rerun starts from ``vis_v2``.

``xzoo reproduce body`` starts from ``vis_v2``. Nobody drawn here is drawn for any figure. A log goes to
``scripts/logs``; its last line holds figures of the files that were written.
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
import torch
from torch import Tensor
from torch.nn import functional as F
from train_house import HELD_OUT, ROOT, WORLD, Log, save_half

import xzoo
from xzoo.catalog.names import SPECTRA
from xzoo.data.people import bodies
from xzoo.data.people.clothes import wardrobe
from xzoo.data.people.gait import BUILD, build
from xzoo.data.people.traits import SESSION, person
from xzoo.evaluation import Pixels, retrieval, wilson
from xzoo.losses.contrastive import supcon

NAME, SIZE, DEPTH = "body_md_tiny", (192, 64), 4
FIRST = 5_000_000
"""Subjects from here on: apart from the strangers who are measured, and from those of the tables."""
FAR = {"VIS": 500.0, "NIR": 30.0, "SWIR": 30.0, "MWIR": 30.0, "LWIR": 30.0}
"""Metres of every second picture, as in IJB-MDF; the others are near."""
KINDS, SMALL = 48, 0.2
"""Of edges that the start tells apart, and the size of what a patch looks like beside them."""
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
    people: int  # in a batch, each near and far in the only band, or once in every band
    steps: int
    rate: float
    share: float  # of pictures shown as another band might see them


STAGES = {
    "vis": Stage("vis", "vis_v2", ("VIS",), FIRST, 16_000, 64, 3_000, 1.5e-4, 0.4),
    "bands": Stage("bands", "synth_v1", SPECTRA, FIRST + 10_000, 2_400, 24, 450, 3e-4, 0.2),
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
        some = pictures["VIS"][:2_000]
        start(model.eval(), some[:160, :3].flatten(0, 1).float() / 255.0, some)
    learn(model, stage, pictures, known, log, seen, seed=options.seed + 1 - first, began=began)
    found = figures(_kept(model, options.weights / f"{NAME}.{stage.tag}.safetensors", stage.tag), seen)
    log.write(event="figures", subjects=len(HELD_OUT), seconds=_since(began), trained=found, **before)
    print(json.dumps(found, indent=2))


@torch.no_grad()
def start(model: Any, sample: Tensor, pictures: Tensor) -> None:
    """Give a random network a start that already reads edges, place by place, from closed forms.

    The first block's perceptron tells the energy of edges in 48 kinds (six directions, two widths, four cells of a
    patch): pairs of opposite filters (Gabor, 1946) whose sum has no sign, so that it is the same where a band shows
    light for dark. The norm before it takes contrast away, as in histograms of gradients. The next two perceptrons
    hold a linear reading for each of the 48 places, hidden units of a place being open only there: the axes of
    linear discriminants (Fisher, 1936) of all energies of a picture, from people in ``pictures`` alone. The last
    block gathers them.

    Args:
        model: A ``part_vit`` of four blocks, 192 wide, for 192x64 pixels.
        sample: Float ``[M, 3, H, W]`` in 0..1, by which scales are set.
        pictures: Uint8 ``[N, V, 3, H, W]``, V of each person.
    """
    net, wide, count = model.backbone, model.width, math.prod(model.backbone.patch_embed.grid_size)
    basis = torch.linalg.qr(torch.cat([torch.ones(wide, 1), torch.randn(wide, wide - 1)], 1))[0][:, 1:]
    edge, place, told = basis[:, :KINDS], basis[:, KINDS : KINDS + count], basis[:, KINDS + count :]
    seen = torch.cat([edge, told], 1)  # blind to places
    for block in net.blocks:
        for layer in (block.attn.qkv, block.mlp.fc1):
            torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            layer.bias.zero_()
        torch.nn.init.normal_(block.attn.proj.weight, std=0.01 * wide**-0.5)
        for tensor in (block.attn.proj.bias, block.mlp.fc2.weight, block.mlp.fc2.bias):
            tensor.zero_()

    patches = F.unfold((sample - 0.5) / 0.5, 16, stride=16).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    power, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    power, axes = power.flip(0)[: seen.shape[1]], axes.flip(1)[:, : seen.shape[1]]
    filters = seen @ (axes * (power + 1e-4 * power[0]) ** -0.35).T  # not wholly whitened: what is rare stays small
    filters = filters * SMALL / ((patches - mean) @ filters.T).square().mean().sqrt()
    net.patch_embed.proj.weight.copy_(filters.view_as(net.patch_embed.proj.weight))
    net.patch_embed.proj.bias.copy_(-filters @ mean)
    others = 0.1 * (edge @ torch.randn(KINDS, 4)).T
    net.pos_embed.copy_(torch.cat([others, 0.5 * SMALL * wide**0.5 * place.T])[None])
    net.cls_token.zero_()
    net.reg_token.zero_()

    _energies(model, sample, patches, edge, seen)
    groups = torch.stack([_energies_of(model, view, edge) for view in pictures.unbind(1)], 1)
    _readings(model, sample, groups, edge, place, told)

    last = net.blocks[3]
    last.attn.qkv.weight.mul_(0.02)  # looks everywhere
    last.attn.qkv.weight[2 * wide : 2 * wide + told.shape[1]] = told.T
    last.attn.proj.weight.zero_()
    last.attn.proj.weight[:, : told.shape[1]] = 0.3 * (4 + count) * told
    torch.nn.init.normal_(last.mlp.fc2.weight, std=0.01 * last.mlp.fc2.in_features**-0.5)
    last.attn.proj.bias.copy_(-_inside(model, 3, sample)[:, :4].mean((0, 1)))


def _inside(model: Any, number: int, images: Tensor) -> Tensor:
    """Return what comes to a block's perceptron, before its norm, of pictures ``[N, 3, H, W]`` in 0..1."""
    found: list[Tensor] = []
    hook = model.backbone.blocks[number].norm2.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    for some in images.split(128):
        model((some - 0.5) / 0.5)
    hook.remove()
    return torch.cat(found)


def _edges() -> tuple[Tensor, Tensor]:
    """Return filters ``[F, 256]`` of a grey patch, and which of them are of one kind, ``[KINDS, F]``, means."""
    y, x = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
    filters, kinds = [], []
    for wave, cells in ((5.0, (-6.0, -2.0, 2.0, 6.0)), (9.0, (-4.0, 4.0))):
        for turn in range(6):
            angle = math.pi * turn / 6
            for down in cells:
                for across in cells:
                    along = (x - across) * math.cos(angle) + (y - down) * math.sin(angle)
                    window = torch.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * (wave * 0.4) ** 2))
                    for phase in (0.0, math.pi / 2):
                        drawn = window * torch.cos(2 * math.pi * along / wave + phase)
                        drawn = drawn - window * (drawn.sum() / window.sum())
                        filters.append(drawn / drawn.norm())
                        kinds.append((wave > 6, turn, down > 0, across > 0))
    names = sorted(set(kinds))
    alike = torch.tensor([[float(kind == name) for kind in kinds] for name in names])
    return torch.stack(filters).flatten(1), alike / alike.sum(1, keepdim=True)


def _energies(model: Any, sample: Tensor, patches: Tensor, edge: Tensor, seen: Tensor) -> None:
    """Set the first block's perceptron: energies of edges, partly whitened, into ``edge``."""
    mlp = model.backbone.blocks[0].mlp
    filters, alike = _edges()
    tokens = _inside(model, 0, sample)[:, 4:].flatten(0, 1)
    wanted = patches.view(-1, 3, 256).mean(1) @ filters.T
    apart = tokens - tokens.mean(0)
    spread = apart.T @ apart / len(apart)
    spread = spread + 1e-4 * spread.diagonal().mean() * torch.eye(len(spread))
    rows = torch.linalg.solve(spread, apart.T @ (wanted - wanted.mean(0)) / len(apart)).T
    rows = rows @ seen @ seen.T
    normed = F.layer_norm(tokens, tokens.shape[1:])
    rows = rows * (2.0 / (normed @ rows.T).std(0))[:, None]
    mlp.fc1.weight[: 2 * len(rows)] = torch.cat([rows, -rows])
    found = (F.gelu(normed @ rows.T) + F.gelu(-normed @ rows.T)) @ alike.T
    mean = found.mean(0)
    power, axes = torch.linalg.eigh((found - mean).T @ (found - mean) / len(found))
    whiten = (axes * (power + 1e-3 * power.max()) ** -0.35) @ axes.T
    size = 3.0 / ((found - mean) @ whiten).square().mean().sqrt()
    out = size * edge @ whiten
    mlp.fc2.weight[:, : 2 * len(rows)] = torch.cat([out @ alike, out @ alike], 1)
    mlp.fc2.bias.copy_(-out @ mean)


def _readings(model: Any, sample: Tensor, energies: Tensor, edge: Tensor, place: Tensor, told: Tensor) -> None:
    """Set two perceptrons: what energies ``[N, V, places * KINDS]`` of people tell them apart by, into ``told``."""
    count, half = place.shape[1], 15  # hidden units of a place in a block, besides one that is taken away
    mean, axes = _discriminants(energies, told.shape[1])
    reading = axes.T.reshape(-1, count, KINDS).transpose(0, 1)
    rows = energies[:1000].flatten(0, 1).view(-1, count, KINDS)
    scale = 7.0 / ((energies[:500].flatten(0, 1) - mean) @ axes).std()
    before = _normed(model, 1, sample)
    for number, first in ((1, 0), (2, half)):
        mlp, tokens = model.backbone.blocks[number].mlp, _normed(model, number, sample)
        sharp = 10.0 / (tokens * place.T).sum(-1).quantile(0.05)
        ratio = (tokens @ edge).std() / (before @ edge).std()
        mlp.fc1.weight.zero_()
        for spot in range(count):
            here = rows[:, spot]
            middle = here.mean(0)
            power, turn = torch.linalg.eigh((here - middle).T @ (here - middle) / len(here) + 1e-4 * torch.eye(KINDS))
            root = power.clamp(min=1e-4).sqrt()
            out, size, into = torch.linalg.svd(reading[spot] @ (turn * root) @ turn.T, full_matrices=False)
            into = into[first : first + half] @ (turn / root) @ turn.T
            out = scale * told @ (out * size)[:, first : first + half]
            units = slice((half + 1) * spot, (half + 1) * spot + half)
            mlp.fc1.weight[units] = into / ratio @ edge.T + sharp * place[:, spot]
            mlp.fc1.bias[units] = -(into @ middle) - 5.0
            mlp.fc1.weight[units.stop], mlp.fc1.bias[units.stop] = sharp * place[:, spot], -5.0
            mlp.fc2.weight[:, units], mlp.fc2.weight[:, units.stop] = out, -out.sum(1)


def _energies_of(model: Any, pictures: Tensor, edge: Tensor) -> Tensor:
    return torch.cat([(_normed(model, 1, some.float() / 255) @ edge).flatten(1) for some in pictures.split(256)])


def _normed(model: Any, number: int, images: Tensor) -> Tensor:
    tokens = _inside(model, number, images)[:, 4:]
    return F.layer_norm(tokens, tokens.shape[2:])


def _discriminants(groups: Tensor, dims: int, most: int = 600, ridge: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return the mean and the linear discriminants ``[D, dims]`` of people ``[N, V, D]``, behind principal axes."""
    rows = groups.flatten(0, 1)
    mean, most = rows.mean(0), min(most, len(rows) // 2)
    axes = torch.pca_lowrank(rows - mean, q=most, center=False, niter=2)[2]
    found = ((rows - mean) @ axes).view(*groups.shape[:2], most)
    middle = found.mean(1)
    inner = (found - middle[:, None]).flatten(0, 1)
    within = inner.T @ inner / len(inner)
    within = within + ridge * within.diagonal().mean() * torch.eye(most)
    power, turn = torch.linalg.eigh(within)
    whiten = turn / power.sqrt()
    middle = (middle - middle.mean(0)) @ whiten
    best = torch.linalg.eigh(middle.T @ middle / len(middle))[1][:, -dims:]
    return mean, axes @ whiten @ best


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
    recent: list[tuple[float, float]] = []
    for step in range(stage.steps):
        rate = stage.rate * min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / stage.steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        who = torch.randperm(len(known), generator=chance)[: stage.people]
        images = batch(pictures, who, chance)
        same = who.repeat(len(images) // len(who))
        found = model(looks(images, chance, stage.share).sub_(0.5).div_(0.5))
        contrast = supcon(found, labels=same)
        wrong = F.mse_loss(tell(found), known[same])
        loss = contrast + 0.5 * wrong
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 5.0)
        optimiser.step()
        recent.append((contrast.item(), wrong.item()))
        if not math.isfinite(loss.item()):
            raise SystemExit(f"the loss is {loss.item()} at step {step} of stage {stage.name}")
        if (step + 1) % 50 == 0:
            means = [round(sum(column) / len(recent), 4) for column in zip(*recent, strict=True)]
            facts: dict[str, object] = {"contrast": means[0], "told": means[1]}
            if (step + 1) % 500 == 0:
                model.eval()
                facts |= {band: row["rank1"] for band, row in figures(model, seen).items()}
                model.train()
            log.write(event="step", stage=stage.name, step=step + 1, **facts, lr=round(rate, 7), seconds=_since(began))
            recent = []
    model.eval()


def batch(pictures: dict[str, Tensor], who: Tensor, chance: torch.Generator) -> Tensor:
    """Return pictures of some subjects, float ``[K * P, 3, H, W]`` in 0..1.

    Of one band, one near picture of each and one far; of several, one of each in every band.
    """

    def some(count: int, *size: int) -> Tensor:
        return torch.randint(count, size, generator=chance)

    if len(pictures) == 1:
        (every,) = pictures.values()
        parts = [every[who, 2 * int(some(every.shape[1] // 2, 1)) + far] for far in (0, 1)]
    else:
        parts = [every[who, some(every.shape[1], len(who))].expand(-1, 3, -1, -1) for every in pictures.values()]
    return torch.cat(parts).float() / 255.0


def looks(images: Tensor, chance: torch.Generator, share: float) -> Tensor:
    """Return pictures ``[B, 3, H, W]`` in 0..1 as other bands might show them, after ``augment``.

    A share of them is a random mixture of the channels through a random tone curve, which may turn light into dark;
    all may be blurred or sharpened, and get noise.
    """
    count, _, high, wide = images.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance)

    mixture = -uniform(count, 3).clamp(min=1e-6).log()
    grey = (images * (mixture / mixture.sum(1, keepdim=True))[:, :, None, None]).sum(1, keepdim=True)
    chosen = uniform(count) < share
    knots, turned, strength = uniform(count, 6), uniform(count, 1) < 0.5, uniform(count, 1)
    line = torch.linspace(0, 1, 6).expand(count, 6)
    curve = torch.where(turned, 1 - line, line).lerp(knots, strength)
    at = (grey.clamp(0, 1) * 5).flatten(1)
    low = at.floor().clamp(max=4).long()
    bent = curve.gather(1, low).lerp(curve.gather(1, low + 1), at - low).view_as(grey)
    grey = torch.where((uniform(count) < 0.8)[:, None, None, None], bent, grey)
    images = torch.where(chosen[:, None, None, None], grey, images)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    binomial = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
    down = sum(part * padded[:, :, at : at + high] for at, part in enumerate(binomial))
    soft = sum(part * down[:, :, :, at : at + wide] for at, part in enumerate(binomial))
    amount = (uniform(count) * 1.4 - 0.4) * (uniform(count) < 0.4)
    images = images.lerp(soft, amount[:, None, None, None])
    noise = 0.03 * uniform(count)[:, None, None, None] * torch.randn(images.shape, generator=chance)
    return augment((images + noise).clamp(0, 1), chance)


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
    """Return pictures of each subject by band, uint8 ``[N, V, 1 or 3, H, W]``, and what is known ``[N, T]``.

    Near and far in turn: two of each, four where there is one band.
    """
    who = torch.arange(stage.first, stage.first + stage.subjects)
    pictures = {}
    for place, band in enumerate(stage.bands):
        views = []
        moments = [(place, None), ((place + 5) % SESSION, FAR[band])]
        if len(stage.bands) == 1:
            moments += [(2, None), (7, FAR[band])]
        for moment, distance in moments:
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
    save_half(model, out, f"{NAME}.{tag}")
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
