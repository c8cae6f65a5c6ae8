"""``xzoo plugins``: who adds to the catalogue, and who could not."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json


@click.command()
@as_json
def command(as_json: bool) -> None:
    """List plugins, one line each; a broken one says why."""
