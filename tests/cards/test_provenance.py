"""The chain of a card's weights leads to the files that are given out."""

from __future__ import annotations

import pytest

import xzoo
from xzoo.catalog import cards

NAMES = [name for name, card in cards().items() if card.origin == "built-in" and card.tags]


@pytest.mark.parametrize("name", NAMES)
def test_weights_behind_weights_are_those_given_out(name: str) -> None:
    for row in xzoo.card(name).facts.get("provenance", []):
        if "sha256" not in row:
            continue
        before, _, tag = row["name"].rpartition(".")
        given = xzoo.card(before).tags
        assert before != name
        if tag in given:
            assert given[tag].sha256 == row["sha256"], row
