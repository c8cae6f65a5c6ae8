"""Adapters on disk: a folder with weights, the facts that bind them to a base, and a card.

``adapter_model.safetensors`` holds the tensors, ``adapter_config.json`` what
they are (under the key ``xzoo``; a plain LoRA also has peft's own keys, so
that peft reads the folder), ``README.md`` the card for people. The
configuration is written last and carries the hash of the tensors: a folder
that was interrupted, mixed or damaged is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from xzoo import __version__, errors, hub
from xzoo.adapters.base import AttachedAdapter, find_kind, load, make_options, owned

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["CARD", "CONFIG", "WEIGHTS", "Stored", "bind", "fill", "read", "write"]

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CARD = "README.md"
FORMAT = 1


class Stored(NamedTuple):
    """An adapter as its folder describes it."""

    name: str
    kind: str
    spectrum: str | None
    options: Any
    base: str
    base_sha256: str
    tensors: Mapping[str, Tensor]


def write(model: Embedder, adapter: AttachedAdapter, folder: Path, card_text: str | None) -> None:
    """Write an adapter. The same adapter gives the same bytes.

    Raises:
        OptionError: ``folder`` is a file.
        DiskFull: There was no room.
    """
    if folder.exists() and not folder.is_dir():
        raise errors.OptionError(f"folder={str(folder)!r}", why="That is a file.", do="name a folder")
    tensors = owned(model, adapter)
    hub.write(tensors, folder / WEIGHTS, {"format": "pt"})
    facts = {
        "format": FORMAT,
        "xzoo_version": __version__,
        "name": adapter.name,
        "kind": adapter.kind,
        "spectrum": adapter.spectrum,
        "options": asdict(adapter.options),
        "base": {"name": adapter.base, "sha256": adapter.base_sha256},
        "weights_sha256": hub.sha256_of(folder / WEIGHTS),
    }
    config = {**find_kind(adapter.kind).foreign_config(adapter, list(tensors)), "xzoo": facts}
    _write_text(folder / CARD, _card(model, adapter) if card_text is None else card_text)
    _write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True, default=sorted) + "\n")


def read(folder: Path) -> Stored:
    """Read an adapter and check that the folder is whole.

    Raises:
        MissingFile: The folder, or a file in it, is not there.
        WeightsMismatch: The folder is broken, or was not written by xzoo.
        HashMismatch: The weights are not those that the configuration was written for.
        NotFound: Its kind is not offered here.
    """
    path = folder / CONFIG
    facts = _facts(path)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise errors.MissingFile(f"no {WEIGHTS} in {str(folder)!r}.", why="The adapter's folder is not complete.")
    found = hub.sha256_of(weights)
    if found != facts["weights_sha256"]:
        raise errors.HashMismatch(
            f"{str(weights)!r} is not what {CONFIG} was written for.",
            why=f"Its SHA-256 is {found[:8]}…, recorded is {facts['weights_sha256'][:8]}….",
            do="save or fetch the adapter again",
        )
    kind = find_kind(facts["kind"])
    try:
        options = make_options(kind, facts["options"])
    except errors.OptionError as cause:
        raise _broken(path, f"options: {cause.asked} {cause.why}") from cause
    base = facts["base"]
    return Stored(
        facts["name"], facts["kind"], facts["spectrum"], options, base["name"], base["sha256"], hub.read(weights)
    )


def bind(model: Embedder, stored: Stored, folder: Path) -> None:
    """Check that a stored adapter belongs to the weights of this model.

    Raises:
        BaseMismatch: It was trained on others.
    """
    if stored.base_sha256 != model.weights_sha256:
        raise errors.BaseMismatch(
            f"adapter {str(folder)!r} was trained on {stored.base} (weights {stored.base_sha256[:8]}…),",
            why=f"but this model is {model.card.name} (weights {model.weights_sha256[:8]}…). "
            "Its outputs would be meaningless.",
            do=f'xzoo.create("{stored.base}", pretrained=<the weights {stored.base_sha256[:8]}…>, adapter="{folder}")',
        )


def fill(model: Embedder, adapter: AttachedAdapter, stored: Stored, folder: Path) -> None:
    """Put the stored tensors into an adapter that was just built.

    Raises:
        WeightsMismatch: Names or shapes differ.
    """
    load(model, adapter, stored.tensors, asked=f"{str(folder / WEIGHTS)!r} does not fit {model.card.name}.")


_SHAPE: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "kind": (str,),
    "spectrum": (str, type(None)),
    "options": (dict,),
    "base": (dict,),
    "weights_sha256": (str,),
}


def _facts(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise errors.MissingFile(
            f"no adapter in {str(path.parent)!r}.",
            why=f"There is no {CONFIG}." if path.parent.is_dir() else "There is no such folder.",
            do="xzoo.adapters.save(model, name, folder)  writes one",
        ) from cause
    except (OSError, ValueError) as cause:
        raise _broken(path, str(cause)) from cause
    facts = config.get("xzoo") if isinstance(config, dict) else None
    if facts is None:
        raise errors.WeightsMismatch(
            f"{str(path.parent)!r} is not an adapter of xzoo.",
            why=f"Its {CONFIG} has no key 'xzoo', so nothing says which weights it was trained on.",
            do="attach folders that xzoo.adapters.save wrote",
        )
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        version = facts.get("xzoo_version") if isinstance(facts, dict) else None
        raise _broken(path, f"it has another format than {FORMAT}; xzoo {version} wrote it")
    faults = [key for key, types in _SHAPE.items() if key not in facts or not isinstance(facts[key], types)]
    base = facts.get("base")
    if isinstance(base, dict):
        faults += [f"base.{key}" for key in ("name", "sha256") if not isinstance(base.get(key), str)]
    if faults:
        raise _broken(path, f"missing or of the wrong type: {', '.join(faults)}")
    return facts


def _broken(path: Path, why: str) -> errors.WeightsMismatch:
    return errors.WeightsMismatch(f"{str(path)!r} cannot be used.", why=why, do="save or fetch the adapter again")


def _write_text(path: Path, text: str) -> None:
    with hub.atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _card(model: Embedder, adapter: AttachedAdapter) -> str:
    """Return a card that states what is known here, and that nothing was measured."""
    options = "\n".join(f"| {key} | {value!r} |" for key, value in asdict(adapter.options).items())
    return f"""---
library_name: xzoo
base_model: {adapter.base}
base_model_relation: adapter
---

# {adapter.name}: {adapter.kind} adapter of {adapter.base}

| fact | value |
|---|---|
| base | {adapter.base}, weights {adapter.base_sha256} |
| licence of the base's weights | {model.card.licence.get("weights", "not recorded")} |
| spectrum | {adapter.spectrum or "all"} |
| parameters | {adapter.parameters:,} |
{options}

Results: not reported. Training data: not reported.

The adapter works on these weights of the base alone, and is refused on others:

```python
xzoo.adapters.attach(model, "path/to/this/folder")
```
"""
