"""The catalogue: built-in cards, those of plugins, and those of this session.

Three layers that never shadow one another by accident: a bare name is a
built-in one, else one that this session registered, else the only plugin
card of that name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xzoo.catalog.discovery import PluginState, discover
from xzoo.catalog.entries import Card, Tag, card_from_dict
from xzoo.catalog.licences import licence_matches, licence_terms
from xzoo.catalog.names import KINDS, SPECTRA, Name, as_strings, matches, natural_key, split_name
from xzoo.errors import NotFound, OptionError, nearest

__all__ = ["CATALOG", "FACE_CROP", "card", "cards", "is_model", "list_models", "plugins", "register", "resolve"]

CATALOG = Path(__file__).with_name("catalog.json")

FACE_CROP: Mapping[str, Any] = {
    "size": [3, 112, 112],
    "colour": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "alignment": "arcface_112_5pt",
    "interpolation": "bicubic",
    "stretch": False,
}
"""Input of a session's model, unless it says otherwise."""


class _Layers(NamedTuple):
    builtin: Mapping[str, Card]
    plugin: Mapping[str, list[Card]]
    states: list[PluginState]
    switch: str


_layers: _Layers | None = None
_session: Mapping[str, Card] = {}


def _load() -> _Layers:
    global _layers
    switch = os.environ.get("XZOO_PLUGINS", "")
    if _layers is None or _layers.switch != switch:
        entries = json.loads(CATALOG.read_bytes())["cards"]
        builtin = {entry["name"]: card_from_dict(entry) for entry in entries}
        _layers = _Layers(builtin, *discover(switch), switch)
    return _layers


def cards() -> dict[str, Card]:
    """Return every card by full name, in natural order; names that two plugins claim are left out."""
    layers = _load()
    found = {**layers.builtin, **{name: owned[0] for name, owned in layers.plugin.items() if len(owned) == 1}}
    found.update(_session)
    return {name: found[name] for name in sorted(found, key=natural_key)}


def plugins() -> list[PluginState]:
    """Return the state of every installed plugin, one line each."""
    return list(_load().states)


def list_models(
    pattern: str | Iterable[str] = "*",
    *,
    exclude: str | Iterable[str] | None = None,
    kind: str | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
    spectrum: str | Iterable[str] | None = None,
    licence: str | Iterable[str] | None = None,
    pretrained: bool | None = None,
) -> list[str]:
    """List the names in the catalogue, in natural order.

    Every filter takes one string or an iterable of strings and keeps what fits any of them.

    Args:
        pattern: Shell-style wildcards. One without a dot matches names; one with a dot
            matches ``name.tag`` and lists those. The namespace of a plugin may be left out.
        exclude: Wildcards of what to leave out; those with a dot leave out tags only.
        kind: ``backbone`` (what None means), ``adapter``, ``recipe``, or ``"*"`` for all.
        task: Such as ``face-recognition``.
        spectrum: Bands that a card was made for: VIS, NIR, SWIR, MWIR, LWIR.
        licence: SPDX ids, wildcards, or the classes permissive, copyleft, non-commercial,
            research-only, restricted, unknown. The licence of the weights counts;
            that of the code where a card has no weights.
        pretrained: True for cards with weights, False for those without.

    Raises:
        OptionError: A filter is of a wrong type, or names a kind, spectrum or licence that does not exist.

    Example:
        >>> list_models("edgeface_xx*")
        ['edgeface_xxs']
    """
    patterns = as_strings(pattern, "pattern") or ()
    excluded = as_strings(exclude, "exclude") or ()
    kinds = _checked(kind, "kind", KINDS) or ("backbone",)
    tasks = as_strings(task, "task")
    bands = _checked(spectrum, "spectrum", SPECTRA)
    if pretrained not in (None, True, False):
        raise OptionError(f"pretrained={pretrained!r} cannot be matched.", do="give True, False or None")
    every = cards()
    licences = licence_terms(licence, also={spdx for entry in every.values() for spdx in entry.licences})
    names = []
    for name, entry in every.items():
        fits = (
            matches(entry.kind, kinds)
            and (tasks is None or matches(entry.task, tasks))
            and (bands is None or any(matches(band, bands) for band in entry.spectra))
            and (pretrained is None or pretrained == bool(entry.tags))
            and not _named(name, excluded)
        )
        if not fits:
            continue
        if _named(name, patterns) and (licences is None or any(licence_matches(x, licences) for x in entry.licences)):
            names.append(name)
        for label, tag in ((f"{name}.{tag.name}", tag) for tag in entry.tags.values()):
            wanted = _named(label, patterns) and not _named(label, excluded)
            if wanted and (licences is None or licence_matches(tag.licence, licences)):
                names.append(label)
    return sorted(names, key=natural_key)


def _named(label: str, patterns: tuple[str, ...]) -> bool:
    # A pattern speaks of tags exactly when it has a dot, as a label does when it has one.
    fitting = [pattern for pattern in patterns if ("." in pattern) == ("." in label)]
    return matches(label, fitting) or matches(label.rpartition("/")[2], fitting)


def _checked(value: str | Iterable[str] | None, argument: str, choices: tuple[str, ...]) -> tuple[str, ...] | None:
    items = as_strings(value, argument)
    for item in items or ():
        if not any(matches(choice, (item,)) for choice in choices):
            close = nearest(item, choices) or nearest(item.upper(), choices) or choices
            raise OptionError(
                f"{argument}={item!r} matches nothing.", why=f"no {argument} is called so", exists=", ".join(close)
            )
    return items


def card(name: str) -> Card:
    """Return the card of a name; a tag in the name is checked and otherwise ignored.

    Raises:
        NotFound: Nothing has that name; the error shows the nearest names or the tags.
    """
    return resolve(name)[0]


def is_model(name: str) -> bool:
    """Return whether a name, with or without a tag, is in the catalogue."""
    try:
        resolve(name)
    except NotFound:
        return False
    return True


def resolve(name: str) -> tuple[Card, Tag | None]:
    """Find the card of ``[namespace/]name[.tag]``, and the tag that was named.

    Raises:
        NotFound: No such name or tag, or a name that two plugins claim.
        OptionError: ``name`` is not a string.
    """
    parsed = split_name(name)
    found = _find(parsed) if parsed else None
    if parsed is None or found is None:
        raise _not_found(name)
    if parsed.tag is None:
        return found, None
    if parsed.tag not in found.tags:
        raise _no_tag(found, parsed.tag)
    return found, found.tags[parsed.tag]


def _find(name: Name) -> Card | None:
    layers = _load()
    if name.full in layers.builtin:
        return layers.builtin[name.full]
    local = name.full if name.namespace else f"local/{name.name}"
    if local in _session:
        return _session[local]
    if name.namespace:
        owned = layers.plugin.get(name.full, [])
    else:
        owned = [entry for full, found in layers.plugin.items() if full.endswith(f"/{name.name}") for entry in found]
    if len(owned) > 1:
        offers = sorted({f"{entry.name} ({entry.origin})" for entry in owned})
        same = len({entry.name for entry in owned}) == 1
        raise NotFound(
            f"{name.full!r} is not one model.",
            why=f"{len(owned)} plugins offer it, and none goes first",
            exists=", ".join(offers),
            do="switch one off: XZOO_PLUGINS=-NAME" if same else "give the name with its namespace",
        )
    return owned[0] if owned else None


def _not_found(name: str) -> NotFound:
    every = cards()
    wanted = name.strip().lower().replace("-", "_").rpartition("/")[2].partition(".")[0]
    by_short = {full.rpartition("/")[2]: full for full in every}
    close = [by_short[short] for short in nearest(wanted, by_short)]
    tags = _tag_words(every[close[0]]) if close and every[close[0]].tags else ""
    broken = next((state.dist for state in plugins() if state.state == "problem"), None)
    if broken and "/" in name and not close:
        return NotFound(f"no model {name!r}.", why=f"the plugin {broken} could not be read", do="xzoo plugins")
    return NotFound(
        f"no model {name!r}.",
        why=f"close: {', '.join(close)}" if close else "nothing has a name like it",
        exists=f"tags of {close[0]}: {tags}" if tags else "",
        do=f"xzoo ls '{close[0].partition('_')[0]}*'" if close else "xzoo ls",
    )


def _no_tag(entry: Card, tag: str) -> NotFound:
    close = nearest(tag, entry.tags)
    return NotFound(
        f"no tag {tag!r} of {entry.name}.",
        why=f"close: {', '.join(close)}" if close else "" if entry.tags else "the card has no weights of its own",
        exists=f"tags: {_tag_words(entry)}" if entry.tags else "",
        do=f"xzoo show {entry.name}",
    )


def _tag_words(entry: Card) -> str:
    return ", ".join(f"{tag} (default)" if tag == entry.default_tag else tag for tag in entry.tags)


def register(
    name: str,
    build: Callable[..., Any],
    *,
    options: Mapping[str, Any] | None = None,
    summary: str = "",
    spectra: str | Iterable[str] = (),
    task: str = "face-recognition",
    input: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Card:
    """Add a model of your own to the catalogue of this session, as ``local/NAME``.

    It can be created as ``NAME`` and as ``local/NAME``, has no pretrained weights, and is gone
    when Python ends. Nothing that exists is changed, unless ``replace`` allows it.

    Args:
        name: ``my_net`` or ``local/my_net``.
        build: Called with the options as keywords; returns an ``nn.Module`` from normalised
            images ``[B, 3, 112, 112]`` to embeddings ``[B, D]``, or an ``Embedder``.
        options: Default of each option, or its full row ``{"type", "default", "help"}``.
            None reads names and defaults from the signature of ``build``.
        summary: One sentence.
        spectra: Bands that the model was made for.
        task: What it does.
        input: What its images look like, with the keys of ``FACE_CROP``; those left out are as there.
        replace: Allow a new version of a name that this session has registered before.

    Returns:
        The card of the new entry.

    Raises:
        OptionError: The name is taken or malformed, or an option has no default.
    """
    global _session
    parsed = split_name(name)
    if parsed is None or parsed.tag or parsed.namespace not in (None, "local"):
        raise OptionError(f"cannot register {name!r}.", why="a session name reads my_net: a-z, 0-9 and _")
    if not callable(build):
        raise OptionError(f"cannot register {name!r}.", why=f"build is {type(build).__name__}, not a function")
    full = f"local/{parsed.name}"
    if parsed.name in _load().builtin:
        raise OptionError(f"cannot register {name!r}.", why="a built-in model has that name", do="choose another")
    if full in _session and not replace:
        raise OptionError(f"{full!r} is registered already.", do="choose another name, or say replace=True")
    if options is not None:
        _table("options", options)
    entry = Card(
        name=full,
        kind="backbone",
        task=task,
        spectra=_checked(spectra, "spectrum", SPECTRA) or (),
        summary=summary,
        status="session",
        family=None,
        target=None,
        fixed={},
        options=_signature(name, build) if options is None else {key: _row(options[key]) for key in options},
        tags={},
        default_tag=None,
        licence={"code": "NOASSERTION", "weights": "none", "data": "none"},
        facts={"input": _input({} if input is None else input)},
        prose="",
        origin="session",
        build=build,
    )
    _session = {**_session, full: entry}  # one assignment: nobody sees half a registration
    return entry


def _input(given: Mapping[str, Any]) -> dict[str, Any]:
    _table("input", given)
    for key in given:
        if key not in FACE_CROP:
            close = nearest(key, FACE_CROP) or list(FACE_CROP)
            raise OptionError(f"input has no key {key!r}.", exists=", ".join(close))
    return {**FACE_CROP, **given}


def _table(argument: str, given: object) -> None:
    if not isinstance(given, Mapping):
        raise OptionError(f"{argument}={given!r} is no table.", do=f"give {argument} a dict of names and values")


def _signature(name: str, build: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    import inspect

    rows = {}
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError) as cause:
        why = "build does not tell its options: it is not written in Python"
        raise OptionError(f"cannot register {name!r}.", why=why, do="give options={'width': 32, ...}") from cause
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            why = f"{str(parameter)!r} in the signature of build hides the options"
        elif parameter.default is parameter.empty:
            why = f"{parameter.name!r} of build has no default"
        else:
            rows[parameter.name] = _row(parameter.default)
            continue
        raise OptionError(f"cannot register {name!r}.", why=why, do="give options={'width': 32, ...}")
    return rows


def _row(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"type": type(value.get("default")).__name__, "help": "", **value}
    return {"type": type(value).__name__, "default": value, "help": ""}
