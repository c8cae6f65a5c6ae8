"""Compile the cards into the catalogue that is shipped.

``python -m xzoo.cards.compile`` writes ``xzoo/catalog/catalog.json``;
with ``--check`` it only compares, and ends with 1 where the two differ.
The same cards always give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from xzoo.cards.schema import CardModel, WeightsModel, read_card
from xzoo.catalog.entries import SCHEMA
from xzoo.catalog.names import natural_key
from xzoo.catalog.registry import CATALOG
from xzoo.errors import CardError, problems

__all__ = ["CARDS", "as_bytes", "catalogue", "compile_card", "main", "options_table", "section"]

PACKAGE = Path(__file__).parents[1]
CARDS = PACKAGE.parent / "cards"
"""The cards of a checkout; an installed wheel has only what they compile to."""

# Keys of the front matter that a Card holds in fields of its own; every other key is one of its facts.
_OWN = (
    *("schema", "name", "kind", "task", "summary", "status", "spectra", "licence", "family", "target", "fixed"),
    *("options", "weights", "default_tag", "prose"),
)


def catalogue(folder: Path = CARDS) -> bytes:
    """Return the bytes of ``catalog.json`` for a folder of cards.

    Raises:
        CardError: with the faults of every card.
    """
    cards, told = [], []
    for path in sorted(folder.glob("*.md"), key=lambda path: natural_key(path.stem)):
        try:
            cards.append(compile_card(read_card(path), path.name, _bundled))
        except CardError as error:
            told.append(str(error))
    if told:
        raise CardError(f"{len(told)} of {len(told) + len(cards)} cards cannot be compiled.", why=problems(told, 1000))
    if not cards:
        raise CardError(f"no cards in {folder}.", do="run this in a checkout of xzoo")
    return as_bytes({"schema": SCHEMA, "cards": cards})


def as_bytes(data: Mapping[str, Any]) -> bytes:
    """Return JSON with a line for each value, always the same for the same data."""
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def compile_card(card: CardModel, file: str, locate: Callable[[str], Path | None]) -> dict[str, Any]:
    """Return the catalogue entry of a card.

    Args:
        card: The checked front matter and prose.
        file: Where it stands, for errors.
        locate: From a weights source to the file, where it lies in this package; None elsewhere.

    Raises:
        CardError: A bundled file is missing or differs from its recorded hash; an option does not exist.
    """
    facts = card.model_dump(exclude_none=True, by_alias=True)
    options = facts.get("options") if card.options is not None else options_table(card, file)
    return {
        "name": card.name,
        "kind": card.kind,
        "task": card.task,
        "spectra": facts["spectra"],
        "summary": card.summary,
        "status": card.status,
        "family": card.family,
        "target": card.target,
        "fixed": facts["fixed"],
        "options": options,
        "tags": {row.tag: _tag(row, file, locate) for row in card.weights},
        "default_tag": card.default_tag,
        "licence": facts["licence"],
        "facts": {key: value for key, value in facts.items() if key not in _OWN},
        "prose": card.prose,
    }


def _tag(row: WeightsModel, file: str, locate: Callable[[str], Path | None]) -> dict[str, Any]:
    sha256, size = row.sha256, row.bytes
    if not row.source.startswith("hf-hub:"):
        path = locate(row.source)
        if path is None or not path.is_file():
            raise CardError(f"{file}: weights {row.tag!r}: {row.source} is not there.")
        content = path.read_bytes()
        measured = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, measured) or size not in (None, len(content)):
            raise CardError(
                f"{file}: weights {row.tag!r} are not the recorded ones.",
                why=f"{row.source} has {len(content)} bytes and sha256 {measured}",
                do="correct the card, or restore the file",
            )
        sha256, size = measured, len(content)
    return {
        "source": row.source,
        "sha256": sha256,
        "revision": row.revision,
        "bytes": size,
        "dtype": row.dtype,
        "licence": row.licence,
        "trust": "pinned" if sha256 else "first-use",
        "notes": row.notes,
    }


def _bundled(source: str) -> Path | None:
    kind, _, name = source.partition(":")
    return PACKAGE / "weights" / name if kind == "bundled" else None


def options_table(card: CardModel, file: str) -> dict[str, dict[str, Any]]:
    """Return the options that a card leaves to the user, from the dataclass of its family or kind.

    Raises:
        CardError: The card fixes an option that does not exist, or leaves one open that has no default.
    """
    if card.kind == "recipe" or (card.kind == "backbone" and card.family is None):
        return {}
    if card.family:
        module, name = f"xzoo.families.{card.family}.options", "Options"
    else:
        module, name = f"xzoo.adapters.{card.name}", f"{card.name.title().replace('_', '')}Options"
    try:
        options = getattr(import_module(module), name)
    except (ImportError, AttributeError) as cause:
        raise CardError(f"{file}: options cannot be read.", why=f"{module} has no {name}: {cause}") from cause
    hints = get_type_hints(options)
    fields = {field.name: field for field in dataclasses.fields(options)}
    unknown = [name for name in card.fixed if name not in fields]
    unset = [name for name, field in fields.items() if name not in card.fixed and field.default is dataclasses.MISSING]
    if unknown or unset:
        faults = [f"fixed.{name}: no option of {module}" for name in unknown]
        raise CardError(f"{file}: options.", why=problems([*faults, *(f"fixed.{name}: missing" for name in unset)]))
    told = section(inspect.getdoc(options) or "", "Attributes")
    return {
        name: {
            "type": _type_word(hints[name], field.default),
            "default": _json_able(field.default),
            "help": told.get(name, ""),
            **{key: _json_able(value) for key, value in field.metadata.items()},
        }
        for name, field in fields.items()
        if name not in card.fixed
    }


def section(docstring: str, title: str) -> dict[str, str]:
    """Return name and text of each entry in a section of a Google-style docstring."""
    found: dict[str, str] = {}
    inside = False
    for line in docstring.expandtabs().splitlines():
        if not line.startswith(" "):
            inside = line.strip() == f"{title}:" or (inside and not line.strip())
        elif inside and (entry := re.match(r" {4}(\w+)(?: \(.*?\))?: (.*)", line)):
            found[entry[1]] = entry[2].strip()
        elif inside and found and line.strip():
            last = next(reversed(found))
            found[last] = f"{found[last]} {line.strip()}"
    return {name: text.replace("``", "").rstrip(".") for name, text in found.items()}


def _type_word(hint: object, default: object) -> str:
    for kind in (bool, int, float, str):
        if hint is kind or hint == kind | None:
            return kind.__name__
    return type(default).__name__


def _json_able(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, or with ``--check`` compare; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in ([], ["--check"]):
        sys.stderr.write("usage: python -m xzoo.cards.compile [--check]\n")
        return 2
    try:
        compiled = catalogue()
    except CardError as error:
        sys.stderr.write(f"CardError: {error}\n")
        return 1
    current = CATALOG.read_bytes() if CATALOG.exists() else b""
    if compiled == current:
        return 0
    if given:
        sys.stderr.write("the catalogue differs from the cards.\n  do: python -m xzoo.cards.compile\n")
        return 1
    from xzoo.hub import atomic_write

    with atomic_write(CATALOG) as part:
        part.write_bytes(compiled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
