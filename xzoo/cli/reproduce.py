"""``xzoo reproduce``: a published table, run again."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, batch, emit, table, weights

__all__ = ["command"]


@click.command("reproduce", short_help="Run a published table again, beside its figures.")
@click.argument("method", type=click.Choice(["xedgeface"]))
@click.option("--table", "which", type=click.Choice(["ablation"]), default="ablation", show_default=True)
@click.option("--data", metavar="MANIFEST", help="A csv, a parquet or a folder. Default: generated people.")
@click.option("--model", default="edgeface_xxs", show_default=True, help="A network of the EdgeFace family.")
@click.option("--pretrained", metavar="WHAT", help="A tag, a file, or 'no' for random weights.")
@click.option("--preset", "presets", multiple=True, metavar="GROUPS", help="Only this trainable set (repeat).")
@click.option("--weight", "lambdas", multiple=True, type=click.FloatRange(min=0), help="Only this weight (repeat).")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each cell.")
@click.option("--steps", type=click.IntRange(min=1), help="In place of the recipe's.")
@batch
@click.option("--people", type=click.IntRange(min=8), default=64, show_default=True, help="Where people are generated.")
@click.option("--output", type=click.Path(file_okay=False), default="runs/xedgeface-ablation", show_default=True)
@as_json
def command(
    method: str,
    which: str,
    data: str | None,
    model: str,
    pretrained: str | None,
    presets: tuple[str, ...],
    lambdas: tuple[float, ...],
    seeds: int,
    steps: int | None,
    batch: int | None,
    people: int,
    output: str,
    as_json: bool,
) -> None:
    """Run the sweep of METHOD and print published figures beside ours."""
    from xzoo.training import reproduce

    asked = weights(pretrained)

    def report(row: reproduce.Row) -> None:
        click.echo(f"{row.groups} λ={row.weight:g} seed {row.seed}: rank-1 {row.rank1:.1f}", err=True)

    found = reproduce.TABLES[method][which](
        data,
        model=model,
        pretrained=True if asked is None else asked,
        output=output,
        presets=presets or tuple(reproduce.PRESETS),
        weights=lambdas or (0.0, 0.5, 1.0),
        seeds=range(seeds),
        steps=steps,
        batch=batch,
        people=people,
        report=report,
    )
    rows = reproduce.means(found)
    where = "generated people, who show that the method works and nothing of its rates" if data is None else data
    cells = [
        (row.groups, f"{row.weight:g}", str(row.parameters), *(f"{value:.2f}" for value in row[4:])) for row in rows
    ]
    theirs = [
        (name, *(f"{figures[key]:.2f}" if key in figures else "-" for key in ("rank1", "auc", "eer")))
        for name, figures in reproduce.PUBLISHED.items()
    ]
    text = [
        f"ours: {model} on {where}; {seeds} run{'s' * (seeds > 1)} of each cell, in percent",
        "",
        table(("trains", "λ", "parameters", "rank-1", "AUC", "EER", "VIS rank-1"), cells),
        "",
        "published: MCXFace, VIS gallery, thermal probes, in percent (George, Unal and Marcel, 2026); other data and,",
        "but for the base, an unnamed network: not to be compared row by row. xEdgeFace's own ablation was not found.",
        "",
        table(("method", "rank-1", "AUC", "EER"), theirs),
    ]
    facts = {
        "data": "generated people" if data is None else data,
        "rows": [row._asdict() for row in found],
        "published": reproduce.PUBLISHED,
    }
    emit(facts, as_json=as_json, text="\n".join(text))
