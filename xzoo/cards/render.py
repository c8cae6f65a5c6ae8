"""Cards as pages: Markdown for the documentation, and a README for the Hub.

Both come from the compiled card, so they say what the catalogue says. A fact
that nobody measured reads "not reported".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xzoo.catalog.describe import NOT_REPORTED, data_line, human_bytes, result_line
from xzoo.catalog.entries import Card
from xzoo.catalog.licences import licence_class

__all__ = ["hub_front_matter", "hub_readme", "page"]


def page(card: Card) -> str:
    """Return the documentation page of a card, as Markdown."""
    title, prose = _split(card)
    parts = [f"# {title}", card.summary, _withdrawn(card), _facts(card)]
    if card.kind == "backbone":
        parts += ["## Weights", _weights(card), "## Use it", _example(card)]
    if card.options:
        parts += ["## Options", _options(card)]
    parts += [prose]
    use = card.facts.get("use", {})
    parts += ["## Meant for", use.get("intended", NOT_REPORTED)]
    if use.get("not_for"):
        parts += ["## Not for", "\n".join(f"- {item}" for item in use["not_for"])]
    if card.kind == "backbone":
        parts += ["## Results", _results(card.facts.get("results", ()))]
        parts += ["## Trained on", _bullets(data_line(row) for row in card.facts.get("training_data", ()))]
    if "people" in card.facts:
        people = card.facts["people"]
        parts += ["## People", ", ".join(people["authors"]), people.get("cite", "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _split(card: Card) -> tuple[str, str]:
    """Return title and prose; the heading of the prose, where there is one, would repeat the title."""
    lines = [line for line in card.prose.strip().splitlines() if line.strip() != f"# {card.name.rpartition('/')[2]}"]
    return card.name, "\n".join(lines).strip()


def _withdrawn(card: Card) -> str:
    taken_back = [row for row in card.facts.get("training_data", ()) if row["status"] == "withdrawn"]
    if not taken_back:
        return ""
    named = ", ".join(f"`{tag}` ({row['name']})" for row in taken_back for tag in row.get("tags", ("all",)))
    return f"**Trained on data that were withdrawn:** {named}."


def _facts(card: Card) -> str:
    facts = card.facts
    rows = {
        "kind": f"{card.kind}, {card.task}",
        "status": card.status,
        "spectra": " ".join(card.spectra) or NOT_REPORTED,
        "licence of the code": card.licence["code"],
        "licence of the weights": f"{card.licence['weights']}{_class(card.licence['weights'])}",
        "licence of the data": card.licence["data"],
    }
    if card.kind == "backbone":
        given, out, size = (facts.get(key, {}) for key in ("input", "output", "size"))
        rows |= {
            "input": f"{' x '.join(map(str, given['size']))}, {given['colour']}, mean {given['mean']}, "
            f"std {given['std']}, aligned: {given['alignment']}"
            if given
            else NOT_REPORTED,
            "output": f"{out['embedding']} numbers, normalised: {'yes' if out['normalised'] else 'no'}, "
            f"compared by {out['compare']}"
            if out
            else NOT_REPORTED,
            "parameters": f"{size['params']:,}" if "params" in size else NOT_REPORTED,
            "MFLOPs": f"{size['mflops']:g}" if "mflops" in size else NOT_REPORTED,
        }
    if card.licence.get("notes"):
        rows["licence notes"] = card.licence["notes"]
    return _table(("fact", "value"), rows.items())


def _class(spdx: str) -> str:
    return "" if spdx == "none" else f" ({licence_class(spdx)})"


def _weights(card: Card) -> str:
    rows = [
        (
            f"`{tag.name}`" + (" (default)" if tag.name == card.default_tag else ""),
            f"`{tag.source}`",
            tag.licence,
            tag.dtype,
            human_bytes(tag.bytes) if tag.bytes is not None else NOT_REPORTED,
            f"`{tag.sha256[:12]}`" if tag.sha256 else "trusted on first use, then locked",
            tag.notes,
        )
        for tag in card.tags.values()
    ]
    header = ("tag", "source", "licence", "type", "size", "SHA-256", "notes")
    return _table(header, rows) if rows else "This card has no weights of its own."


def _example(card: Card) -> str:
    call = f'xzoo.create("{card.name}", pretrained=True)' if card.tags else f'xzoo.create("{card.name}")'
    return f"```python\nimport xzoo\n\nmodel = {call}\n```\n\n```console\n$ xzoo show {card.name}\n```"


def _options(card: Card) -> str:
    rows = [
        (
            f"`{name}`",
            row["type"],
            f"`{row.get('default')!r}`",
            ", ".join(map(str, row.get("choices", ()))),
            row["help"],
        )
        for name, row in card.options.items()
    ]
    return _table(("option", "type", "default", "choices", "help"), rows)


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return NOT_REPORTED.capitalize() + "."
    return _table(
        ("tag", "result", "source", "evidence"),
        [(row.get("tag", ""), result_line(row), row["source"], row.get("evidence", "")) for row in rows],
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or NOT_REPORTED.capitalize() + "."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def hub_readme(card: Card, tag: str | None = None) -> str:
    """Return the README of a Hub repository that holds one tag of a card: front matter and page."""
    return f"---\n{hub_front_matter(card, tag)}---\n\n{page(card)}"


def hub_front_matter(card: Card, tag: str | None = None) -> str:
    """Return the YAML that the Hub reads: licence, library, task, tags, data and results.

    Args:
        card: The card.
        tag: The weights that the repository holds; None means the default.
    """
    from huggingface_hub import EvalResult, ModelCardData

    chosen = tag or card.default_tag
    licence = card.tags[chosen].licence if chosen else card.licences[0]
    listed = licence_class(licence) not in ("unknown", "research-only")
    results = [
        EvalResult(
            task_type=card.task,
            dataset_type=row["protocol"].lower().replace(" ", "-"),
            dataset_name=row["protocol"],
            metric_type=row["metric"],
            metric_value=row["value"],
            metric_name=f"{row['metric']} (source: {row['source']})",
        )
        for row in card.facts.get("results", ())
        if row.get("tag") in (None, chosen)
    ]
    data = ModelCardData(
        license=licence.lower() if listed else "other",
        license_name=None if listed else licence.removeprefix("LicenseRef-").lower(),
        library_name="xzoo",
        pipeline_tag="image-feature-extraction",
        tags=["xzoo", card.kind, card.task, *(f"spectrum-{band.lower()}" for band in card.spectra)],
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    return f"{data.to_yaml().strip()}\n"
