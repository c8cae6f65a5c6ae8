"""Readers of thermal landmark sets, the layouts that write them, and TinyFace and SCface written by the generator."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import xzoo
from xzoo.data import readers
from xzoo.data.images import read_image
from xzoo.data.manifest import Manifest
from xzoo.data.people.labels import face_labels
from xzoo.data.people.layouts import write
from xzoo.data.people.layouts.core import Piece, _resized
from xzoo.data.people.layouts.marks import _moved, iron
from xzoo.data.readers.thermal_landmarks import padded_box
from xzoo.errors import DataError, EvaluationError, OptionError
from xzoo.evaluation import Pixels
from xzoo.evaluation.protocols import run_protocol
from xzoo.evaluation.protocols.schema import check


def patterned(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A coarse pattern that is the subject's own, whatever the moment and the band."""
    tiles = np.random.default_rng(subject).integers(0, 255, (4, 4, 1), np.uint8)
    return np.asarray(Image.fromarray(np.repeat(tiles, 3, 2)).resize(size[::-1], Image.Resampling.BILINEAR))


@lru_cache
def nose(subject: int, sample: int, size: int) -> tuple[int, int]:
    """Where the tip of the nose is; the same in every band."""
    labels = face_labels(torch.tensor([subject]), torch.tensor([sample]), spectrum="LWIR", size=size, seed=0)
    x, y = labels.points5[0, 2].round().int().tolist()
    return x, y


def dotted(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Black, but for the tip of the nose."""
    x, y = nose(subject, sample, size[0])
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[y, x] = 255
    return canvas


def brightest(path: Path) -> tuple[float, float]:
    pixels = read_image(path)[..., 0]
    y, x = np.unravel_index(int(pixels.argmax()), pixels.shape)
    return float(x), float(y)


# --- SF-TL54 -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sf_tl54(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"trials": 1, "positions": 3, "side": 200, "iron": True}
    return write("sf_tl54", tmp_path_factory.mktemp("sf") / "set", subjects=4, draw=dotted, progress=False, **options)


def test_sf_tl54_points_lie_on_what_was_drawn(sf_tl54: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    assert len(manifest) == 12 and manifest.spectra == ("LWIR",)
    for row, path in zip(manifest.rows, manifest.paths, strict=True):
        assert row.landmarks is not None and len(row.landmarks) == 54
        assert np.allclose(row.landmarks[30], brightest(path), atol=0.51)  # point 30 is the tip of the nose
        x, y, width, height = row.box or (0, 0, 0, 0)
        assert x <= row.landmarks[30][0] <= x + width and y <= row.landmarks[30][1] <= y + height


def test_sf_tl54_splits_follow_the_folders(sf_tl54: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    assert {row.split: row.subject for row in manifest.rows} == {"train": "2", "val": "3", "test": "4"}
    found = readers.check("sf_tl54", sf_tl54)
    assert found.differences["train LWIR images"] == (6, 1800) and not found.missing and not found.unreadable


def test_sf_tl54_pairs_have_the_points_of_the_thermal_frame(sf_tl54: Path) -> None:
    rows = readers.read("sf_tl54", sf_tl54, visible=True).rows
    assert [row.spectrum for row in rows[:2]] == ["LWIR", "VIS"] and len(rows) == 24
    assert rows[0].landmarks == rows[1].landmarks and rows[0].media == rows[1].media
    assert Path(rows[0].path).stem == Path(rows[1].path).stem


def test_sf_tl54_in_the_iron_palette_and_without_the_challenging_frames(sf_tl54: Path) -> None:
    (sf_tl54 / "dataset/challenging_images.csv").write_text("sub_id,trial_id,pos_id\n1,1,2\n4,1,3\n")
    manifest = readers.read("sf_tl54", sf_tl54, palette="iron", drop_challenging=True)
    assert len(manifest) == 10 and manifest.rows[0].path.startswith("dataset/iron/train")
    found = readers.check("sf_tl54", sf_tl54, drop_challenging=True)
    assert found.differences["test LWIR images"] == (2, 572)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "list of shapes"),
        ("not json", "list of shapes"),
        ('{"shapes": [{"label": "nose", "points": [[1, 2]]}]}', "list of shapes"),
        ('{"shapes": [{"label": "face", "points": [[1, 2], [3, 4]]}, {"label": "n", "points": [[1, 2]]}]}', "1 points"),
        (None, "missing: dataset/gray/train/json"),
    ],
)
def test_faulty_annotations_of_sf_tl54_are_told(tmp_path: Path, text: str | None, words: str) -> None:
    root = write(
        "sf_tl54", tmp_path / "set", subjects=3, draw=patterned, progress=False, trials=1, positions=1, side=64
    )
    file = root / "dataset/gray/train/json/1_1_1_1_1.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(DataError, match=words):
        readers.read("sf_tl54", root)


# --- TFW ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tfw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("tfw", tmp_path_factory.mktemp("tfw") / "set", subjects=6, draw=dotted, progress=False, samples=1)


def test_tfw_points_lie_on_what_was_drawn_to_the_pixel(tfw: Path) -> None:
    manifest = readers.read("tfw", tfw, palette="gray")
    assert len(manifest) == 12 and manifest.splits == ("test", "train", "val")
    for row, path in zip(manifest.rows, manifest.paths, strict=True):
        assert row.landmarks is not None and len(row.landmarks) == 5
        pixels = read_image(path)[..., 0]
        x, y = (int(value) for value in row.landmarks[2])
        assert pixels[y - 1 : y + 2, x - 1 : x + 2].max() == 255
        left, top, width, height = row.box or (0, 0, 0, 0)
        assert left <= x <= left + width and top <= y <= top + height


def test_tfw_counts_faces_and_images_apart(tfw: Path) -> None:
    found = readers.check("tfw", tfw)
    assert found.differences == {"images": (10, 9982), "faces": (12, 16509)}  # four people share two frames
    assert not found.missing and not found.unreadable and not found.faults


def test_tfw_rows_that_cannot_be_are_told(tfw: Path, tmp_path: Path) -> None:
    text = (tfw / "TFW/train/indoor.csv").read_text().splitlines()
    (tmp_path / "TFW/train").mkdir(parents=True)
    name = text[1].split(",")[0]
    rows = [text[0], f"{name},1,2", f"{name},9,9,3,3" + ",1" * 10, "gone.png,1,1,5,5" + ",1" * 10]
    (tmp_path / "TFW/train/indoor.csv").write_text("\n".join(rows))
    with pytest.raises(DataError) as caught:
        readers.read("tfw", tmp_path)
    assert all(words in str(caught.value) for words in ("line 2: a row is", "line 3: the box", "gone.png"))


def test_the_iron_palette_grows_brighter() -> None:
    luma = iron(np.arange(256, dtype=np.uint8)[None])[0].astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(luma) > -1).all() and luma[0] < 10 and luma[-1] > 245


# --- RWTH --------------------------------------------------------------------------------------


@pytest.fixture
def rwth(tmp_path: Path) -> Path:
    for who in (1, 2):
        stem = f"irface_sub{who:03d}_seq01_frm00007"
        Image.new("L", (200, 150), 60).save(tmp_path / f"{stem}.png")
        points = [[60 + number, 50 + number] for number in range(68)]  # y, then x
        (tmp_path / f"{stem}_lfb.ljson").write_text(json.dumps({"landmarks": {"points": points}}))
    return tmp_path


def test_rwth_points_are_turned_to_x_y_and_boxed_as_the_baselines_do(rwth: Path) -> None:
    manifest = readers.read("rwth_thermal", rwth)
    row = manifest.rows[0]
    assert (row.subject, row.session, row.spectrum) == ("001", "01", "LWIR")
    assert row.landmarks is not None and row.landmarks[0] == (50, 60) and len(row.landmarks) == 68
    assert row.box == (45, 20, 77, 112)  # x 45..122, y 20..132
    assert readers.check("rwth_thermal", rwth).differences == {"images": (2, 2935), "subjects": (2, 90)}


def test_the_box_of_rwth_stays_inside_the_image() -> None:
    points = ((2.0, 10.0), (190.0, 148.0))
    assert padded_box(points, (192, 150)) == (0, 0, 192, 150)


def test_faulty_frames_of_rwth_are_told(rwth: Path) -> None:
    (rwth / "irface_sub001_seq01_frm00007_lfb.ljson").write_text('{"landmarks": {"points": [[1, 2]]}}')
    (rwth / "irface_sub002_seq01_frm00007.png").unlink()
    (rwth / "holiday_lfb.ljson").write_text("{}")
    with pytest.raises(DataError) as caught:
        readers.read("rwth_thermal", rwth)
    assert all(words in str(caught.value) for words in ("not 68 points", "sub002", "holiday"))


# --- TinyFace and SCface by the generator ------------------------------------------------------


def test_points_follow_the_cut_of_a_narrow_picture() -> None:
    square = np.zeros((224, 224, 3), np.uint8)
    square[100:103, 80:83] = 255
    for size in ((224, 168), (112, 84), (168, 224)):
        cut = _resized(square, size, cut=True)[..., 0].astype(float)
        y, x = np.average(np.indices(cut.shape).reshape(2, -1), axis=1, weights=cut.ravel())
        moved = _moved(np.array([[81.0, 101.0]]), Piece("face", 0, 0, "VIS", size), 224)
        assert np.allclose(moved, [[x, y]], atol=0.1), size


def test_tinyface_from_the_layout_to_its_figures(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": 2, "distractors": 5, "aligned": True}
    root = write("tinyface", tmp_path / "tiny", subjects=6, draw=patterned, progress=False, **options)
    for protocol in ("tinyface", "tinyface.aligned"):
        found = run_protocol(protocol, "pixels", root)
        assert found.mean["rank1"] == 1 and found.mean["map"] == pytest.approx(1)
        assert found.repetitions[0].counts["gallery images"] == 4 * 2 + 5
    counts = readers.check("tinyface", root).counts
    assert (counts["probe images"], counts["distractor images"], counts["train subjects"]) == (8, 5, 2)


def test_scface_from_the_layout_to_its_figures(tmp_path: Path) -> None:
    root = write("scface", tmp_path / "sc", subjects=3, draw=patterned, progress=False, first=88)
    for protocol in ("scface.far.eval", "scface.ir.eval", "scface.d1"):
        assert run_protocol(protocol, "pixels", root).mean["rank1"] == 1
    manifest = readers.read("scface", root, landmarks="landmarks.txt")
    assert len(manifest) == 3 * 23
    for row, path in zip(manifest.rows, manifest.paths, strict=True):
        assert row.landmarks is not None and len(row.landmarks) == 4 and row.group
        assert row.landmarks[0][0] < row.landmarks[1][0] and row.landmarks[1][1] < row.landmarks[3][1]
        if row.camera == "frontal":
            with Image.open(path) as image:
                assert all(0 <= x < image.width and 0 <= y < image.height for x, y in row.landmarks)


@pytest.mark.parametrize(
    ("name", "subjects", "options"),
    [
        ("sf_tl54", 2, {}),
        ("sf_tl54", 3, {"side": 400}),
        ("tfw", 2, {}),
        ("tfw", 3, {"crowd": 4}),
        ("tinyface", 2, {"train": 2}),
        ("tinyface", 2, {"mates": 0}),
        ("scface", 3, {"first": 129}),
        ("scface", 3, {"cameras": 2}),
    ],
)
def test_impossible_layouts_are_refused(tmp_path: Path, name: str, subjects: int, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        write(name, tmp_path / "set", subjects=subjects, draw=patterned, progress=False, **options)
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sf_tl54", "tfw", "tinyface", "scface"])
def test_the_generator_itself_fills_each_layout(tmp_path: Path, name: str) -> None:
    small = {"sf_tl54": {"trials": 1, "positions": 1}, "tfw": {"samples": 1}}.get(name, {})
    root = write(name, tmp_path / "set", subjects=3, progress=False, **small)
    found = readers.check(name, root, deep=True)
    assert not found.missing and not found.unreadable and not found.faults


# --- from reader to figures --------------------------------------------------------------------


def truth_of(manifest: Manifest) -> npt.NDArray[np.float64]:
    return np.array([row.landmarks for row in manifest.rows], float)


def test_sf_tl54_from_the_reader_to_figures_by_hand(sf_tl54: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    points = truth_of(manifest)
    test = [place for place, row in enumerate(manifest.rows) if row.split == "test"]
    assert run_protocol("sf_tl54", points, manifest).mean["nme"] == 0
    # Every point of the three test images moves to the right by 1 %, 2 % and 20 % of the outer eye corners' distance.
    for place, share in zip(test, (0.01, 0.02, 0.2), strict=True):
        eyes = np.linalg.norm(points[place, 36] - points[place, 45])
        points[place, :, 0] += share * eyes
    points[[place for place in range(12) if place not in test]] = np.nan  # these take no part
    found = run_protocol("sf_tl54", points, manifest, details=True)
    assert found.mean["nme"] == pytest.approx(0.23 / 3) and found.mean["nme_mouth"] == pytest.approx(0.23 / 3)
    assert found.mean["failure_rate"] == pytest.approx(1 / 3)
    # The CED is 0 below 0.01, 1/3 to 0.02, 2/3 to 0.1: area (0.01 / 3 + 2 * 0.08 / 3) / 0.1.
    assert found.mean["ced_auc"] == pytest.approx(0.17 / 0.3, abs=2e-3)
    assert found.repetitions[0].counts == {"images": 3, "points": 162, "failed images": 1}
    assert found.details is not None
    assert found.details.displaced[0].picture.path == manifest.rows[test[2]].path


def test_the_crop_convention_divides_each_axis_by_the_box(sf_tl54: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    points = truth_of(manifest)
    widths = np.array([row.box[2] for row in manifest.rows if row.box])
    points[..., 0] += 0.05 * widths[:, None]
    found = run_protocol("sf_tl54.crop", points, manifest)
    expected = []
    for row in manifest.rows:
        if row.split == "test" and row.box and row.landmarks:
            corners = (np.array(row.landmarks) - row.box[:2]) / row.box[2:]
            expected.append(0.05 / np.linalg.norm(corners[36] - corners[45]))
    assert found.mean["nme"] == pytest.approx(np.mean(expected))


def test_tfw_and_rwth_from_the_reader_to_figures(tfw: Path, rwth: Path) -> None:
    manifest = readers.read("tfw", tfw)
    points = truth_of(manifest)
    points[:, :, 1] += 0.05 * np.linalg.norm(points[:, 0] - points[:, 1], axis=1)[:, None]
    for protocol, images in (("tfw", 2), ("tfw.indoor", 1), ("tfw.outdoor", 1)):
        found = run_protocol(protocol, points, manifest)
        assert found.mean["nme"] == pytest.approx(0.05) and found.repetitions[0].counts["images"] == images
    manifest = readers.read("rwth_thermal", rwth)
    points = truth_of(manifest)
    points[0, 0] += (3, 4)  # one point of 68 by 5 px; the outer eye corners lie 9 px apart both ways
    found = run_protocol("rwth_thermal", points, manifest)
    assert found.mean["nme"] == pytest.approx(5 / 68 / np.hypot(9, 9) / 2)


def test_a_protocol_of_landmarks_is_written_as_a_page(sf_tl54: Path, tmp_path: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    found = run_protocol("sf_tl54", truth_of(manifest) + 1, manifest, details=True)
    page = found.write(tmp_path).read_text()
    assert page.count("<svg ") == 1 and "CED" in page and "162 points" in page


def test_a_landmark_network_is_shown_each_image_with_its_box(sf_tl54: Path, tmp_path: Path) -> None:
    network = xzoo.create("landmarker", points=68, input_size=64).eval()
    manifest = readers.read("sf_tl54", sf_tl54)
    found = run_protocol("sf_tl54", network, manifest, batch_size=2, details=True)
    points = np.full((len(manifest), 54, 2), np.nan)
    for place, row in enumerate(manifest.rows):
        if row.split == "test" and row.spectrum == "LWIR":
            one = network.landmarks(manifest.root / row.path, boxes=[row.box], points=54)[0]
            points[place] = one.double().numpy()
    given = run_protocol("sf_tl54", points, manifest)
    assert found.mean == pytest.approx(given.mean, abs=1e-5) and found.model == "landmarker"
    assert "landmarker" in found.write(tmp_path).read_text()


def test_points_that_do_not_fit_are_refused(sf_tl54: Path) -> None:
    manifest = readers.read("sf_tl54", sf_tl54)
    for wrong in (np.zeros((12, 5, 2)), np.zeros((12, 54)), "pixels", Pixels(8)):
        with pytest.raises(EvaluationError, match=r"\[12, 54, 2\]"):
            run_protocol("sf_tl54", wrong, manifest)
    with pytest.raises(EvaluationError, match="not finite"):
        run_protocol("sf_tl54", np.full((12, 54, 2), np.nan), manifest)
    bare = Manifest(tuple(dataclasses.replace(row, landmarks=None) for row in manifest.rows), manifest.root)
    with pytest.raises(EvaluationError, match="no 54 landmarks"):
        run_protocol("sf_tl54", np.zeros((12, 54, 2)), bare)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"figures": ["rank1"]}, "no figure of landmarks"),
        ({"figures": ["nme_ears"]}, "parts are jaw"),
        ({"probe": None}, "selects the images"),
        ({"gallery": {"where": {}}, "flip": True}, "compare nobody"),
        ({"landmarks": None, "gallery": {"where": {"split": "x"}}}, "needs landmarks"),
        ({"landmarks": {"points": 7}}, "points"),
    ],
)
def test_a_faulty_protocol_of_landmarks_is_told(change: dict[str, Any], words: str) -> None:
    tree: dict[str, Any] = {
        "protocol": "mine",
        "title": "t",
        "source": "s",
        "probe": {"where": {"split": "test"}},
        "landmarks": {"points": 5, "normalisation": "eye_centres"},
        "figures": ["nme"],
    }
    tree |= change
    with pytest.raises(EvaluationError, match=words):
        check({key: value for key, value in tree.items() if value is not None}, "mine")
