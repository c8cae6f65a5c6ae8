"""``xzoo reproduce body``: people across bands by their bodies, published counts beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xzoo.cli.shared import GENERATED, emit, table
from xzoo.training.body_published import DATA, LLCM, MINING, TITLES, Count, published

if TYPE_CHECKING:
    from xzoo.training.body_tables import Claim, Settings, Table

__all__ = ["claims_text", "table_text", "tell"]


def tell(
    which: str | None,
    *,
    every: bool,
    data: str | None,
    model: str | None,
    pretrained: Any,
    steps: int | None,
    batch: int | None,
    people: int | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Print one table of the body paper, or all of them."""
    from xzoo.evaluation import wilson
    from xzoo.training import body_llcm, body_tables

    if every == (which is not None):
        raise click.UsageError(f"body: give --table, one of {', '.join(TITLES)}, or --all.")
    if which is not None and which not in TITLES:
        raise click.UsageError(f"body has the tables {', '.join(TITLES)}.")
    numbers = list(TITLES) if every else [str(which)]
    if data is not None and every:
        numbers.remove("2")  # of another data set
    settings = body_tables.DEFAULTS
    settings = settings._replace(steps=steps or settings.steps, batch=batch or settings.batch)
    settings = settings._replace(precision=body_tables.precision_of(settings))
    if data is not None:
        settings = settings._replace(contrast=False, faces=0, uneven=None, gallery=0, repeats=1)
    if people is not None:
        settings = settings._replace(train=max(1, people // 4), test=people - max(1, people // 4))
    folder = Path(output or "runs/body")
    chosen: dict[str, Any] = {"settings": settings, "report": lambda line: click.echo(line, err=True)}
    if model is not None:
        chosen |= {"model": model, "pretrained": True}
    if pretrained is not None:
        chosen["pretrained"] = pretrained
    facts: dict[str, Any] = {"data": data or GENERATED, "settings": settings._asdict(), "tables": {}}
    text = [_heading(data, settings)]
    if any(number != "2" for number in numbers):
        workshop = body_tables.Workshop(*_bodies(data, folder, settings), folder, **chosen)
        facts["network"] = str(workshop.base.origin)
        for number in (one for one in numbers if one != "2"):
            found = workshop.table(number)
            facts["tables"][number] = {
                row: {column: [*count, *wilson(*count)] for column, count in cells.items() if count.trials}
                for row, cells in found.rows.items()
            }
            text += ["", table_text(found)]
        said = workshop.claims(numbers)
        facts["claims"] = [{**one._asdict(), "holds": one.holds} for one in said]
    if "2" in numbers:
        rows = body_llcm.table_2(data, folder, **chosen)
        facts["tables"]["2"] = {name: row._asdict() for name, row in rows.items()}
        text += ["", llcm_text(rows)]
    if facts.get("claims"):
        text += ["", claims_text(said)]
    emit(facts, as_json=as_json, text="\n".join(text))


def _heading(data: str | None, settings: Settings) -> str:
    where = data or GENERATED
    return (
        f"ours: {where}; {settings.steps} steps of {settings.batch} images a training, seed {settings.seed}, "
        + f"in {settings.precision}; "
        + ("supervised contrast in the place of the paper's losses, but for table 6; " if settings.contrast else "")
        + (f"films of {' '.join(map(str, settings.lengths))} pictures to learn from; " if data is None else "")
        + (f"hits are means over all galleries of {settings.gallery}; " if settings.gallery else "")
        + "rank-1 as hits/probes with 95 % after Wilson"
    )


def _bodies(data: str | None, folder: Path, settings: Settings) -> tuple[Any, Any]:
    if data is None:
        from xzoo.training.body_tables import people

        high, wide = settings.size
        lengths = ".".join(map(str, settings.lengths))
        drawn = f"films-{settings.train}-{lengths}-{settings.test}-{settings.frames}-{high}x{wide}"
        return people(folder / drawn, settings)
    from xzoo.data.readers import read

    return read("ijb_mdf", data), read("ijb_mdf", data, kind="face")


def table_text(found: Table) -> str:
    """Return a table as text, published counts beside ours."""
    number = found.number
    title = f"{'Table ' if number != 'mining' else ''}{number}: {TITLES[number]}"
    cells = []
    for row, ours in found.rows.items():
        line = [row]
        for column in found.columns:
            theirs = _mined(row, column) if number == "mining" else _shown(published(number, row, column))
            line += [theirs, _ours(ours.get(column))]
        cells.append(tuple(line))
    head = ("",) + tuple(word for column in found.columns for word in (f"{column}, paper", f"{column}, ours"))
    return "\n".join([title, table(head, cells), *(f"  {note}" for note in found.notes)])


def _mined(row: str, column: str) -> str:
    return f"{MINING[row][('start', 'end').index(column)]:.0f} %" if column != "chance" else "-"


def _shown(count: Count | None) -> str:
    return "-" if count is None else f"{count.hits}/{count.trials} = {100 * count.hits / count.trials:.1f}"


def _ours(count: Count | None) -> str:
    from xzoo.evaluation import wilson

    if count is None or not count.trials:
        return "-"
    low, high = wilson(*count)
    return f"{_shown(count)} [{100 * low:.0f}, {100 * high:.0f}]"


def claims_text(said: list[Claim]) -> str:
    """Return claims as text, each with its interval and whether it holds."""
    lines = [
        f"  {one.text}: {100 * one.figure:+.1f} [{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]"
        + (" holds" if one.holds else " NOT SHOWN HERE")
        for one in said
    ]
    return "\n".join(
        ["claims of the paper, differences of rank-1 in points, subjects drawn again (95 %):", *lines, f"paper: {DATA}"]
    )


def llcm_text(rows: dict[str, Any]) -> str:
    """Return Table II as text: published figures, then ours by each protocol."""
    head = ("method", "protocol", "VIS to IR rank-1", "mAP", "IR to VIS rank-1", "mAP")
    theirs = [(name, row[4], *(f"{value:.1f}" for value in row[:4])) for name, row in LLCM.items()]
    ours = [
        (name, row.protocol, *("-" if value is None else f"{100 * value:.1f}" for value in row[1:5]))
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            f"Table 2: {TITLES['2']}, in percent",
            table(head, [*theirs, *ours]),
            "  figures of different protocols are not comparable; ?: the protocol is inferred, not stated",
        ]
    )
