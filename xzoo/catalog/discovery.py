"""Find plugins by their manifests, without importing a line of theirs.

A plugin is a distribution with an entry point in the group ``xzoo.catalog``,
whose value names a top-level package and a JSON file inside it
(``acme_face:xzoo.json``). Whatever is wrong with one plugin becomes one
:class:`PluginState`; everything else goes on.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from xzoo.catalog.entries import SCHEMA, Card, card_from_dict
from xzoo.catalog.names import split_name
from xzoo.errors import PluginImportError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "RESERVED", "PluginState", "discover", "load_target", "package_folder"]

GROUP = "xzoo.catalog"
RESERVED = ("xzoo", "local")
"""Namespaces that no plugin can claim: ours, and that of ``xzoo.register``."""


class PluginState(NamedTuple):
    """One line of ``xzoo plugins``.

    Attributes:
        dist: Distribution that brings the plugin.
        namespace: What stands before the slash of its names; empty where it could not be read.
        entries: How many cards it offers.
        state: ``ok``, ``off`` (switched off, nothing read), ``clash`` (some names are claimed
            twice and belong to nobody) or ``problem`` (nothing of it is used).
        reason: Why the state is not ``ok``.
        hint: What to do about it.
    """

    dist: str
    version: str
    namespace: str
    entries: int
    state: str
    reason: str
    hint: str


class _Refused(Exception):
    """A plugin that cannot be used: reason, and hint."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


def discover(switch: str = "") -> tuple[dict[str, list[Card]], list[PluginState]]:
    """Read the manifests of all installed plugins.

    Args:
        switch: Value of ``XZOO_PLUGINS``: ``off``, or names of distributions or entry points separated
            by commas; ``-name`` switches one off, plain names leave only those on.

    Returns:
        Cards by full name (more than one where two distributions claim a name), and the state of each plugin.
    """
    if switch.strip().lower() == "off":
        return {}, []
    allowed = _switch(switch)
    cards: dict[str, list[Card]] = defaultdict(list)
    states: list[PluginState] = []
    for dist, version, point in sorted(_entry_points(), key=lambda found: (found[0], found[2].name)):
        if not allowed(dist, point.name):
            states.append(PluginState(dist, version, "", 0, "off", "switched off by XZOO_PLUGINS", ""))
            continue
        try:
            namespace, offered = _read(point, f"plugin {dist} {version}")
        except _Refused as refused:
            states.append(PluginState(dist, version, "", 0, "problem", refused.reason, refused.hint))
            continue
        for card in offered:
            cards[card.name].append(card)
        states.append(PluginState(dist, version, namespace, len(offered), "ok", "", ""))
    return dict(cards), _mark_clashes(states, cards)


def _switch(text: str) -> Callable[[str, str], bool]:
    words = {_plain(word) for word in text.split(",") if word.strip()}
    blocked = {word[1:] for word in words if word.startswith("-")}
    only = {word for word in words if not word.startswith("-")}

    def allowed(dist: str, point: str) -> bool:
        names = {_plain(dist), _plain(point)}
        return not names & blocked and (not only or bool(names & only))

    return allowed


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _entry_points() -> Iterator[tuple[str, str, EntryPoint]]:
    """Yield distribution, version and entry point of everything installed in our group."""
    seen: set[str] = set()
    for folder in _metadata_folders():
        # Only here is importlib.metadata worth its import, which costs more than all else together.
        from importlib.metadata import Distribution

        try:
            dist = Distribution.at(folder)
            name, version = str(dist.metadata["Name"]), str(dist.metadata["Version"])
            points = [point for point in dist.entry_points if point.group == GROUP]
        except Exception:  # damaged metadata of some distribution, which pip reports better than we can
            continue
        if _plain(name) not in seen:  # the first on the path is the one that Python would import
            seen.add(_plain(name))
            yield from ((name, version, point) for point in points)


def _metadata_folders() -> Iterator[str]:
    """Yield the metadata folders on the path whose entry points name our group."""
    for place in dict.fromkeys(sys.path):
        try:
            names = [name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info"))]
        except OSError:
            continue
        for name in sorted(names):
            folder = os.path.join(place, name)
            try:
                with open(os.path.join(folder, "entry_points.txt"), "rb") as file:
                    if GROUP.encode() in file.read():
                        yield folder
            except OSError:
                continue


def _read(point: EntryPoint, origin: str) -> tuple[str, list[Card]]:
    package, _, file = point.value.partition(":")
    manifest = _load(_manifest_path(package.strip(), file.strip()))
    namespace = _namespace(manifest.get("namespace"))
    entries = manifest.get("cards")
    if not isinstance(entries, list):
        raise _Refused("its manifest has no list of cards", "xzoo plugin build")
    requires = manifest.get("requires", [])
    cards = [_card(entry, namespace, origin, package.strip(), requires) for entry in entries]
    if len({card.name for card in cards}) < len(cards):
        raise _Refused("it lists a card twice", "xzoo plugin validate")
    return namespace, cards


def _manifest_path(package: str, file: str) -> Path:
    inside = PurePosixPath(file)
    if not file or inside.is_absolute() or ".." in inside.parts:
        raise _Refused(f"its entry point {package}:{file} names no file inside its package", "package:xzoo.json")
    folder = package_folder(package)
    if folder is None:
        raise _Refused(f"its package {package!r} is not there", "reinstall it, or uninstall what is left of it")
    return folder / inside


def package_folder(package: str) -> Path | None:
    """Return the folder of a top-level package without executing it; None where there is none."""
    if not package.isidentifier():  # a dotted package would import its parents
        raise _Refused(f"its package {package!r} is not a top-level package", "name one without dots")
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except Exception as cause:  # whatever a foreign import hook raises
        raise _Refused(f"its package {package!r} cannot be looked up: {cause}") from cause
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _load(path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as cause:
        raise _Refused(f"its manifest {path.name} cannot be read: {cause.strerror}", "reinstall it") from cause
    except ValueError as cause:
        raise _Refused(f"its manifest {path.name} is not JSON: {cause}", "xzoo plugin build") from cause
    if not isinstance(manifest, dict):
        raise _Refused(f"its manifest {path.name} is not a table", "xzoo plugin build")
    schema = manifest.get("schema")
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        hint = "upgrade xzoo" if newer else "xzoo plugin build"
        raise _Refused(f"its manifest has schema {schema!r}, this xzoo reads {SCHEMA}", hint)
    return manifest


def _namespace(namespace: object) -> str:
    if not isinstance(namespace, str) or split_name(namespace) != (None, namespace, None):
        raise _Refused(f"namespace {namespace!r} would replace built-in names", "claim one of a-z, 0-9 and _")
    if namespace in RESERVED:
        raise _Refused(f"namespace {namespace!r} belongs to xzoo", "claim another")
    return namespace


def _card(entry: object, namespace: str, origin: str, package: str, requires: object) -> Card:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _Refused("one of its cards has no name", "xzoo plugin validate")
    name = entry["name"]
    parsed = split_name(name)
    if parsed is None or parsed.namespace or parsed.tag:
        raise _Refused(f"card {name!r} is outside its namespace {namespace!r}", "name cards without a slash")
    try:
        card = card_from_dict(entry, namespace=namespace, origin=origin, package=package)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise _Refused(f"card {name!r} does not fit the schema: {cause}", "xzoo plugin validate") from cause
    if isinstance(requires, list) and requires:
        card = card._replace(facts={**card.facts, "requires": [str(item) for item in requires]})
    return card


def _mark_clashes(states: list[PluginState], cards: Mapping[str, list[Card]]) -> list[PluginState]:
    owners: dict[str, list[PluginState]] = defaultdict(list)
    for state in states:
        if state.state == "ok":
            owners[state.namespace].append(state)
    marked = []
    for state in states:
        others = [other for other in owners[state.namespace] if other is not state] if state.state == "ok" else []
        if others:
            mine = f"{state.namespace}/"
            shared = [name for name, found in cards.items() if len(found) > 1 and name.startswith(mine)]
            state = state._replace(
                state="clash",
                reason=f"namespace {state.namespace!r} is also claimed by "
                + ", ".join(f"{other.dist} {other.version}" for other in others)
                + (f"; claimed twice: {', '.join(shared)}" if shared else ""),
                hint=f"XZOO_PLUGINS=-{others[0].dist} switches the other one off",
            )
        marked.append(state)
    return marked


def load_target(card: Card) -> Callable[..., Any]:
    """Import the builder of a plugin's card; the first line of the plugin's code that runs.

    Raises:
        PluginImportError: A requirement of the plugin is not met (checked from metadata, before the
            import), or its code cannot be imported.
    """
    from importlib import import_module

    module, _, function = (card.target or "").partition(":")
    asked = f"{card.name} cannot be built."
    unmet = [line for text in card.facts.get("requires", ()) if (line := _unmet(text))]
    if unmet:
        wanted = " ".join(f"'{text}'" for text in card.facts["requires"])
        raise PluginImportError(asked, why=f"{card.origin} needs {'; '.join(unmet)}", do=f"pip install {wanted}")
    try:
        build = getattr(import_module(module), function)
    except Exception as cause:  # a plugin can raise anything while it is imported
        why = f"{card.origin}: importing {card.target} raised {type(cause).__name__}: {cause}"
        do = f"pip install --force-reinstall {card.origin.split()[1]}"
        raise PluginImportError(asked, why=why, do=do) from cause
    if not callable(build):
        raise PluginImportError(asked, why=f"{card.origin}: {card.target} is no function")
    return build  # type: ignore[no-any-return]


def _unmet(text: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"{text!r}, which is no requirement"
    if requirement.marker and not requirement.marker.evaluate():
        return ""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{text} (not installed)"
    return "" if requirement.specifier.contains(found, prereleases=True) else f"{text} (found {found})"
