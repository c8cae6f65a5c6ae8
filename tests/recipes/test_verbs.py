"""``xzoo recipe`` and ``xzoo run``, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from xzoo import cli, recipes


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.xzoo, [str(word) for word in words])


def test_ls_names_every_recipe_with_its_stages() -> None:
    done = call("recipe", "ls")
    assert all(name in done.stdout for name in recipes.names())
    found = json.loads(call("recipe", "ls", "--json").stdout)
    assert [row["recipe"] for row in found] == recipes.names()
    assert {"recipe": "kd", "stages": ["distil"]}.items() <= next(row for row in found if row["recipe"] == "kd").items()


def test_show_prints_a_recipe_as_it_is_written_or_with_all_defaults() -> None:
    assert call("recipe", "show", "kd").stdout.strip() == recipes.text("kd").strip()
    assert json.loads(call("recipe", "show", "kd", "--json").stdout)["stages"][0]["precision"] == "float32"


def test_a_copy_is_a_recipe_of_ones_own(tmp_path: Path) -> None:
    assert call("recipe", "copy", "kd", tmp_path / "mine.yaml").exit_code == 0
    assert recipes.load(tmp_path / "mine.yaml") == recipes.load("kd")
    for target in ("mine.yaml", "mine.txt"):
        assert call("recipe", "copy", "kd", tmp_path / target).exit_code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_check_says_that_there_is_no_fault_or_tells_them_all(tmp_path: Path) -> None:
    done = call("recipe", "check", "kd", "--student", "edgeface_xxs", "--teacher", "edgeface_base")
    assert done.stdout == "kd: no faults; 1 stage, 1000 steps\n"
    assert call("recipe", "check", "xedgeface").exit_code == 0
    mine = tmp_path / "mine.yaml"
    mine.write_text(recipes.text("kd").replace("groups: all", "groups: s9"))
    done = call("recipe", "check", mine, "--student", "edgeface_xxs", "--teacher", "edgeface_bse")
    assert done.exit_code != 0 and "2 faults" in str(done.exception)
    assert "'s9'" in str(done.exception) and "edgeface_base" in str(done.exception)


def test_schema_prints_json() -> None:
    assert json.loads(call("recipe", "schema").stdout)["title"] == "Recipe"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    random, lines = np.random.default_rng(0), ["path,subject,spectrum"]
    for number in range(12):
        pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,p{number // 2},VIS")
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "people.csv"


def test_run_carries_a_recipe_out(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XZOO_CACHE", str(tmp_path / "cache"))
    text = recipes.text("kd").replace("teacher: given", "teacher: {name: edgeface_xxs, pretrained: false}")
    (tmp_path / "mine.yaml").write_text(text)
    words = ["run", tmp_path / "mine.yaml", "--data", pictures, "--student", "edgeface_xxs", "--pretrained", "no"]
    words += ["--set", "stages.distil.steps=2", "--set", "stages.*.batch.size=4", "--output", tmp_path / "run"]
    done = call(*words, "--json")
    facts = json.loads(done.stdout)
    assert facts["run"] == str(tmp_path / "run") and facts["after"]["n_probe"] == 4
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"
    assert "holds a run that is done" in str(call(*words).exception)


def test_run_without_its_networks_says_which_are_missing(pictures: Path) -> None:
    done = call("run", "kd", "--data", pictures)
    assert done.exit_code != 0
    assert "--student" in str(done.exception) and "--teacher" in str(done.exception)
    assert call("run", "kd", "--data", pictures, "--set", "steps").exit_code == 2
