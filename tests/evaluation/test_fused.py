"""Face and body as one: rows that belong together, and fused ranks against scores fused by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from xzoo import errors
from xzoo.cli import main
from xzoo.data import readers
from xzoo.data.manifest import Manifest, Row
from xzoo.data.people import layouts
from xzoo.evaluation import fuse, run_protocol
from xzoo.evaluation.protocols.fused import paired, run_fused

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fusion_body_face.py"
PLAN = "ijb_mdf.g2.VIS-LWIR"


def flat(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), 9, np.uint8)


def table(people: int = 12, frames: int = 3) -> Manifest:
    """Half the people are of gallery 2; everybody is seen in both bands."""
    cells = [(s, band, n) for s in range(people) for band in ("VIS-500m", "LWIR-30m") for n in range(frames)]
    rows = []
    for place, (s, domain, n) in enumerate(cells):
        band, metres = domain.split("-")
        split = "test" if s % 2 else "train"
        rows.append(Row(f"{domain}/{s}/{n}.png", f"s{s}", band, split=split, distance=metres, index=place))
    return Manifest(tuple(rows), Path("/nowhere"))


def noisy(data: Manifest, width: int, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    person = rng.normal(size=(len(data.subjects), width))
    return person[data.labels] + noise * rng.normal(size=(len(data), width))


def by_hand(data: Manifest, tables: list[np.ndarray], split: str) -> list[np.ndarray]:
    """Return each model's cosines of mean templates, probes by gallery, subjects in the order of the manifest."""
    subjects = [s for s in data.subjects if s in {row.subject for row in data.rows if row.split == split}]
    found = []
    for one in tables:
        sides = []
        for band in ("LWIR", "VIS"):
            means = [
                np.mean([one[k] for k, row in enumerate(data.rows) if (row.subject, row.spectrum) == (s, band)], 0)
                for s in subjects
            ]
            sides.append(np.stack([mean / np.linalg.norm(mean) for mean in means]))
        found.append(sides[0] @ sides[1].T)
    return found


@pytest.mark.parametrize("how", ["mean", "z_norm", "max"])
def test_fused_scores_rank_as_those_fused_by_hand(how: str) -> None:
    data = table()
    tables = [noisy(data, 8, 2.0, 1), 5 * noisy(data, 20, 3.0, 2)]
    reference = by_hand(data, tables, "train") if how == "z_norm" else None
    matrix = fuse(by_hand(data, tables, "test"), how, reference=reference)  # type: ignore[arg-type]
    right = [(row >= row[place]).sum() for place, row in enumerate(matrix)]
    result = run_fused(PLAN, tables, data, how=how)  # type: ignore[arg-type]
    assert result.mean["rank1"] == pytest.approx(np.mean([rank == 1 for rank in right]))
    assert result.mean["rank5"] == pytest.approx(np.mean([rank <= 5 for rank in right]))
    assert 0 < (result.mean["rank1"] or 0) < 1
    assert sum(result.repetitions[0].hits.values()) == sum(rank == 1 for rank in right)
    assert result.repetitions[0].counts["probe templates"] == 6 and result.model == f"{how} of 2 models"


def test_features_side_by_side_weigh_both_models_alike_before_templates_are_formed() -> None:
    data = table()
    one, two = noisy(data, 8, 2.0, 1), 1000 * noisy(data, 20, 3.0, 2)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (one, two)]
    expected = run_protocol(PLAN, np.concatenate(unit, axis=1), data)
    assert run_fused(PLAN, [one, two], data).mean == expected.mean


def test_two_models_that_each_know_half_of_the_people_know_all_of_them_together() -> None:
    data = table()
    axes = np.eye(len(data.subjects))[data.labels]
    halves = []
    for rest in (1, 3):  # to each model half of the odd people look all alike
        blind = np.array([int(row.subject[1:]) % 4 == rest for row in data.rows])
        halves.append(np.where(blind[:, None], 1.0, axes))
    assert [run_protocol(PLAN, each, data).mean["rank1"] for each in halves] == [0.5, 0.5]
    for how in ("feature", "mean", "z_norm"):
        assert run_fused(PLAN, halves, data, how=how).mean["rank1"] == 1.0  # type: ignore[arg-type]


def test_normalisation_without_people_to_learn_from_is_told() -> None:
    data = table()
    tested = data.select(split="test")
    rows = [place for place, row in enumerate(data.rows) if row.split == "test"]
    tables = [noisy(data, 8, 1.0, 1)[rows], noisy(data, 9, 1.0, 2)[rows]]
    assert any("no split 'train'" in word for word in run_fused(PLAN, tables, tested, how="z_norm").warnings)


def test_faces_and_bodies_of_a_frame_belong_together_and_who_lacks_one_is_left_out(tmp_path: Path) -> None:
    root = layouts.write("ijb_mdf", tmp_path / "set", subjects=4, draw=flat, size=(24, 8), progress=False)
    kept = [line for line in (root / "bodies.csv").read_text().splitlines() if not line.startswith("LWIR-30m-001,2,")]
    (root / "bodies.csv").write_text("\n".join(kept) + "\n")
    faces, bodies = paired(readers.read("ijb_mdf", root, kind="face"), readers.read("ijb_mdf", root))
    assert len(faces) == len(bodies) == 4 * 4 * 3 - 2
    for face, body in zip(faces.rows, bodies.rows, strict=True):
        assert (face.path, face.subject, face.index) == (body.path, body.subject, body.index)
        assert face.box is not None and body.box is not None and face.box[3] < body.box[3]


@pytest.mark.parametrize("name", ["edgeface_xxs", pytest.param("adaface_ir_18", marks=pytest.mark.slow)])
def test_a_face_network_is_measured_and_prepared_for_training_on_the_very_protocol_of_bodies(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = layouts.write("ijb_mdf", tmp_path / "set", subjects=4, draw=flat, size=(48, 16), frames=1, progress=False)
    call = ["evaluate", name, "--pretrained", "no", "--data", str(root), "--protocol", PLAN, "--option", "kind=face"]
    assert main([*call, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["model"], found["repetitions"][0]["counts"]["probe templates"]) == (name, 2)
    assert main(["data", "list", "ijb_mdf", str(root), str(tmp_path / "faces.csv"), "--option", "kind=face"]) == 0
    faces = Manifest.read(tmp_path / "faces.csv")
    assert [row.box for row in faces.rows] == [row.box for row in readers.read("ijb_mdf", root, kind="face").rows]
    assert faces.spectra == ("VIS", "SWIR", "MWIR", "LWIR") and faces.splits == ("test", "train")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda data: run_fused(PLAN, [np.eye(3)], data), "one row for each row"),
        (lambda data: run_fused(PLAN, [], data), "one row for each row"),
        (lambda data: run_fused(PLAN, [np.ones((72, 2))], data, how="sum"), "feature, mean, z_norm, max"),
        (lambda data: run_fused("gallery_probe", [np.ones((72, 2))], data), "it asks for auc"),
        (lambda data: run_fused("pairs_list", [np.ones((72, 2))], data), "it asks for auc"),
        (lambda data: run_fused(PLAN, [np.zeros((72, 2))], data, how="mean"), "no direction"),
    ],
)
def test_fusions_that_cannot_be_are_refused(call: object, said: str) -> None:
    with pytest.raises(errors.EvaluationError, match=said):
        call(table())  # type: ignore[operator]


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    data = table(2, 1)
    twice = Manifest((*data.rows, data.rows[0]), data.root)
    with pytest.raises(errors.DataError, match="twice in one file"):
        paired(data, twice)
    with pytest.raises(errors.DataError, match="nobody in common"):
        paired(data, Manifest(data.rows, Path("/elsewhere")))


def test_the_example_prints_each_model_beside_the_fusions_for_every_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("fusion_body_face", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    layouts.write("ijb_mdf", tmp_path / "ijb_mdf", subjects=8, draw=flat, size=(24, 8), frames=1, progress=False)
    seeds = iter((1, 2))
    monkeypatch.setattr(example.xzoo, "create", lambda name, pretrained: (name, pretrained))
    monkeypatch.setattr(example, "embed_images", lambda _, manifest: noisy(manifest, 8, 0.5, next(seeds)))
    monkeypatch.setattr("sys.argv", ["example", str(tmp_path), "--face", "mine", "--body-weights", "file.pth"])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "32 frames of 8 people with face and body"
    assert lines[1].split()[-4:] == ["feature", "mean", "z_norm", "max"]
    assert [line.split()[0] for line in lines[2:]] == ["SWIR", "MWIR", "LWIR"]
    assert all(line.count("/4 ") == 6 for line in lines[2:])
