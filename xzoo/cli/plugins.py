"""``xzoo plugins``: who adds to the catalogue, and who could not."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, emit, table


@click.command()
@as_json
def command(as_json: bool) -> None:
    """List plugins, one line each; a broken one says why."""
    from xzoo.catalog import plugins

    states = plugins()
    rows = [
        (
            each.dist,
            each.version,
            each.namespace or "-",
            str(each.entries),
            each.state,
            ". ".join(part.rstrip(".") for part in (each.reason, each.hint) if part) or "-",
        )
        for each in states
    ]
    header = ("plugin", "version", "namespace", "names", "state", "why")
    text = table(header, rows) if rows else "No plugins are installed."
    emit([each._asdict() for each in states], as_json=as_json, text=text)
