"""Names: how they are written, split, sorted and matched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from xzoo.errors import NotFound, OptionError

__all__ = ["GRAMMAR", "KINDS", "SPECTRA", "Name", "as_strings", "matches", "natural_key", "parse_name", "split_name"]

SPECTRA = ("VIS", "NIR", "SWIR", "MWIR", "LWIR")
"""The spectral bands, by wavelength; always written so and in this order."""

KINDS = ("backbone", "adapter", "recipe")
"""What a card can describe."""

GRAMMAR = "[namespace/]name[.tag], each of a-z, 0-9 and _"

_NAME = re.compile(r"(?:([a-z0-9_]+)/)?([a-z0-9_]+)(?:\.([a-z0-9_]+))?")
_DIGITS = re.compile(r"([0-9]+)")


class Name(NamedTuple):
    """A parsed ``[namespace/]name[.tag]``."""

    namespace: str | None
    name: str
    tag: str | None

    @property
    def full(self) -> str:
        """The name with its namespace and without its tag."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def split_name(text: str) -> Name | None:
    """Split a name into its parts; None where it does not follow the grammar.

    Raises:
        OptionError: ``text`` is not a string.
    """
    if not isinstance(text, str):
        raise OptionError(
            f"{text!r} is not a model name.", why=f"a name is a string, this is {type(text).__name__}", do="xzoo ls"
        )
    found = _NAME.fullmatch(text)
    return Name(found[1], found[2], found[3]) if found else None


def parse_name(text: str) -> Name:
    """Parse ``[namespace/]name[.tag]``.

    Raises:
        NotFound: ``text`` does not follow the grammar, so nothing can have that name.
        OptionError: ``text`` is not a string.
    """
    name = split_name(text)
    if name is None:
        raise NotFound(f"no model {text!r}.", why=f"a name reads {GRAMMAR}", do="xzoo ls")
    return name


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a sort key under which ``ir_18`` comes before ``ir_101``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(text)]


def as_strings(value: str | Iterable[str] | None, argument: str) -> tuple[str, ...] | None:
    """Return a filter as a tuple of strings; a lone string is one item, never its letters.

    Raises:
        OptionError: ``value`` is neither a string nor an iterable of strings.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    items: tuple[object, ...] = tuple(value) if isinstance(value, Iterable) else (value,)
    wrong = [item for item in items if not isinstance(item, str)]
    if wrong:
        raise OptionError(
            f"{argument}={value!r} cannot be matched.",
            why=f"{wrong[0]!r} is {type(wrong[0]).__name__}",
            do=f"give {argument} a string or an iterable of strings",
        )
    return tuple(str(item) for item in items)


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Return whether ``text`` matches one of the shell-style wildcards, case by case."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)
