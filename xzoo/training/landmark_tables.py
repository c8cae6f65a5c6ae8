"""What each part of MLCM-KD is worth, run again: the ablation of its transfer level, and of its two levels.

No figure of the paper could be verified (its text is known by its abstract and two summaries), so none of it is
printed: what stands beside ours are figures of other methods on real data, to which ours on generated people do not
compare.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from xzoo import errors, hub, recipes
from xzoo.catalog.registry import register
from xzoo.data.manifest import Manifest
from xzoo.data.people import face_labels, faces
from xzoo.data.people.traits import SESSION
from xzoo.evaluation.ced import ced
from xzoo.evaluation.intervals import Interval, bootstrap_ratio
from xzoo.evaluation.landmarks import Landmarks
from xzoo.families.landmark.model import LandmarkNet
from xzoo.recipes.schema import Recipe, check
from xzoo.training.distillation import distill
from xzoo.training.holdout import hold_out
from xzoo.training.landmarks import measure
from xzoo.training.run import FACTS, Run, write_text

__all__ = ["CELLS", "PUBLISHED", "Gain", "Row", "Table", "ablation", "people", "preset"]

CELLS: dict[str, dict[str, float]] = {
    "none": {"alpha": 0.0, "beta": 0.0},
    "fd": {"alpha": 0.0, "beta": 0.0, "gamma": 1.0},
    "ld": {"alpha": 0.0, "beta": 0.0, "delta": 1.0},
    "fd_ld": {"alpha": 0.0, "beta": 0.0, "gamma": 1.0, "delta": 1.0},
    "fi": {"beta": 0.0},
    "ri": {"alpha": 0.0},
    "fi_ri": {},
}
"""Cells of the ablation: what differs from the recipe's own options of ``dikd``."""

PUBLISHED: dict[str, dict[str, float]] = {
    "U-Net (34 M trunk)": {"d5050_gray": 3.35, "sf_tl54_gray": 3.58, "rwth": 3.71},
    "MobileNetV2, direct regression": {"d5050_gray": 3.91, "sf_tl54_gray": 4.22, "rwth": 3.72},
    "ResNet-50, direct regression": {"d5050_gray": 6.26, "sf_tl54_gray": 12.8, "rwth": 8.11},
    "PyraMoT (16 M)": {"d5050_gray": 3.29, "sf_tl54_gray": 3.40, "rwth": 3.53},
    "YOLOv5 landmark variant": {"d5050_gray": 4.5, "sf_tl54_gray": 4.6, "rwth": 7.8},
    "AAM": {"d5050_gray": 5.62, "sf_tl54_gray": 7.37, "rwth": 4.4},
}
"""NME in percent of the outer eye corners' distance, 54 or 68 points, coordinates as shares of the box: PyraMoT (FG
2024), Table II. Of MLCM-KD no number could be recovered."""

SIDE = 64
"""Pixels of their pictures."""

WORLD = 53
"""Of the generated people of this table."""

VAL, TEST = 1_000_000, 2_000_000
"""First subjects of the splits; those of training begin at 0, those of whom RGB alone is seen at 500,000."""
COLOUR = 500_000


Key = tuple[str, bool, str]
"""Cell, whether the distillation fades, and which network."""


class Row(NamedTuple):
    """One network that was trained: NME in shares, 95 % by subject."""

    cell: str
    decay: bool
    network: str
    seed: int
    nme: float
    interval: Interval
    failure_rate: float
    auc: float
    images: int


class Gain(NamedTuple):
    """How much lower the NME of one network is than of another on the same pictures.

    Seeds are averaged; the interval draws subjects again with all their pictures.
    """

    text: str
    gain: float
    interval: Interval

    @property
    def holds(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval[0] > 0


class Table(NamedTuple):
    """An ablation that was run."""

    rows: list[Row]
    gains: list[Gain]
    facts: dict[str, Any]
    found: dict[Key, Landmarks]
    """Errors of the first seed, for plots."""


def preset(cell: str = "fi_ri", *, decay: bool = True, levels: int = 2, base: Recipe | None = None) -> Recipe:
    """Return ``mlcm_kd`` as one cell of its ablation.

    Args:
        cell: One of ``CELLS``.
        decay: Let the distillation fade as the recipe says; else its weight stays.
        levels: 2, or 1: the small network learns from the RGB teacher at once, by an adapter where it is another
            kind of network.
        base: The recipe to change; ``mlcm_kd`` by default.

    Raises:
        OptionError: There is no such cell or number of levels.
    """
    if cell not in CELLS or levels not in (1, 2):
        raise errors.OptionError(f"preset {cell!r} of {levels} levels", exists=f"{', '.join(CELLS)}; 1 or 2 levels")
    plan = recipes.load("mlcm_kd") if base is None else base
    place = "stages.dikd.losses.dikd"
    changes: dict[str, Any] = {f"{place}.options.{key}": value for key, value in CELLS[cell].items()}
    if not decay:
        changes[f"{place}.schedule"] = {"kind": "const"}
    if levels == 1:
        changes |= {f"{place}.options.align": "adapter"}
    plan = plan.with_(changes)
    if levels == 2:
        return plan
    tree = plan.model_dump(mode="json")
    teacher, direct, small = tree["stages"]
    tree["stages"] = [teacher, {**direct, "student": small["student"], "steps": small["steps"]}]
    return check(tree, f"recipe {plan.recipe!r}, one level")


def people(
    folder: str | Path,
    *,
    colour: int = 1200,
    pairs: int = 300,
    labelled: int = 30,
    val: int = 60,
    strangers: int = 100,
    size: int = SIDE,
    seed: int = WORLD,
) -> Path:
    """Draw generated people for this table: many in colour with landmarks, few in registered pairs.

    Two moments of each, each seen by both cameras at once. Landmarks, 68 points, are known of ``colour`` people in
    RGB alone, of ``labelled`` of the ``pairs`` people in both bands, and of everybody in the splits ``val`` and
    ``test``. By default one pair in ten has landmarks: registered pairs are had by walking past two cameras,
    landmarks by hand. A folder that is there already, of the same call, is left as it is.

    Args:
        folder: Where.
        colour: People seen in VIS alone.
        pairs: People seen in both.
        labelled: How many of those have landmarks.
        val: People to choose settings by.
        strangers: People of the split ``test``.
        size: Side of pictures in pixels.
        seed: The world.

    Returns:
        The path of ``manifest.csv``.

    Raises:
        OptionError: The folder holds something else.
    """
    target = hub.as_path(folder, "folder")
    asked = {"colour": colour, "pairs": pairs, "labelled": labelled, "val": val, "strangers": strangers}
    asked |= {"size": size, "seed": seed}
    note, file = target / "people.json", target / "manifest.csv"
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == asked:
        return file
    if target.is_dir() and any(target.iterdir()):
        raise errors.OptionError(
            f"{str(target)!r} as the folder of generated people",
            why="It holds something else already.",
            do="name a new folder",
        )
    (target / "faces").mkdir(parents=True, exist_ok=True)
    groups = (
        ("train", COLOUR, colour, colour, ("VIS",)),
        ("train", 0, pairs, labelled, ("VIS", "LWIR")),
        ("val", VAL, val, val, ("VIS", "LWIR")),
        ("test", TEST, strangers, strangers, ("VIS", "LWIR")),
    )
    rows = [("path", "subject", "spectrum", "split", "landmarks")]
    for split, first, count, known, bands in groups:
        for start in range(0, count, 32):
            who = torch.arange(first + start, first + min(start + 32, count)).repeat_interleave(2)
            when = torch.tensor([0, SESSION]).repeat(len(who) // 2)
            points = face_labels(who, when, size=size, seed=seed).points68
            for band in bands:
                drawn = faces(who, when, band, size=size, seed=seed).permute(0, 2, 3, 1).numpy()
                for place, (picture, number) in enumerate(zip(drawn, who.tolist(), strict=True)):
                    name = f"faces/{number:07d}_{band}_{place % 2}.png"
                    Image.fromarray(picture).save(target / name)
                    told = points[place].flatten().tolist() if number - first < known else []
                    rows.append((name, f"p{number:07d}", band, split, " ".join(f"{value:.2f}" for value in told)))
    with hub.atomic_write(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
    note.write_text(json.dumps(asked), encoding="utf-8")
    return file


def ablation(
    data: Manifest | str | Path | None = None,
    *,
    cells: Iterable[str] | None = None,
    small: Iterable[str] = ("none", "fi_ri"),
    seeds: Iterable[int] = (0,),
    steps: int | None = None,
    batch: int | None = None,
    changes: Mapping[str, Any] | None = None,
    weights: Mapping[str, float] | None = None,
    output: str | Path = "runs/landmarks-ablation",
    report: Callable[[Row], None] | None = None,
    **drawn: int,
) -> Table:
    """Train cells of the ablation and measure each on the LWIR pictures of the split ``test``.

    One RGB teacher for each seed serves all cells. Networks: ``thermal`` (the transfer level), ``two levels`` (a small
    one compressed from it) and ``one level`` (the small one from the RGB teacher at once; in the cell ``none`` that is
    training on labels alone). The cell ``none`` learns from people with thermal landmarks only, as nobody else has
    anything to teach it. What was trained stays in ``output`` and is not trained again.

    Args:
        data: A manifest with registered pairs and landmarks; None draws generated people (see ``people``).
        cells: Of ``CELLS``; with ``-const`` behind it, the distillation does not fade. All by default, which fade
            with data and do not without.
        small: Cells whose small networks are trained, too; without ``-const`` behind them, fading or not.
        seeds: One teacher and one network of each kind for each.
        steps: Of the transfer level, in place of the recipe's; others in proportion.
        batch: Pictures or pairs in a step.
        changes: Places of the recipe to other values.
        weights: Of the whole distillation, by cell, in place of the recipe's; without data, ``WEIGHTS`` by default.
        output: Folder of all runs.
        report: Called with each row as it is known.
        drawn: For ``people``, where no data are given.

    Raises:
        OptionError: No such cell, or no seed.
        DataError: The data cannot be trained on or measured.
    """
    asked = _every(fading=data is not None) if cells is None else cells
    chosen, runs, reduced = [_cell(name) for name in asked], list(seeds), set(small)
    if not chosen or not runs:
        raise errors.OptionError(f"cells={chosen}, seeds={runs}", why="One of each is the least.")
    folder = hub.as_path(output, "output")
    base, named = recipes.load("mlcm_kd"), "generated people" if data is None else str(data)
    if weights is None:
        weights = WEIGHTS if data is None else {}
    if data is None:
        _register()
        data = people(folder / "people", **drawn)
        base = base.with_(OPEN)
    base = base.with_(_sized(base, steps, batch) | dict(changes or {}))
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    parts = hold_out(manifest)
    split = "test" if "test" in parts.manifest.splits else parts.evaluated
    unseen = parts.manifest.select(split=split, spectrum="LWIR")
    # Colour pictures without landmarks have nothing to teach the teacher.
    told = tuple(row for row in parts.manifest.rows if row.spectrum != "VIS" or row.landmarks is not None)
    labelled = _labelled(parts.manifest)
    found: dict[Key, list[Landmarks]] = {}
    rows: list[Row] = []

    def trained(plan: Recipe, name: str, seed: int, on: Manifest, teacher: Run | None = None) -> Run:
        place = folder / f"{name}-{seed}"
        given = None if teacher is None else teacher.folder
        resume = (place / FACTS).is_file()
        return distill(recipe=plan, data=on, teacher=given, seed=seed, output=place, resume=resume, evaluate=False)

    def add(run: Run, key: Key, seed: int) -> None:
        figures = measure(run.model, unseen)
        found.setdefault(key, []).append(figures)
        ends = figures.interval["nme"]
        rows.append(Row(*key, seed, figures.nme, ends, figures.failure_rate, figures.auc, figures.n_images))
        if report is not None:
            report(rows[-1])

    for seed in runs:
        teacher = trained(_alone(base, 0), "rgb_teacher", seed, Manifest(told, parts.manifest.root))
        for cell, decay in chosen:
            name = cell + ("" if decay else "-const")
            base_of = base.with_({WEIGHT: weights[cell]}) if cell in weights else base
            both = preset(cell, decay=decay, base=base_of)
            on = labelled if cell == "none" else parts.manifest
            thermal = trained(_alone(both, 1), f"{name}-thermal", seed, on, teacher)
            add(thermal, (cell, decay, "thermal"), seed)
            if not reduced & {cell, name}:
                continue
            two = trained(_alone(both, 2), f"{name}-two_levels", seed, parts.manifest, thermal)
            add(two, (cell, decay, "two levels"), seed)
            at_once = _alone(preset(cell, decay=decay, levels=1, base=base_of), 1)
            one = trained(at_once, f"{name}-one_level", seed, on, teacher)
            add(one, (cell, decay, "one level"), seed)
    facts = {
        "data": named,
        "split": split,
        "images": rows[0].images,
        "subjects": len({row.subject for row in unseen.rows if row.landmarks is not None}),
        "seeds": runs,
        "steps": {stage.name: stage.steps for stage in base.stages},
        "manifest_sha256": manifest.hash,
        "weights": dict(weights),
        "recipe": base.model_dump(mode="json"),
    }
    subjects = np.array([row.subject for row in unseen.rows if row.landmarks is not None])
    means = {key: np.mean([one.per_image for one in several], axis=0) for key, several in found.items()}
    first = {key: several[0] for key, several in found.items()}
    write_text(folder / "ced.svg", ced({_name(key): curve for key, curve in first.items() if _shown(key, first)}))
    return Table(rows, gains(means, subjects), facts, first)


def _every(*, fading: bool) -> list[str]:
    """Return the names of all cells."""
    return [name if fading or name == "none" else f"{name}-const" for name in CELLS]


def _labelled(manifest: Manifest) -> Manifest:
    """Return a manifest that is trained on people with landmarks in LWIR alone."""
    known = {row.subject for row in manifest.rows if row.spectrum == "LWIR" and row.landmarks is not None}
    return Manifest(tuple(row for row in manifest.rows if row.split != "train" or row.subject in known), manifest.root)


def _cell(name: str) -> tuple[str, bool]:
    """Return a cell and whether its distillation fades."""
    cell = name.removesuffix("-const")
    if cell not in CELLS:
        raise errors.OptionError(
            f"no cell {name!r} in the ablation of landmarks",
            exists=", ".join(errors.nearest(cell, CELLS) or CELLS) + "; behind it -const for no fading",
        )
    return cell, cell == name


def _name(key: Key) -> str:
    cell, decay, network = key
    return f"{cell}{'' if decay else ', no fading'}: {network}"


def _shown(key: Key, keys: Container[Key]) -> bool:
    """Return whether a curve is among the few that a picture can hold."""
    cell, decay, network = key
    return (decay or (cell, True, network) not in keys) and (cell, network) in (
        *(("none", "thermal"), ("ld", "thermal"), ("fi_ri", "thermal")),
        *(("fi_ri", "two levels"), ("none", "one level")),
    )


OPEN: dict[str, Any] = {
    "student": {"name": "table_thermal", "pretrained": False},
    "stages.dikd.student": {"name": "table_thermal", "pretrained": False},
    "stages.compress.student": {"name": "table_small", "pretrained": False},
    "stages.*.losses.task.options.side": SIDE,
    "stages.dikd.losses.dikd.options.side": SIDE,
    "stages.compress.losses.response.options.side": SIDE,
    "stages.compress.losses.response.weight": 3.0,
    "stages.*.optimiser.lr": 3e-3,
    "stages.rgb_teacher.steps": 1000,
    "stages.dikd.steps": 600,
    "stages.compress.steps": 1000,
}
"""Changes of the recipe where no data are given: networks of the table's own, a cell of which takes seconds.

The thermal network starts as nobody: a copy of the RGB teacher has most of what is distilled before it begins, in the
cell ``none`` as in all others. ``changes={"stages.dikd.student": "stage:rgb_teacher"}`` lets it start as one. Most
pairs have no landmarks, so that the answers of the thermal network weigh more than landmarks when the small one is
taught.
"""


WEIGHT = "stages.dikd.losses.dikd.weight"

WEIGHTS: dict[str, float] = {"fd": 3.0, "ld": 30.0, "fd_ld": 10.0, "fi": 3.0, "ri": 3.0, "fi_ri": 3.0}
"""Lambda0 of cells where no data are given.

Chosen for ``fd``, ``ld``, ``fd_ld`` and ``fi_ri`` each of 1, 3 and 10 without fading, and further where 10 was best, by
one seed on 150 people who are none of the split ``test``; ``fi`` and ``ri`` take that of ``fi_ri``.
"""


class Convs(nn.Module):
    """Four convolutions of stride 2: ``[B, 3, 64, 64]`` to ``[B, 4 width, 4, 4]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last map."""
        out: Tensor = self.layers(images)
        return out


class Flat(nn.Module):
    """One linear layer over the places of a map, which it tells apart: ``[B, C, 4, 4]`` to ``[B, 68, 2]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(16 * width, 136)
        nn.init.normal_(self.fc.weight, std=0.003)
        nn.init.constant_(self.fc.bias, 0.5)

    def forward(self, last: Tensor) -> Tensor:
        """Return x and y in shares of the crop's side."""
        out: Tensor = self.fc(last.flatten(1))
        return out.view(-1, 68, 2)


def _register() -> None:
    """Let recipes name the networks of the table."""
    for name, width in (("table_thermal", 16), ("table_small", 8)):
        made = functools.partial(_network, width)
        register(name, made, input={"size": [3, SIDE, SIDE], "alignment": "none"}, task="face-landmarks", replace=True)


def _network(width: int) -> LandmarkNet:
    return LandmarkNet(Convs(width), Flat(4 * width), 68, SIDE)


def _sized(base: Recipe, steps: int | None, batch: int | None) -> dict[str, Any]:
    changes: dict[str, Any] = {} if batch is None else {"stages.*.batch.size": batch}
    if steps is not None:
        whole = base.stages[1].steps
        for stage in base.stages:
            changes[f"stages.{stage.name}.steps"] = max(1, round(stage.steps * steps / whole))
    return changes


def _alone(plan: Recipe, number: int) -> Recipe:
    """Return a recipe of one stage, whose teacher is given."""
    tree = plan.model_dump(mode="json")
    stage = tree["stages"][number]
    if stage["teacher"] != "none":
        if stage["student"] == stage["teacher"]:
            stage["student"] = "teacher"
        stage["teacher"] = "given"
    if stage["student"] is None:
        stage["student"] = tree["student"]
    return check({**tree, "student": None, "stages": [stage]}, f"recipe {plan.recipe!r}")


def gains(errors_of: Mapping[Key, npt.NDArray[np.float64]], subject: npt.NDArray[Any]) -> list[Gain]:
    """Return what is claimed of the parts, as differences of NME on the same pictures.

    Args:
        errors_of: ``[N]`` by cell, fading and network.
        subject: ``[N]``.
    """
    found: list[Gain] = []

    def add(text: str, better: Key, worse: Key) -> None:
        if better in errors_of and worse in errors_of:
            apart = errors_of[worse] - errors_of[better]
            ends = bootstrap_ratio(apart[:, None], np.ones(len(apart)), subject)[0]
            found.append(Gain(text, float(apart.mean()), ends))

    for decay in (True, False):
        said = "" if decay else ", no fading"
        for cell in ("none", "fd", "ld", "fd_ld", "fi", "ri"):
            alike = (cell, decay, "thermal") in errors_of
            other = (cell, decay if alike else not decay, "thermal")
            but = "" if alike or cell == "none" else ", which fades" if other[1] else ", which does not fade"
            add(f"fi_ri over {cell}{but}, thermal network{said}", ("fi_ri", decay, "thermal"), other)
        two = ("fi_ri", decay, "two levels")
        add(f"small network by two levels over labels alone{said}", two, ("none", True, "one level"))
        add(f"small network by two levels over one level of fi_ri{said}", two, ("fi_ri", decay, "one level"))
    return found
