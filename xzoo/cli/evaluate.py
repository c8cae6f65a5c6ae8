"""``xzoo evaluate``: how well a model tells people apart on a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xzoo.cli.shared import as_json, batch, data, device, emit, licences, model, pretrained, reader_options, settings

if TYPE_CHECKING:
    from xzoo.evaluation import ProtocolResult, Report


@click.command()
@click.argument("name")
@data
@click.option("--gallery", default="VIS", show_default=True, metavar="BAND[:FIRST-LAST]", help="Who is known.")
@click.option("--probe", default="LWIR", show_default=True, metavar="BAND[:FIRST-LAST]", help="Who is looked for.")
@click.option("--split", help="Only rows of this split, for instance test.")
@click.option("--templates", is_flag=True, help="One mean template per gallery subject.")
@click.option("--protocol", metavar="NAME", help="A named protocol, or a YAML file; MANIFEST may be the set's root.")
@reader_options
@click.option("--repetition", "repetitions", type=int, multiple=True, help="Only this repetition (repeat).")
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
    protocol: str | None,
    options: tuple[str, ...],
    repetitions: tuple[int, ...],
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
    if report is not None:
        from xzoo.evaluation.report_page import check_folder

        check_folder(report)
    from xzoo.data.manifest import Manifest

    if protocol is not None:
        given = click.get_current_context()
        if chosen := [key for key in ("gallery", "probe", "split", "templates") if _is_given(given, key)]:
            raise click.UsageError(
                f"--protocol says who is compared: leave out {', '.join(f'--{key}' for key in chosen)}."
            )
        from xzoo.evaluation import run_protocol
        from xzoo.evaluation.protocols import load

        plan = load(protocol)  # before anything large is fetched
        source: Manifest | str = data
        if Path(data).suffix.lower() in (".csv", ".parquet"):
            source = Manifest.read(data)
        result = run_protocol(
            plan,
            name if name == "pixels" else model(name, pretrained, device=device, allow_licences=allow_licences),
            source,
            options=settings(options),
            repetitions=repetitions or None,
            batch_size=batch or 64,
            details=report is not None,
        )
        _tell(result, report, thumbnails, as_json)
        return
    if options or repetitions:
        raise click.UsageError("--option and --repetition are those of a --protocol.")
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
    _tell(found, report, thumbnails, as_json)


def _tell(found: Report | ProtocolResult, report: str | None, thumbnails: bool, as_json: bool) -> None:
    """Print what was found, and write its report where one is wanted."""
    facts, text = found.to_dict(), str(found)
    if report is not None:
        page = found.write(report, thumbnails=thumbnails)
        facts, text = {**facts, "report": str(page)}, f"{text}\n  report: {page}"
    emit(facts, as_json=as_json, text=text)


def _is_given(context: click.Context, key: str) -> bool:
    return context.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE
