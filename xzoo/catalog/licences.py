"""One vocabulary of licences: SPDX ids, and the class each belongs to.

The class answers the question that people filter by: may I use this at work?
It is a reading aid, not legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from xzoo.catalog.names import as_strings
from xzoo.errors import OptionError, nearest

__all__ = ["CLASSES", "RESEARCH_ONLY", "licence_class", "licence_matches", "licence_terms"]

CLASSES = ("permissive", "copyleft", "non-commercial", "research-only", "restricted", "unknown")
"""From the freest to the least known. ``restricted`` forbids derived works, ``unknown`` is any id not listed here."""

RESEARCH_ONLY = "LicenseRef-research-only"
"""No licence text was published for the weights, and their training data allow research only."""

_IDS = {
    "permissive": (
        "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC-BY-3.0 CC-BY-4.0 CC0-1.0 CDLA-Permissive-2.0 ISC MIT "
        "MIT-0 ODC-By-1.0 Unlicense Zlib"
    ),
    "copyleft": (
        "AGPL-3.0-only AGPL-3.0-or-later CC-BY-SA-3.0 CC-BY-SA-4.0 EPL-2.0 EUPL-1.2 GPL-2.0-only GPL-2.0-or-later "
        "GPL-3.0-only GPL-3.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later MPL-2.0 ODbL-1.0"
    ),
    "non-commercial": "CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-NC-ND-4.0",
    "research-only": RESEARCH_ONLY,
    "restricted": "CC-BY-ND-4.0",
    "unknown": "other NOASSERTION",
}
_CLASS_OF = {spdx.lower(): name for name, ids in _IDS.items() for spdx in ids.split()}
_SPELLINGS = [*CLASSES, *(spdx for ids in _IDS.values() for spdx in ids.split())]


def licence_class(spdx: str) -> str:
    """Return the class of an SPDX id (letter case does not matter): one of ``CLASSES``."""
    return _CLASS_OF.get(spdx.lower(), "unknown")


def licence_matches(spdx: str, wanted: Iterable[str]) -> bool:
    """Return whether a licence is among ``wanted``: SPDX ids, wildcards or classes."""
    return any(licence_class(spdx) == term.lower() or fnmatchcase(spdx.lower(), term.lower()) for term in wanted)


def licence_terms(
    value: str | Iterable[str] | None, argument: str = "licence", also: Iterable[str] = ()
) -> tuple[str, ...] | None:
    """Return checked licence terms, so that a misspelt class refuses instead of matching nothing.

    Args:
        value: SPDX ids, wildcards or classes; None stays None.
        argument: Name of the argument or variable, for the error.
        also: Further ids that are in use and therefore right.

    Raises:
        OptionError: A term is no wildcard, no class and no known id.
    """
    terms = as_strings(value, argument)
    known = {word.lower() for word in (*_SPELLINGS, *also)}
    for term in terms or ():
        free = set("*?[") & set(term) or term.startswith("LicenseRef-")
        if not free and term.lower() not in known:
            raise OptionError(
                f"{argument}={term!r} is no licence known here.",
                why="a term is an SPDX id, a wildcard ('CC-*') or a class",
                exists=", ".join(nearest(term, _SPELLINGS) or CLASSES[:3]),
            )
    return terms
