"""``xzoo evaluate``: how well a model tells people apart on a manifest."""

from __future__ import annotations

import click

from xzoo.cli.shared import as_json, batch, data, device, emit, licences, model, pretrained


@click.command()
@click.argument("name")
@data
@click.option("--gallery", default="VIS", show_default=True, metavar="BAND[:FIRST-LAST]", help="Who is known.")
@click.option("--probe", default="LWIR", show_default=True, metavar="BAND[:FIRST-LAST]", help="Who is looked for.")
@click.option("--split", help="Only rows of this split, for instance test.")
@click.option("--templates", is_flag=True, help="One mean template per gallery subject.")
@click.option("--report", type=click.Path(file_okay=False), help="Write report.html, .json, .md and a Hub block here.")
@click.option("--thumbnails", is_flag=True, help="Show the worst errors' images in the report.")
@pretrained
@batch
@device
@licences
@as_json
def command(
    name: str,
    data: str,
    gallery: str,
    probe: str,
    split: str | None,
    templates: bool,
    report: str | None,
    thumbnails: bool,
    pretrained: str | None,
    batch: int | None,
    device: str | None,
    allow_licences: tuple[str, ...],
    as_json: bool,
) -> None:
    """Evaluate NAME or a run folder: retrieval and verification, with counts.

    NAME may be 'pixels': standardised grey values, the baseline to beat.
    """
    if thumbnails and not report:
        raise click.UsageError("--thumbnails are part of a report: name its folder with --report.")
    from xzoo.data.manifest import Manifest
    from xzoo.evaluation import evaluate

    manifest = Manifest.read(data)  # before anything large is imported or fetched
    found = evaluate(
        name if name == "pixels" else model(name, pretrained, device=device, allow_licences=allow_licences),
        manifest,
        gallery=gallery,
        probe=probe,
        split=split,
        templates=templates,
        batch_size=batch or 64,
        details=report is not None,
    )
    facts, text = found.to_dict(), str(found)
    if report is not None:
        page = found.write(report, thumbnails=thumbnails)
        facts, text = {**facts, "report": str(page)}, f"{text}\n  report: {page}"
    emit(facts, as_json=as_json, text=text)
