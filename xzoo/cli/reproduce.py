"""``xzoo reproduce``: a published table, run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from xzoo.cli.shared import GENERATED, as_json, batch, emit, table, weights

if TYPE_CHECKING:
    from xzoo.training.reproduce import Ends, Row, Table

__all__ = ["command"]

BODY = ("1", "2", "3", "4", "5", "6", "7", "mining")
"""Tables of the method ``body``."""


@click.command("reproduce", short_help="Run a published table again, beside its figures.")
@click.argument("method", type=click.Choice(["xedgeface", "bridge", "aird", "body", "landmarks"]))
@click.option(
    "--table",
    "which",
    type=click.Choice(["ablation", "objectives", "cost", "protocols", *BODY]),
    help="ablation, the default: what each part is worth. objectives (xedgeface): recipes for the same task. cost and "
    "protocols (bridge, aird): size and speed; figures on a data set. 1 to 7 and mining (body): the paper's tables.",
)
@click.option("--all", "every", is_flag=True, help="Of body: every table, each network trained once.")
@click.option("--protocol", metavar="NAME", help="Of --table protocols: tinyface, scface.d1, lfw, ...")
@click.option("--sizes", type=click.Path(dir_okay=False), metavar="CSV", help="Of LFW-LR: a size for each image.")
@click.option("--data", metavar="MANIFEST", help="A csv, a parquet or a folder. Default: generated people.")
@click.option("--model", help="A network of the EdgeFace family. Default: edgeface_xxs; without data, hybrid_fr.")
@click.option("--pretrained", metavar="WHAT", help="A tag, a file, or 'no' for random weights.")
@click.option("--preset", "presets", multiple=True, metavar="GROUPS", help="Only this trainable set or cell (repeat).")
@click.option("--weight", "lambdas", multiple=True, type=click.FloatRange(min=0), help="Only this λ (repeat).")
@click.option("--recipe", "names", multiple=True, metavar="NAME", help="Only this recipe of objectives (repeat).")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each cell.")
@click.option("--steps", type=click.IntRange(min=1), help="In place of the recipe's. Without data: 60; landmarks: 600.")
@batch
@click.option(
    "--people", type=click.IntRange(min=8), help="Where there are no data. Default: 96; aird: 600; landmarks: 1500."
)
@click.option("--output", type=click.Path(file_okay=False), help="Gone on with. Default: runs/METHOD-TABLE.")
@as_json
def command(
    method: str,
    which: str | None,
    every: bool,
    protocol: str | None,
    sizes: str | None,
    data: str | None,
    model: str | None,
    pretrained: str | None,
    presets: tuple[str, ...],
    lambdas: tuple[float, ...],
    names: tuple[str, ...],
    seeds: int,
    steps: int | None,
    batch: int | None,
    people: int | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Run a table of METHOD and print published figures beside ours."""
    from xzoo.training import reproduce

    asked = weights(pretrained)
    if method == "body":
        from xzoo.cli import reproduce_body

        stray = {"--protocol": protocol, "--sizes": sizes, "--preset": presets, "--weight": lambdas, "--recipe": names}
        _refuse(method, {**stray, "--seeds": seeds > 1})
        sizes_of: dict[str, Any] = {"steps": steps, "batch": batch, "people": people, "output": output}
        reproduce_body.tell(which, every=every, data=data, model=model, pretrained=asked, as_json=as_json, **sizes_of)
        return
    which = which or "ablation"
    if every or which in BODY:
        raise click.UsageError(f"--table {which if which in BODY else '--all'} belongs to body.")
    if method == "landmarks":
        from xzoo.cli import reproduce_landmarks

        stray = {"--protocol": protocol, "--sizes": sizes, "--model": model, "--pretrained": pretrained}
        _refuse(method, {**stray, "--weight": lambdas, "--recipe": names})
        sizes_of = {"steps": steps, "batch": batch, "people": people, "output": output}
        reproduce_landmarks.tell(which, data=data, presets=presets, seeds=seeds, as_json=as_json, **sizes_of)
        return
    if method != "xedgeface":
        from xzoo.cli import reproduce_lowres

        more: dict[str, Any] = {"protocol": protocol, "sizes": sizes, "seeds": seeds, "steps": steps, "people": people}
        reproduce_lowres.tell(
            method, which, data=data, model=model, pretrained=asked, batch=batch, as_json=as_json, **more
        )
        return
    if which in ("cost", "protocols"):
        raise click.UsageError("xedgeface has the tables ablation and objectives.")
    chosen: dict[str, Any] = {"presets": presets, "weights": lambdas} if which == "ablation" else {"names": names}
    for option, given, table_of in (
        ("--preset", presets, "ablation"),
        ("--weight", lambdas, "ablation"),
        ("--recipe", names, "objectives"),
    ):
        if given and which != table_of:
            raise click.UsageError(f"{option} belongs to --table {table_of}.")

    def report(row: Row) -> None:
        trained = "as it came" if row.recipe == "-" else f"{row.recipe} {row.groups} λ={row.weight:g} seed {row.seed}"
        click.echo(f"{trained}: rank-1 {row.rank1:.1f}, VIS {row.vis_rank1:.1f}", err=True)

    found = reproduce.TABLES[method][which](
        data,
        model=model,
        pretrained=True if asked is None else asked,
        output=output or f"runs/{method}-{which}",
        seeds=range(seeds),
        steps=steps,
        batch=batch,
        people=96 if people is None else people,
        report=report,
        **{key: value for key, value in chosen.items() if value},
    )
    where = GENERATED if data is None else data
    said = reproduce.claims(found) if which == "ablation" else []
    ends = reproduce.intervals(found)
    compared = [] if which == "ablation" else _compared(found)
    text = [
        f"ours: {found.model} on {where}; {seeds} run{'s' * (seeds > 1)} of each cell, in percent",
        str(found.sides),
        "VIS kept: mean cosine of VIS embeddings to those of the network as it came, times 100",
        "95 %: people of the probes drawn again, a probe counting with the share of the runs that found it",
        "",
        _ours(reproduce.means(found.rows), ends, found.rows, which),
        "",
        *([*compared, ""] if compared else []),
        *(f"{claim.text}: {'yes' if claim.holds else 'NOT HERE'} ({claim.figures})" for claim in said),
        *([""] if said else []),
        "published: MCXFace, VIS gallery, thermal probes, in percent (George, Unal and Marcel, 2026); other data and,",
        "but for the base, an unnamed network: not to be compared row by row. xEdgeFace's own ablation was not found.",
        "",
        _theirs(reproduce.PUBLISHED),
    ]
    facts = {
        "model": found.model,
        "data": found.data,
        "sides": found.sides._asdict(),
        "rows": [row._asdict() for row in found.rows],
        "means": [
            {**row._asdict(), "intervals": near._asdict()}
            for row, near in zip(reproduce.means(found.rows), ends, strict=True)
        ],
        "claims": [claim._asdict() for claim in said],
        "published": reproduce.PUBLISHED,
    }
    emit(facts, as_json=as_json, text="\n".join(text))


def _refuse(method: str, stray: dict[str, Any]) -> None:
    """Refuse options that a method does not take, where they were given."""
    if told := [option for option, value in stray.items() if value]:
        raise click.UsageError(f"{method} takes no {', '.join(told)}.")


def _compared(found: Table) -> list[str]:
    """Return how each recipe stands to the first one."""
    from xzoo.training.reproduce import against, means

    first, *others = means(found.rows)[1:]
    lines = []
    for row in others:
        points, near = against(found, row[:3], first[:3])
        lines.append(f"{row.recipe} against {first.recipe}: rank-1 {points:+.1f} {_ends(near)}")
    return lines


def _ends(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def _ours(rows: list[Row], ends: list[Ends], runs: list[Row], which: str) -> str:
    first = ("trains", "λ") if which == "ablation" else ("recipe", "trains")
    cells = []
    for row, near in zip(rows, ends, strict=True):
        each = [run.rank1 for run in runs if run[:3] == row[:3]]
        rank1, auc, eer, visible, kept = (f"{value:.2f}" for value in row[5:])
        cells.append(
            (
                *((row.groups, f"{row.weight:g}") if which == "ablation" else (row.recipe, row.groups)),
                str(row.parameters),
                rank1,
                _ends(near.rank1),
                f"{min(each):.1f}-{max(each):.1f}" if len(each) > 1 else "-",
                auc,
                eer,
                visible,
                _ends(near.vis_rank1),
                kept,
            )
        )
    named = ("rank-1", "95 %", "by seed", "AUC", "EER", "VIS rank-1", "95 %", "VIS kept")
    return table((*first, "parameters", *named), cells)


def _theirs(published: dict[str, dict[str, float]]) -> str:
    cells = [
        (name, *(f"{figures[key]:.2f}" if key in figures else "-" for key in ("rank1", "auc", "eer")))
        for name, figures in published.items()
    ]
    return table(("method", "rank-1", "AUC", "EER"), cells)
