"""Which licences the caller accepts, asked before anything is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from xzoo.catalog.licences import licence_class, licence_matches, licence_terms
from xzoo.errors import LicenceRefused, OptionError

if TYPE_CHECKING:
    from xzoo.catalog.entries import Card, Tag

__all__ = ["allowed_licences", "check_licence", "refuse_licence"]


def check_licence(card: Card, tag: Tag, allow: str | Iterable[str] | None = None) -> None:
    """Refuse weights whose licence the caller has not allowed.

    Args:
        card: The card that offers the weights.
        tag: The weights; its own licence counts before the card's.
        allow: SPDX ids, wildcards (``"CC-BY-*"``) or classes (``"permissive"``,
            ``"non-commercial"`` ...), as one string (commas or spaces between)
            or an iterable. ``None`` reads ``XZOO_LICENCES``; unset means all.

    Raises:
        LicenceRefused: The licence is not among them.
        OptionError: ``allow`` is empty, not made of strings, or names no licence.
    """
    refuse_licence(f"{card.name}.{tag.name}", tag.licence or card.licence["weights"], allow)


def refuse_licence(what: str, licence: str, allow: str | Iterable[str] | None) -> None:
    """Raise :class:`~xzoo.errors.LicenceRefused` unless ``licence`` is allowed."""
    terms = allowed_licences(allow, also=(licence,))
    if terms is None or licence_matches(licence, terms):
        return
    raise LicenceRefused(
        f"the weights of {what} were not fetched.",
        why=f"their licence is {licence} ({licence_class(licence)}); allowed here: {', '.join(terms)}.",
        do=f"read the licence; to accept it, add {licence!r} to allow_licences or XZOO_LICENCES.",
    )


def allowed_licences(allow: str | Iterable[str] | None = None, *, also: Iterable[str] = ()) -> tuple[str, ...] | None:
    """Return the allowed terms, or ``None`` where every licence is allowed.

    Args:
        allow: As in :func:`check_licence`.
        also: Ids that are in use, and therefore spelt right.
    """
    if allow is None:
        # An empty variable is the shell's way of saying "unset".
        return licence_terms(_words(os.environ.get("XZOO_LICENCES", "")), "XZOO_LICENCES", also) or None
    terms = licence_terms(_words(allow) if isinstance(allow, str) else allow, "allow_licences", also)
    if not terms:
        raise OptionError(
            f"allow_licences={allow!r} refuses everything.",
            why="it must name at least one licence.",
            exists="SPDX ids, wildcards ('CC-BY-*') and classes ('permissive', 'non-commercial').",
            do="allow_licences='permissive', or leave it out to allow all.",
        )
    return terms


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())
