"""``xzoo reproduce bridge`` and ``aird``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xzoo import cli
from xzoo.cli.reproduce_lowres import PAIRS, PROTOCOLS, ablation_text
from xzoo.data.people import layouts
from xzoo.evaluation import protocols
from xzoo.training.lowres_tables import PUBLISHED, Gain, Row, Table


def test_every_protocol_that_is_offered_exists() -> None:
    assert set(PROTOCOLS) | set(PAIRS) <= set(protocols.names())


def test_a_table_says_what_is_not_told_from_zero_and_that_no_result_is_the_papers() -> None:
    rows = [Row("instance", "none", "as trained", 0.5, (0.4, 0.6), 0.8, (0.7, 0.9), 10)]
    gains = [Gain("one over another", 1, 0.1, (-0.1, 0.3)), Gain("a third", 10, 0.2, (0.1, 0.3))]
    facts = {"teacher": "t", "people": 2, "steps": 3, "seeds": [0], "strangers": 4, "sensor": {"gain": 1, "offset": 0}}
    facts["teacher_found"] = {"1": 0.25, "10": 0.5}
    text = ablation_text(Table(rows, gains, facts))
    assert "50.0    [40.0, 60.0]  80.0     [70.0, 90.0]" in text
    assert "one over another, rank-1: +10.0 [-10.0, 30.0] (not told from zero)" in text
    assert "a third, rank-10: +20.0 [10.0, 30.0]\n" in text
    assert "sensor of training: rank-1 25.0, rank-10 50.0\n" in text
    assert "could not be verified" in text


def test_published_costs_are_those_of_the_abstracts() -> None:
    assert PUBLISHED["bridge distillation"]["gpu_faces_per_s"] == 14_705
    assert PUBLISHED["selective distillation"] == {"memory_mb": 0.15, "gpu_faces_per_s": 9_433, "cpu_faces_per_s": 418}


def test_a_protocol_runs_on_a_miniature_beside_the_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layouts.write("tinyface", tmp_path / "tinyface", subjects=3, progress=False)
    words = ["reproduce", "bridge", "--table", "protocols", "--protocol", "tinyface"]
    assert cli.main([*words, "--data", str(tmp_path / "tinyface"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "lrfr_bridge_16"
    assert set(found["ours"]["mean"]) == {"rank1", "rank5", "rank20", "map"}
    assert found["published"]["IR-50 AdaFace MS1MV2"]["tinyface_rank1"] == 64.99


@pytest.mark.parametrize(
    "words",
    [["bridge", "--table", "protocols"], ["aird", "--table", "objectives"], ["xedgeface", "--table", "cost"]],
    ids=" ".join,
)
def test_tables_that_a_method_lacks_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", *words]) != 0
    assert "table" in capsys.readouterr().err


@pytest.mark.slow
def test_costs_are_printed_beside_the_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "bridge", "--table", "cost"]) == 0
    said = capsys.readouterr().out
    assert "205,344 parameters, 0.0570 MiB" in said
    assert "14,705" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_ablation_says_of_every_claim_whether_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """Not that it does: after 300 steps on few people the gains are of the size of their intervals."""
    assert cli.main(["reproduce", "aird", "--people", "96", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["arm"] for row in found["rows"]} == {"instance", "instance + relation"}
    value = {(row["arm"], row["adapted"], row["sensor"]): row["rank1"] for row in found["rows"]}
    gains = {(gain["text"], gain["rank"]): gain for gain in found["gains"]}
    relation = gains["AIRD over instance alone, sensor as trained", 1]
    both = [value[arm, "none", "as trained"] for arm in ("instance + relation", "instance")]
    assert relation["gain"] == pytest.approx(both[0] - both[1])
    assert ("FaceBN prior_count over none, sensor shifted", 10) in gains
    for gain in found["gains"]:
        low, high = gain["interval"]
        assert low <= gain["gain"] <= high
        assert gain["holds"] == (low > 0)
