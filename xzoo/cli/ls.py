"""``xzoo ls``: list what there is."""

from __future__ import annotations

import click

from xzoo.catalog.names import SPECTRA
from xzoo.cli.shared import as_json, emit, table


@click.command()
@click.argument("patterns", nargs=-1)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these out (repeat).")
@click.option("--kind", multiple=True, help="backbone, adapter or recipe (repeat). Default: all.")
@click.option("--task", multiple=True, help="For instance face-recognition (repeat).")
@click.option("--spectrum", multiple=True, type=click.Choice(SPECTRA), help="Band (repeat).")
@click.option("--licence", multiple=True, metavar="ID", help="Licence of the weights, or 'permissive' (repeat).")
@click.option("--pretrained/--no-pretrained", default=None, help="Only names with, or without, weights.")
@as_json
def command(
    patterns: tuple[str, ...],
    exclude: tuple[str, ...],
    kind: tuple[str, ...],
    task: tuple[str, ...],
    spectrum: tuple[str, ...],
    licence: tuple[str, ...],
    pretrained: bool | None,
    as_json: bool,
) -> None:
    """List models, adapters and recipes; PATTERNS are like 'edge*'."""
    from xzoo.catalog import card, list_models

    names = list_models(
        patterns or "*",
        exclude=exclude or None,
        kind=kind or "*",
        task=task or None,
        spectrum=spectrum or None,
        licence=licence or None,
        pretrained=pretrained,
    )
    entries = [(name, card(name)) for name in names]
    facts = [
        {
            "name": name,
            "kind": each.kind,
            "task": each.task,
            "spectra": list(each.spectra),
            "tags": list(each.tags),
            "default_tag": each.default_tag,
            "licence": dict(each.licence),
            "origin": each.origin,
            "summary": each.summary,
        }
        for name, each in entries
    ]
    rows = [
        (
            name,
            each.kind,
            " ".join(each.spectra) or "-",
            each.default_tag or "-",
            str(each.licence.get("weights") or "-"),
            each.summary,
        )
        for name, each in entries
    ]
    if not names:
        click.echo("Nothing matches. All names: xzoo ls", err=True)
    if names or as_json:
        emit(facts, as_json=as_json, text=table(("name", "kind", "spectra", "tag", "weights", "summary"), rows))
