"""A card as text for people: what ``xzoo show NAME`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xzoo.catalog.entries import Card, Tag
from xzoo.catalog.licences import licence_class

__all__ = ["NOT_REPORTED", "data_line", "describe", "figure_text", "human_bytes", "result_line"]

WIDTH = 112

NOT_REPORTED = "not reported"
"""Stands for every fact that nobody measured or stated."""


def describe(card: Card) -> str:
    """Return a card as plain text: facts first, prose after them."""
    facts = card.facts
    lines = [card.name, card.summary or NOT_REPORTED, ""]
    lines += _rows(
        {
            "kind": f"{card.kind}, {card.task}",
            "status": _status(card),
            "spectra": " ".join(card.spectra) or NOT_REPORTED,
            "comes from": card.origin,
            **_contract(card),
            "licence": _licence(card.licence),
        }
    )
    if card.kind == "backbone":
        lines += _section("weights", [_tag_line(card, tag) for tag in card.tags.values()] or ["none of its own"])
    lines += _section("options", (_option_line(name, row) for name, row in card.options.items()))
    lines += _section("trained on", (data_line(row) for row in facts.get("training_data", ())), card.kind == "backbone")
    lines += _section("results", _results(facts.get("results", ())), card.kind == "backbone")
    use = facts.get("use", {})
    lines += _section("meant for", [use["intended"]] if use.get("intended") else [], card.kind == "backbone")
    lines += _section("not for", use.get("not_for", ()))
    if card.prose:
        lines += ["", card.prose.strip()]
    return "\n".join(lines) + "\n"


def _rows(rows: Mapping[str, str]) -> list[str]:
    return [_wrap(value, f"  {key:<12}") for key, value in rows.items()]


def _section(title: str, lines: Iterable[str], expected: bool = False) -> list[str]:
    found = list(lines)
    if not found and not expected:
        return []
    return ["", f"  {title}", *(_wrap(line, "    ") for line in found or [NOT_REPORTED])]


def _wrap(text: str, indent: str) -> str:
    from textwrap import fill

    return fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * max(6, len(indent)),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _status(card: Card) -> str:
    notes = [card.facts.get("reason", ""), card.facts.get("superseded_by") and f"use {card.facts['superseded_by']}"]
    return ": ".join([card.status, *(note for note in notes if note)])


def _contract(card: Card) -> dict[str, str]:
    if card.kind != "backbone":
        return {}
    given, out, size = (card.facts.get(key, {}) for key in ("input", "output", "size"))
    rows = {
        "input": f"{_times(given['size'])} {given['colour']}, (x - {_short(given['mean'])}) / {_short(given['std'])} "
        f"for x in 0..1, aligned: {given['alignment']}{', stretched to its own range' if given.get('stretch') else ''}"
        if given
        else NOT_REPORTED,
        "output": f"{out['points']} landmarks"
        if "points" in out
        else f"{out['embedding']} numbers, {'' if out['normalised'] else 'not '}normalised, compare by {out['compare']}"
        if out
        else NOT_REPORTED,
        "size": NOT_REPORTED,
    }
    if size.get("params"):
        rows["size"] = f"{size['params']:,} parameters" + (f", {size['mflops']:g} MFLOPs" if "mflops" in size else "")
    return rows


def _times(size: Iterable[int]) -> str:
    return "x".join(str(side) for side in size)


def _short(values: list[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else str(values)


def _licence(licence: Mapping[str, str]) -> str:
    weights = licence["weights"]
    named = weights if weights == "none" else f"{weights} ({licence_class(weights)})"
    line = f"code {licence['code']}; weights {named}; data {licence['data']}"
    return f"{line}. {licence['notes']}" if licence.get("notes") else line


def _tag_line(card: Card, tag: Tag) -> str:
    marks = [f".{tag.name}", "(default)" if tag.name == card.default_tag else "", tag.dtype, tag.licence, tag.source]
    if tag.bytes is not None:
        marks.append(human_bytes(tag.bytes))
    marks.append(f"sha256 {tag.sha256[:12]}" if tag.sha256 else "trusted on first use, locked from then on")
    line = "  ".join(mark for mark in marks if mark)
    return f"{line}  {tag.notes}" if tag.notes else line


def _option_line(name: str, row: Mapping[str, Any]) -> str:
    choices = f", one of {', '.join(map(str, row['choices']))}" if row.get("choices") else ""
    return f"{name}={row.get('default')!r}  {row['type']}{choices}  {row.get('help', '')}".rstrip()


def data_line(row: Mapping[str, Any]) -> str:
    """Return one row of ``training_data`` as a line."""
    counts = [f"{row[key]:,} {key}" for key in ("identities", "images") if key in row]
    told = [f"consent: {row['consent']}", f"status: {row['status']}"]
    line = ", ".join([row["name"], *counts, *told])
    return f"{line}. {row['notes']}" if row.get("notes") else line


def _results(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each protocol, with all its figures and its counts once."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        label = f".{row['tag']}" if row.get("tag") else "all"
        groups.setdefault((label, row["source"], whom(row), _counts(row)), []).append(figure_text(row))
    return [
        f"{label} ({source})  {protocol}: {', '.join(figures)}{counts}"
        for (label, source, protocol, counts), figures in groups.items()
    ]


def result_line(row: Mapping[str, Any]) -> str:
    """Return one row of ``results`` as a line, with its spread and its counts."""
    return f"{whom(row)} {figure_text(row)}{_counts(row)}"


def whom(row: Mapping[str, Any]) -> str:
    """Return the protocol of a result, and the group of people that it holds for where that is not everybody."""
    return f"{row['protocol']}, {row['group']}" if row.get("group") else str(row["protocol"])


def figure_text(row: Mapping[str, Any]) -> str:
    """Return metric and value of a result, with its spread or interval."""
    value = f"{row['value']:g}{row.get('unit', '')}"
    if "std" in row:
        value += f" ±{row['std']:g}"
    if "ci95" in row:
        value += " [{:g}, {:g}]".format(*row["ci95"])
    return f"{row['metric']} {value}"


def _counts(row: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in row.get("counts", {}).items())
    return f" ({counts})" if counts else ""


def human_bytes(count: int) -> str:
    """Return a number of bytes in the largest unit that keeps it above one."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
