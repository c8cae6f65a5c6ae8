"""``xzoo show``: one card, or one run."""

from __future__ import annotations

from pathlib import Path

import click

from xzoo.cli.shared import as_json, emit, is_run, lines


@click.command()
@click.argument("name")
@as_json
def command(name: str, as_json: bool) -> None:
    """Show the card of NAME: facts first, then the prose. A run folder is shown too."""
    if is_run(name):
        from xzoo.training.run import read_facts

        facts = read_facts(Path(name))
        emit(facts, as_json=as_json, text=lines(facts))
        return
    from xzoo.catalog import card

    found = card(name)
    emit(found.to_dict(), as_json=as_json, text=str(found))
