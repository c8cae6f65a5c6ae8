"""Published tables, run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from xzoo import cli
from xzoo.training.reproduce import PRESETS, PUBLISHED, Row, ablation, means


def test_means_are_taken_over_the_seeds_of_each_cell() -> None:
    rows = [Row("ln", 1.0, seed, 9, 50.0 + seed, 60.0, 30.0 - seed, 90.0) for seed in (0, 2)]
    rows.append(Row("ln", 0.0, 0, 9, 1.0, 2.0, 3.0, 4.0))
    assert means(rows) == [Row("ln", 1.0, 2, 9, 51.0, 60.0, 29.0, 90.0), Row("ln", 0.0, 1, 9, 1.0, 2.0, 3.0, 4.0)]


def test_published_figures_are_those_of_the_paper_and_the_presets_those_of_its_page() -> None:
    assert PUBLISHED["xEdgeFace"] == {"auc": 99.34, "eer": 3.76, "rank1": 90.48}
    assert list(PRESETS) == ["ln", "ln+st", "ln+st+s0", "ln+st+s0+s1", "ln+st+s0+s1+s2"]


def test_a_sweep_leaves_a_run_for_each_cell_and_goes_on_where_it_stopped(people: Path, tmp_path: Path) -> None:
    options = {"pretrained": False, "output": tmp_path / "sweep", "weights": (1.0,), "steps": 1, "batch": 2}
    first = ablation(people, presets=("ln",), **options)
    stamp = (tmp_path / "sweep" / "ln-1-0" / "adapter").stat().st_mtime_ns
    assert [row.groups for row in first] == ["-", "ln"]
    assert (first[1].parameters, first[1].weight) == (3328, 1.0)
    assert all(0 <= figure <= 100 for row in first for figure in row[4:])
    with pytest.raises(Exception, match="begun with other settings"):
        ablation(people, presets=("ln",), **{**options, "steps": 2})
    assert (tmp_path / "sweep" / "ln-1-0" / "adapter").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_the_command_prints_ours_beside_theirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "xedgeface", "--table", "ablation", "--model", "hybrid_fr_t2v", "--preset", "ln"]
    words += ["--weight", "0", "--steps", "1", "--batch", "4", "--people", "16", "--output", str(tmp_path / "sweep")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "generated people, who show that the method works" in said
    assert "99.34" in said and "not to be compared row by row" in said
