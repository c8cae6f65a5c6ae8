"""``xzoo reproduce landmarks``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xzoo import cli
from xzoo.cli.reproduce_landmarks import text
from xzoo.training.landmark_tables import Gain, Row, Table

FACTS = {"data": "faces.csv", "split": "test", "images": 4, "subjects": 2, "seeds": [0], "steps": {"dikd": 2}}
ROW = Row("ld", True, "thermal", 0, 0.1, (0.09, 0.11), 0.5, 0.3, 4)


def test_a_loss_is_not_told_as_a_gain_nor_as_doubt() -> None:
    found = [Gain("a", 0.01, (0.005, 0.02)), Gain("b", 0.001, (-0.005, 0.02)), Gain("c", -0.01, (-0.02, -0.005))]
    lines = text(Table([ROW], found, FACTS, {}), "runs").splitlines()
    assert "a: +1.00 [0.50, 2.00]" in lines
    assert "b: +0.10 [-0.50, 2.00] (not told from zero)" in lines
    assert "c: -1.00 [-2.00, -0.50] (lost)" in lines


def test_a_table_of_one_cell_has_no_heading_without_lines() -> None:
    assert "points of NME" not in text(Table([ROW], [], FACTS, {}), "runs")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--table", "cost"], "has the table ablation"),
        (["--model", "bd_student"], "landmarks takes no --model"),
        (["--pretrained", "no", "--weight", "1"], "landmarks takes no --pretrained, --weight"),
        (["--recipe", "kd"], "landmarks takes no --recipe"),
        (["--preset", "fi_rii"], "no cell 'fi_rii'"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["reproduce", "landmarks", *words, "--output", str(tmp_path / "out")]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_table_is_run_by_its_own_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["reproduce", "landmarks", "--people", "16", "--steps", "2", "--output", str(tmp_path / "runs")]
    words += ["--preset", "none", "--preset", "fi_ri"]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["cell"], row["network"]) for row in told["rows"]] == [
        (cell, network) for cell in ("none", "fi_ri") for network in ("thermal", "two levels", "one level")
    ]
    assert told["subjects"] == 100 and len(told["gains"]) == 3
    assert cli.main(words) == 0  # gone on with: everything is there
    assert "fi_ri over none, thermal network" in capsys.readouterr().out
