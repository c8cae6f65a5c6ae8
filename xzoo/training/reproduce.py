"""Run the tables of published methods again, and set our figures beside theirs.

A table is a sweep of recipes; each cell is a run folder, so that a sweep that
was stopped goes on with the cells it lacks.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from xzoo import errors, hub, recipes
from xzoo.data.manifest import Manifest
from xzoo.evaluation import embed_images, evaluate
from xzoo.evaluation.intervals import Interval, bootstrap_ratio, by_subject
from xzoo.evaluation.protocols.sides import Side, choose
from xzoo.evaluation.ranking import search
from xzoo.models import create
from xzoo.recipes.schema import Recipe
from xzoo.training import finetune
from xzoo.training.holdout import Parts, hold_out
from xzoo.training.run import FACTS
from xzoo.training.work import SOURCE

__all__ = [
    "PRESETS",
    "PUBLISHED",
    "TABLES",
    "Claim",
    "Ends",
    "Hits",
    "Row",
    "Settings",
    "Sides",
    "Table",
    "ablation",
    "against",
    "claims",
    "intervals",
    "means",
    "objectives",
]

PRESETS = {"ln": 1e-3, "ln+st": 1e-3, "ln+st+s0": 1e-4, "ln+st+s0+s1": 1e-4, "ln+st+s0+s1+s2": 1e-4}
"""The trainable sets of the xEdgeFace project page, and a learning rate of this project for each."""

OPEN_RATE = 4.0
"""The network of the package was trained at higher rates and hardly moves at those of EdgeFace, so without data they
are multiplied by this, up to 1e-3; chosen on other generated people than those of the tables."""

WEIGHTS = (0.0, 0.5, 1.0)
"""Weights of the self-distillation, λ: those for which SynThermFace prints figures of its own losses."""

OBJECTIVES = ("xedgeface", "xedgeface_all_pairs", "pact", "cross_spectral_contrastive")
"""Recipes that bring the same network across the same gap: what is aligned, and how pairs are made, differs."""

PUBLISHED: dict[str, dict[str, float]] = {
    "EdgeFace (base), unadapted": {"rank1": 40.10, "auc": 86.08, "eer": 23.06},
    "xEdgeFace": {"rank1": 90.48, "auc": 99.34, "eer": 3.76},
    "PACT, real pairs": {"rank1": 96.49, "auc": 99.65, "eer": 3.04},
    "PACT's losses, no preservation": {"auc": 99.83, "eer": 2.01},
    "PACT's losses, preservation 0.5": {"auc": 99.96, "eer": 1.00},
    "PACT's losses, preservation 1": {"auc": 99.94, "eer": 0.99},
}
"""MCXFace, VIS gallery and thermal probes, in percent, as printed in SynThermFace (George, Unal and
Marcel, 2026). The table of xEdgeFace's own ablation was not found; the last three rows, with generated
pairs, tell what preservation does there."""

PUBLISHED_MODEL = "edgeface_xxs"
OPEN_MODEL = "hybrid_fr"
"""Where no data are given: knows generated people in VIS alone, and comes with the package."""

OPEN_STEPS = 60
"""Steps of each cell where no data are given: minutes for the whole sweep."""

ENROLLED = 2
"""Visible images of each subject that make its template; the later ones are probes."""


class Row(NamedTuple):
    """One cell of a sweep: what was trained and how, and figures in percent.

    ``recipe`` and ``groups`` are ``-`` for the network as it came; ``weight`` is that of the self-distillation.
    ``kept`` is 100 times the mean cosine of VIS embeddings to those of the network as it came.
    """

    recipe: str
    groups: str
    weight: float
    seed: int
    parameters: int
    rank1: float
    auc: float
    eer: float
    vis_rank1: float
    kept: float


class Sides(NamedTuple):
    """What is compared with what, as ``evaluate`` takes it.

    ``across`` and ``inside`` are probes of the other band and of VIS; ``templates`` says
    whether the gallery is enrolled as means of raw embeddings for both.
    """

    gallery: str
    across: str
    inside: str
    templates: bool

    def __str__(self) -> str:
        """Return it in words."""
        if self.templates:
            return f"gallery: means of {self.gallery}; probes: {self.across}, and {self.inside} for VIS rank-1"
        return f"gallery: means of {self.gallery}; probes: {self.across}; VIS rank-1: leave one image out"


class Hits(NamedTuple):
    """Something of each probe that has a mate: of another band, and of VIS."""

    across: tuple[Any, ...]
    inside: tuple[Any, ...]


class Ends(NamedTuple):
    """95 % intervals, in percent."""

    rank1: Interval
    vis_rank1: Interval


class Table(NamedTuple):
    """A table that was run again.

    ``hits`` says for each row which probes found their subject first, ``subjects`` whose those probes are.
    """

    model: str
    data: str
    sides: Sides
    rows: list[Row]
    hits: list[Hits]
    subjects: Hits


class Claim(NamedTuple):
    """Something that the paper says, the figures that speak of it, and whether they say the same.

    ``interval``: 95 % of the difference that it rests on, in points; see :func:`against`.
    """

    text: str
    figures: str
    holds: bool
    interval: Interval | None = None


class Settings(TypedDict, total=False):
    """How a table is run; see :func:`ablation`."""

    model: str | None
    pretrained: bool | str | Path
    output: str | Path
    seeds: Iterable[int]
    steps: int | None
    batch: int | None
    people: int
    report: Callable[[Row], None] | None


class _Cell(NamedTuple):
    recipe: str
    groups: str
    weight: float
    plan: Recipe
    folder: str


def ablation(
    data: Manifest | str | Path | None = None,
    *,
    presets: Iterable[str] = tuple(PRESETS),
    weights: Iterable[float] = WEIGHTS,
    **settings: Unpack[Settings],
) -> Table:
    """Sweep what trains and how strongly visible embeddings are held, by the recipe ``xedgeface``.

    The first row is the network as it came. Probes of the other band with most images are compared with
    templates, means of raw embeddings of the first two VIS images of each subject, and so are the later VIS
    images; where a subject has no more than two, see :class:`Sides`.

    Args:
        data: A manifest; None generates people, on whom a network of the package is adapted.
        presets: Groups that train.
        weights: Weights of the self-distillation, λ.
        settings: ``model``, a catalogue name of the EdgeFace family (``edgeface_xxs``; ``hybrid_fr`` without
            data). ``pretrained``, as for ``xzoo.create``. ``output``, the folder of all runs, gone on with where it
            is there already. ``seeds``, one run of each cell for each. ``steps`` and ``batch``, in place of the
            recipe's (60 steps without data). ``people``, how many are generated. ``report``, called with each row
            as it is known.

    Raises:
        DataError: The data cannot be trained on or measured.
        RunError: ``output`` holds a sweep with other settings.
    """
    chosen, weighed = list(presets), [float(weight) for weight in weights]

    def cells() -> Iterable[_Cell]:
        for groups in chosen:
            for weight in weighed:
                plan = recipes.load("xedgeface").with_(
                    {
                        "stages.*.train.groups": groups,
                        "stages.*.losses.cosine.weight": weight,
                        "stages.*.optimiser.lr": _rate(PRESETS.get(groups, 1e-4), data),
                    }
                )
                yield _Cell("xedgeface", groups, weight, plan, f"{groups.replace('+', '_')}-{weight:g}")

    return _sweep(data, cells(), **settings)


def objectives(
    data: Manifest | str | Path | None = None, *, names: Iterable[str] = OBJECTIVES, **settings: Unpack[Settings]
) -> Table:
    """Run recipes for the same task side by side: other objectives, and other ways to make pairs.

    ``pact`` is run at the learning rate, the batch and the steps of ``xedgeface``: those printed for it are for
    thousands of pairs and a large network. Each of the others is run as it is shipped, but for the caller's
    ``steps`` and ``batch``.

    Args:
        data: As for :func:`ablation`.
        names: Recipes.
        settings: As for :func:`ablation`.

    Raises:
        DataError, RunError: As :func:`ablation`.
    """
    chosen = list(names)

    def cells() -> Iterable[_Cell]:
        like = recipes.load("xedgeface").stages[0]
        for name in chosen:
            plan = recipes.load(name)
            if name == "pact":
                changes = {"optimiser.lr": like.optimiser.lr, "batch.size": like.batch.size, "steps": like.steps}
                plan = plan.with_({f"stages.*.{place}": value for place, value in changes.items()})
            stage = plan.stages[0]
            plan = plan.with_({"stages.*.optimiser.lr": _rate(stage.optimiser.lr, data)})
            held = next((term.weight for term in stage.losses if term.key == "cosine"), 0.0)
            yield _Cell(name, stage.train.groups or "-", held, plan, name)

    return _sweep(data, cells(), **settings)


def _rate(rate: float, data: object) -> float:
    return min(OPEN_RATE * rate, 1e-3) if data is None else rate


def _sweep(
    data: Manifest | str | Path | None,
    cells: Iterable[_Cell],
    *,
    model: str | None = None,
    pretrained: bool | str | Path = True,
    output: str | Path = "runs/reproduce",
    seeds: Iterable[int] = (0,),
    steps: int | None = None,
    batch: int | None = None,
    people: int = 96,
    report: Callable[[Row], None] | None = None,
) -> Table:
    folder, runs = hub.as_path(output, "output"), list(seeds)
    if data is None:
        from xzoo.data import people as generated

        data = generated.write(folder / "people", subjects=people, samples=2 * ENROLLED)
        model, named, steps = model or OPEN_MODEL, "generated people", steps or OPEN_STEPS
    else:
        model, named = model or PUBLISHED_MODEL, str(data.root if isinstance(data, Manifest) else data)
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    parts = hold_out(manifest)
    sides = _sides(parts)
    rows: list[Row] = []
    hits: list[Hits] = []
    subjects = Hits((), ())

    def add(network: Any, recipe: str, groups: str, weight: float, seed: int, parameters: int) -> None:
        across, inside = (
            evaluate(
                network,
                parts.manifest,
                gallery=sides.gallery,
                probe=probe,
                split=parts.evaluated,
                templates=sides.templates or probe == sides.across,
            )
            for probe in (sides.across, sides.inside)
        )
        now = embed_images(network, visible, 64)
        cosines = (now * start).sum(1) / np.linalg.norm(now, axis=1) / np.linalg.norm(start, axis=1)
        figures = (100 * value for value in (across.rank1, across.auc, across.eer, inside.rank1, float(cosines.mean())))
        rows.append(Row(recipe, groups, weight, seed, parameters, *figures))
        asked = [_hits(network, parts, sides, probe) for probe in (sides.across, sides.inside)]
        hits.append(Hits(*(found for found, _ in asked)))
        nonlocal subjects
        subjects = Hits(*(who for _, who in asked))
        if report is not None:
            report(rows[-1])

    plain = create(model, pretrained=pretrained)
    visible = parts.manifest.select(split=parts.evaluated, spectrum=SOURCE)
    start = embed_images(plain, visible, 64)
    add(plain, "-", "-", 0.0, 0, 0)
    for cell in cells:
        for seed in runs:
            place = folder / f"{cell.folder}-{seed}"
            run = finetune(
                plain,
                manifest,
                recipe=cell.plan,
                steps=steps,
                batch=batch,
                seed=seed,
                output=place,
                resume=(place / FACTS).is_file(),
                evaluate=False,
            )
            add(run.model, cell.recipe, cell.groups, cell.weight, seed, run.facts["adapter"]["parameters"])
    return Table(model, named, sides, rows, hits, subjects)


def _hits(network: Any, parts: Parts, sides: Sides, probe: str) -> tuple[tuple[bool, ...], tuple[str, ...]]:
    """Return which probes find their subject first, and whose they are; as ``evaluate`` compares them."""
    known, asked = choose(parts.manifest, Side.parse(sides.gallery), Side.parse(probe), parts.evaluated)
    members, probes = (embed_images(network, side, 64) for side in (known, asked))
    owners, whose = (np.array([row.subject for row in side.rows]) for side in (known, asked))
    own, other = (np.array([row.index for row in side.rows]) for side in (asked, known))
    if sides.templates or probe == sides.across:
        subjects, owner = np.unique(owners, return_inverse=True)
        means = [members[owner == place].mean(0, dtype=np.float64) for place in range(len(subjects))]
        found = search(probes, np.stack(means).astype(np.float32), whose, subjects)
    else:  # with its own number as its camera, an image is not compared with itself
        found = search(probes, members, whose, owners, own, other)
    mated = found.mated
    return tuple((found.rank[mated] == 1).tolist()), tuple(whose[mated].tolist())


def _sides(parts: Parts) -> Sides:
    """Return what is compared: with templates of the first images wherever later ones are left to search for."""
    probes = parts.probes(SOURCE)
    if not probes:
        raise errors.DataError("no probes of another band to compare with VIS.", do="add images of another spectrum")
    rows = [row for row in parts.manifest.rows if row.split == parts.evaluated]
    least = min(
        min(Counter(row.subject for row in rows if row.spectrum == band).values(), default=0)
        for band in (SOURCE, probes[0])
    )
    if least > ENROLLED:
        later = f"{ENROLLED + 1}-"
        return Sides(f"{SOURCE}:1-{ENROLLED}", f"{probes[0]}:{later}", f"{SOURCE}:{later}", True)
    return Sides(SOURCE, probes[0], SOURCE, False)


_Key = tuple[str, str, float]
"""A cell of a sweep: recipe, groups and weight."""


def _key(row: Row) -> _Key:
    return row.recipe, row.groups, row.weight


def means(rows: Sequence[Row]) -> list[Row]:
    """Return the mean over seeds of each cell, in the order of the sweep; ``seed`` counts the runs."""
    cells: dict[_Key, list[Row]] = {}
    for row in rows:
        cells.setdefault(_key(row), []).append(row)
    averaged = []
    for (recipe, groups, weight), found in cells.items():
        figures = (statistics.fmean(values) for values in zip(*(row[5:] for row in found), strict=True))
        averaged.append(Row(recipe, groups, weight, len(found), found[0].parameters, *figures))
    return averaged


def _shares(table: Table) -> dict[_Key, Hits]:
    """Return for each cell in how many of its runs each probe found its subject first, as a share of them."""
    cells: dict[_Key, list[Hits]] = {}
    for row, hits in zip(table.rows, table.hits, strict=True):
        cells.setdefault(_key(row), []).append(hits)
    return {
        key: Hits(*(tuple(np.mean(side, 0).tolist()) for side in zip(*found, strict=True)))
        for key, found in cells.items()
    }


def intervals(table: Table) -> list[Ends]:
    """Return 95 % intervals of the rates that :func:`means` gives, in its order.

    Each probe counts with the share of the runs in which it found its subject first, and subjects are drawn again
    with all their probes: the intervals tell of other people, not of other seeds.
    """

    def ends(shares: Sequence[float], whose: Sequence[str]) -> Interval:
        low, high = by_subject({"": np.array(shares)}, np.array(whose))[""]
        return 100 * low, 100 * high

    return [
        Ends(ends(found.across, table.subjects.across), ends(found.inside, table.subjects.inside))
        for found in _shares(table).values()
    ]


def against(table: Table, ours: _Key, theirs: _Key, *, inside: bool = False) -> tuple[float, Interval]:
    """Return by how many points of rank-1 a cell is ahead of another on the same probes, and 95 % by subjects.

    Args:
        table: That was run.
        ours: Recipe, groups and weight of a row.
        theirs: Those of the row that it is compared with.
        inside: Take VIS rank-1.
    """
    shares, side = _shares(table), int(inside)
    ahead = np.subtract(shares[ours][side], shares[theirs][side])
    ((low, high),) = bootstrap_ratio(ahead[:, None], np.ones(len(ahead)), np.array(table.subjects[side]))
    return 100 * float(ahead.mean()), (100 * low, 100 * high)


def claims(table: Table, within: float = 1.0) -> list[Claim]:
    """Hold what the paper's abstract says against a table: that the bands are aligned, and that VIS is kept.

    Both are read from the last preset of the sweep, the largest; the second needs a row without self-distillation.

    Args:
        table: Of :func:`ablation`, any number of seeds.
        within: Points of VIS rank-1 that count as kept.
    """
    averaged = means(table.rows)
    start, last = averaged[0], averaged[-1].groups
    by_weight = {row.weight: row for row in averaged[1:] if row.groups == last}
    held = by_weight[max(by_weight)]

    def ahead(other: Row, *, inside: bool) -> tuple[str, Interval | None]:
        if not table.hits:
            return "", None
        points, ends = against(table, _key(held), _key(other), inside=inside)
        return f"; {points:+.1f} [{ends[0]:.1f}, {ends[1]:.1f}]", ends

    more, ends = ahead(start, inside=False)
    found = [
        Claim(
            "a few layers align the bands",
            f"rank-1 {start.rank1:.1f} before, {held.rank1:.1f} with {last} and λ={held.weight:g}{more}",
            held.rank1 > start.rank1,
            ends,
        )
    ]
    if 0.0 in by_weight and held.weight:
        loose = by_weight[0.0]
        more, ends = ahead(loose, inside=True)
        found.append(
            Claim(
                "self-distillation keeps VIS",
                f"VIS rank-1 {start.vis_rank1:.1f} before, {held.vis_rank1:.1f} with λ={held.weight:g}, "
                f"{loose.vis_rank1:.1f} without{more}; cosine to before {held.kept / 100:.2f} "
                f"and {loose.kept / 100:.2f}",
                loose.vis_rank1 < held.vis_rank1 >= start.vis_rank1 - within,
                ends,
            )
        )
    return found


TABLES: dict[str, dict[str, Callable[..., Table]]] = {"xedgeface": {"ablation": ablation, "objectives": objectives}}
"""What can be run again: table by method."""
