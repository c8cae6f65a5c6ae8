"""Train the house landmark networks on generated people alone: one of colour pictures, and a thermal one taught by it.

    OMP_NUM_THREADS=1 python scripts/train_landmarks.py rgb_fld_lite        # the teacher, from labels
    OMP_NUM_THREADS=1 python scripts/train_landmarks.py thermal_fld_lite    # begins as the teacher is

Both learn the 68 points that the generator knows of its own faces, by wing loss in pixels and the likelihood of a
Gaussian. The thermal network sees the same moments as its frozen teacher sees in colour, pixel on pixel, and besides
learns by the loss ``dikd`` of the recipe ``mlcm_kd``: the teacher's features through its own head, its own features
through the teacher's, fading by a cosine to nothing at the last step. The network, the losses' weights and every number
here were chosen by this project.

Other people's crops look like the generator's in little but where things are: faces are wider or longer, features
warmer or colder than their surroundings, cameras and crops other. So every picture that is learnt from is turned,
stretched row by row, bent and cut to any framing, both bands alike; and each band has its own light: features of
thermal faces are painted over and seen by another gain control, colours shift and fade. Weights go to
``xzoo/weights``, a log to ``scripts/logs``; its last line holds figures of the file that was written, on people kept
out of training. ``--steps 0 --start FILE`` measures a file without training.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import timm
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from train_house import HELD_OUT, ROOT, WORLD, Log, save_half

from xzoo import losses
from xzoo.data.people import face_labels, faces
from xzoo.data.people.traits import SESSION
from xzoo.data.preprocess import Preprocess
from xzoo.evaluation.landmarks import landmark_errors
from xzoo.families.landmark.model import LandmarkNet, build
from xzoo.families.landmark.options import Options
from xzoo.families.landmark.points import FLIPS, convert
from xzoo.hub import sha256_of
from xzoo.losses.dikd import Dikd, still_statistics


class House(NamedTuple):
    """What makes one of the two networks."""

    tag: str
    spectrum: str
    steps: int
    teacher: str | None = None


HOUSES = {
    "rgb_fld_lite": House("synth_v1", "VIS", 2_400),
    "thermal_fld_lite": House("synth_v2", "LWIR", 4_500, teacher="rgb_fld_lite"),
}
SIDE = 112
NETWORK = Options(backbone="mobilenetv3_small_050", head="heatmap", points=68, input_size=SIDE, stride=16)
FIRST = 3_000_000
"""Subjects from here on: apart from those of other house weights, and from the strangers who are measured."""
DRAWN, TURN = 144, 1.7
"""Side of the pictures that are learnt from, and how much further their heads turn than by default."""
BATCH, WARM, RATE, DECAY, EMA = 64, 100, 3e-3, 1e-3, 0.998
LAMBDA = 1.0
"""Weight of ``dikd`` at the first step."""


def main() -> None:
    options = _options()
    name, house = options.name, HOUSES[options.name]
    steps = house.steps if options.steps is None else options.steps
    log = Log(options.logs / f"{name}.{house.tag}.jsonl")
    versions = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    how = {"seed": options.seed, "steps": steps, "batch": BATCH, "rate": options.rate}
    start = options.start.name if options.start else None
    log.write(event="start", name=name, tag=house.tag, **how, start=start, world=WORLD, **versions)
    began = time.process_time()
    bands = ("VIS",) if house.teacher is None else ("VIS", "LWIR")
    pictures, truth = zip(*(drawn(options.subjects, band, options.work) for band in bands), strict=True)
    assert all(points.equal(truth[0]) for points in truth), "both cameras see a face in the same place"
    log.write(event="drawn", subjects=options.subjects, pictures=len(truth[0]), first=FIRST, seconds=_since(began))
    torch.manual_seed(options.seed)
    model = build(NETWORK).train()
    teacher = None
    if house.teacher is not None:
        file = options.weights / f"{house.teacher}.{HOUSES[house.teacher].tag}.safetensors"
        teacher = _read(file)
        model.load_state_dict(teacher.state_dict())
        log.write(event="taught", teacher=file.stem, sha256=sha256_of(file), weight=LAMBDA, decay="cosine")
    if options.start is not None:
        model.load_state_dict(safetensors.torch.load_file(options.start))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steady = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, fused=True)
    lesson = Lesson(model, teacher)
    order: list[Tensor] = []
    recent: dict[str, float] = {}
    for step in range(steps):
        left = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / WARM) * left
        if not order:
            order = list(torch.randperm(len(truth[0])).split(BATCH))
        rows = order.pop()
        views, points = varied([band[rows] for band in pictures], truth[0][rows])
        terms = lesson(views, points, LAMBDA * left)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimiser.step()
        steady.update_parameters(model)
        for term, value in (terms | lesson.parts).items():
            recent[term] = recent.get(term, 0.0) + float(value.detach()) / 50
        if (step + 1) % 50 == 0:
            shown = {term: round(value, 4) for term, value in recent.items()}
            log.write(event="step", step=step + 1, **shown, seconds=_since(began))
            recent = {}
        if (step + 1) % 400 == 0:
            save_half(steady.module, options.work / f"{name}.{step + 1}.safetensors", f"{name}.{house.tag}")
    out_file = options.weights / f"{name}.{house.tag}.safetensors"
    save_half(steady.module, out_file, f"{name}.{house.tag}")
    # The figures belong to the file: half precision, read back.
    final = _read(out_file)
    mean, framed = truth[0].mean(0), _framed(house.spectrum)
    found = {
        **{
            camera: figures(final, mean, *_strangers(camera, house.spectrum)) for camera in ("house", "blackhot_lowres")
        },
        **{f"framed_{looks}": figures(final, mean, *framed, **looked) for looks, looked in LOOKS.items()},
    }
    log.write(event="figures", subjects=len(HELD_OUT), sha256=sha256_of(out_file), seconds=_since(began), **found)
    print(json.dumps(found, indent=2))


class Lesson:
    """What a network is to answer to a batch, and what it is to have in common with its teacher.

    Args:
        model: Who learns, from the last of the views.
        teacher: Frozen, looks at the first; None where labels alone teach.
    """

    def __init__(self, model: LandmarkNet, teacher: LandmarkNet | None) -> None:
        self.model, self.teacher = model, teacher
        self.wing, self.gnll = losses.create("wing", side=SIDE), losses.create("gnll")
        self.dikd = Dikd(side=SIDE)
        self.head = still_statistics(model)

    @property
    def parts(self) -> dict[str, Tensor]:
        """Terms of ``dikd`` in the last batch, before they are weighted."""
        return self.dikd.parts

    def __call__(self, views: list[Tensor], points: Tensor, weight: float) -> dict[str, Tensor]:
        """Return the terms of the loss, weighted.

        Args:
            views: Normalised pictures ``[N, 3, SIDE, SIDE]`` of each band.
            points: Float ``[N, 68, 2]`` in shares of the side.
            weight: Of ``dikd``.
        """
        ours = self.model.trunk(views[-1])
        out = self.model.project(ours)
        # The outline is seldom whole in a crop: the other points count twice.
        terms = {
            "wing": self.wing(out, points) + self.wing(out[:, 17:], points[:, 17:]),
            "gnll": self.gnll(out, points),
        }
        if self.teacher is None:
            return terms
        with torch.no_grad():
            theirs = self.teacher.trunk(views[0])

        def head(features: Tensor) -> Tensor:
            return out if features is ours else self.head(features)  # what was said of its own map is known

        taught = self.dikd(ours, theirs, student_head=head, teacher_head=self.teacher.project, truth=points)
        return terms | {"dikd": weight * taught}


def drawn(subjects: int, spectrum: str, work: Path) -> tuple[Tensor, Tensor]:
    """Return two faces of each subject, and their points in shares of the side.

    They turn their heads much further than the pictures that recognition learns from. Another band shows the same
    moments in the same places.

    Returns:
        uint8 ``[N, C, DRAWN, DRAWN]``, of three channels in VIS and one in any other band, and float ``[N, 68, 2]``.
    """
    file = work / f"landmarks_{spectrum}_{subjects}_{DRAWN}.safetensors"
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        who = torch.arange(FIRST, FIRST + subjects).repeat_interleave(2)
        when = torch.tensor([0, SESSION]).repeat(subjects)
        channels = 3 if spectrum == "VIS" else 1
        parts = []
        for some, which in zip(who.split(512), when.split(512), strict=True):
            pictures, points = _draw(some, which, spectrum, "house", DRAWN, TURN)
            parts.append((pictures[:, :channels].contiguous(), points))
        pictures, points = (torch.cat(column) for column in zip(*parts, strict=True))
        safetensors.torch.save_file({"pictures": pictures, "points": points}, file)
    kept = safetensors.torch.load_file(file)
    return kept["pictures"], kept["points"]


def _draw(
    who: Tensor, when: Tensor, spectrum: str, camera: str, size: int = SIDE, turn: float = 1.0
) -> tuple[Tensor, Tensor]:
    pictures = faces(who, when, spectrum, size=size, seed=WORLD, camera=camera, pose=turn)
    known = face_labels(who, when, spectrum=spectrum, size=size, seed=WORLD, pose=turn)
    return pictures, (known.points68 + 0.5) / size


def varied(bands: list[Tensor], points: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return pictures as other cameras, other crops and other faces would show them, and where their points went.

    All bands are turned, bent, cut, mirrored and covered alike; the light of each is its own.

    Args:
        bands: Of each band uint8 ``[N, C, DRAWN, DRAWN]``: three channels are colour, one is thermal.
        points: Float ``[N, 68, 2]`` in shares of the side.

    Returns:
        Of each band normalised float ``[N, 3, SIDE, SIDE]``, channels last in memory; and float ``[N, 68, 2]``.
    """
    channels = [band.shape[1] for band in bands]
    light = [band.float() / 255 for band in bands]
    for band in light:
        if band.shape[1] == 1:
            made_up = torch.rand(len(band)) < 0.5
            band[made_up] = painted(band[made_up], points[made_up])
    pictures, points = moved(torch.cat(light, 1), points)
    mirrored = torch.rand(len(pictures)) < 0.5
    pictures[mirrored] = pictures[mirrored].flip(3)
    turned = points[:, list(FLIPS[68])] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    points = torch.where(mirrored[:, None, None], turned, points)
    taken = [seen(part, points) if part.shape[1] == 1 else lit(part) for part in pictures.split(channels, 1)]
    whole = covered(torch.cat(taken, 1)) * 2 - 1
    views = [
        part.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last) for part in whole.split(channels, 1)
    ]
    return views, points


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
    between = (points[:, 36:42].mean(1) - points[:, 42:48].mean(1)).norm(dim=1, keepdim=True).clamp(min=0.15)
    low, high = (torch.tensor([stroke[1][end] for stroke in STROKES]) for end in (0, 1))
    fine, broad = (torch.tensor([stroke[2][end] for stroke in STROKES]) for end in (0, 1))
    light = low + (high - low) * torch.rand(count, len(STROKES))
    light = light * (torch.rand(light.shape) < 0.6)
    width = (fine + (broad - fine) * torch.rand(light.shape)) * between
    for left, right in PAIRS:
        light[:, right], width[:, right] = light[:, left], width[:, left]
    paint = torch.zeros(count, cells, cells)
    for index, (line, _, _) in enumerate(STROKES):
        start, step = points[:, line[:-1]], points[:, line[1:]] - points[:, line[:-1]]
        far = torch.full((count, cells, cells), torch.inf)
        for part in range(len(line) - 1):
            # Squared distance from a stretch: columns and rows apart, less what lies along it.
            x, y = (places - start[:, part, axis, None] for axis in (0, 1))
            dx, dy = step[:, part, :, None].unbind(1)
            length = (dx.square() + dy.square()).clamp(min=1e-6)
            along = (y * dy / length)[:, :, None] + (x * dx / length)[:, None]
            inner = along.clamp(0, 1)
            off = (inner - 2 * along).mul_(inner).mul_(length[:, :, None])
            off += y.square()[:, :, None]
            off += x.square()[:, None]
            far = torch.minimum(far, off)
        paint += light[:, index, None, None] * far.div_(-2 * width[:, index, None, None].square()).exp_()
    return grey + F.interpolate(paint[:, None], size=DRAWN, mode="bilinear")


def moved(grey: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return crops of any framing ``[N, C, SIDE, SIDE]``, the faces turned, stretched and bent, and their points.

    The points' extent fills three fifths of the crop to a little more than all of it, in other proportions than drawn.
    """
    count, channels = grey.shape[:2]
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
    size = [count, channels, SIDE, SIDE]
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
    grey = _coarser(grey)
    grain = torch.randn(grey.shape)
    grain = torch.where(some(0.3), 2 * F.avg_pool2d(grain, 3, 1, 1), grain)
    grey = grey + contrast * level(-0.2, 0.4).clamp(min=0) * grain
    return grey.clamp(0.0, 1.0)


def lit(colour: Tensor) -> Tensor:
    """Return ``[N, 3, SIDE, SIDE]`` in other light and by other cameras, in 0..1."""
    count = len(colour)

    def level(low: float, high: float, channels: int = 1) -> Tensor:
        return _uniform(count * channels, low, high).view(count, channels, 1, 1)

    # Light from elsewhere, of another colour.
    cells = int(torch.randint(2, 6, ()))
    cloud = F.interpolate(torch.randn(count, 1, cells, cells), size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    gain = (level(-0.4, 0.3) + level(-0.15, 0.15, 3)).exp()
    colour = colour * (cloud * level(-0.2, 0.3).clamp(min=0)).exp() * gain
    grey = colour.mean(1, keepdim=True)
    faded = torch.where(level(0, 1) < 0.15, 0.0, level(0.4, 1.4))
    colour = grey + (colour - grey) * faded
    middle = colour.mean((1, 2, 3), keepdim=True)
    colour = (colour - middle) * level(0.6, 1.4) + middle + level(-0.12, 0.12)
    colour = colour.clamp(0.0, 1.0) ** level(-0.5, 0.5).exp()
    colour = _coarser(colour)
    return (colour + level(-0.04, 0.08).clamp(min=0) * torch.randn(colour.shape)).clamp(0.0, 1.0)


def _coarser(pictures: Tensor) -> Tensor:
    """Return a batch as a camera of fewer pixels would show it, three times in ten."""
    if torch.rand(()) >= 0.3:
        return pictures
    small = int(torch.randint(36, SIDE, ()))
    pictures = F.interpolate(pictures, size=(small, small), mode="bilinear", antialias=True)
    return F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear")


def covered(pictures: Tensor) -> Tensor:
    """Return pictures ``[N, C, SIDE, SIDE]`` with something in front, and the black bars of crops that are not square.

    Both are where they are in all channels.
    """
    count = len(pictures)
    ends = torch.rand(count, 2, 2).sort(2).values
    rows = torch.arange(SIDE) / SIDE
    covers = (rows > ends[:, :, :1]) & (rows < ends[:, :, :1] + 0.4 * (ends[:, :, 1:] - ends[:, :, :1]))
    cover = covers[:, 0, :, None] & covers[:, 1, None, :] & (torch.rand(count) < 0.15)[:, None, None]
    pictures = torch.where(cover[:, None], torch.rand(count, pictures.shape[1], 1, 1), pictures)
    bar = _uniform(count, -0.15, 0.2).clamp(min=0)[:, None]
    bars = (rows < bar) | (rows >= 1 - bar)
    sides = torch.rand(count)[:, None, None] < 0.8
    bars = torch.where(sides, bars[:, None, :], bars[:, :, None] & (bar[:, None] < 0.1))
    return pictures.masked_fill(bars[:, None], 0.0)


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


def _strangers(camera: str, spectrum: str) -> tuple[Tensor, Tensor]:
    """Return two untouched faces of each stranger, ``[N, 3, SIDE, SIDE]``, and their points."""
    who = torch.tensor(HELD_OUT).repeat_interleave(2)
    return _draw(who, torch.tensor([0, SESSION]).repeat(len(HELD_OUT)), spectrum, camera)


def _framed(spectrum: str) -> tuple[Tensor, Tensor]:
    """Return two faces of each stranger in crops of any framing, turned and bent, but of untouched light."""
    who = torch.tensor(HELD_OUT).repeat_interleave(2)
    pictures, points = _draw(who, torch.tensor([0, SESSION]).repeat(len(HELD_OUT)), spectrum, "house", DRAWN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crops, points = moved(pictures.float() / 255, points)
    return (crops.clamp(0, 1) * 255).round().to(torch.uint8), points


def _read(file: Path) -> LandmarkNet:
    """Return the frozen network of a file."""
    model = build(NETWORK).eval().requires_grad_(False)
    model.load_state_dict(safetensors.torch.load_file(file))
    model.preprocess = Preprocess(size=(3, SIDE, SIDE), interpolation="bilinear")
    return model


def _since(began: float) -> int:
    return round(time.process_time() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=HOUSES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", type=int, default=8_000, help="people who are learnt from, two faces of each")
    parser.add_argument("--steps", type=int, help="in place of those of the network that is given out")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate after the first steps")
    parser.add_argument("--start", type=Path, help="weights of an earlier run to begin from")
    parser.add_argument("--weights", type=Path, default=ROOT / "xzoo" / "weights")
    parser.add_argument("--logs", type=Path, default=ROOT / "scripts" / "logs")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "house", help="pictures are kept here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
