"""``xzoo get``: fetch weights into the cache, checked."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, emit, licences, lines, megabytes
from xzoo.errors import NotFound


@click.command()
@click.argument("name")
@licences
@as_json
def command(name: str, allow_licences: tuple[str, ...], as_json: bool) -> None:
    """Fetch the weights of NAME[.tag], check their hash, and print where they are."""
    from xzoo.catalog import resolve
    from xzoo.hub import fetch, sha256_of

    card, tag = resolve(name)
    tag = tag or card.tags.get(card.default_tag or "")
    if tag is None:
        raise NotFound(f"no weights of {name!r}.", why="The card names no tag.", do="xzoo ls --pretrained")
    weights = fetch(card, tag, allow_licences=allow_licences or None)
    size = weights.path.stat().st_size
    facts = {
        "name": f"{card.name}.{tag.name}",
        "path": weights.path,
        "bytes": size,
        "sha256": weights.sha256 or sha256_of(weights.path),
        "source": weights.source,
        "licence": weights.licence,
    }
    emit(facts, as_json=as_json, text=lines({**facts, "bytes": f"{size} ({megabytes(size)})"}))
