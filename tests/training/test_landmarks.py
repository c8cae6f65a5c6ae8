"""Landmarks in recipes: where they go when pictures are changed, registered pairs, and MLCM-KD from end to end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import xzoo
from xzoo import errors, recipes
from xzoo.data.augment import DRAWN, Augment
from xzoo.data.manifest import Manifest, Row
from xzoo.data.samplers import PairSampler
from xzoo.families.base import Embedder
from xzoo.families.landmark.model import LandmarkNet, Pooled
from xzoo.families.landmark.points import FLIPS
from xzoo.recipes.schema import Decay, Recipe, check
from xzoo.training import distill, engine, fit, landmark_tables, optim
from xzoo.training.landmarks import landmark_table, measure

SIDE = 16


class Small(nn.Module):
    """What timm gives: an encoder with ``forward_features``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.num_features = width

    def forward_features(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out


def finder(width: int = 6) -> LandmarkNet:
    return LandmarkNet(Small(width), Pooled(width, 5, 2), 5, SIDE)


@pytest.fixture(scope="module")
def toys() -> None:
    card: dict[str, Any] = {"input": {"size": [3, SIDE, SIDE], "alignment": "none"}, "task": "face-landmarks"}
    xzoo.register("finder", finder, replace=True, **card)
    xzoo.register("finder_small", lambda: finder(4), replace=True, **card)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people, each twice in VIS and LWIR at once; bright marks at their points; two people have no landmarks."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    lines = ["path,subject,spectrum,split,landmarks"]
    for person in range(8):
        for shot in range(2):
            points = np.array([[4, 5], [11, 5], [8, 8], [5, 12], [10, 12]]) + random.integers(-2, 3, (1, 2))
            face = np.full((SIDE, SIDE), 60.0)
            face[points[:, 1], points[:, 0]] = 220
            for band, seen in (("VIS", face), ("LWIR", 255 - face)):
                pixels = (seen + random.normal(0, 4, face.shape)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).convert("RGB").save(folder / f"{person}_{band}_{shot}.png")
                told = "" if person in (2, 3) else " ".join(map(str, points.flatten()))
                split = "val" if person > 5 else "train"
                lines.append(f"{person}_{band}_{shot}.png,p{person},{band},{split},{told}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def plan(**changes: Any) -> Recipe:
    """Return ``mlcm_kd`` made for the toys."""
    tree = recipes.load("mlcm_kd").model_dump(mode="json")
    toy = {"name": "finder", "pretrained": False}
    tree["student"], tree["stages"][2]["student"] = toy, {**toy, "name": "finder_small"}
    return check(tree, "toys").with_({"stages.*.steps": 2, "stages.*.batch.size": 4, **changes})


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("crop", [(1.0, 1.0), (0.5, 0.9)])
def test_points_go_where_what_they_mark_goes(flip: float, crop: tuple[float, float]) -> None:
    change, drawn = Augment(flip=flip, crop=crop), torch.rand(DRAWN, 6, generator=torch.Generator().manual_seed(1))
    places = torch.tensor([[20, 26], [40, 26], [32, 33], [24, 40], [38, 41]])
    pictures = torch.zeros(6, 3, 64, 64, dtype=torch.uint8)
    moved = change.moved(((places + 0.5) / 64).expand(6, -1, -1), drawn, FLIPS[5])
    for number, (x, y) in enumerate(places.tolist()):
        pictures.zero_()
        pictures[:, :, y - 1 : y + 2, x - 1 : x + 2] = 255
        heat = change.apply(pictures, drawn)[:, 0].double()
        mass = heat.sum((1, 2))
        found = torch.stack([(heat.sum(k) * (torch.arange(64) + 0.5)).sum(1) / mass / 64 for k in (1, 2)], dim=1)
        which = FLIPS[5][number] if flip else number  # a mirrored right eye is a left one
        torch.testing.assert_close(moved[:, which].double(), found, rtol=0, atol=0.006)


def test_a_mirror_image_of_points_that_nobody_named_is_refused() -> None:
    with pytest.raises(errors.OptionError, match="flip: 0.0"):
        Augment(flip=0.5).moved(torch.rand(2, 478, 2), torch.rand(DRAWN, 2))
    points = torch.rand(2, 478, 2)
    assert torch.equal(Augment(flip=0.0).moved(points, torch.rand(DRAWN, 2)), points)


def rows(*bands: str, subject: str = "a") -> list[Row]:
    return [Row(f"{subject}{band}{n}.png", subject, band) for n, band in enumerate(bands)]


def listed(found: list[Row]) -> Manifest:
    return Manifest(tuple(replace(row, index=n) for n, row in enumerate(found)), Path())


def test_registered_pairs_are_the_nth_pictures_of_a_subject() -> None:
    manifest = listed(
        rows("VIS", "LWIR", "VIS", "LWIR") + rows("LWIR", "LWIR", "VIS", "VIS", subject="b") + rows("VIS", subject="c")
    )
    sampler = PairSampler(manifest, "VIS", "LWIR", batch=4, positive=1.0, registered=True)
    seen = {tuple(pair) for step in range(3) for pair in zip(*sampler.batch(step)[:2], strict=True)}
    assert seen == {(0, 1), (2, 3), (6, 4), (7, 5)}
    assert sampler.skipped == ("c",)


def test_registered_pictures_without_a_partner_are_refused() -> None:
    with pytest.raises(errors.DataError, match="do not pair off: a"):
        PairSampler(listed(rows("VIS", "LWIR", "VIS")), "VIS", "LWIR", batch=1, positive=1.0, registered=True)


def test_registered_needs_pairs_of_one_subject() -> None:
    with pytest.raises(errors.RecipeError, match="registered is for sampler pairs"):
        recipes.load("mlcm_kd").with_({"stages.dikd.batch.positive": 0.5})


def test_both_pictures_of_a_registered_pair_and_their_truth_move_alike(pairs: Path, toys: None) -> None:
    manifest = Manifest.read(pairs).select(split="train")
    student = xzoo.create("finder", pretrained=False)
    stage = plan().stages[1]
    teacher = engine.frozen_copy(student)
    progress = engine.begin(
        stage, student, engine.Images(manifest, student), source="VIS", seed=3, teachers={"teacher": teacher}
    )
    batch = progress.sampler.batch(0)
    look = engine.shown(progress.looks, batch, 0, engine.ALONE)
    assert progress.landmarks is not None
    rgb, thermal = look.points(progress.landmarks, "rgb"), look.points(progress.landmarks, "thermal")
    torch.testing.assert_close(rgb, thermal, equal_nan=True)
    known = ~rgb.isnan().any(2).any(1)
    pictures = {view: look.picture(progress.images, view).float() for view in ("rgb", "thermal")}
    for place in torch.nonzero(known)[:, 0].tolist():
        x, y = (rgb[place] * SIDE).floor().long().unbind(1)
        inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
        bright, dark = (pictures[view][place, 0][y[inside], x[inside]].mean() for view in ("rgb", "thermal"))
        assert bright > pictures["rgb"][place].mean() and dark < pictures["thermal"][place].mean()
    engine.finish(progress)


def test_mlcm_kd_goes_from_an_rgb_teacher_to_a_small_thermal_network(pairs: Path, toys: None, tmp_path: Path) -> None:
    run = distill(recipe=plan(), data=pairs, output=tmp_path / "run", device="cpu")
    assert run.model.origin.name == "local/finder_small"
    facts = run.facts
    assert list(facts["landmarks"]) == ["rgb_teacher", "dikd", "compress"]
    assert facts["landmarks"]["dikd"]["LWIR"]["images"] == 4
    terms = [set(row["terms"]) for row in run.metrics]
    assert terms[2] == {"task", "dikd", "dikd.fi_gt", "dikd.fi_con", "dikd.ri_con"}
    assert terms[4] == {"task", "response"}
    found = measure(run.model, Manifest.read(pairs).select(split="val", spectrum="LWIR"))
    assert found.nme == pytest.approx(facts["landmarks"]["compress"]["LWIR"]["nme"])
    assert "LWIR" in (run.folder / "README.md").read_text()
    assert distill(recipe=plan(), data=pairs, output=tmp_path / "run", resume=True, device="cpu").facts == facts


def test_a_stage_that_was_stopped_goes_on_to_the_same_bytes(
    pairs: Path, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"stages.dikd.losses.dikd.options.align": "adapter"}
    whole = distill(recipe=plan(**changes), data=pairs, output=tmp_path / "whole", evaluate=False)
    run = engine.run

    def cut(progress: engine.Progress) -> Any:
        for step in run(progress):
            yield step
            if progress.stage.name == "dikd" and step.step == 1:
                import signal

                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "run", cut)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe=plan(**changes), data=pairs, output=tmp_path / "cut", evaluate=False)
    distill(recipe=plan(**changes), data=pairs, output=tmp_path / "cut", evaluate=False, resume=True)
    one, two = ((tmp_path / name / "student.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two
    assert [row["terms"] for row in whole.metrics][:4]


def test_the_loss_falls_on_toys(pairs: Path, toys: None, tmp_path: Path) -> None:
    changes = {"stages.*.steps": 24, "stages.*.optimiser.lr": 0.02, "stages.*.optimiser.warmup": 1}
    run = distill(recipe=plan(**changes), data=pairs, output=tmp_path / "run", evaluate=False)
    by_stage: dict[str, list[float]] = {}
    for row in run.metrics:
        by_stage.setdefault(row["stage"], []).append(row["loss"])
    for name in ("dikd", "compress"):
        assert np.mean(by_stage[name][-8:]) < 0.8 * np.mean(by_stage[name][:4]), name


@pytest.mark.parametrize(
    ("kind", "more", "wanted"),
    [
        ("cosine", {}, lambda e: 0.5 * (1 + math.cos(math.pi * e / 240))),
        ("linear", {}, lambda e: 1 - e / 240),
        ("exp", {}, lambda e: (0.05 ** (1 / 240)) ** e),
        ("const", {}, lambda e: 1.0),
        ("hold_cosine", {"share": 150 / 240}, lambda e: 0.5 * (1 + math.cos(math.pi * max(e - 150, 0) / 90))),
    ],
)
def test_the_distillation_fades_as_the_specification_says(kind: Any, more: Any, wanted: Any) -> None:
    decay = Decay(kind=kind, **more)
    found = [optim.share(decay, e, 240) for e in range(240)]
    assert found == pytest.approx([wanted(e) for e in range(240)], abs=1e-12)
    assert found[0] == 1.0


CELLS = {
    "none": (0, 0, 0, 0),
    "fd": (0, 0, 1, 0),
    "ld": (0, 0, 0, 1),
    "fd_ld": (0, 0, 1, 1),
    "fi": (1, 0, 0, 0),
    "ri": (0, 1, 0, 0),
    "fi_ri": (1, 1, 0, 0),
}


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_preset_is_the_recipe_with_the_weights_of_its_cell(cell: str, decay: bool, levels: int, toys: None) -> None:
    found = landmark_tables.preset(cell, decay=decay, levels=levels)
    stage = found.stages[1]
    term = next(term for term in stage.losses if term.name == "dikd")
    assert tuple(term.options[key] for key in ("alpha", "beta", "gamma", "delta")) == CELLS[cell]
    assert term.schedule is not None and term.schedule.kind == ("cosine" if decay else "const")
    assert len(found.stages) == levels + 1
    if levels == 1:
        assert stage.student == recipes.load("mlcm_kd").stages[2].student and term.options["align"] == "adapter"


def test_presets_of_both_levels_fit_their_networks() -> None:
    for levels in (1, 2):
        fit.check(landmark_tables.preset(levels=levels))


def test_unlike_networks_without_an_adapter_are_found_before_anything_runs() -> None:
    with pytest.raises(errors.RecipeError, match="align: adapter|maps of"):
        fit.check(landmark_tables.preset(levels=1).with_({"stages.dikd.losses.dikd.options.align": "none"}))


def test_truth_for_a_network_of_embeddings_is_refused() -> None:
    with pytest.raises(errors.XzooError, match="Landmarks are"):
        fit.check(recipes.load("mlcm_kd").with_({"student": {"name": "edgeface_xxs", "pretrained": False}}))


def test_dikd_on_other_things_than_trunks_says_what_to_write() -> None:
    with pytest.raises(errors.RecipeError, match="student.VIEW:trunk"):
        recipes.load("mlcm_kd").with_({"stages.dikd.losses.dikd.on": ["student.thermal:head", "teacher.rgb:head"]})


def test_landmarks_are_shares_of_the_box_and_told_in_the_wanted_convention(tmp_path: Path) -> None:
    Image.new("L", (40, 20)).save(tmp_path / "a.png")
    points = tuple((10.0 + i % 9, 5.0 + i // 9) for i in range(68))
    row = Row("a.png", "a", "LWIR", landmarks=points, box=(8, 4, 16, 8))
    size = xzoo.create("landmarker", pretrained=False).preprocess
    found = landmark_table(Manifest((row,), tmp_path), 54, size)
    assert found.shape == (1, 54, 2)
    assert found[0, 0].tolist() == pytest.approx([(10.5 - 8) / 16, (5.5 - 4) / 8])
    whole = landmark_table(Manifest((replace(row, box=None),), tmp_path), 68, size)
    assert whole[0, 0].tolist() == pytest.approx([10.5 / 40, 5.5 / 20])
    with pytest.raises(errors.DataError, match="a.png: 68"):
        landmark_table(Manifest((row,), tmp_path), 70, size)
    with pytest.raises(errors.DataError, match="has landmarks"):
        landmark_table(Manifest((replace(row, landmarks=None),), tmp_path), 68, size)


def test_the_trunk_of_a_network_can_be_looked_at(toys: None) -> None:
    from xzoo.losses.hooks import Capture

    network: Embedder = xzoo.create("finder", pretrained=False)
    images = torch.zeros(2, 3, SIDE, SIDE)
    with Capture(network, ["trunk", "backbone.layers.0"]) as outer:
        with Capture(network, ["trunk"]) as inner:
            network(images)
        network(images)
    assert outer["trunk"].shape == inner["trunk"].shape == (2, 6, 8, 8)
    assert "trunk" not in network.__dict__


@pytest.fixture(scope="module")
def swept(pairs: Path, toys: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[landmark_tables.Table, Path]:
    """Two cells of the ablation on toys, one step each."""
    folder = tmp_path_factory.mktemp("swept")
    toy = {"name": "finder", "pretrained": False}
    found = landmark_tables.ablation(
        pairs,
        cells=("none", "fi_ri-const"),
        small=("none", "fi_ri-const"),
        steps=2,
        batch=4,
        changes={"student": toy, "stages.compress.student": {**toy, "name": "finder_small"}},
        output=folder,
    )
    return found, folder


def test_the_ablation_measures_each_network_on_the_same_pictures(swept: tuple[landmark_tables.Table, Path]) -> None:
    found, folder = swept
    networks = ["thermal", "two levels", "one level"]
    assert [(row.cell, row.decay, row.network) for row in found.rows] == [
        *(("none", True, name) for name in networks),
        *(("fi_ri", False, name) for name in networks),
    ]
    assert {row.images for row in found.rows} == {4}
    for row in found.rows:
        errors_of = found.found[row.cell, row.decay, row.network].per_image
        assert row.nme == pytest.approx(errors_of.mean())
    first = found.gains[0]
    better, worse = (found.found[cell, decay, "thermal"] for cell, decay in (("fi_ri", False), ("none", True)))
    assert first.text == "fi_ri over none, thermal network, no fading"
    assert first.gain == pytest.approx((worse.per_image - better.per_image).mean())
    assert first.interval[0] <= first.gain <= first.interval[1]
    drawn = (folder / "ced.svg").read_text()
    assert drawn.startswith("<svg") and "fi_ri, no fading: two levels" in drawn and "none: one level" in drawn
    assert (folder / "fi_ri-const-one_level-0" / "student.safetensors").is_file()


def test_the_teacher_of_the_ablation_sees_labelled_colour_pictures_alone(
    swept: tuple[landmark_tables.Table, Path],
) -> None:
    facts = xzoo.training.Run.open(swept[1] / "rgb_teacher-0").facts
    known = [row for row in Manifest.read(facts_path(swept[1])).rows if row.split == "train"]
    assert facts["data"]["train_images"] == sum(row.spectrum != "VIS" or row.landmarks is not None for row in known)


def test_labels_alone_are_learnt_from_people_with_thermal_landmarks_and_no_step_is_spent_on_others(
    swept: tuple[landmark_tables.Table, Path],
) -> None:
    known = [row for row in Manifest.read(facts_path(swept[1])).rows if row.split == "train"]
    labelled = {row.subject for row in known if row.spectrum == "LWIR" and row.landmarks is not None}
    paired = {row.subject for row in known if row.spectrum == "LWIR"}
    assert 0 < len(labelled) < len(paired)

    def learnt(name: str) -> int:
        return int(xzoo.training.Run.open(swept[1] / f"{name}-0").facts["data"]["train_subjects"])

    assert learnt("none-thermal") == learnt("none-one_level") == len(labelled)
    assert learnt("none-two_levels") == learnt("fi_ri-const-thermal") == len({row.subject for row in known})


def test_distillation_does_not_fade_where_most_pairs_have_no_landmarks() -> None:
    assert landmark_tables._every(fading=True) == list(landmark_tables.CELLS)
    assert landmark_tables._every(fading=False) == [
        *("none", "fd-const", "ld-const", "fd_ld-const", "fi-const", "ri-const", "fi_ri-const")
    ]


def facts_path(folder: Path) -> Path:
    return next(folder.parent.glob("pairs*")) / "manifest.csv"


def test_the_table_prints_ours_beside_verified_figures_and_none_of_the_paper(
    swept: tuple[landmark_tables.Table, Path],
) -> None:
    from xzoo.cli.reproduce_landmarks import text

    found, folder = swept
    told = text(found, str(folder))
    assert f"{100 * found.rows[3].nme:.2f}" in told
    assert "3.40" in told and "PyraMoT" in told  # SF-TL54 gray, Table II
    assert "no figure could be verified" in told
    assert "generated people show" not in told  # these were given


def test_gains_are_paired_and_subjects_are_drawn_whole() -> None:
    worse, better = np.array([0.3, 0.5, 0.2, 0.4]), np.array([0.1, 0.3, 0.1, 0.1])
    table = {("fi_ri", True, "thermal"): better, ("ld", True, "thermal"): worse}
    (found,) = landmark_tables.gains(table, np.array(["a", "a", "b", "b"]))
    assert found.gain == pytest.approx(0.2)
    (mixed,) = landmark_tables.gains(
        {("fi_ri", True, "thermal"): better, ("ld", False, "thermal"): worse}, np.array(["a", "a", "b", "b"])
    )
    assert (mixed.gain, mixed.text) == (found.gain, "fi_ri over ld, which does not fade, thermal network")
    # Three outcomes of drawing two subjects: both, or one of them twice (means 0.2 and 0.2).
    assert found.interval == pytest.approx((0.2, 0.2)) and found.holds


def test_the_thermal_network_of_the_open_table_is_no_copy_of_the_teacher_unless_asked() -> None:
    landmark_tables._register()
    own = recipes.load("mlcm_kd").with_(landmark_tables.OPEN)
    assert landmark_tables._alone(landmark_tables.preset("ld", base=own), 1).stages[0].student.name == "table_thermal"
    copied = own.with_({"stages.dikd.student": "stage:rgb_teacher"})
    assert landmark_tables._alone(landmark_tables.preset("ld", base=copied), 1).stages[0].student == "teacher"


def test_an_unknown_cell_names_the_nearest() -> None:
    with pytest.raises(errors.OptionError, match="fi_ri"):
        landmark_tables.ablation(cells=["fi_rii"])


def test_generated_pairs_show_one_moment_to_both_cameras(tmp_path: Path) -> None:
    asked = {"colour": 1, "pairs": 2, "labelled": 1, "val": 1, "strangers": 1, "size": 48}
    manifest = Manifest.read(landmark_tables.people(tmp_path / "people", **asked))
    assert len(manifest) == 2 + 2 * 4 * 2
    by_name = {row.path: row for row in manifest.rows}
    pair = [by_name[f"faces/0000000_{band}_1.png"].landmarks for band in ("VIS", "LWIR")]
    assert pair[0] == pair[1] and pair[0] is not None and len(pair[0]) == 68
    assert by_name["faces/0000001_VIS_0.png"].landmarks is None
    before = (tmp_path / "people" / "manifest.csv").stat().st_mtime_ns
    landmark_tables.people(tmp_path / "people", **asked)
    assert (tmp_path / "people" / "manifest.csv").stat().st_mtime_ns == before
    with pytest.raises(errors.OptionError, match="holds something else"):
        landmark_tables.people(tmp_path / "people", **{**asked, "pairs": 3})


def test_a_ced_of_networks_measured_in_unlike_ways_is_refused(swept: tuple[landmark_tables.Table, Path]) -> None:
    from xzoo.evaluation.ced import ced

    one, two = list(swept[0].found.values())[:2]
    assert ced({"one": one, "two": two}).count("<polyline") >= 2
    with pytest.raises(errors.EvaluationError, match="2 ways"):
        ced({"one": one, "two": replace(two, limit=0.2)})
