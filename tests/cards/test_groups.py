"""Figures of the house weights by groups of people: those of the card are those that were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import xzoo

LOG = Path(__file__).resolve().parents[2] / "scripts" / "logs" / "groups.jsonl"
MEASURED = {line["name"]: line for line in map(json.loads, LOG.read_text().splitlines()) if line["event"] == "groups"}


@pytest.mark.parametrize("name", MEASURED)
def test_the_groups_of_the_card_are_all_that_were_measured(name: str) -> None:
    stated = [row for row in xzoo.card(name).facts["results"] if row.get("group")]
    found: list[dict[str, Any]] = MEASURED[name]["rows"]
    assert [{key: row[key] for key in found[0] if key in row} for row in stated] == [
        {key: row[key] for key in found[0] if key in row} for row in found
    ]
    assert {row["evidence"] for row in stated} == {"scripts/logs/groups.jsonl"}
    assert xzoo.card(name).facts["use"]["known_failures"]


def test_groups_were_measured_of_all_that_tell_faces_apart_and_of_the_finder() -> None:
    assert {"thermal_fld_lite", "hybrid_fr", "hybrid_fr_t2v", "hybrid_fr_n2v", "hybrid_fr_x2v"} < MEASURED.keys()
    for line in MEASURED.values():
        for row in line["rows"]:
            low, high = row["ci95"]
            assert low <= row["value"] <= high, row
            assert row["counts"].get("errors", 30) >= 30 or "fewer than 30" in row["notes"]
