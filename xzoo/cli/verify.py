"""``xzoo verify``: hash again what is on this machine."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, emit, table
from xzoo.errors import HashMismatch


@click.command()
@click.argument("name", required=False)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """Hash the weights of NAME, or of everything bundled, cached and converted. Downloads nothing."""
    from xzoo.hub import verify

    facts = verify(name)
    rows = [(fact.name, fact.state, (fact.actual or "-")[:16], str(fact.path or fact.source)) for fact in facts]
    text = table(("weights", "state", "sha256", "where"), rows) if rows else "There are no weights here."
    emit([{**fact._asdict(), "fault": fact.fault} for fact in facts], as_json=as_json, text=text)
    faults = [fact.name for fact in facts if fact.fault]
    if faults:
        raise HashMismatch(
            f"{len(faults)} of {len(facts)} files are not what was recorded.",
            why=", ".join(faults[:3]) + (" ..." if len(faults) > 3 else ""),
            do="remove the changed file and fetch it again: xzoo get NAME",
        )
