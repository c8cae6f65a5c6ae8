"""Write the pages of the zoo from the catalogue: ``docs/zoo/``, ignored by git.

A plain script before the build works with every documentation tool; a plugin
that generates pages works with one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from xzoo.cards import gallery
from xzoo.cards.render import page
from xzoo.catalog import cards

OUT = Path(__file__).parent / "zoo"
TIMINGS = Path(__file__).parents[1] / "benchmarks" / "latency.json"
"""What benchmarks/latency.py measured; without it every latency reads "not reported"."""


def build(out: Path = OUT, timings: Path = TIMINGS) -> int:
    """Write one page per built-in card, the gallery and ``zoo.json``; return how many cards there are."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    built_in = [card for card in cards().values() if card.origin == "built-in"]
    measured = json.loads(timings.read_text("utf-8")) if timings.is_file() else None
    for card in built_in:
        text = page(card, rich=True, timing=_timing(measured, card.name))
        (out / f"{card.name}.md").write_text(text, encoding="utf-8")
    rows = gallery.rows(built_in, measured)
    (out / "index.md").write_text(gallery.page(rows, measured), encoding="utf-8")
    facts = {"rows": rows, "latency": {key: value for key, value in (measured or {}).items() if key != "entries"}}
    (out / "zoo.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(built_in)


def _timing(measured: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    if measured is None or name not in measured["entries"]:
        return None
    return {**measured["entries"][name], "threads": measured["threads"], "machine": measured["machine"]}


if __name__ == "__main__":
    print(f"{build()} cards written to {OUT}")
