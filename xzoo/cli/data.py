"""``xzoo data check``: read a manifest as a whole and say what is in it."""

from __future__ import annotations

from collections import Counter

import click

from xzoo.cli.shared import as_json, emit, lines


@click.group()
def command() -> None:
    """Look after manifests."""


@command.command()
@click.argument("manifest")
@as_json
def check(manifest: str, as_json: bool) -> None:
    """Check MANIFEST (csv, parquet or folder): every fault at once, with its row."""
    from xzoo.data.manifest import Manifest

    found = Manifest.read(manifest)
    facts = {
        "manifest": manifest,
        "hash": found.hash,
        "images": len(found.rows),
        "subjects": len(found.subjects),
        "spectra": dict(Counter(row.spectrum for row in found.rows)),
        "splits": dict(Counter(row.split or "(none)" for row in found.rows)),
    }
    emit(facts, as_json=as_json, text=lines(facts))
