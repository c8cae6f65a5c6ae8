"""Run the tables of published methods again, and set our figures beside theirs.

A table is a sweep of one recipe; each cell is a run folder, so that a sweep that
was stopped goes on with the cells it lacks.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xzoo import errors, hub, recipes
from xzoo.data.manifest import Manifest
from xzoo.evaluation import evaluate
from xzoo.models import create
from xzoo.training import finetune
from xzoo.training.holdout import hold_out
from xzoo.training.run import FACTS
from xzoo.training.work import SOURCE

__all__ = ["PRESETS", "PUBLISHED", "TABLES", "Row", "ablation", "means"]

PRESETS = {"ln": 1e-3, "ln+st": 1e-3, "ln+st+s0": 1e-4, "ln+st+s0+s1": 1e-4, "ln+st+s0+s1+s2": 1e-4}
"""The trainable sets of the xEdgeFace project page, and a learning rate of this project for each."""

PUBLISHED: dict[str, Mapping[str, float]] = {
    "EdgeFace (base), unadapted": {"auc": 86.08, "eer": 23.06, "rank1": 40.10},
    "xEdgeFace": {"auc": 99.34, "eer": 3.76, "rank1": 90.48},
    "PACT's losses, no preservation": {"auc": 99.83, "eer": 2.01},
    "PACT's losses, preservation 0.5": {"auc": 99.96, "eer": 1.00},
    "PACT's losses, preservation 1": {"auc": 99.94, "eer": 0.99},
}
"""MCXFace, VIS gallery and thermal probes, in percent, as printed in SynThermFace (George, Unal and
Marcel, 2026). The table of xEdgeFace's own ablation was not found; PACT's rows tell what preservation does there."""


class Row(NamedTuple):
    """One cell of a sweep: what was trained, and figures in percent."""

    groups: str
    weight: float
    seed: int
    parameters: int
    rank1: float
    auc: float
    eer: float
    vis_rank1: float


def ablation(
    data: Manifest | str | Path | None = None,
    *,
    model: str = "edgeface_xxs",
    pretrained: bool | str | Path = True,
    output: str | Path = "runs/xedgeface-ablation",
    presets: Iterable[str] = tuple(PRESETS),
    weights: Iterable[float] = (0.0, 0.5, 1.0),
    seeds: Iterable[int] = (0,),
    steps: int | None = None,
    batch: int | None = None,
    people: int = 64,
    report: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Sweep what trains and how strongly visible embeddings are held, by the recipe ``xedgeface``.

    The first row is the network as it is (``groups`` is ``-``). Probes of the first other band are compared with
    templates, means of raw VIS embeddings; ``vis_rank1`` compares VIS images with each other.

    Args:
        data: A manifest; None generates people.
        model: A catalogue name of the EdgeFace family.
        pretrained: As for ``xzoo.create``.
        output: Folder of all runs, gone on with where it is there already.
        presets: Groups that train.
        weights: Weights of the self-distillation, λ.
        seeds: Runs of each cell.
        steps: In place of the recipe's.
        batch: In place of the recipe's.
        people: How many are generated where there are no data.
        report: Called with each row as it is known.

    Raises:
        DataError: The data cannot be trained on or measured.
        RunError: ``output`` holds a sweep with other settings.
    """
    folder = hub.as_path(output, "output")
    if data is None:
        from xzoo.data import people as generated

        data = generated.write(folder / "people", subjects=people, samples=2, camera="blackhot_lowres")
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    parts = hold_out(manifest)
    probes = parts.probes(SOURCE)
    if not probes:
        raise errors.DataError("no probes of another band to compare with VIS.", do="add images of another spectrum")

    def measured(network: Any, groups: str, weight: float, seed: int, parameters: int) -> Row:
        across = evaluate(
            network, parts.manifest, gallery=SOURCE, probe=probes[0], split=parts.evaluated, templates=True
        )
        inside = evaluate(network, parts.manifest, gallery=SOURCE, probe=SOURCE, split=parts.evaluated)
        figures = (100 * value for value in (across.rank1, across.auc, across.eer, inside.rank1))
        row = Row(groups, weight, seed, parameters, *figures)
        if report is not None:
            report(row)
        return row

    plain = create(model, pretrained=pretrained)
    rows = [measured(plain, "-", 0.0, 0, 0)]
    for groups in presets:
        for weight in weights:
            plan = recipes.load("xedgeface").with_(
                {
                    "stages.*.train.groups": groups,
                    "stages.*.losses.cosine.weight": float(weight),
                    "stages.*.optimiser.lr": PRESETS.get(groups, 1e-4),
                }
            )
            for seed in seeds:
                cell = folder / f"{groups.replace('+', '_')}-{weight:g}-{seed}"
                run = finetune(
                    plain,
                    manifest,
                    recipe=plan,
                    steps=steps,
                    batch=batch,
                    seed=seed,
                    output=cell,
                    resume=(cell / FACTS).is_file(),
                    evaluate=False,
                )
                rows.append(measured(run.model, groups, weight, seed, run.facts["adapter"]["parameters"]))
    return rows


def means(rows: Sequence[Row]) -> list[Row]:
    """Return the mean over seeds of each cell, in the order of the sweep; ``seed`` counts the runs."""
    cells: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.groups, row.weight), []).append(row)
    averaged = []
    for (groups, weight), found in cells.items():
        figures = (statistics.fmean(values) for values in zip(*(row[4:] for row in found), strict=True))
        averaged.append(Row(groups, weight, len(found), found[0].parameters, *figures))
    return averaged


TABLES = {"xedgeface": {"ablation": ablation}}
"""What can be run again: table by method."""
