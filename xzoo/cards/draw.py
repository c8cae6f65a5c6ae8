"""Pictures and pasteable text of a card: its input contract, the chain behind its weights, three snippets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

from xzoo.catalog.describe import NOT_REPORTED, human_bytes
from xzoo.catalog.entries import Card, Tag

__all__ = ["Link", "bibtex", "chain", "chain_html", "contract_svg", "snippets"]


class Link(NamedTuple):
    """One link of the chain from data to weights.

    Attributes:
        role: ``data``, ``start``, ``teacher``, ``recipe``, ``script``, ``student``, ``adapter``, ``weights`` ...
        name: What it is called.
        sha256: Its hash where one is recorded, else empty.
        notes: A few words.
    """

    role: str
    name: str
    sha256: str = ""
    notes: str = ""


def chain(card: Card, tag: Tag | None) -> list[Link]:
    """Return what stands behind a set of weights, in order: data, teachers, recipe, the weights themselves."""
    if tag is None:
        return []
    data = [
        Link("data", row["name"], notes=f"{row['consent']}, {row['status']}")
        for row in _of(card.facts.get("training_data"), tag)
    ]
    behind = [
        Link(row["role"], row["name"], row.get("sha256", ""), row.get("notes", ""))
        for row in _of(card.facts.get("provenance"), tag)
    ]
    size = human_bytes(tag.bytes) if tag.bytes is not None else ""
    weights = Link("weights", f"{card.name}.{tag.name}", tag.sha256 or "", size)
    unknown = Link("teacher, recipe", NOT_REPORTED)
    return [*(data or [Link("data", NOT_REPORTED)]), *(behind or [unknown]), weights]


def _of(rows: Iterable[Mapping[str, Any]] | None, tag: Tag) -> list[Mapping[str, Any]]:
    return [row for row in rows or () if not row.get("tags") or tag.name in row["tags"]]


def chain_html(links: Iterable[Link], label: str) -> str:
    """Return a chain as a list that the style sheet draws with arrows; a plain ordered list without it."""
    items = []
    for link in links:
        hashed = f"<br><code>sha256 {link.sha256}</code>" if link.sha256 else ""
        if not link.sha256 and link.role == "weights":
            hashed = "<br>hash: locked on first use"
        notes = f"<br>{escape(link.notes)}" if link.notes else ""
        items.append(f"<li><b>{escape(link.role)}</b> {escape(link.name)}{notes}{hashed}</li>")
    return f'<div class="zoo-chain"><ol aria-label="{escape(label)}">{"".join(items)}</ol></div>'


def contract_svg(card: Card) -> str:
    """Return the input contract as a picture: the crop with its points, colour order and range, and what comes out."""
    given, out = card.facts.get("input"), card.facts.get("output") or {}
    if not given:
        return ""
    channels, height, width = given["size"]
    low, high = _range(given, 0.0), _range(given, 1.0)
    compared = f"compare by {out['compare']}" if "compare" in out else ""
    length = f"{out['embedding']} numbers" if "embedding" in out else "output: see above"
    length = f"{out['points']} landmarks" if "points" in out else length
    unit = "of unit length" if out.get("normalised") else "not normalised" if "normalised" in out else ""
    tall = 150 * height / max(height, width)
    wide = 150 * width / max(height, width)
    left, top = 20 + (150 - wide) / 2, 12 + (150 - tall) / 2
    colours = "".join(
        f'<rect x="{222 + 34 * index}" y="52" width="30" height="26" class="box"/>'
        f'<text x="{237 + 34 * index}" y="70" text-anchor="middle">{letter}</text>'
        for index, letter in enumerate(given["colour"])
    )
    said = (
        f"Input of {card.name}: {channels} x {height} x {width}, {given['colour']}, values {low} to {high}, "
        f"alignment {given['alignment']}; output {length} {unit}"
    )
    return (
        f'<div class="zoo-contract"><svg viewBox="0 0 560 200" role="img" aria-label="{escape(said)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" class="box"/>'
        f"{_points(given, left, top, wide, tall)}"
        f'<text x="95" y="182" text-anchor="middle">{width} x {height} pixels</text>'
        f'<text x="95" y="197" text-anchor="middle" class="soft">{escape(_cut(given["alignment"]))}</text>'
        '<path d="M182 90H210m-6-5l6 5l-6 5" class="line"/>'
        f'<text x="222" y="40">colours in this order</text>{colours}'
        f'<text x="222" y="104">values {low} to {high}</text>'
        f'<text x="222" y="121" class="soft">(x / 255 - mean) / std</text>'
        '<path d="M372 90H400m-6-5l6 5l-6 5" class="line"/>'
        '<rect x="410" y="30" width="18" height="120" class="box"/>'
        f"{''.join(_numbers())}"
        f'<text x="438" y="76">{length}</text><text x="438" y="94" class="soft">{unit}</text>'
        f'<text x="438" y="111" class="soft">{compared}</text>'
        "</svg></div>"
    )


def _numbers() -> Iterable[str]:
    for row in range(11):
        yield f'<path d="M413 {37 + row * 10.5:.1f}h12" class="line"/>'


def _range(given: Mapping[str, Any], value: float) -> str:
    ends = [(value - mean) / std for mean, std in zip(given["mean"], given["std"], strict=True)]
    return f"{ends[0]:.3g}" if len(set(ends)) == 1 else "/".join(f"{end:.2f}" for end in ends)


def _cut(alignment: str) -> str:
    words = {"arcface_112_5pt": "five-point ArcFace crop", "eyes_112_2pt": "crop by both eyes"}.get(
        alignment, alignment.removeprefix("none, ")
    )
    return words if len(words) <= 27 else f"{words[:25].rstrip()}..."


def _points(given: Mapping[str, Any], left: float, top: float, wide: float, tall: float) -> str:
    """Return the points of the template to which the crops of this card are aligned, if it names one."""
    from xzoo.data.align import TEMPLATES

    names = ("right eye", "left eye", "nose", "right corner of the mouth", "left corner of the mouth")
    return "".join(
        f'<circle cx="{left + x / 112 * wide:.1f}" cy="{top + y / 112 * tall:.1f}" r="4" class="mark">'
        f"<title>{name}: {x / 112:.3f}, {y / 112:.3f} of the side</title></circle>"
        for (x, y), name in zip(TEMPLATES.get(given["alignment"], ()), names, strict=False)
    )


def snippets(card: Card, source: str | None = None) -> dict[str, str]:
    """Return what can be pasted: Python, a command line, and BibTeX.

    Args:
        card: The card.
        source: ``hf-hub:org/repo`` that the network is loaded from; the catalogue when None.
    """
    name = card.name
    if source:
        python = f'import xzoo\n\nmodel = xzoo.create("{source}")'
        shell = f"xzoo embed {source} --data faces.csv --output faces.npz"
    elif card.kind == "adapter":
        python = (
            'import xzoo\nfrom xzoo import adapters\n\nmodel = xzoo.create("hybrid_fr_t2v", pretrained=True)\n'
            f'adapter = adapters.add(model, "{name}", spectrum="LWIR")'
        )
        shell = f"xzoo show {name}"
    elif card.kind == "recipe":
        python = f'from xzoo import recipes\n\nrecipe = recipes.load("{name}")\nprint(recipe.summary)'
        shell = f"xzoo recipe show {name}"
    elif card.tags:
        python = f'import xzoo\n\nmodel = xzoo.create("{name}", pretrained=True)'
        shell = f"xzoo get {name}"
    else:
        python = f'import xzoo\n\nmodel = xzoo.create("{name}")  # random weights: none are published'
        shell = f"xzoo bench {name} --mode eager --batch 1"
    return {"Python": python, "command line": shell, "BibTeX": bibtex(card)}


_WORK = re.compile(
    r"(?P<authors>(?:(?:[A-Z]\.[ -]?)+ ?[A-Z][^,;]*?(?: et al\.| and others)?, )+)"
    r"(?P<title>.+?)"
    r"(?:, (?=(?:[A-Z]{2,}|Pattern |Neural|Proc|Trans|Int|arXiv |\d{4}\b))(?P<venue>.*))?"
)


def bibtex(card: Card) -> str:
    """Return BibTeX entries for what a card asks to cite, or for the card itself where it cites nothing.

    The entries are read out of ``people.cite`` (authors, title, venue, year, arXiv, works apart by semicolons); text
    of another shape is kept whole in a note.
    """
    people = card.facts.get("people") or {}
    cite = people.get("cite", "").strip().rstrip(".")
    works = [_WORK.fullmatch(work.strip()) for work in cite.split("; ")] if cite else []
    key = re.sub(r"\W+", "_", card.name)
    if not works or works[0] is None:
        authors = " and ".join(f"{{{name}}}" if name.startswith("The ") else name for name in people.get("authors", ()))
        return _entry(key, {"author": authors, "title": f"{{{card.name}}}: {card.summary}", "note": cite})
    entries = []
    for number, work in enumerate(work for work in works if work):
        venue = work["venue"] or ""
        arxiv = re.search(r"arXiv (\d{4}\.\d{4,5})", venue)
        plain = re.sub(r",? ?arXiv \d{4}\.\d{4,5}", "", venue)
        years = re.findall(r"\b(?:19|20)\d\d\b", plain)
        place = re.sub(r",? ?\b(?:19|20)\d\d\b", "", plain).strip(" ,")
        entries.append(
            _entry(
                key if number == 0 else f"{key}_{number + 1}",
                {
                    "author": _authors(work["authors"], people.get("authors", ())),
                    "title": f"{{{work['title']}}}",
                    "howpublished": place,
                    "year": years[-1] if years else f"20{arxiv[1][:2]}" if arxiv else "",
                    "eprint": arxiv[1] if arxiv else "",
                    "archiveprefix": "arXiv" if arxiv else "",
                },
            )
        )
    return "\n".join(entries)


def _authors(text: str, known: Iterable[str]) -> str:
    """Return the authors of a work; by their full names where the card's people are the same ones."""
    cited = text.strip(", ").replace(" et al.", ", others").split(", ")
    people = [name for name in known if not name.startswith("The ")]
    same = people and people[0].removesuffix(" and others").split()[-1] == cited[0].split()[-1]
    return " and ".join(people if same else cited)


def _entry(key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{_tex(value)}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def _tex(text: str) -> str:
    return re.sub(r"([&%#_$])", r"\\\1", text)
