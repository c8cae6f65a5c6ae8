"""``xzoo plugin``: for authors of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xzoo.cli.shared import as_json, emit

if TYPE_CHECKING:
    from xzoo.catalog.plugin_tools import Built


@click.group()
def command() -> None:
    """Start, compile and check a plugin of your own."""


@command.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.argument("name")
@as_json
def new(folder: str, name: str, as_json: bool) -> None:
    """Start a plugin in FOLDER whose models are called NAME/..."""
    from xzoo.catalog.plugin_tools import new

    _emit("started", new(folder, name), as_json)


@command.command()
@click.argument("path", type=click.Path(), default=".")
@as_json
def build(path: str, as_json: bool) -> None:
    """Compile the xzoo.yaml of the project at PATH to its xzoo.json."""
    from xzoo.catalog.plugin_tools import build

    _emit("built", build(path), as_json)


@command.command()
@click.argument("path", type=click.Path(), default=".")
@as_json
def validate(path: str, as_json: bool) -> None:
    """Check the project at PATH as its users will get it."""
    from xzoo.catalog.plugin_tools import validate

    _emit("in order", validate(path), as_json)


def _emit(done: str, built: Built, as_json: bool) -> None:
    facts = {"manifest": built.manifest, "names": list(built.names)}
    emit(facts, as_json=as_json, text=f"{done}: {built.manifest}\nnames: {', '.join(built.names)}")
