"""Published tables, run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xzoo import cli, errors
from xzoo.families.base import Embedder
from xzoo.training.reproduce import (
    OBJECTIVES,
    PRESETS,
    PUBLISHED,
    Hits,
    Row,
    Sides,
    Table,
    ablation,
    against,
    claims,
    intervals,
    means,
    objectives,
)


def row(groups: str, weight: float, *figures: float, seed: int = 0) -> Row:
    return Row("-" if groups == "-" else "xedgeface", groups, weight, seed, 9, *figures)


def as_table(rows: list[Row], hits: list[Hits] | None = None, who: tuple[str, ...] = ()) -> Table:
    return Table("net", "faces", Sides("VIS", "LWIR", "VIS", False), rows, hits or [], Hits(who, who))


def test_means_are_taken_over_the_seeds_of_each_cell() -> None:
    rows = [row("ln", 1.0, 50.0 + seed, 60.0, 30.0 - seed, 90.0, 92.0, seed=seed) for seed in (0, 2)]
    rows.append(row("ln", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0))
    assert means(rows) == [
        row("ln", 1.0, 51.0, 60.0, 29.0, 90.0, 92.0, seed=2),
        row("ln", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, seed=1),
    ]


def test_published_figures_are_those_of_the_paper_and_the_presets_those_of_its_page() -> None:
    assert PUBLISHED["xEdgeFace"] == {"auc": 99.34, "eer": 3.76, "rank1": 90.48}
    assert list(PRESETS) == ["ln", "ln+st", "ln+st+s0", "ln+st+s0+s1", "ln+st+s0+s1+s2"]


@pytest.mark.parametrize(
    ("held", "loose", "said"),
    [
        ((80.0, 94.0), (40.0, 60.0), [True, True]),
        ((80.0, 93.0), (40.0, 60.0), [True, False]),
        ((10.0, 95.0), (40.0, 60.0), [False, True]),
        ((80.0, 95.0), (80.0, 96.0), [True, False]),
    ],
    ids=["both", "VIS suffers", "not aligned", "kept without it too"],
)
def test_claims_are_read_from_the_largest_preset(
    held: tuple[float, float], loose: tuple[float, float], said: list[bool]
) -> None:
    rows = [row("-", 0.0, 11, 60, 40, 94.4, 100), row("ln", 0.0, 0, 0, 0, 0, 0), row("ln", 1.0, 99, 99, 0, 99, 99)]
    rows += [row("ln+st", weight, r, 50.0, 50.0, vis, 90.0) for weight, (r, vis) in ((0.0, loose), (1.0, held))]
    found = claims(as_table(rows))
    assert [claim.holds for claim in found] == said
    assert f"{held[0]:.1f}" in found[0].figures and f"{loose[1]:.1f}" in found[1].figures
    assert len(claims(as_table(rows[:1] + rows[-1:]))) == 1
    assert [claim.interval for claim in found] == [None, None]


def test_intervals_draw_subjects_again_with_the_mean_of_all_seeds_for_each_probe() -> None:
    who = ("ann", "ann", "bob", "bob")
    rows = [row("-", 0.0, 25, 0, 0, 50, 0)] + [row("ln", 1.0, 75, 0, 0, 100, 0, seed=seed) for seed in (0, 1)]
    hits = [
        Hits((True, False, False, False), (True, True, False, False)),
        Hits((True, True, True, False), (True,) * 4),
        Hits((True, True, False, True), (True,) * 4),
    ]
    table = as_table(rows, hits, who)
    start, held = intervals(table)
    # Of ann and bob, each draw has one of them twice or both: ann finds a half and bob none at the start,
    # all and a half of the two seeds' mean afterwards.
    assert start.rank1 == (0.0, 50.0) and held.rank1 == (50.0, 100.0)
    assert start.vis_rank1 == (0.0, 100.0)
    assert 30 < held.vis_rank1[0] < 40 and held.vis_rank1[1] == 100  # no error at all: Wilson over two subjects
    assert against(table, ("xedgeface", "ln", 1.0), ("-", "-", 0.0)) == (50.0, (50.0, 50.0))
    assert claims(table)[0].interval == (50.0, 50.0)
    assert "+50.0 [50.0, 50.0]" in claims(table)[0].figures


def test_what_the_probes_of_the_rows_found_is_what_their_rates_say(
    toy: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = toy_options(toy, monkeypatch, tmp_path)
    for images in (2, 4):  # leaving one image out, and templates
        found = ablation(
            crowd(tmp_path / f"{images}", images), presets=("all",), weights=(1.0,), seeds=(0, 1),
            **options | {"output": tmp_path / f"sweep{images}", "steps": 3},
        )  # fmt: skip
        assert len(found.hits) == len(found.rows) == 3
        for line, hits in zip(found.rows, found.hits, strict=True):
            assert line.rank1 == pytest.approx(100 * np.mean(hits.across))
            assert line.vis_rank1 == pytest.approx(100 * np.mean(hits.inside))
        assert set(found.subjects.across) == {"p5", "p6", "p7"} == set(found.subjects.inside)
        for line, ends in zip(means(found.rows), intervals(found), strict=True):
            assert ends.rank1[0] <= line.rank1 <= ends.rank1[1]


def crowd(folder: Path, images: int) -> Path:
    """Eight people, the last three ``test``, with so many images in VIS and in LWIR."""
    random, lines = np.random.default_rng(0), ["path,subject,spectrum,split"]
    folder.mkdir()
    for person in range(8):
        for number in range(images):
            for spectrum in ("VIS", "LWIR"):
                name = f"p{person}_{spectrum}_{number}.png"
                Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name)
                lines.append(f"{name},p{person},{spectrum},{'test' if person > 4 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def toy_options(toy: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setattr("xzoo.training.reproduce.create", lambda *_, **__: toy)
    return {"model": "toy", "pretrained": False, "output": tmp_path / "sweep", "steps": 1, "batch": 4}


def test_a_sweep_leaves_a_run_for_each_cell_and_goes_on_where_it_stopped(
    people: Path, toy: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = toy_options(toy, monkeypatch, tmp_path) | {"presets": ("norms",), "weights": (1.0,)}
    first = ablation(people, **options)
    stamp = (tmp_path / "sweep" / "norms-1-0" / "adapter").stat().st_mtime_ns
    assert [(row.recipe, row.groups) for row in first.rows] == [("-", "-"), ("xedgeface", "norms")]
    assert (first.rows[1].parameters, first.rows[1].weight) == (2 * 8 * 16, 1.0)
    assert all(0 <= figure <= 100 for row in first.rows for figure in row[5:9])
    assert first.rows[0].kept == pytest.approx(100, abs=1e-3)
    assert 50 < first.rows[1].kept < 99.9999999
    assert first.sides == Sides("VIS", "LWIR", "VIS", False)
    with pytest.raises(errors.RunError, match="begun with other settings"):
        ablation(people, **options | {"steps": 2})
    assert (tmp_path / "sweep" / "norms-1-0" / "adapter").stat().st_mtime_ns == stamp


def test_templates_are_the_first_two_images_where_later_ones_are_left(
    toy: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = toy_options(toy, monkeypatch, tmp_path)
    found = ablation(crowd(tmp_path / "three", 3), presets=("all",), weights=(0, 1), **options)
    assert found.sides == Sides("VIS:1-2", "LWIR:3-", "VIS:3-", True)
    assert [row.weight for row in found.rows] == [0.0, 0.0, 1.0]
    again = ablation(tmp_path / "three", presets=("all",), weights=(0, 1), **options)
    assert again == found


def test_objectives_are_run_side_by_side(toy: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = toy_options(toy, monkeypatch, tmp_path)
    found = objectives(crowd(tmp_path / "three", 3), names=("pact",), seeds=(0, 1), **options)
    assert [(row.recipe, row.groups, row.weight, row.seed) for row in found.rows[1:]] == [
        ("pact", "all", 1.0, 0),
        ("pact", "all", 1.0, 1),
    ]
    assert set(OBJECTIVES) >= {"xedgeface", "pact"}


def test_data_without_another_band_are_refused(tmp_path: Path) -> None:
    folder = crowd(tmp_path / "one", 1)
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text("\n".join(line for line in text.splitlines() if ",LWIR," not in line))
    with pytest.raises(errors.DataError, match="no probes of another band"):
        ablation(folder, output=tmp_path / "sweep")


def test_an_option_of_the_other_table_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "xedgeface", "--table", "objectives", "--weight", "1"]) == 2
    assert "--weight belongs to --table ablation" in capsys.readouterr().err


@pytest.mark.slow
def test_without_data_the_command_runs_on_generated_people_and_prints_ours_beside_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "xedgeface", "--table", "ablation", "--preset", "ln", "--weight", "0", "--weight", "1"]
    words += ["--steps", "1", "--batch", "4", "--people", "16", "--output", str(tmp_path / "sweep")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "hybrid_fr on generated people, who show that the method works" in said
    assert "a few layers align the bands: " in said and "self-distillation keeps VIS: " in said
    assert "99.34" in said and "not to be compared row by row" in said
    assert said.count("95 %") >= 2
