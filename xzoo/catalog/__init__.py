"""Every name that xzoo knows, found and described with the standard library alone."""

from __future__ import annotations

from xzoo.catalog.describe import describe
from xzoo.catalog.discovery import PluginState, load_target
from xzoo.catalog.entries import Card, Tag
from xzoo.catalog.names import SPECTRA, Name, parse_name
from xzoo.catalog.registry import card, cards, is_model, list_models, plugins, register, resolve

__all__ = [
    "SPECTRA",
    "Card",
    "Name",
    "PluginState",
    "Tag",
    "card",
    "cards",
    "describe",
    "is_model",
    "list_models",
    "load_target",
    "parse_name",
    "plugins",
    "register",
    "resolve",
]
