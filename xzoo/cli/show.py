"""``xzoo show``: one card, or one run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xzoo.cli.shared import as_json, emit, is_run, lines


@click.command()
@click.argument("name")
@as_json
def command(name: str, as_json: bool) -> None:
    """Show the card of NAME: facts first, then the prose. A run folder is shown too."""
    if is_run(name):
        facts = json.loads((Path(name) / "run.json").read_text(encoding="utf-8"))
        emit(facts, as_json=as_json, text=lines(facts))
        return
    from xzoo.catalog import resolve

    card, tag = resolve(name)
    described = {
        "name": card.name,
        "kind": card.kind,
        "task": card.task,
        "status": card.status,
        "spectra": list(card.spectra),
        "summary": card.summary,
        "family": card.family,
        "origin": card.origin,
        "licence": dict(card.licence),
        "options": {key: dict(value) for key, value in card.options.items()},
        "default_tag": card.default_tag,
        "tags": {each.name: each._asdict() for each in card.tags.values() if tag is None or each == tag},
        **card.facts,
    }
    text = "\n\n".join([lines({key: value for key, value in described.items() if value}), card.prose.strip()])
    emit({**described, "prose": card.prose}, as_json=as_json, text=text.rstrip())
