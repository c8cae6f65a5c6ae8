"""Write the pages of the zoo from the catalogue: ``docs/zoo/``, ignored by git.

A plain script before the build works with every documentation tool; a plugin
that generates pages works with one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from xzoo.cards.render import page
from xzoo.catalog import Card, cards

OUT = Path(__file__).parent / "zoo"
TITLES = {"backbone": "Networks", "adapter": "Adapters", "recipe": "Recipes"}


def build(out: Path = OUT) -> int:
    """Write one page per built-in card and their index; return how many cards there are."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    built_in = [card for card in cards().values() if card.origin == "built-in"]
    for card in built_in:
        (out / f"{card.name}.md").write_text(page(card), encoding="utf-8")
    (out / "index.md").write_text(index(built_in), encoding="utf-8")
    return len(built_in)


def index(built_in: list[Card]) -> str:
    """Return the page that lists all cards, a table for each kind."""
    parts = ["# The zoo", "Written from the cards. `xzoo ls` prints the same on a terminal."]
    for kind, title in TITLES.items():
        rows = [
            f"| [{card.name}]({card.name}.md) | {' '.join(card.spectra)} | {_weights(card)} | {card.summary} |"
            for card in built_in
            if card.kind == kind
        ]
        if rows:
            parts += [f"## {title}", "\n".join(["| name | spectra | weights | |", "|---|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _weights(card: Card) -> str:
    return "none" if card.licence["weights"] == "none" else f"{card.default_tag or 'yours'}, {card.licence['weights']}"


if __name__ == "__main__":
    print(f"{build()} cards written to {OUT}")
