"""``xzoo data check``: read a manifest as a whole and say what is in it."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, emit, lines
from xzoo.errors import DataError, problems


@click.group()
def command() -> None:
    """Look after manifests."""


@command.command()
@click.argument("manifest")
@click.option("--deep", is_flag=True, help="Also decode every image, and report images with equal bytes.")
@as_json
def check(manifest: str, deep: bool, as_json: bool) -> None:
    """Check MANIFEST (csv, parquet or folder): every fault at once, with its row."""
    from xzoo.data.manifest import Manifest

    found = Manifest.check(manifest, deep=deep)
    facts = {
        "manifest": manifest,
        "images": found.rows,
        "subjects": found.subjects,
        "splits": found.counts,
        "notes": list(found.notes),
        "problems": list(found.problems),
    }
    shown = {key: value for key, value in facts.items() if value and key != "problems"}
    emit(facts, as_json=as_json, text=lines(shown))
    if found.problems:
        faults = f"{len(found.problems)} fault{'s' if len(found.problems) > 1 else ''}"
        raise DataError(
            f"manifest {manifest!r} has {faults}",
            why=problems(found.problems, limit=len(found.problems)),
            do="mend the rows above and check it again",
        )
