"""Cards as pages: Markdown for the documentation, and a README for the Hub.

Both come from the compiled card, so they say what the catalogue says. A fact
that nobody measured reads "not reported".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from xzoo.cards.draw import chain, chain_html, contract_svg, snippets
from xzoo.cards.gallery import SOURCES, fidelity, latency_text
from xzoo.catalog.describe import NOT_REPORTED, data_line, figure_text, human_bytes, whom
from xzoo.catalog.entries import Card
from xzoo.catalog.licences import licence_class

__all__ = ["front_matter", "hub_front_matter", "hub_readme", "page"]


def page(card: Card, *, rich: bool = False, timing: Mapping[str, Any] | None = None, source: str | None = None) -> str:
    """Return the page of a card, as Markdown.

    Args:
        card: The card.
        rich: For the documentation: with copy buttons, the input contract drawn and the chain of provenance as boxes.
            Otherwise plain Markdown, which is what the Hub shows.
        timing: What ``benchmarks/latency.py`` found for it, with ``threads`` and ``machine``.
        source: Where the examples load it from, ``hf-hub:org/repo``; the catalogue when None.
    """
    title, prose = _split(card)
    parts = [f"# {title}", card.summary, _withdrawn(card), "## Use it", _examples(card, rich, source), "## Facts"]
    parts += [_facts(card, timing)]
    if card.kind == "backbone":
        parts += [contract_svg(card) if rich else "", "## Weights", _weights(card)]
        parts += ["## Where it comes from", *_chains(card, rich)]
    if card.options:
        parts += ["## Options", _options(card)]
    parts += [prose]
    use = card.facts.get("use", {})
    parts += ["## Meant for", use.get("intended", NOT_REPORTED), _review(use)]
    if use.get("not_for"):
        parts += ["## Not for", "\n".join(f"- {item}" for item in use["not_for"])]
    if card.kind == "backbone":
        parts += ["## Known failures", _bullets(use.get("known_failures", ()))]
        everybody, groups = _by_group(card.facts.get("results", ()))
        parts += ["## Results", _results(everybody, rich)]
        parts += ["## Results by group of people", _results(groups, rich)]
        parts += ["## Trained on", _bullets(data_line(row) for row in card.facts.get("training_data", ()))]
    if "people" in card.facts:
        people = card.facts["people"]
        parts += ["## People", ", ".join(people["authors"]), people.get("cite", "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _examples(card: Card, rich: bool, source: str | None) -> str:
    """Return Python, command line and BibTeX, each as it can be pasted."""
    languages = {"Python": "python", "command line": "bash", "BibTeX": "bibtex"}
    if not rich:
        return "\n\n".join(f"```{languages[title]}\n{text}\n```" for title, text in snippets(card, source).items())
    return "\n\n".join(
        f'<figure class="zoo-copy no-copy"><figcaption>{title}</figcaption>'
        f"<pre><code>{escape(text)}</code></pre></figure>"
        for title, text in snippets(card, source).items()
    )


def _chains(card: Card, rich: bool) -> list[str]:
    if not card.tags:
        return ["This card has no weights of its own, so nothing stands behind them."]
    parts = []
    for tag in card.tags.values():
        links = chain(card, tag)
        if rich:
            parts.append(chain_html(links, f"what stands behind {card.name}.{tag.name}"))
        else:
            lines = [
                " ".join(part for part in (f"{link.role}: {link.name}", link.notes and f"({link.notes})") if part)
                + (f", SHA-256 `{link.sha256}`" if link.sha256 else "")
                for link in links
            ]
            parts.append("\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1)))
    return parts


def _review(use: Mapping[str, Any]) -> str:
    return f"Human review: {use['human_review']}" if use.get("human_review") else ""


def _by_group(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the results about everybody, and those about one group of people."""
    found = list(rows)
    return [row for row in found if not row.get("group")], [row for row in found if row.get("group")]


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


def _facts(card: Card, timing: Mapping[str, Any] | None) -> str:
    facts = card.facts
    rows = {
        "kind": f"{card.kind}, {card.task}",
        "status": card.status,
        "spectra": " ".join(card.spectra) or NOT_REPORTED,
        "fidelity": fidelity(card) or NOT_REPORTED,
        "licence of the code": card.licence["code"],
        "licence of the weights": f"{card.licence['weights']}{_class(card.licence['weights'])}",
        "licence of the data": card.licence["data"],
    }
    if card.kind == "backbone":
        given, out, size = (facts.get(key, {}) for key in ("input", "output", "size"))
        mflops = size.get("mflops") or (timing or {}).get("mflops")
        rows |= {
            "input": f"{' x '.join(map(str, given['size']))}, {given['colour']}, mean {given['mean']}, "
            f"std {given['std']}, aligned: {given['alignment']}"
            f"{', stretched to its own range' if given.get('stretch') else ''}"
            if given
            else NOT_REPORTED,
            "output": f"{out['points']} landmarks"
            if "points" in out
            else f"{out['embedding']} numbers, normalised: {'yes' if out['normalised'] else 'no'}, "
            f"compared by {out['compare']}"
            if out
            else NOT_REPORTED,
            "parameters": f"{size['params']:,}" if "params" in size else NOT_REPORTED,
            "MFLOPs": f"{mflops:g}" if mflops else NOT_REPORTED,
            "CPU latency": _latency(timing),
        }
    if card.licence.get("notes"):
        rows["licence notes"] = card.licence["notes"]
    return _table(("fact", "value"), rows.items())


def _latency(timing: Mapping[str, Any] | None) -> str:
    if not timing or "latency_ms" not in timing:
        return NOT_REPORTED
    threads = f"{timing['threads']} thread{'s' * (timing['threads'] > 1)}"
    return f"{latency_text(timing['latency_ms'], timing.get('range_ms'))} for one image, {threads}, {timing['machine']}"


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


def _results(rows: Sequence[Mapping[str, Any]], rich: bool) -> str:
    if not rows:
        return NOT_REPORTED.capitalize() + "."
    whole = '<span class="zoo-nowrap">{}</span>'.format if rich else str
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        counts = ", ".join(f"{count:,} {what}" for what, count in row.get("counts", {}).items())
        evidence = f", `{row['evidence']}`" if row.get("evidence") else ""
        key = (
            row.get("tag", "all"),
            whom(row),
            counts or NOT_REPORTED,
            SOURCES[row["source"]] + evidence,
        )
        groups.setdefault(key, []).append(figure_text(row))
    made = [
        (tag, where, "<br>".join(map(whole, found)), counts, source)
        for (tag, where, counts, source), found in groups.items()
    ]
    note = (
        "In square brackets, intervals of 95 %; after ±, the deviation over folds. Where there are none: not reported."
    )
    return f"{note}\n\n{_table(('tag', 'protocol', 'figures', 'compared', 'source'), made)}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or NOT_REPORTED.capitalize() + "."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def hub_readme(card: Card, tag: str | None = None, source: str | None = None) -> str:
    """Return the README of a Hub repository that holds one tag of a card: front matter and page.

    Args:
        card: The card.
        tag: The weights that the repository holds; None means the default.
        source: ``hf-hub:org/repo``, for the examples to load it from there.
    """
    return f"---\n{hub_front_matter(card, tag)}---\n\n{page(card, source=source)}"


PIPELINES = {"face-landmarks": "keypoint-detection", "landmarks": "keypoint-detection"}
"""Tasks that the Hub has a word of its own for; all others embed."""


def hub_front_matter(card: Card, tag: str | None = None) -> str:
    """Return the YAML that the Hub reads: licence, library, task, tags, base, data and results.

    Args:
        card: The card.
        tag: The weights that the repository holds; None means the default.
    """
    chosen = tag or card.default_tag
    results = [row for row in card.facts.get("results", ()) if row.get("tag") in (None, chosen)]
    behind = [row for row in card.facts.get("provenance", ()) if not row.get("tags") or chosen in row["tags"]]
    base = next((row["name"] for row in behind if row["role"] in ("start", "base")), None)
    return front_matter(
        card.name,
        card.tags[chosen].licence if chosen else card.licences[0],
        task=card.task,
        tags=[card.kind, *(f"spectrum-{band.lower()}" for band in card.spectra)],
        base=base,
        relation="finetune" if base else None,
        datasets=[
            row["name"] for row in card.facts.get("training_data", ()) if not row.get("tags") or chosen in row["tags"]
        ],
        results=results,
    )


def front_matter(
    name: str,
    licence: str,
    *,
    task: str,
    tags: Sequence[str] = (),
    base: str | None = None,
    relation: str | None = None,
    datasets: Sequence[str] = (),
    results: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return Hub front matter from plain facts; what is unknown is left out, never guessed.

    Args:
        name: Of the model, for the index of results.
        licence: SPDX id; one that the Hub does not list becomes ``other`` with its name.
        task: As the card says it.
        tags: Further tags.
        base: What it was made from: a Hub repository, or ``name.tag`` of the zoo.
        relation: ``adapter``, ``finetune`` or ``quantized``.
        datasets: What it was trained on. The Hub wants ids there, so names become words joined by hyphens.
        results: Rows as cards have them.
    """
    from huggingface_hub import EvalResult, ModelCardData

    listed = licence_class(licence) not in ("unknown", "research-only")
    evaluated = [
        EvalResult(
            task_type=PIPELINES.get(task, "image-feature-extraction"),
            dataset_type=_slug(row["protocol"]),
            dataset_name=row["protocol"],
            metric_type=_slug(row["metric"]),
            metric_value=row["value"],
            metric_name=f"{row['metric']}{' ' + row['unit'] if row.get('unit') else ''}"
            f"{', ' + row['group'] if row.get('group') else ''} ({SOURCES[row['source']]})",
            metric_args={key: row[key] for key in ("ci95", "std", "counts") if key in row} or None,
        )
        for row in results
    ]
    data = ModelCardData(
        license=licence.lower() if listed else "other",
        license_name=None if listed else licence.removeprefix("LicenseRef-").lower(),
        library_name="xzoo",
        pipeline_tag=PIPELINES.get(task, "image-feature-extraction"),
        tags=["xzoo", task, *tags],
        base_model=base,
        base_model_relation=relation if base else None,
        datasets=[_slug(one) for one in datasets] or None,
        metrics=sorted({_slug(row["metric"]) for row in results}) or None,
        model_name=name if evaluated else None,
        eval_results=evaluated or None,
    )
    return f"{data.to_yaml().strip()}\n"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:90].rstrip("-.")
