"""The two-stream baseline from the owners' layouts to figures: reader, recipe, protocol, on generated people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import xzoo
from xzoo import errors, recipes
from xzoo.cli import main
from xzoo.data import readers
from xzoo.data.manifest import Manifest, Row
from xzoo.data.people import layouts
from xzoo.evaluation import run_protocol
from xzoo.training import distill, engine

SIZE = (64, 32)
SETS = {
    "llcm": ({"test": 2, "samples": 2, "cameras": 2}, "llcm.A.v2i"),
    "sysu_mm01": ({"test": 2, "samples": 2}, "sysu_mm01.agw.all.1"),
    "regdb": ({"samples": 3}, "regdb.v2t"),
}


def lay(name: str, folder: Path, **more: object) -> Path:
    return layouts.write(name, folder, subjects=6, size=SIZE, progress=False, **{**SETS[name][0], **more})


def test_the_recipe_compares_pooled_features_and_classifies_behind_the_networks_own_neck() -> None:
    plan = recipes.load("agw")
    stage = plan.stages[0]
    assert {term.key: (term.on, term.weight, term.options) for term in stage.losses} == {
        "identity": (("student.source",), 1.0, {"neck": False}),
        "triplet_wrt": (("student.source:pool",), 1.0, {}),
    }
    assert (stage.train.groups, stage.train.mode) == ("all", "train")
    # As the released code: 8 people x 4 images x 2 bands; 0.1 of 0.1, then a tenth after 20 and 50 of 81 passes.
    assert (stage.batch.sampler, stage.batch.size, stage.batch.per_subject) == ("domains", 64, 4)
    ladder = stage.optimiser
    assert (ladder.lr, ladder.momentum, ladder.weight_decay, ladder.decay) == (0.01, 0.9, 5e-4, 0.1)
    assert [round(81 * share) for share in ladder.milestones] == [20, 50]
    assert round(81 * ladder.warmup / stage.steps) == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_it_learns_from_the_layout_of_a_set_and_is_measured_by_its_protocol(name: str, tmp_path: Path) -> None:
    root = lay(name, tmp_path / "set")
    further = {"regdb": ["--fold", "3"], "sysu_mm01": ["--split", "val=train"]}.get(name, [])
    assert main(["data", "list", name, str(root), str(tmp_path / "train.csv"), *further]) == 0
    manifest = Manifest.read(tmp_path / "train.csv")
    assert set(manifest.splits) == {"train", "test"}
    torch.manual_seed(0)
    student = xzoo.create("agw_resnet50", input_size=SIZE, non_local="none")
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    changes = {"stages.train.batch.size": 8, "stages.train.batch.per_subject": 2, "stages.train.steps": 3}
    changes |= {"stages.train.optimiser.warmup": 0}
    run = distill(
        recipe="agw", student=student, data=manifest, changes=changes, output=tmp_path / "run", evaluate=False
    )
    assert all(set(row["terms"]) == {"identity", "triplet_wrt"} for row in run.metrics)
    after = run.model.state_dict()
    for key in ("visible.conv1.weight", "infrared.conv1.weight", "layers.layer4.2.conv3.weight", "neck.running_mean"):
        assert not torch.equal(after[key], before[key]), key
    protocol = SETS[name][1]
    result = run_protocol(protocol, run.model, root, repetitions=[3])
    assert 0 < (result.mean["rank5"] or 0) <= 1
    assert 0 < (result.mean["map"] or 0) <= 1
    tested = {row.subject for row in manifest.rows if row.split == "test"}
    assert result.repetitions[0].counts["gallery subjects"] == len(tested)


def test_a_manifest_of_one_division_of_regdb_is_written_and_another_number_is_refused(tmp_path: Path, capfd) -> None:
    root = lay("regdb", tmp_path / "set", samples=1)
    assert main(["data", "list", "regdb", str(root), str(tmp_path / "two.csv"), "--fold", "2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["images"] == 12
    whole = readers.read("regdb", root)
    wanted = {(row.subject, row.split) for row in whole.rows if row.fold == "2"}
    assert {(row.subject, row.split) for row in Manifest.read(tmp_path / "two.csv").rows} == wanted
    assert main(["data", "list", "regdb", str(root), str(tmp_path / "no.csv"), "--fold", "11"]) == 2
    assert "exists: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in capfd.readouterr().err
    assert main(["data", "list", "regdb", str(root), str(tmp_path / "no.csv"), "--split", "val=train"]) == 2
    assert "exists: test, train" in capfd.readouterr().err
    assert not (tmp_path / "no.csv").exists()


def test_three_bands_ask_for_a_batch_that_they_divide() -> None:
    cells = [(subject, band) for subject in "abcdef" for band in ("VIS", "NIR", "LWIR")]
    rows = tuple(Row(f"{subject}/{band}", subject, band, index=place) for place, (subject, band) in enumerate(cells))
    with pytest.raises(errors.OptionError, match="size: 60"):
        engine.draw(recipes.load("agw").stages[0], Manifest(rows, Path()), "VIS", 0)
