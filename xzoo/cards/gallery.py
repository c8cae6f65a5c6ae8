"""The gallery: every entry of the zoo as a row of plain data, and as one page with a table.

A row is what can be created by one name: a tag of weights, or a card that has
none. A fact that nobody measured is None and reads "not reported". The page
is whole without JavaScript; ``docs/assets/zoo.js`` adds filters, sorting, a
plot and a comparison to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from xzoo.catalog.describe import NOT_REPORTED, figure_text, human_bytes
from xzoo.catalog.entries import Card, Tag
from xzoo.catalog.licences import CLASSES, licence_class

__all__ = [
    "COLUMNS",
    "SOURCES",
    "better",
    "data_status",
    "error",
    "fidelity",
    "latency_text",
    "page",
    "rows",
    "shared_figures",
    "shown",
]

COLUMNS = {
    "name": "name",
    "kind": "kind",
    "task": "task",
    "spectra": "spectra",
    "params": "params",
    "mflops": "MFLOPs",
    "bytes": "file",
    "embedding": "embedding",
    "latency": "CPU latency",
    "figure": "headline figure",
    "licence": "licence of weights",
    "data": "data",
    "fidelity": "fidelity",
    "input": "input",
    "status": "status",
}
"""Columns of the table, in order, with their titles."""

HIDDEN = ("input", "status")
NUMBERS = ("params", "mflops", "bytes", "embedding", "latency")
KINDS = {"backbone": "network"}

LOWER = ("eer", "nme", "fnmr", "fpir", "fnir", "fnr", "fmr", "hter", "auc of error", "failure")
HIGHER = ("accuracy", "auc", "map", "rank", "tar", "tpir", "vr", "ap", "recall", "precision", "minp")
RATES = (*HIGHER, "eer", "fnmr", "fpir", "fnir", "fnr", "fmr", "hter", "failure")
WORST = ("withdrawn", "restricted", "unknown", "available", "generated")
"""Of the sets that weights were trained on, the first of these speaks for all."""


def rows(cards: Iterable[Card], timings: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return a row for each tag of each card, and for each card without weights.

    Args:
        cards: The cards, in the order of the rows.
        timings: What ``benchmarks/latency.py`` wrote: ``machine`` and, for each card's name, ``latency_ms`` of one
            image, and ``flops`` where they were counted.
    """
    return [_row(card, tag, timings or {}) for card in cards for tag in (card.tags.values() or (None,))]


def _row(card: Card, tag: Tag | None, timings: Mapping[str, Any]) -> dict[str, Any]:
    given, out, size = (card.facts.get(key) or {} for key in ("input", "output", "size"))
    timed = timings.get("entries", {}).get(card.name, {})
    licence = tag.licence if tag else card.licence["weights"]
    return {
        "id": f"{card.name}.{tag.name}" if tag else card.name,
        "name": card.name,
        "tag": tag.name if tag else None,
        "default": tag is None or tag.name == card.default_tag,
        "kind": card.kind,
        "task": card.task,
        "family": card.family,
        "spectra": list(card.spectra),
        "summary": card.summary,
        "status": card.status,
        "params": size.get("params"),
        "mflops": size.get("mflops") or timed.get("mflops"),
        "bytes": tag.bytes if tag else None,
        "embedding": out.get("embedding"),
        "input": "x".join(str(side) for side in given["size"]) if given else None,
        "alignment": given.get("alignment"),
        "latency": timed.get("latency_ms"),
        "latency_range": timed.get("range_ms"),
        "figures": [_figure(row, given.get("alignment")) for row in _of_tag(card.facts.get("results"), tag)],
        "licence": licence,
        "licence_class": "none" if licence == "none" else licence_class(licence),
        "licence_code": card.licence["code"],
        "licence_data": card.licence["data"],
        "data": data_status(card, tag),
        "trained_on": [row["name"] for row in _of_tag(card.facts.get("training_data"), tag)],
        "sha256": tag.sha256 if tag else None,
        "fidelity": fidelity(card),
    }


def _of_tag(rows: Sequence[Mapping[str, Any]] | None, tag: Tag | None) -> list[Mapping[str, Any]]:
    """Return the rows that hold for a tag: those that name it, and those that name none."""
    name = tag.name if tag else None
    return [
        row
        for row in rows or ()
        if row.get("tag") in (None, name) and (not row.get("tags") or name in row["tags"]) and not row.get("group")
    ]


def _figure(row: Mapping[str, Any], alignment: str | None) -> dict[str, Any]:
    keys = ("protocol", "metric", "value", "unit", "std", "ci95", "counts", "source", "evidence", "notes")
    found = {key: row[key] for key in keys if row.get(key) not in (None, "")}
    counts = ", ".join(f"{count:,} {what}" for what, count in row.get("counts", {}).items())
    # Two figures may be subtracted where all of these are the same.
    same = [row["protocol"], row["metric"], row.get("unit", ""), alignment or "", row["source"], counts]
    return {**found, "same": same, "better": better(row["metric"]), "error": error(row)}


def better(metric: str) -> str | None:
    """Return which way a metric is good, ``higher`` or ``lower``; None for one that is not known here."""
    word = metric.lower()
    if word.startswith(LOWER):
        return "lower"
    return "higher" if word.startswith(HIGHER) else None


def error(row: Mapping[str, Any]) -> float | None:
    """Return a result as an error, less is better: ``1 - value`` of a rate of successes; None for other metrics."""
    way, word = better(row["metric"]), row["metric"].lower()
    if way is None:
        return None
    scale = 100.0 if row.get("unit") == "%" else 1.0
    value = float(row["value"]) / scale
    if way == "lower":
        return round(value, 8)
    return round(1.0 - value, 8) if word.startswith(RATES) else None


def data_status(card: Card, tag: Tag | None) -> str | None:
    """Return the state of the data behind a set of weights: the worst of their rows, ``no weights``, or None."""
    if card.licence["weights"] == "none" and tag is None:
        return "no weights"
    found = {row["status"] for row in _of_tag(card.facts.get("training_data"), tag)}
    return next((status for status in WORST if status in found), None)


def fidelity(card: Card) -> str | None:
    """Return how near a card is to its paper, as its front matter or else its prose says: ``fidelity: WORD``."""
    said = re.search(r"\bfidelity: ([a-z]+(?:-[a-z]+)*)", card.prose)
    return card.facts.get("fidelity") or (said[1] if said else None)


def shared_figures(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Return each protocol and metric with the number of rows that have it, the most shared first."""
    count: dict[tuple[str, str], int] = {}
    for row in rows:
        for pair in {(figure["protocol"], figure["metric"]): None for figure in row["figures"]}:
            count[pair] = count.get(pair, 0) + 1
    return [(*pair, number) for pair, number in sorted(count.items(), key=lambda item: (-item[1], item[0]))]


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's cells as text, one for each of ``COLUMNS``."""
    first = row["figures"][0] if row["figures"] else None
    return {
        "name": row["id"],
        "kind": KINDS.get(row["kind"], row["kind"]),
        "task": row["task"],
        "spectra": " ".join(row["spectra"]) or NOT_REPORTED,
        "params": _short_count(row["params"], row),
        "mflops": (f"{row['mflops']:,.0f}" if row["mflops"] >= 100 else f"{row['mflops']:g}")
        if row["mflops"]
        else _absent(row),
        "bytes": human_bytes(row["bytes"]) if row["bytes"] is not None else _absent(row, weights=True),
        "embedding": str(row["embedding"]) if row["embedding"] else _absent(row),
        "latency": latency_text(row["latency"], row["latency_range"]) if row["latency"] else _absent(row),
        "figure": f"{figure_text(first)}; {first['protocol']} ({SOURCES[first['source']]})" if first else _absent(row),
        "licence": row["licence"] if row["licence"] != "none" else "no weights",
        "data": row["data"] or NOT_REPORTED,
        "fidelity": row["fidelity"] or NOT_REPORTED,
        "input": row["input"] or _absent(row),
        "status": row["status"],
    }


def latency_text(latency: float, spread: Sequence[float] | None) -> str:
    """Return milliseconds, with the least and the greatest of several passes where they are known."""
    return f"{_digits(latency)} ms" + ("" if spread is None else " ({} to {})".format(*map(_digits, spread)))


def _digits(value: float) -> str:
    """Return two or more digits of a number, never as a power of ten."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


SOURCES = {"self": "measured by xzoo", "paper": "stated by its authors", "third-party": "measured by others"}


def _absent(row: Mapping[str, Any], weights: bool = False) -> str:
    """Return what stands for a missing fact of a row."""
    if row["kind"] != "backbone":
        return NOTHING
    return "no weights" if weights and row["tag"] is None and row["licence"] == "none" else NOT_REPORTED


def _short_count(count: int | None, row: Mapping[str, Any]) -> str:
    if count is None:
        return _absent(row)
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def page(rows: Sequence[Mapping[str, Any]], timings: Mapping[str, Any] | None = None) -> str:
    """Return the gallery as a page of Markdown: prose, the whole table as HTML, and its data for the script."""
    table = "\n".join(
        [
            '<div class="zoo" id="zoo">',
            '<div class="zoo-controls" hidden></div>',
            '<p class="zoo-count" role="status"></p>',
            '<div class="zoo-scroll" role="region" aria-label="All entries of the zoo" tabindex="0">',
            '<table class="zoo-table">',
            f"<caption>{escape(_caption(timings))}</caption>",
            f"<thead><tr>{''.join(_head(key) for key in COLUMNS)}</tr></thead>",
            "<tbody>",
            *(_tr(row) for row in rows),
            "</tbody>",
            "</table>",
            "</div>",
            '<div class="zoo-plot" hidden></div>',
            '<div class="zoo-compare" hidden></div>',
            "</div>",
            f'<script type="application/json" id="zoo-data">{_data(rows)}</script>',
        ]
    )
    return f"{FRONT}\n\n{INTRODUCTION}\n\n{table}\n\n{NOTES}\n"


FRONT = """---
title: The zoo
hide:
  - navigation
  - toc
---"""

INTRODUCTION = """# The zoo

Every network, adapter and recipe, one row for each set of weights. Written from the cards; `xzoo ls` prints the same on
a terminal, and [zoo.json](zoo.json) holds it for programs."""

NOTES = """## How to read it

- **Headline figure** is the first that the card states. Figures of different protocols say nothing about each other, so
  the column can be sorted only when one figure is chosen, and no difference is printed between two that differ in
  protocol, metric, alignment, source or counts.
- **Data** is the state of the worst set that the weights were trained on: *withdrawn* sets were taken back by their
  publishers, *generated* ones show nobody.
- **MFLOPs** count multiplications and additions apart, for one image.
- **Fidelity** says how near an entry is to its paper: *own* follows none, *abstract-level* knows its abstract alone,
  *reimplementation* follows its text, *converted* runs the authors' weights, *reproduced* had their figures come out
  again.
- *Not reported* means that nobody measured it, or told us; a dash, that it does not apply."""


def _caption(timings: Mapping[str, Any] | None) -> str:
    if not timings:
        return f"CPU latency: {NOT_REPORTED}."
    threads = f"{timings['threads']} thread{'s' * (timings['threads'] > 1)}"
    return (
        f"CPU latency: one image, float32, {threads}, {timings['machine']}, PyTorch {timings['torch']}; the median, "
        "and in brackets the least and the greatest of several passes."
    )


def _head(key: str) -> str:
    kind = ' class="zoo-number"' if key in NUMBERS else ""
    return f'<th scope="col" data-col="{key}"{kind}{_hidden(key)}>{COLUMNS[key]}</th>'


def _hidden(key: str) -> str:
    return " hidden" if key in HIDDEN else ""


def _tr(row: Mapping[str, Any]) -> str:
    cells = [_td(key, text, row) for key, text in shown(row).items()]
    return f'<tr data-id="{row["id"]}">{"".join(cells)}</tr>'


def _td(key: str, text: str, row: Mapping[str, Any]) -> str:
    if key == "name":
        tag = f'<span class="zoo-tag">.{row["tag"]}</span>' if row["tag"] else ""
        link = f'<a href="{row["name"]}/index.html">{row["name"]}{tag}</a>'
        return f'<th scope="row" data-col="name">{link}<span class="zoo-summary">{escape(row["summary"])}</span></th>'
    kind = f"{'zoo-number' if key in NUMBERS else ''} {'zoo-absent' if text in ABSENT else ''}".strip()
    mark = f' class="{kind}"' if kind else ""
    inner = _badge(row, text) if key in ("licence", "data") else escape(text)
    if key == "figure" and row["figures"]:
        inner = f'{escape(text.partition("; ")[0])}<span class="zoo-detail">{escape(text.partition("; ")[2])}</span>'
    return f'<td data-col="{key}" data-label="{COLUMNS[key]}"{mark}{_hidden(key)}>{inner}</td>'


NOTHING = "–"
"""Stands where a fact does not apply: a recipe has no parameters, which is not the same as not reported."""

ABSENT = (NOT_REPORTED, NOTHING, "no weights")


def _badge(row: Mapping[str, Any], text: str) -> str:
    """Return licence or data state with its class as a word; colour only repeats what the word says."""
    if text in CLASSES or text in WORST:
        return f'<span class="zoo-badge zoo-{text}">{text}</span>'
    if text in ABSENT:
        return escape(text)
    badge = f'<span class="zoo-badge zoo-{row["licence_class"]}">{row["licence_class"]}</span>'
    return badge if text == f"LicenseRef-{row['licence_class']}" else f"{badge} {escape(text)}"


def _data(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as JSON that can stand inside a script element."""
    data = {
        "columns": COLUMNS,
        "hidden": HIDDEN,
        "sources": SOURCES,
        "figures": [list(figure) for figure in shared_figures(rows)],
        "rows": [{**row, "shown": shown(row), "figures": [_with_text(f) for f in row["figures"]]} for row in rows],
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _with_text(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {**figure, "text": figure_text(figure)}
