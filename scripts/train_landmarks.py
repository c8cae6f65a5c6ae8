"""Train the house landmark network on generated thermal faces alone.

    OMP_NUM_THREADS=1 python scripts/train_landmarks.py

``thermal_fld_lite`` learns the 68 points that the generator knows of its own LWIR faces, by wing loss in pixels and the
likelihood of a Gaussian; the network, its losses' weights and every number here were chosen by this project, and no
teacher takes part. Other people's thermal crops look like the generator's in little but where things are: faces are
wider or longer, features warmer or colder than their surroundings, cameras and crops other. So every picture that is
learnt from has its features painted over, is turned, stretched row by row, bent, cut to any framing, and seen by
another gain control. Weights go to ``xzoo/weights``, a log to ``scripts/logs``; its last line holds figures of the file
that was written, on people kept out of training.

The weights given out are those of three runs, one after the other in the log, each cut off before its schedule ended:
2,000 steps of a schedule for 9,000; from there 2,000 of ``--steps 4000 --rate 2.5e-3 --seed 1``; from there 1,200 of
``--steps 1600 --rate 1.3e-3 --seed 2``. A single run of 5,000 steps has not been tried. ``--steps 0 --start FILE``
measures a file without training.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from train_house import HELD_OUT, ROOT, WORLD, Log

from xzoo import losses
from xzoo.data.people import face_labels, faces
from xzoo.data.people.traits import SESSION
from xzoo.data.preprocess import Preprocess
from xzoo.evaluation.landmarks import landmark_errors
from xzoo.families.landmark.model import LandmarkNet, build
from xzoo.families.landmark.options import Options
from xzoo.families.landmark.points import FLIPS, convert

NAME, TAG, SIDE = "thermal_fld_lite", "synth_v1", 112
NETWORK = Options(backbone="mobilenetv3_small_050", head="heatmap", points=68, input_size=SIDE, stride=16)
FIRST = 3_000_000
"""Subjects from here on: apart from those of other house weights, and from the strangers who are measured."""
DRAWN, TURN = 144, 1.7
"""Side of the pictures that are learnt from, and how much further their heads turn than by default."""
BATCH, WARM, RATE, DECAY, EMA = 64, 100, 3e-3, 1e-3, 0.998


def main() -> None:
    options = _options()
    log = Log(options.logs / f"{NAME}.{TAG}.jsonl")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    how = {"seed": options.seed, "steps": options.steps, "batch": BATCH, "rate": options.rate}
    start = options.start.name if options.start else None
    log.write(event="start", name=NAME, **how, start=start, world=WORLD, **versions)
    began = time.process_time()
    pictures, truth = drawn(options.subjects, options.work)
    log.write(event="drawn", subjects=options.subjects, pictures=len(pictures), first=FIRST, seconds=_since(began))
    torch.manual_seed(options.seed)
    model = build(NETWORK).train()
    if options.start is not None:
        model.load_state_dict(safetensors.torch.load_file(options.start))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.preprocess = Preprocess(size=(3, SIDE, SIDE), interpolation="bilinear")
    wing, gnll = losses.create("wing", side=SIDE), losses.create("gnll")
    steady = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    order: list[Tensor] = []
    recent = torch.zeros(2)
    for step in range(options.steps):
        for group in optimiser.param_groups:
            turn = 0.5 * (1 + math.cos(math.pi * step / options.steps))
            group["lr"] = options.rate * min(1.0, (step + 1) / WARM) * turn
        if not order:
            order = list(torch.randperm(len(pictures)).split(BATCH))
        rows = order.pop()
        images, points = varied(pictures[rows], truth[rows])
        out = model(model.preprocess.normalise(images).contiguous(memory_format=torch.channels_last))
        # The outline is seldom whole in a crop: the other points count twice.
        terms = torch.stack([wing(out, points) + wing(out[:, 17:], points[:, 17:]), gnll(out, points)])
        optimiser.zero_grad(set_to_none=True)
        terms.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimiser.step()
        steady.update_parameters(model)
        recent += terms.detach()
        if (step + 1) % 50 == 0:
            shown = {name: round(float(value) / 50, 4) for name, value in zip(("wing", "gnll"), recent, strict=True)}
            log.write(event="step", step=step + 1, **shown, seconds=_since(began))
            recent.zero_()
        if (step + 1) % 400 == 0:
            _save(steady.module, options.work / f"{NAME}.{step + 1}.safetensors")
    out_file = options.weights / f"{NAME}.{TAG}.safetensors"
    _save(steady.module, out_file)
    # The figures belong to the file: half precision, read back.
    final = build(NETWORK).eval()
    final.load_state_dict(safetensors.torch.load_file(out_file))
    final.preprocess = replace(model.preprocess)
    mean, framed = truth.mean(0), _framed()
    found = {
        **{camera: figures(final, mean, *_strangers(camera)) for camera in ("house", "blackhot_lowres")},
        **{f"framed_{looks}": figures(final, mean, *framed, **looked) for looks, looked in LOOKS.items()},
    }
    log.write(event="figures", subjects=len(HELD_OUT), seconds=_since(began), **found)
    print(json.dumps(found, indent=2))


def drawn(subjects: int, work: Path) -> tuple[Tensor, Tensor]:
    """Return two LWIR faces of each subject, uint8 ``[N, 1, DRAWN, DRAWN]``, and their points in shares of the side.

    They turn their heads much further than the pictures that recognition learns from.
    """
    file = work / f"landmarks_{subjects}_{DRAWN}.safetensors"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        who = torch.arange(FIRST, FIRST + subjects).repeat_interleave(2)
        when = torch.tensor([0, SESSION]).repeat(subjects)
        parts = [
            _draw(some, which, "house", DRAWN, TURN)
            for some, which in zip(who.split(512), when.split(512), strict=True)
        ]
        pictures, points = (torch.cat(column) for column in zip(*parts, strict=True))
        safetensors.torch.save_file({"pictures": pictures[:, :1].contiguous(), "points": points}, file)
    kept = safetensors.torch.load_file(file)
    return kept["pictures"], kept["points"]


def _draw(who: Tensor, when: Tensor, camera: str, size: int = SIDE, turn: float = 1.0) -> tuple[Tensor, Tensor]:
    pictures = faces(who, when, "LWIR", size=size, seed=WORLD, camera=camera, pose=turn)
    known = face_labels(who, when, spectrum="LWIR", size=size, seed=WORLD, pose=turn)
    return pictures, (known.points68 + 0.5) / size


def varied(pictures: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures as other cameras, other crops and other faces would show them, and where their points went.

    Args:
        pictures: uint8 ``[N, 1, DRAWN, DRAWN]``.
        points: Float ``[N, 68, 2]`` in shares of the side.

    Returns:
        uint8 ``[N, 3, SIDE, SIDE]`` and float ``[N, 68, 2]``.
    """
    grey = pictures.float() / 255
    made_up = torch.rand(len(grey)) < 0.5
    grey[made_up] = painted(grey[made_up], points[made_up])
    grey, points = moved(grey, points)
    mirrored = torch.rand(len(grey)) < 0.5
    grey = torch.where(mirrored[:, None, None, None], grey.flip(3), grey)
    turned = points[:, list(FLIPS[68])] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    points = torch.where(mirrored[:, None, None], turned, points)
    return (seen(grey, points) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1), points


STROKES = (
    # Points along which is painted, how bright or dark, and how broad: shares of the distance between the eyes.
    ((17, 18, 19, 20, 21), (-0.6, 0.1), (0.04, 0.10)),
    ((22, 23, 24, 25, 26), (-0.6, 0.1), (0.04, 0.10)),
    ((36, 39), (-0.2, 0.5), (0.10, 0.30)),
    ((42, 45), (-0.2, 0.5), (0.10, 0.30)),
    ((36, 41, 40, 39), (-0.4, 0.3), (0.02, 0.05)),
    ((42, 47, 46, 45), (-0.4, 0.3), (0.02, 0.05)),
    ((27, 30), (-0.4, 0.3), (0.06, 0.16)),
    ((31, 33, 35), (-0.4, 0.3), (0.03, 0.08)),
    ((32, 32), (-0.6, 0.1), (0.04, 0.09)),
    ((34, 34), (-0.6, 0.1), (0.04, 0.09)),
    ((60, 62, 64), (-0.7, 0.3), (0.02, 0.07)),
    ((48, 50, 51, 52, 54), (-0.4, 0.4), (0.04, 0.10)),
    ((48, 58, 57, 56, 54), (-0.4, 0.5), (0.04, 0.10)),
)
PAIRS = ((0, 1), (2, 3), (4, 5), (8, 9))
"""Strokes that are alike on both sides of a face."""


def painted(grey: Tensor, points: Tensor) -> Tensor:
    """Return faces whose brows, lids, nostrils and lips are warmer, colder, broader or finer than they were drawn."""
    count, cells = len(grey), DRAWN // 3
    places = (torch.arange(cells) + 0.5) / cells
    where = torch.stack(torch.meshgrid(places, places, indexing="xy"), 2).view(1, -1, 2)
    between = (points[:, 36:42].mean(1) - points[:, 42:48].mean(1)).norm(dim=1, keepdim=True).clamp(min=0.15)
    low, high = (torch.tensor([stroke[1][end] for stroke in STROKES]) for end in (0, 1))
    fine, broad = (torch.tensor([stroke[2][end] for stroke in STROKES]) for end in (0, 1))
    light = low + (high - low) * torch.rand(count, len(STROKES))
    light = light * (torch.rand(light.shape) < 0.6)
    width = (fine + (broad - fine) * torch.rand(light.shape)) * between
    for left, right in PAIRS:
        light[:, right], width[:, right] = light[:, left], width[:, left]
    paint = torch.zeros(count, cells * cells)
    for index, (line, _, _) in enumerate(STROKES):
        start, step = points[:, line[:-1]], points[:, line[1:]] - points[:, line[:-1]]
        far = torch.full((count, cells * cells), torch.inf)
        for part in range(len(line) - 1):
            away = where - start[:, part, None]
            along = (away @ step[:, part, :, None])[..., 0] / step[:, part].square().sum(1, keepdim=True).clamp(
                min=1e-6
            )
            far = torch.minimum(far, (away - along.clamp(0, 1)[..., None] * step[:, part, None]).square().sum(2))
        paint += light[:, index, None] * (far / (-2 * width[:, index, None].square())).exp()
    full = F.interpolate(paint.view(count, 1, cells, cells), size=DRAWN, mode="bilinear")
    return grey + full


def moved(grey: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return crops of any framing ``[N, 1, SIDE, SIDE]``, the faces turned, stretched and bent, and their points.

    The points' extent fills three fifths of the crop to a little more than all of it, in other proportions than drawn.
    """
    count = len(grey)
    angle, aspect = _uniform(count, -0.4, 0.4), _uniform(count, -0.2, 0.2).exp()
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([cosine * aspect, -sine * aspect, sine / aspect, cosine / aspect], 1).view(-1, 2, 2)
    inner = points * 2 - 1
    there = inner @ turn.transpose(1, 2)
    low, high = there.amin(1), there.amax(1)
    scale = 2 * _uniform(count, math.log(0.6), math.log(1.1)).exp() / (high - low).amax(1)
    shift = (
        torch.stack([_uniform(count, -0.25, 0.25), _uniform(count, -0.15, 0.3)], 1) - scale[:, None] * (low + high) / 2
    )
    turn = turn * scale[:, None, None]
    back = torch.linalg.inv(turn)
    # Rows slide apart or together all across the picture, and everything bends a little.
    rows = torch.randn(count, 2, 4, 1) * torch.tensor([0.03, 0.07])[:, None, None]
    bend = F.interpolate(
        rows + 0.04 * torch.randn(count, 2, 4, 4), size=(SIDE, SIDE), mode="bicubic", align_corners=True
    )
    size = [count, 1, SIDE, SIDE]
    grid = F.affine_grid(torch.cat([back, -back @ shift[:, :, None]], 2), size, align_corners=False)
    grid = grid + bend.permute(0, 2, 3, 1)
    padding = "zeros" if torch.rand(()) < 0.5 else "border"
    pictures = F.grid_sample(grey, grid, padding_mode=padding, align_corners=False)
    # Where a place of the picture went: bend(place) + back (place - shift) = inner, by fixed-point steps.
    places = inner @ turn.transpose(1, 2) + shift[:, None]
    for _ in range(8):
        off = F.grid_sample(bend, places[:, :, None], padding_mode="border", align_corners=False)[..., 0].transpose(
            1, 2
        )
        places = (inner - off) @ turn.transpose(1, 2) + shift[:, None]
    return pictures, (places + 1) / 2


def seen(grey: Tensor, points: Tensor) -> Tensor:
    """Return ``[N, 1, SIDE, SIDE]`` as other thermal cameras and their gain controls would show it, in 0..1."""
    count = len(grey)

    def some(share: float) -> Tensor:
        return (torch.rand(count) < share)[:, None, None, None]

    def level(low: float, high: float) -> Tensor:
        return _uniform(count, low, high)[:, None, None, None]

    for cells, most in ((int(torch.randint(3, 7, ())), 0.12), (int(torch.randint(8, 24, ())), 0.04)):
        cloud = F.interpolate(
            torch.randn(count, 1, cells, cells), size=(SIDE, SIDE), mode="bicubic", align_corners=False
        )
        grey = grey + level(-0.5 * most, most).clamp(min=0) * cloud
    # Detail is raised over its surroundings.
    few = int(torch.randint(5, 16, ()))
    around = F.interpolate(grey, size=(few, few), mode="area")
    around = F.interpolate(around, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    raised = around * level(0.2, 1.0) + (grey - around) * level(1.0, 2.5)
    grey = torch.where(some(0.4), raised, grey)
    # Gain control: some mean and some contrast of the face.
    spots = torch.cat([points, (points[:, :34] + points[:, 34:]) / 2], 1) * 2 - 1
    face = F.grid_sample(grey, spots[:, :, None], padding_mode="border", align_corners=False)[:, 0]
    mean, spread = face.mean(1)[..., None, None], face.std(1).clamp(min=0.04)[..., None, None]
    contrast = level(0.08, 0.3)
    grey = (grey - mean) / spread * contrast + level(0.3, 0.85)
    grey = grey.clamp(0.0, 1.0) ** level(-0.5, 0.5).exp()
    grey = torch.where(some(0.15), 1 - grey, grey)
    if torch.rand(()) < 0.3:
        small = int(torch.randint(36, SIDE, ()))
        grey = F.interpolate(grey, size=(small, small), mode="bilinear", antialias=True)
        grey = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear")
    grain = torch.randn(grey.shape)
    grain = torch.where(some(0.3), 2 * F.avg_pool2d(grain, 3, 1, 1), grain)
    grey = grey + contrast * level(-0.2, 0.4).clamp(min=0) * grain
    # Something in front, and the black bars of crops that are not square.
    ends = torch.rand(count, 2, 2).sort(2).values
    rows = torch.arange(SIDE) / SIDE
    covers = (rows > ends[:, :, :1]) & (rows < ends[:, :, :1] + 0.4 * (ends[:, :, 1:] - ends[:, :, :1]))
    cover = covers[:, 0, :, None] & covers[:, 1, None, :]
    grey = torch.where(cover[:, None] & some(0.15), level(0.0, 1.0), grey)
    bar = _uniform(count, -0.15, 0.2).clamp(min=0)[:, None]
    bars = (rows < bar) | (rows >= 1 - bar)
    sides = torch.rand(count)[:, None, None] < 0.8
    bars = torch.where(sides, bars[:, None, :], bars[:, :, None] & (bar[:, None] < 0.1))
    return grey.masked_fill(bars[:, None], 0.0).clamp(0.0, 1.0)


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count).uniform_(low, high)


def figures(model: LandmarkNet, mean: Tensor, pictures: Tensor, truth: Tensor, **looked: Any) -> dict[str, object]:
    """Return errors on two faces of each stranger, and those of a face that is always the mean one."""
    told = (model.landmarks(list(pictures), **looked) + 0.5) / SIDE
    rows: dict[str, object] = {}
    for points in (68, 54, 5):
        for name, guess in (("", told), ("_mean_face", mean.expand_as(told))):
            how: Any = "eye_centres" if points == 5 else "outer_eyes"
            who = torch.tensor(HELD_OUT).repeat_interleave(2).tolist()
            found = landmark_errors(convert(guess, points), convert(truth, points), how, subject=who)
            rows[f"nme_{points}{name}"] = {
                "value": round(found.nme, 5),
                "ci95": [round(float(end), 5) for end in tuple(found.interval["nme"])[:2]],
                "failure_rate": round(found.failure_rate, 5),
                "images": found.n_images,
                "regions": {part: round(value, 5) for part, value in found.regions.items()},
            }
    return rows


LOOKS: dict[str, dict[str, Any]] = {
    "once": {},
    "twice": {"passes": 2},
    "once_mirrored": {"mirrored": True},
    "twice_mirrored": {"passes": 2, "mirrored": True},
}
"""Ways to look at crops of any framing."""


def _strangers(camera: str) -> tuple[Tensor, Tensor]:
    """Return two untouched faces of each stranger, ``[N, 3, SIDE, SIDE]``, and their points."""
    who = torch.tensor(HELD_OUT).repeat_interleave(2)
    return _draw(who, torch.tensor([0, SESSION]).repeat(len(HELD_OUT)), camera)


def _framed() -> tuple[Tensor, Tensor]:
    """Return two faces of each stranger in crops of any framing, turned and bent, but of untouched light."""
    who = torch.tensor(HELD_OUT).repeat_interleave(2)
    pictures, points = _draw(who, torch.tensor([0, SESSION]).repeat(len(HELD_OUT)), "house", DRAWN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crops, points = moved(pictures[:, :1].float() / 255, points)
    return (crops.clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1), points


def _save(model: torch.nn.Module, file: Path) -> None:
    """Write the weights in half precision."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {"format": "pt", "licence": "Apache-2.0", "tag": f"{NAME}.{TAG}"}
    safetensors.torch.save_file(state, file, metadata=metadata)


def _since(began: float) -> int:
    return round(time.process_time() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=8_000, help="people who are learnt from, two faces of each")
    parser.add_argument("--steps", type=int, default=9_000)
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate after the first steps")
    parser.add_argument("--start", type=Path, help="weights of an earlier run to begin from")
    parser.add_argument("--weights", type=Path, default=ROOT / "xzoo" / "weights")
    parser.add_argument("--logs", type=Path, default=ROOT / "scripts" / "logs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "house", help="pictures are kept here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
