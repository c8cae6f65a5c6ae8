"""``xzoo publish``: weights, card and adapter to the Hub."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, emit, megabytes, table


@click.command()
@click.argument("what", metavar="NAME|RUN")
@click.argument("repo", metavar="ORG/REPO")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--licence", metavar="SPDX-ID", help="Of a run whose weights have none on record, and are yours.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@as_json
def command(what: str, repo: str, dry_run: bool, licence: str | None, private: bool, as_json: bool) -> None:
    """Publish the weights of NAME[.tag], or the adapter of a run, with its card.

    xzoo.create("hf-hub:ORG/REPO") opens what was published. Refused without a
    licence that lets the weights be passed on.
    """
    from xzoo import publishing

    parcel = publishing.prepare(what, repo, licence=licence)
    commit = None if dry_run else publishing.push(parcel, private=private)
    readme = parcel.files["README.md"]
    facts = {
        "name": parcel.name,
        "repo": repo,
        "licence": parcel.licence,
        "files": parcel.sizes,
        "commit": commit,
        "readme": readme.decode() if isinstance(readme, bytes) else "",
    }
    rows = [(name, megabytes(size)) for name, size in parcel.sizes.items()]
    lines = [table(("file", "size"), rows), "", f"licence: {parcel.licence}"]
    if dry_run:
        lines += ["", str(facts["readme"]).rstrip(), "", f"Nothing was sent. To send it: xzoo publish {what} {repo}"]
    else:
        lines += [f"commit: {commit}", f'open it: xzoo.create("hf-hub:{repo}")']
    emit(facts, as_json=as_json, text="\n".join(lines))
