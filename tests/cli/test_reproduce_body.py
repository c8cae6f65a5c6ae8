"""``xzoo reproduce body``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xzoo import cli
from xzoo.cli.reproduce_body import claims_text, llcm_text, table_text
from xzoo.training import body_tables
from xzoo.training.body_llcm import LlcmRow
from xzoo.training.body_published import Count
from xzoo.training.body_tables import Claim, Settings, Table


def test_a_table_prints_the_papers_count_beside_ours_with_its_interval() -> None:
    row = {"SWIR": Count(30, 63), "MWIR": Count(0, 63), "LWIR": Count(0, 0)}
    text = table_text(Table("6", ("SWIR", "MWIR", "LWIR"), {"random": row}, ("a note",)))
    assert "Table 6: how batches are drawn" in text
    assert "50/63 = 79.4" in text
    assert "30/63 = 47.6 [36, 60]" in text
    assert "0/63 = 0.0 [0, 6]" in text
    assert text.endswith("a note")


def test_shares_of_mining_stand_beside_chance() -> None:
    row = {"start": Count(90, 100), "end": Count(80, 100), "chance": Count(86, 100)}
    text = table_text(Table("mining", tuple(row), {"farthest positive of another band": row}))
    assert "92 %" in text and "88 %" in text
    assert "86/100 = 86.0 [78, 91]" in text


def test_a_claim_that_is_not_shown_is_said_to_be_so() -> None:
    said = claims_text([Claim("this over that", 0.1, (0.02, 0.2)), Claim("one over another", 0.1, (-0.02, 0.2))])
    assert "this over that: +10.0 [+2.0, +20.0] holds\n" in said
    assert "one over another: +10.0 [-2.0, +20.0] NOT SHOWN HERE" in said


def test_figures_of_llcm_name_their_protocol() -> None:
    text = llcm_text({"ours, fine-tuned, B": LlcmRow("B", 0.5, 0.4, None, None, (0.4, 0.6), None)})
    assert "not comparable" in text
    ours = next(line for line in text.splitlines() if line.startswith("ours"))
    assert ours.split()[-5:] == ["B", "50.0", "40.0", "-", "-"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["body", "--table", "9"], "'9' is not one of"),
        (["body", "--table", "ablation"], "body has the tables 1, 2, 3, 4, 5, 6, 7, mining"),
        (["body"], "give --table"),
        (["body", "--table", "1", "--all"], "or --all"),
        (["xedgeface", "--table", "3"], "belongs to body"),
        (["aird", "--all"], "belongs to body"),
        (["body", "--table", "1", "--preset", "ln"], "body takes no --preset"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_table_that_there_is_not_is_one_clear_error(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reproduce", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_data_a_table_is_run_on_generated_people_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Settings(frames=2, size=(64, 32), steps=2, batch=16)
    monkeypatch.setattr(body_tables, "DEFAULTS", tiny)
    words = ["reproduce", "body", "--table", "3", "--people", "8", "--output", str(tmp_path / "runs")]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "generated people, who show that the method works and nothing of its rates" in said.out
    assert "46/63 = 73.0" in said.out
    assert "/6 = " in said.out
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tables"]["3"]["torso + lower"]["LWIR"][1] == 6
    assert found["claims"] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ijb_mdf_is_read_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xzoo.data.people import layouts

    layouts.write("ijb_mdf", tmp_path / "mdf", subjects=12, progress=False, crowded=False)
    words = ["reproduce", "body", "--table", "1", "--data", str(tmp_path / "mdf"), "--steps", "2", "--batch", "16"]
    assert cli.main([*words, "--output", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "mdf") in said
    assert "49/63 = 77.8" in said
