"""The errors of xzoo: one tree, four parts each.

Every error answers, in this order: what was asked, why it cannot be, what
exists instead, and what to do. Each class also inherits the builtin that a
Python user expects to catch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "BaseMismatch",
    "CardError",
    "DataError",
    "DeviceError",
    "DiskFull",
    "EvaluationError",
    "HashMismatch",
    "HubError",
    "ImageError",
    "LicenceRefused",
    "MissingExtra",
    "MissingFile",
    "NotFound",
    "Offline",
    "OptionError",
    "PluginError",
    "PluginImportError",
    "RecipeError",
    "RunError",
    "TrainingStopped",
    "WeightsMismatch",
    "XzooError",
    "nearest",
    "problems",
]


class XzooError(Exception):
    """Base of all errors that xzoo raises on purpose.

    Args:
        asked: What was asked, with user input quoted by ``repr``.
        why: Why it cannot be done.
        exists: What exists instead (at most three names).
        do: The command or call that helps.
    """

    def __init__(self, asked: str, *, why: str = "", exists: str = "", do: str = "") -> None:
        super().__init__(asked, why, exists, do)
        self.asked, self.why, self.exists, self.do = asked, why, exists, do

    def __str__(self) -> str:
        """Render the parts that are there, one indented line each."""
        rest = (self.why, f"exists: {self.exists}" if self.exists else "", f"do: {self.do}" if self.do else "")
        return "\n  ".join([self.asked, *(part for part in rest if part)])

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the four parts when an error crosses a process boundary."""
        return (_rebuild, (type(self), self.asked, self.why, self.exists, self.do), self.__dict__)


def _rebuild(kind: type[XzooError], asked: str, why: str, exists: str, do: str) -> XzooError:
    return kind(asked, why=why, exists=exists, do=do)


class NotFound(XzooError, LookupError):
    """A name (model, tag, recipe, adapter, loss ...) that nobody offers."""


class OptionError(XzooError, ValueError):
    """An argument or option with a wrong name, type or value."""


class CardError(XzooError, ValueError):
    """A card that does not fit the schema; lists every fault."""


class RecipeError(XzooError, ValueError):
    """A recipe that does not fit the schema or the model; lists every fault.

    ``draft``: the ``xzoo.recipes.schema.Draft`` that it is, where faults of the schema did not keep it from being read.
    """

    draft: Any = None


class DataError(XzooError, ValueError):
    """A manifest or data folder with faults; lists every fault with its row."""


class ImageError(XzooError, ValueError):
    """An image that cannot be read or has an unsupported shape or type."""


class EvaluationError(XzooError, ValueError):
    """A comparison that the data cannot support."""


class MissingFile(XzooError, FileNotFoundError):
    """A file or folder that is not there."""


class HubError(XzooError, OSError):
    """The Hub answered, but not with the file that was asked for."""


class Offline(XzooError, ConnectionError):
    """A file is not in the cache and the Hub cannot or may not be reached."""


class HashMismatch(XzooError, ValueError):
    """A file whose SHA-256 differs from the recorded one."""


class WeightsMismatch(XzooError, ValueError):
    """Weights whose names, shapes or format do not fit the network."""


class LicenceRefused(XzooError, PermissionError):
    """Weights whose licence the caller has not allowed."""


class BaseMismatch(XzooError, ValueError):
    """An adapter offered to a base other than the one it was trained on."""


class PluginError(XzooError, ValueError):
    """A plugin manifest that cannot be built, read or validated."""


class PluginImportError(XzooError, ImportError):
    """A plugin's code that cannot be imported when its model is built."""


class MissingExtra(XzooError, ImportError):
    """An optional package that is needed here and is not installed."""


class DiskFull(XzooError, OSError):
    """Not enough room to write; nothing half-written is left behind."""


class DeviceError(XzooError, RuntimeError):
    """A device that was asked for and is absent."""


class RunError(XzooError, ValueError):
    """A run folder that is incomplete, foreign or already in use."""


class TrainingStopped(XzooError, RuntimeError):
    """Training that stopped because its numbers stopped making sense."""


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to ``limit`` choices that look most like ``word``."""
    from difflib import get_close_matches

    return get_close_matches(word, sorted(choices), n=limit, cutoff=0.6)


def problems(items: Iterable[str], limit: int = 20) -> str:
    """Join many faults into an indented list, one a line, with a count of the rest."""
    found = list(items)
    shown = [f"- {item}" for item in found[:limit]]
    if len(found) > limit:
        shown.append(f"- ... and {len(found) - limit} more")
    return "\n  ".join(shown)
