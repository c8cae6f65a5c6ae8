"""Protocols: who is compared with whom, as YAML files that can be cited by name.

``names()`` lists those of the zoo, ``load()`` reads and checks one of them or a
file of your own, ``run_protocol()`` carries it out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.evaluation.protocols.runner import ProtocolResult, run_protocol
    from xzoo.evaluation.protocols.schema import Protocol

__all__ = ["Protocol", "ProtocolResult", "load", "names", "run_protocol", "text"]

_HERE = Path(__file__).parent
_HOME = {"Protocol": "schema", "ProtocolResult": "runner", "run_protocol": "runner"}


def names() -> list[str]:
    """Return the names of the zoo's protocols."""
    return sorted(path.stem for path in _HERE.glob("*.yaml"))


def text(name: str | Path) -> str:
    """Return a protocol as it is written: one of the zoo by name, or a file.

    Raises:
        NotFound: No protocol has that name.
        MissingFile: There is no such file.
    """
    path = _file(name)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise errors.MissingFile(f"protocol {str(path)!r} is not there.", do=f"ls {path.parent}") from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise errors.EvaluationError(f"protocol {str(path)!r} cannot be read.", why=str(fault)) from fault


def load(name: str | Path) -> Protocol:
    """Read and check a protocol: one of the zoo by name, or a file.

    A protocol that says ``like: NAME`` takes everything from that one but the keys it
    names itself; tables are merged, anything else is replaced, ``null`` takes a key away.

    Example:
        >>> from xzoo.evaluation import protocols
        >>> protocols.load("llcm.A.v2i").repetitions.count
        10

    Raises:
        NotFound: No protocol has that name.
        MissingFile: There is no such file.
        EvaluationError: Listing every fault.
    """
    from xzoo.evaluation.protocols.schema import check

    tree = _tree(name, ())
    found = check(tree, str(name))
    file = _file(name)
    if file.parent == _HERE and found.protocol != file.stem:
        raise errors.EvaluationError(f"{file.name}: protocol: it is called {found.protocol!r}, its file {file.stem!r}")
    return found


def _file(name: str | Path) -> Path:
    if not isinstance(name, str | Path):
        raise errors.OptionError(
            f"protocol=<{type(name).__name__}>",
            why="It is a name, a YAML file, or what xzoo.evaluation.protocols.load returned.",
            exists=", ".join(names()[:3]),
        )
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if str(name) not in names():
        families = sorted({other.split(".")[0] for other in names()})
        raise errors.NotFound(
            f"no protocol {str(name)!r}.",
            exists=", ".join(errors.nearest(str(name), names()) or families),
            do="xzoo.evaluation.protocols.names() lists them all; a file of your own ends in .yaml",
        )
    return _HERE / f"{name}.yaml"


def _tree(name: str | Path, above: tuple[str, ...]) -> dict[str, Any]:
    from xzoo.evaluation.protocols.schema import tree_of

    if str(name) in above:
        raise errors.EvaluationError(f"protocol {above[0]!r}", why=f"It is like itself: {' -> '.join(above)}.")
    tree = tree_of(text(name), str(name))
    base = tree.pop("like", None)
    if base is None:
        return tree
    folder = _file(name).parent
    other = folder / base if str(base).endswith((".yaml", ".yml")) else base
    return _merged(_tree(other, (*above, str(name))), tree)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
            continue
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
