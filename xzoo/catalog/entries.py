"""What the catalogue holds: cards and their tags, as plain frozen data.

Named tuples rather than dataclasses, because importing ``dataclasses`` costs
more than reading the whole catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from xzoo.catalog.licences import licence_class

__all__ = ["SCHEMA", "Card", "Tag", "card_from_dict"]

SCHEMA = 1
"""Version of the layout of ``catalog.json`` and of plugin manifests."""

FIELDS = (
    "name",
    "kind",
    "task",
    "spectra",
    "summary",
    "status",
    "family",
    "target",
    "fixed",
    "options",
    "tags",
    "default_tag",
    "licence",
    "facts",
    "prose",
)


class Tag(NamedTuple):
    """One set of weights of a card.

    Attributes:
        name: The part behind the dot.
        source: ``bundled:FILE``, ``hf-hub:org/repo/file`` or ``package:PKG/FILE``.
        sha256: Hash of the whole file, or None where it is trusted on first use.
        revision: 40-hex commit of a Hub repository, or None where none is recorded.
        bytes: Size of the file, or None.
        dtype: Number type on disk.
        licence: SPDX id.
        trust: ``pinned``, or ``first-use``: the first download is locked and compared from then on.
        notes: What a user must know, in a sentence.
    """

    name: str
    source: str
    sha256: str | None
    revision: str | None
    bytes: int | None
    dtype: str
    licence: str
    trust: str
    notes: str


class Card(NamedTuple):
    """One entry of the zoo: the facts of its card, and the prose.

    Attributes:
        name: Full name, with the namespace where there is one.
        fixed: Build arguments that this card decides.
        options: Build arguments left to the user: ``{"type", "default", "choices"?, "help"}`` each.
        facts: Every further key of the front matter (input, output, size, results, use ...).
        origin: ``built-in``, ``plugin DIST VERSION`` or ``session``.
        package: Top-level package of the plugin.
        build: Callable of a session entry.
    """

    name: str
    kind: str
    task: str
    spectra: tuple[str, ...]
    summary: str
    status: str
    family: str | None
    target: str | None
    fixed: Mapping[str, Any]
    options: Mapping[str, Mapping[str, Any]]
    tags: Mapping[str, Tag]
    default_tag: str | None
    licence: Mapping[str, str]
    facts: Mapping[str, Any]
    prose: str
    origin: str = "built-in"
    package: str | None = None
    build: Callable[..., Any] | None = None

    def __str__(self) -> str:
        """Render the card as the text that ``xzoo show`` prints."""
        from xzoo.catalog.describe import describe

        return describe(self)

    @property
    def licences(self) -> tuple[str, ...]:
        """SPDX ids that bind a user: those of the weights, or of the code where there are none."""
        found = [tag.licence for tag in self.tags.values()] or [self.licence["weights"]]
        return tuple(dict.fromkeys(found)) if found != ["none"] else (self.licence["code"],)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as plain JSON-able data, with the class of each licence."""
        facts = {key: getattr(self, key) for key in FIELDS}
        facts["spectra"] = list(self.spectra)
        facts["tags"] = {
            name: {**tag._asdict(), "licence_class": licence_class(tag.licence)} for name, tag in self.tags.items()
        }
        return {**facts, "origin": self.origin}


def card_from_dict(
    data: Mapping[str, Any], *, namespace: str = "", origin: str = "built-in", package: str | None = None
) -> Card:
    """Build a card from one compiled entry.

    Raises:
        KeyError, TypeError, ValueError: The entry lacks keys or holds values of another shape; discovery
            turns them into one line about the plugin.
    """
    _check_shape(data)
    values = {key: data[key] for key in FIELDS}
    values["name"] = f"{namespace}/{data['name']}" if namespace else data["name"]
    values["spectra"] = tuple(data["spectra"])
    values["tags"] = {name: Tag(name=name, **fields) for name, fields in data["tags"].items()}
    return Card(**values, origin=origin, package=package)


_SHAPE: tuple[tuple[type, tuple[str, ...]], ...] = (
    (str, ("name", "kind", "task", "summary", "status", "prose")),
    (list, ("spectra",)),
    (dict, ("fixed", "options", "tags", "licence", "facts")),
)
# What describing and creating read without asking; pydantic has seen to it where a manifest was built by xzoo.
_INSIDE = {
    "input": ("size", "colour", "mean", "std", "alignment"),
    "results": ("protocol", "metric", "value", "source"),
    "training_data": ("name", "consent", "status"),
}


def _check_shape(data: Mapping[str, Any]) -> None:
    for kind, keys in _SHAPE:
        for key in keys:
            if not isinstance(data[key], kind):
                raise TypeError(f"{key} is {type(data[key]).__name__}, not {kind.__name__}")
    if data["default_tag"] is not None and data["default_tag"] not in data["tags"]:
        raise ValueError(f"default_tag {data['default_tag']!r} is none of its tags")
    tables: list[tuple[str, Any, tuple[str, ...]]] = [("licence", data["licence"], ("code", "weights", "data"))]
    tables += [(f"options.{name}", row, ("type", "default")) for name, row in data["options"].items()]
    for key, inside in _INSIDE.items():
        given = data["facts"].get(key, [])
        tables += [(key, row, inside) for row in (given if isinstance(given, list) else [given])]
    if "points" not in (output := data["facts"].get("output", {"points": 0})):
        tables.append(("output", output, ("embedding", "normalised", "compare")))
    for key, table, inside in tables:
        missing = [name for name in inside if name not in table]
        if missing:
            raise ValueError(f"{key} lacks {', '.join(missing)}")
