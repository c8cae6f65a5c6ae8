"""Hash again what is there: every bundled, packaged, cached, locked and converted file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from xzoo.errors import MissingFile, NotFound
from xzoo.hub import lock, remote
from xzoo.hub.conversion import converted_dir, recorded_hash
from xzoo.hub.files import sha256_of
from xzoo.hub.sources import HUB, HubSource, installed_path

if TYPE_CHECKING:
    from xzoo.catalog.entries import Card, Tag

__all__ = ["Fact", "State", "verify"]

State = Literal["ok", "changed", "missing", "not fetched", "unpinned"]


class Fact(NamedTuple):
    """What one file of weights was found to be.

    Attributes:
        name: ``card.tag``, or the source of a locked or converted file.
        source: Where the file comes from.
        path: Where it lies, or None.
        expected: The pinned or locked hash, or None.
        actual: The hash found, or None.
        state: ``ok``; ``changed`` (another hash) and ``missing`` (an installed file is gone) are faults;
            ``not fetched`` and ``unpinned`` (there is no hash to compare with) are not.
    """

    name: str
    source: str
    path: Path | None
    expected: str | None
    actual: str | None
    state: State

    @property
    def fault(self) -> bool:
        """Whether somebody should do something about it."""
        return self.state in ("changed", "missing")


def verify(name: str | None = None) -> list[Fact]:
    """Hash every file of weights on this machine again; nothing is downloaded.

    Args:
        name: A model (``name[.tag]``), or None for everything.

    Raises:
        NotFound: There is no such model, or it has no weights.
    """
    from xzoo import catalog

    if name is None:
        cards = [catalog.card(model) for model in catalog.list_models()]
        facts = [_tag_fact(card, tag) for card in cards for tag in card.tags.values()]
        named = {fact.source for fact in facts}
        return [*facts, *(fact for fact in _lock_facts() if fact.source not in named), *_converted_facts()]
    card, tag = catalog.resolve(name)
    tags = [tag] if tag and name.endswith(f".{tag.name}") else list(card.tags.values())
    if not tags:
        raise NotFound(f"{name!r} has no weights to verify.", why="its card lists no tag.", do="xzoo verify")
    return [_tag_fact(card, tag) for tag in tags]


def _tag_fact(card: Card, tag: Tag) -> Fact:
    name = f"{card.name}.{tag.name}"
    if not tag.source.startswith(HUB):
        try:
            path = installed_path(tag.source)
        except MissingFile:
            return Fact(name, tag.source, None, tag.sha256, None, "missing")
        return _fact(name, tag.source, path, tag.sha256)
    known = lock.entries().get(tag.source)
    asked = HubSource.parse(tag.source)
    revision = tag.revision or (known.revision if known else asked.revision or "main")
    expected = tag.sha256 or (known.sha256 if known and known.revision == revision else None)
    path_here = _cached(asked.repo, asked.file or (known.file if known else ""), revision)
    return _fact(name, tag.source, path_here, expected)


def _lock_facts() -> Iterator[Fact]:
    for source, entry in lock.entries().items():
        yield _fact(source, source, _cached(entry.repo, entry.file, entry.revision), entry.sha256)


def _converted_facts() -> Iterator[Fact]:
    for path in sorted(converted_dir().glob("*/*.safetensors")):
        yield _fact(f"{path.parent.name}/{path.stem[:12]}", "converted", path, recorded_hash(path))


def _cached(repo: str, file: str, revision: str) -> Path | None:
    found = remote.cached(remote.Wanted(repo, file, revision, "")) if file else None
    return found.path if found else None


def _fact(name: str, source: str, path: Path | None, expected: str | None) -> Fact:
    if path is None:
        return Fact(name, source, None, expected, None, "not fetched")
    actual = sha256_of(path)
    state: State = "unpinned" if expected is None else "ok" if actual == expected else "changed"
    return Fact(name, source, path, expected, actual, state)
