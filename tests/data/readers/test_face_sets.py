"""Readers of face sets: a miniature in the owner's layout, its protocol, and figures worked out by hand."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from xzoo import cli
from xzoo.data import readers
from xzoo.data.images import read_image
from xzoo.data.manifest import Manifest
from xzoo.data.readers import mat
from xzoo.data.readers.bins import parse
from xzoo.data.readers.groups import components
from xzoo.errors import DataError, EvaluationError, ImageError, MissingFile, OptionError
from xzoo.evaluation.protocols import load, names, run_protocol
from xzoo.evaluation.protocols.runner import chosen
from xzoo.evaluation.protocols.schema import check

HERE = ("lfw", "calfw", "cplfw", "cfp_fp", "agedb_30", "ijbb", "ijbc", "tinyface", "scface", "qmul_survface", "uccs")


def encoded(level: int = 100, form: str = "png") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (6, 8), (level % 256, 50, 200)).save(out, form)
    return out.getvalue()


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded(form="jpeg" if path.lower().endswith("jpg") else "png"))


def at(*degrees: float) -> npt.NDArray[np.float64]:
    """Unit vectors whose cosines are known: right angles are exact."""
    angle = np.radians(np.array(degrees))
    return np.stack([np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)], 1)


def table(manifest: Manifest, vectors: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Embeddings in the order of the rows, by the name of the file."""
    return np.array([vectors[Path(row.path).name] for row in manifest.rows], float)


@pytest.mark.parametrize("name", [name for name in names() if name.split(".")[0] in HERE])
def test_every_protocol_of_these_sets_is_sound_and_its_reader_exists(name: str) -> None:
    plan = load(name)
    assert plan.reader is not None
    reader = readers.get(plan.reader)
    with pytest.raises((MissingFile, DataError)):
        reader.manifest(Path(__file__).parent, plan.options)  # options are understood; nothing is there


def test_each_set_has_a_protocol() -> None:
    assert {name.split(".")[0] for name in names()} >= set(HERE)


# --- LFW and its kin ---------------------------------------------------------------------------

LFW = """2\t2
ann\t1\t2
bob\t1\t2
ann\t1\tbob\t1
ann\t2\tcid\t1
cid\t1\t2
dee\t1\t2
cid\t1\tdee\t1
cid\t2\tdee\t3
"""
LFW_VECTORS = {"ann": (1, 0), "bob": (-1, 0), "cid": (-1, 0), "dee": (1, 0)}


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    (tmp_path / "pairs.txt").write_text(LFW)
    put(tmp_path, *(f"{who}/{who}_{shot:04d}.jpg" for who in ("ann", "bob", "cid", "dee", "eve") for shot in (1, 2)))
    put(tmp_path, "dee/dee_0003.jpg")
    return tmp_path


def test_lfw_from_pairs_to_accuracy(lfw: Path) -> None:
    manifest = readers.read("lfw", lfw)
    assert manifest.pairs is not None and len(manifest) == 9
    assert manifest.pairs.same.tolist() == [True, True, False, False] * 2
    assert manifest.pairs.fold is not None and manifest.pairs.fold.tolist() == [1] * 4 + [2] * 4
    vectors = np.array([LFW_VECTORS[row.subject] for row in manifest.rows], float)
    found = run_protocol("lfw", vectors, manifest)
    assert found.mean["accuracy"] == 1
    # dee's third image looks like cid: one impostor pair of fold 2 at distance 0.
    vectors[[row.path == "dee/dee_0003.jpg" for row in manifest.rows]] = (-1, 0)
    found = run_protocol("lfw", vectors, manifest)
    # Fold 2 says 0.01 (three of four right), which suits fold 1 wholly; fold 1 says 0.01, and fold 2 keeps one error.
    assert (found.mean["accuracy"], found.std["accuracy"]) == (0.875, 0.125)
    assert found.repetitions[0].counts["pairs"] == 8


def test_lfw_is_compared_with_the_published_counts(lfw: Path) -> None:
    found = readers.check("lfw", lfw)
    assert found.differences["pairs"] == (8, 6000)
    assert (found.counts["images"], found.counts["subjects"]) == (11, 5)
    assert not found.missing and not found.unreadable and not found.faults


def test_a_missing_and_an_unreadable_image_of_lfw_are_named(lfw: Path) -> None:
    (lfw / "ann/ann_0002.jpg").unlink()
    (lfw / "cid/cid_0001.jpg").write_bytes(b"no picture")
    found = readers.check("lfw", lfw)
    assert len(found.missing) == 1 and "ann/ann_0002.jpg (pairs.txt line 2)" in found.missing[0]
    assert [item.split(":")[0] for item in found.unreadable] == ["cid/cid_0001.jpg"]
    with pytest.raises(DataError, match="ann_0002"):
        readers.read("lfw", lfw)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2\t2\n", "x y\n", "header"),
        ("2\t2\n", "3\t2\n", "promises 3 folds"),
        ("bob\t1\t2\n", "bob\tone\t2\n", "line 3"),
        ("ann\t1\tbob\t1\n", "ann\t1\tann\t2\n", "ann twice"),
        ("bob\t1\t2\n", "bob\t1\tann\t2\n", "genuine pairs first"),
    ],
)
def test_a_faulty_list_of_pairs_is_told_by_line(lfw: Path, old: str, new: str, words: str) -> None:
    (lfw / "pairs.txt").write_text(LFW.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        readers.read("lfw", lfw)


def test_cplfw_has_two_lines_a_pair_and_labels_that_agree_with_the_names(tmp_path: Path) -> None:
    put(tmp_path, "images/Ann_1.jpg", "images/Ann_2.jpg", "images/Bob_1.jpg")
    (tmp_path / "pairs_CPLFW.txt").write_text("Ann_1.jpg 1\nAnn_2.jpg 1\nAnn_1.jpg 0\nBob_1.jpg 0\n")
    manifest = readers.read("cplfw", tmp_path)
    assert manifest.pairs is not None and manifest.pairs.same.tolist() == [True, False]
    assert [row.subject for row in manifest.rows] == ["Ann", "Ann", "Bob"]
    (tmp_path / "pairs_CPLFW.txt").write_text("Ann_1.jpg 0\nAnn_2.jpg 0\n")
    with pytest.raises(DataError, match="Ann and Ann, but its label is 0"):
        readers.read("cplfw", tmp_path)


def test_calfw_from_pairs_to_accuracy(tmp_path: Path) -> None:
    lines = []
    for pair in range(20):
        first, second = (f"P{pair}_0001.jpg", f"P{pair if pair % 2 == 0 else pair + 50}_0002.jpg")
        put(tmp_path, f"images/{first}", f"images/{second}")
        label = 0 if pair % 2 else pair // 2 + 1  # for one person the label may count folds
        lines += [f"{first} {label}", f"{second} {label}"]
    (tmp_path / "pairs_CALFW.txt").write_text("\n".join(lines) + "\n")
    manifest = readers.read("calfw", tmp_path)
    vectors = np.tile(at(0, 0, 0, 180), (10, 1))
    vectors[3] = vectors[2]
    found = run_protocol("calfw", vectors, manifest)
    assert found.mean["accuracy"] == pytest.approx(0.95) and found.repetitions[0].counts["pairs"] == 20


# --- .bin --------------------------------------------------------------------------------------


def write_bin(path: Path, pairs: int = 20, protocol: int = 4) -> list[bytes]:
    images = [encoded(level) for level in range(2 * pairs)]
    path.write_bytes(pickle.dumps((images, [pair % 2 == 0 for pair in range(pairs)]), protocol))
    return images


def python2(images: list[bytes], same: list[bool]) -> bytes:
    """What cPickle of Python 2 wrote by protocol 2: byte strings as BINSTRING."""
    items = b"".join(b"T" + struct.pack("<i", len(image)) + image for image in images)
    flags = b"".join(b"\x88" if flag else b"\x89" for flag in same)
    return b"\x80\x02](" + items + b"e](" + flags + b"e\x86."


@pytest.mark.parametrize("name", ["lfw", "calfw", "cplfw", "cfp_fp", "agedb_30"])
def test_a_bin_runs_from_file_to_accuracy(tmp_path: Path, name: str) -> None:
    write_bin(tmp_path / f"{name}.bin")
    manifest = readers.read(f"{name}_bin", tmp_path)
    assert manifest.pairs is not None and len(manifest) == 40 and len(manifest.pairs) == 20
    vectors = np.tile(at(0, 0, 0, 180), (10, 1))
    assert run_protocol(f"{name}.bin", vectors, manifest).mean["accuracy"] == 1
    vectors[3] = vectors[2]  # an impostor pair of fold 1 that looks alike: half of fold 1 is wrong
    found = run_protocol(f"{name}.bin", vectors, manifest)
    assert found.mean["accuracy"] == pytest.approx(0.95) and found.std["accuracy"] == pytest.approx(0.15)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_images_in_a_bin_are_read_in_place(tmp_path: Path, protocol: int) -> None:
    images = write_bin(tmp_path / "lfw.bin", protocol=protocol)
    manifest = readers.read("lfw_bin", tmp_path)
    for place in (0, 1, 39):
        expected = np.asarray(Image.open(io.BytesIO(images[place])))
        assert (read_image(manifest.paths[place]) == expected).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lfw.bin"]


def test_a_bin_of_python_2_and_one_with_numpy_truth_values_are_read(tmp_path: Path) -> None:
    images = [encoded(level) for level in range(4)]
    assert parse(python2(images, [True, False]), "x").same == (True, False)
    for protocol in (3, 4):
        raw = pickle.dumps((images, [np.bool_(True), np.bool_(False)]), protocol)
        found = parse(raw, "x")
        assert found.same == (True, False)
        assert [raw[start : start + length] for start, length in found.spans] == images
    assert parse(pickle.dumps((images, [1, 0]), 4), "x").same == (True, False)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bin_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    for content in (Evil(mark), ([Evil(mark), encoded()], [True]), ([encoded(), encoded()], [Evil(mark)])):
        (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DataError, match="refused to read|cannot read"):
            readers.read("lfw_bin", tmp_path)
        with pytest.raises((DataError, ImageError)):
            read_image(tmp_path / "lfw.bin" / "000000")
    assert not mark.exists()


def test_the_refusal_names_what_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(Evil(tmp_path / "ran"), 4))
    with pytest.raises(DataError, match=r"names (posix|nt)\.system"):
        readers.read("lfw_bin", tmp_path)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"no pickle at all", "cannot read"),
        (pickle.dumps(([encoded()] * 2, [True]), 4)[:-40], "cannot read"),
        (pickle.dumps(([encoded()] * 3, [True]), 4), "two a pair"),
        (pickle.dumps(([encoded()] * 2, ["yes"]), 4), "truth values"),
        (pickle.dumps((["text"] * 2, [True]), 4), "encoded images"),
        (pickle.dumps({"images": []}, 4), "EMPTY_DICT"),
        (pickle.dumps([encoded()], 4), "pair of lists"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "cannot read"),
        (b"\x80\x04ee.", "cannot read"),
        (b"\x80\x04h\x05.", "cannot read"),
    ],
)
def test_a_damaged_or_foreign_bin_is_one_clear_error(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "lfw.bin").write_bytes(raw)
    with pytest.raises(DataError, match=words):
        readers.read("lfw_bin", tmp_path)


def test_an_image_beyond_the_end_of_a_bin_is_missing(tmp_path: Path) -> None:
    write_bin(tmp_path / "lfw.bin")
    with pytest.raises(MissingFile, match="it holds 40"):
        read_image(tmp_path / "lfw.bin" / "000040")


def test_an_unreadable_image_in_a_bin_is_listed(tmp_path: Path) -> None:
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([encoded(), b"no picture"], [True]), 4))
    assert [item.split(":")[0] for item in readers.check("lfw_bin", tmp_path).unreadable] == ["lfw.bin/000001"]


# --- IJB ---------------------------------------------------------------------------------------

IJB_IMAGES = {  # name: (template, media, score, embedding)
    "1.jpg": ("1", "1", 1.0, (2, 0)),
    "2.jpg": ("1", "1", 1.0, (0, 2)),
    "3.jpg": ("1", "2", 0.5, (2, 0)),
    "4.jpg": ("2", "3", 1.0, (0, 1)),
    "5.jpg": ("3", "4", 1.0, (1, 0)),
    "6.jpg": ("4", "5", 1.0, (3, 0)),
    "7.jpg": ("5", "6", 1.0, (1, 0)),
    "8.jpg": ("6", "7", 1.0, (0.5, 0.75**0.5)),
}


@pytest.fixture
def ijbc(tmp_path: Path) -> Path:
    meta = tmp_path / "meta"
    meta.mkdir()
    put(tmp_path, *(f"loose_crop/{name}" for name in IJB_IMAGES))
    points = " ".join(f"{number}.5" for number in range(10))
    (meta / "ijbc_face_tid_mid.txt").write_text(
        "".join(f"{name} {template} {media}\n" for name, (template, media, _, _) in IJB_IMAGES.items())
    )
    (meta / "ijbc_name_5pts_score.txt").write_text(
        "".join(f"{name} {points} {score}\n" for name, (_, _, score, _) in IJB_IMAGES.items())
    )
    (meta / "ijbc_template_pair_label.txt").write_text("1 2 1\n3 4 1\n5 6 0\n2 3 0\n")
    (meta / "ijbc_1N_gallery_G1.csv").write_text("template,subject\n1,70\n")
    (meta / "ijbc_1N_gallery_G2.csv").write_text("template,subject\n3,71\n")
    (meta / "ijbc_1N_probe_mixed.csv").write_text("template,subject\n2,70\n4,71\n")
    return tmp_path


def test_ijb_templates_average_media_before_images(ijbc: Path) -> None:
    manifest = readers.read("ijbc", ijbc)
    vectors = table(manifest, {name: facts[3] for name, facts in IJB_IMAGES.items()})
    found = run_protocol("ijbc.1v1", vectors, manifest)
    # Template 1 is ((1, 1) + (1, 0)) / 2: cosine 0.447 with template 2. A mean of images would give 0.555 and
    # pass the impostor pair 5-6 at 0.5. Genuine 0.447 and 1 against impostor 0.5 and 0: three of four in order.
    assert found.mean["auc"] == pytest.approx(3 / 4)
    assert (found.repetitions[0].counts["genuine"], found.repetitions[0].counts["impostor"]) == (2, 2)
    assert found.mean["tar@1e-4"] is None


def test_ijb_b_is_read_alike(ijbc: Path) -> None:
    for file in (ijbc / "meta").iterdir():
        file.rename(file.with_name(file.name.replace("ijbc", "ijbb")))
    manifest = readers.read("ijbb", ijbc)
    vectors = table(manifest, {name: facts[3] for name, facts in IJB_IMAGES.items()})
    for protocol in ("ijbb.1v1", "ijbb.1v1.normalised"):
        assert run_protocol(protocol, vectors, manifest).mean["auc"] == pytest.approx(3 / 4)
    manifest = readers.read("ijbb", ijbc, task="1:N")
    vectors = table(manifest, {name: facts[3] for name, facts in IJB_IMAGES.items()})
    assert run_protocol("ijbb.1vN.closed", vectors, manifest).mean["rank1"] == 1


def test_ijb_rows_carry_media_landmarks_and_score(ijbc: Path) -> None:
    row = readers.read("ijbc", ijbc).rows[2]
    assert (row.template, row.media, row.quality) == ("1", "2", 0.5)
    assert row.landmarks is not None and row.landmarks[1] == (2.5, 3.5) and len(row.landmarks) == 5
    assert row.subject == "t1"


def test_ijb_identification_of_the_union_and_of_each_gallery(ijbc: Path) -> None:
    manifest = readers.read("ijbc", ijbc, task="1:N")
    vectors = table(manifest, {name: facts[3] for name, facts in IJB_IMAGES.items()})
    # Probe 2 (0, 1): 0.447 with its mate, 0 with the other; probe 4 (1, 0): 1 with its mate.
    assert run_protocol("ijbc.1vN.closed", vectors, manifest).mean["rank1"] == 1
    open_set = run_protocol("ijbc.1vN.g1", vectors, manifest)
    counts = open_set.repetitions[0].counts
    assert (counts["mated probes"], counts["unmated probes"]) == (1, 1)
    assert open_set.mean["tpir1@0.01"] is None  # one stranger cannot show it


def test_ijb_counts_are_compared_with_the_published_ones(ijbc: Path) -> None:
    assert readers.check("ijbc", ijbc).differences["impostor pairs"] == (2, 15638932)
    assert readers.check("ijbc", ijbc, task="1:N").differences["gallery 1 templates"] == (1, 1772)
    with pytest.raises(OptionError, match="1:1, 1:N"):
        readers.read("ijbc", ijbc, task="2:1")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("ijbc_template_pair_label.txt", "1 2 1\n1 2 0\n", "impostor pair and"),
        ("ijbc_template_pair_label.txt", "1 2 one\n", "whole numbers"),
        ("ijbc_template_pair_label.txt", "1 2\n", "lines of 3"),
        ("ijbc_template_pair_label.txt", "1 2 1\n1 99 0\n", "such as 99"),
        ("ijbc_template_pair_label.txt", "1 2 7\n", "label 7"),
        ("ijbc_face_tid_mid.txt", "1.jpg 1\n", "line 1"),
        ("ijbc_face_tid_mid.txt", "9.jpg 1 1\n", "9.jpg"),
        ("ijbc_name_5pts_score.txt", "1.jpg 1 2\n", "line 1"),
    ],
)
def test_faulty_lists_of_ijb_are_told(ijbc: Path, file: str, text: str, words: str) -> None:
    (ijbc / "meta" / file).write_text(text)
    with pytest.raises(DataError, match=words):
        readers.read("ijbc", ijbc)


def test_groups_follow_from_genuine_pairs() -> None:
    assert components([(1, 2), (3, 4), (4, 1), (8, 9)]) == {1: 1, 2: 1, 3: 1, 4: 1, 8: 8, 9: 8}


# --- TinyFace ----------------------------------------------------------------------------------

TINY = {
    "Probe": {"1_1": 0, "2_1": 118},
    "Gallery_Match": {"1_2": 10, "1_3": 20, "2_2": 120},
    "Gallery_Distractor": {"x1": 5, "x2": 200},
}


@pytest.fixture
def tinyface(tmp_path: Path) -> Path:
    for folder, files in TINY.items():
        put(tmp_path, *(f"Testing_Set/{folder}/{stem}.jpg" for stem in files))
        put(tmp_path, *(f"aligned_pad_0.1_pad_high/{folder}/{stem}.png" for stem in files))
    for folder, file, word in (
        ("Gallery_Match", "gallery_match_img_ID_pairs.mat", "gallery"),
        ("Probe", "probe_img_ID_pairs.mat", "probe"),
    ):
        cells = np.array([[f"{stem}.jpg"] for stem in TINY[folder]], object)
        numbers = np.array([[float(stem[0])] for stem in TINY[folder]])
        mat.save(tmp_path / "Testing_Set" / file, {f"{word}_set": cells, f"{word}_ids": numbers})
    return tmp_path


@pytest.mark.parametrize("protocol", ["tinyface", "tinyface.aligned"])
def test_tinyface_ranks_and_precision_by_hand(tinyface: Path, protocol: str) -> None:
    manifest = readers.read("tinyface", tinyface, **load(protocol).options)
    angles = {stem: angle for files in TINY.values() for stem, angle in files.items()}
    vectors = np.concatenate([at(angles[Path(row.path).stem]) for row in manifest.rows])
    found = run_protocol(protocol, vectors, manifest)
    # Probe 1: a distractor first, its mates second and third: AP (1/2 + 2/3) / 2. Probe 2: its mate first.
    assert (found.mean["rank1"], found.mean["rank5"]) == (0.5, 1)
    assert found.mean["map"] == pytest.approx((7 / 12 + 1) / 2)
    assert found.repetitions[0].counts["gallery images"] == 5


def test_distractors_of_tinyface_are_nobody(tinyface: Path) -> None:
    rows = readers.read("tinyface", tinyface).rows
    assert {row.subject for row in rows if row.role == "distractor"} == {"-100"}


def test_equal_names_and_wrong_numbers_in_tinyface_are_faults(tinyface: Path) -> None:
    put(tinyface, "Testing_Set/Gallery_Distractor/1_1.jpg")
    mat.save(
        tinyface / "Testing_Set/gallery_match_img_ID_pairs.mat",
        {"gallery_set": np.array([["1_2.jpg"], ["2_9.jpg"]], object), "gallery_ids": np.array([[3.0], [2.0]])},
    )
    found = readers.check("tinyface", tinyface)
    assert any("same name" in fault for fault in found.faults)
    assert any("1_2.jpg is listed as subject 3" in fault for fault in found.faults)
    assert len(found.missing) == 1 and "2_9.jpg" in found.missing[0]
    assert found.differences["distractor images"] == (3, 153428)


# --- SCface ------------------------------------------------------------------------------------


@pytest.fixture
def scface(tmp_path: Path) -> Path:
    for who in ("044", "045", "088", "089"):
        put(tmp_path, f"mugshot_frontal_cropped_all/{who}_frontal.jpg", f"surveillance_cameras_IR_cam8/{who}_cam8.jpg")
        for distance in "123":
            top = f"surveillance_cameras_distance_{distance}"
            put(tmp_path, *(f"{top}/cam_{camera}/{who}_cam{camera}_{distance}.jpg" for camera in range(1, 8)))
    rows = [f"{who}\t1.1.1980\t{sex}\t0\t0\t1" for who, sex in ((44, 0), (45, 1), (88, 0), (89, 1))]
    (tmp_path / "features.txt").write_text("header\n" * 10 + "\n".join(rows) + "\n")
    return tmp_path


def scface_vectors(manifest: Manifest) -> npt.NDArray[np.float64]:
    """Subject 88 at 0 degrees, 89 at 90; at 4.20 m camera 1 sees 88 at 80 degrees, and infrared is off by 60."""
    vectors = []
    for row in manifest.rows:
        angle = {"044": 0.0, "045": 90.0, "088": 0.0, "089": 90.0}[row.subject]
        if row.subject == "088" and row.camera == "cam1" and row.distance == "4.20m":
            angle = 80
        if row.subject == "089" and row.camera in ("cam6", "cam7"):
            angle = 30
        vectors.append(at(angle)[0])
    return np.array(vectors)


@pytest.mark.parametrize(
    ("protocol", "rank1", "probes"),
    [
        ("scface.close.eval", 1.0, 10),
        ("scface.medium.eval", 1.0, 10),
        ("scface.far.eval", 0.9, 10),
        ("scface.combined.eval", 29 / 30, 30),
        ("scface.far.dev", 1.0, 10),
        ("scface.ir.eval", 0.5, 12),
        ("scface.d1", 0.9, 10),
        ("scface.d3", 1.0, 10),
    ],
)
def test_scface_by_distance(scface: Path, protocol: str, rank1: float, probes: int) -> None:
    options = load(protocol).options | ({"train_ids": "1-87"} if "scface.d" in protocol else {})
    manifest = readers.read("scface", scface, **options)
    found = run_protocol(protocol, scface_vectors(manifest), manifest)
    assert found.mean["rank1"] == pytest.approx(rank1)
    assert found.repetitions[0].counts["mated probes"] == probes


def test_label_1_of_scface_is_the_farthest_and_infrared_cameras_are_told_apart(scface: Path) -> None:
    rows = {Path(row.path).name: row for row in readers.read("scface", scface).rows}
    assert [rows[f"088_cam2_{label}.jpg"].distance for label in "123"] == ["4.20m", "2.60m", "1.00m"]
    assert [rows[f"088_cam{camera}_1.jpg"].spectrum for camera in (5, 6, 7)] == ["VIS", "NIR", "NIR"]
    assert rows["088_cam8.jpg"].spectrum == "NIR" and rows["088_frontal.jpg"].distance is None
    assert rows["089_frontal.jpg"].group == "gender=f beard=no moustache=no glasses=yes"
    assert (rows["044_frontal.jpg"].split, rows["088_frontal.jpg"].split) == ("dev", "eval")


def test_strange_names_and_folders_in_scface_are_faults(scface: Path) -> None:
    put(scface, "surveillance_cameras_distance_1/cam_1/088_cam1_2.jpg", "mugshot_frontal_cropped_all/holiday.jpg")
    found = readers.check("scface", scface)
    assert any("different distances" in fault for fault in found.faults)
    assert any("holiday.jpg" in fault for fault in found.faults)
    assert found.differences["subjects"] == (4, 130)


# --- QMUL-SurvFace -----------------------------------------------------------------------------


@pytest.fixture
def survface(tmp_path: Path) -> Path:
    top = tmp_path / "Face_Identification_Test_Set"
    listed = {"gallery": {"g1.jpg": 1, "g2.jpg": 1, "g3.jpg": 2}, "mated_probe": {"m1.jpg": 1, "m2.jpg": 2}}
    for folder, files in listed.items():
        put(top, *(f"{folder}/{name}" for name in files))
        mat.save(
            top / f"{folder}_img_ID_pairs.mat",
            {
                f"{folder}_set": np.array([[name] for name in files], object),
                f"{folder}_ids": np.array([[float(number)] for number in files.values()]),
            },
        )
    put(top, *(f"unmated_probe/u{number}.jpg" for number in range(10)))
    low = tmp_path / "Face_Verification_Test_Set"
    put(low, *(f"verification_images/{name}.jpg" for name in "abcd"))
    mat.save(
        low / "positive_pairs_names.mat",
        {"positive_pairs_names": np.array([["a.jpg", "b.jpg"], ["c.jpg", "d.jpg"]], object)},
    )
    mat.save(low / "negative_pairs_names.mat", {"negative_pairs_names": np.array([["a.jpg", "c.jpg"]], object)})
    return tmp_path


def test_survface_open_set_by_hand(survface: Path) -> None:
    manifest = readers.read("qmul_survface", survface)
    # Subject 1 at 0 degrees (mean of +-10), subject 2 at 180. Strangers: cosine 0.94, 0.87, then 0.
    angles = {"g1.jpg": 10, "g2.jpg": -10, "g3.jpg": 180, "m1.jpg": 25, "m2.jpg": 185}
    angles |= {f"u{number}.jpg": 90 for number in range(10)} | {"u0.jpg": 20, "u1.jpg": -30}
    vectors = np.concatenate([at(angles[Path(row.path).name]) for row in manifest.rows])
    found = run_protocol("qmul_survface.open", vectors, manifest)
    # Mates: cos 25 = 0.906 and cos 5 = 0.996. One alarm allowed of ten: the threshold lies above 0.866, both pass;
    # none allowed at 0.01 cannot be shown by ten strangers.
    assert found.mean["tpir20@0.1"] == 1 and found.mean["tpir20@0.01"] is None
    angles["u1.jpg"] = -23  # now two strangers stand above the first mate
    vectors = np.concatenate([at(angles[Path(row.path).name]) for row in manifest.rows])
    found = run_protocol("qmul_survface.open", vectors, manifest)
    assert (found.mean["tpir20@0.1"], found.mean["tpir20@0.2"]) == (0.5, 1)
    # The one mate stands above all ten strangers, the other above eight.
    assert found.mean["tpir_auc20"] == pytest.approx(0.9) and "tpir_auc20" in found.intervals
    assert found.repetitions[0].counts["unmated probes"] == 10


def test_survface_verification_by_hand(survface: Path) -> None:
    manifest = readers.read("qmul_survface", survface, task="verification")
    vectors = table(manifest, {"a.jpg": (1, 0), "b.jpg": (1, 0), "c.jpg": (0.6, 0.8), "d.jpg": (-0.8, 0.6)})
    found = run_protocol("qmul_survface.verification", vectors, manifest)
    assert found.mean["auc"] == pytest.approx(0.5)  # genuine 1 and 0 against impostor 0.6
    assert [row.subject for row in manifest.rows] == ["of a.jpg", "of a.jpg", "of c.jpg", "of c.jpg"]


def test_survface_faults_are_told(survface: Path) -> None:
    (survface / "Face_Identification_Test_Set/gallery/g2.jpg").unlink()
    assert "g2.jpg" in readers.check("qmul_survface", survface).missing[0]
    low = survface / "Face_Verification_Test_Set"
    mat.save(low / "negative_pairs_names.mat", {"n": np.array([["a.jpg", "b.jpg"]], object)})
    with pytest.raises(DataError, match="a negative pair and"):
        readers.read("qmul_survface", survface, task="verification")
    with pytest.raises(OptionError, match="identification, verification"):
        readers.read("qmul_survface", survface, task="tracking")


# --- UCCS --------------------------------------------------------------------------------------

POINTS = ",".join(f"{name}_{axis}" for name in ("REYE", "LEYE", "NOSE", "RMOUTH", "LMOUTH") for axis in "XY")


@pytest.fixture
def uccs(tmp_path: Path) -> Path:
    put(tmp_path, *(f"gallery_images/{who:04d}/{who}_{shot}.png" for who in (1, 2) for shot in range(2)))
    put(tmp_path, "validation_images/p1.jpg", "validation_images/p2.jpg")
    marks = ",".join(str(number) for number in range(10))
    (tmp_path / "gallery.csv").write_text(
        f"FILE,SUBJECT_ID,{POINTS}\n"
        + "".join(f"{who}_{shot}.png,{who},{marks}\n" for who in (1, 2) for shot in range(2))
    )
    faces = ["p1.jpg,1,1,0,0,3,4", "p1.jpg,2,2,3,0,3,4"]
    faces += [f"p2.jpg,{3 + number},-1,{number % 3},{number % 4},2,2" for number in range(10)]
    (tmp_path / "validation.csv").write_text(
        "FILE,FACE_ID,SUBJECT_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n" + "\n".join(faces) + "\n"
    )
    return tmp_path


def test_uccs_open_set_by_hand(uccs: Path) -> None:
    manifest = readers.read("uccs", uccs)
    angles = {"1": 0.0, "2": 180.0}
    strangers = iter([20.0, 50.0, *[90.0] * 8])
    vectors = np.concatenate(
        [
            at(
                next(strangers)
                if row.subject == "unknown"
                else angles[row.subject] + (30 if row.role == "probe" else 0)
            )
            for row in manifest.rows
        ]
    )
    found = run_protocol("uccs.identification", vectors, manifest)
    assert (
        found.mean["tpir1@0.1"] == 1 and found.mean["rank1"] == 1
    )  # both at cos 30, one stranger above, the next below
    counts = found.repetitions[0].counts
    assert (counts["mated probes"], counts["unmated probes"]) == (2, 10)


def test_uccs_rows_carry_boxes_and_landmarks(uccs: Path) -> None:
    rows = readers.read("uccs", uccs).rows
    assert rows[0].landmarks == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
    assert rows[5].box == (3, 0, 3, 4) and rows[5].media == "2"


def test_uccs_faults_are_told(uccs: Path) -> None:
    with open(uccs / "validation.csv", "a") as file:
        file.write("p1.jpg,90,77,0,0,3,3\np1.jpg,91,1,0,0,0,3\np1.jpg,92,1,x,0,3,3\np9.jpg,93,1,0,0,3,3\n")
    found = readers.check("uccs", uccs)
    for words in ("subject 77 is not in the gallery", "no area", "no number"):
        assert any(words in fault for fault in found.faults)
    assert "p9.jpg" in found.missing[0]


def test_a_manifest_of_a_bin_survives_a_csv_and_evaluation_of_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = [rng.integers(0, 255, (8, 8), np.uint8) for _ in range(30)]
    images = []
    for pair in range(20):
        for who in (pair, pair if pair % 2 == 0 else pair + 10):
            out = io.BytesIO()
            Image.fromarray(people[who]).save(out, "png")
            images.append(out.getvalue())
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, [pair % 2 == 0 for pair in range(20)]), 4))
    manifest = readers.read("lfw_bin", tmp_path)
    again = Manifest.read(manifest.write_csv(tmp_path / "deep" / "list.csv"))
    assert len(again) == 40 and (read_image(again.paths[7]) == read_image(manifest.paths[7])).all()
    found = run_protocol("lfw.bin", "pixels", tmp_path, details=True)
    assert found.mean["accuracy"] == 1 and found.details is not None and found.details.images_sha256


def test_equal_embeddings_find_nobody_in_tinyface(tinyface: Path) -> None:
    # The public scripts sort unstably and backwards, so that ties there may be hits.
    manifest = readers.read("tinyface", tinyface)
    assert run_protocol("tinyface", np.ones((len(manifest), 2)), manifest).mean["rank1"] == 0


def seen_again(uccs: Path) -> None:
    """Add five faces of each subject, which a closed set can divide."""
    put(uccs, *(f"validation_images/r{number}.jpg" for number in range(10)))
    with open(uccs / "validation.csv", "a") as file:
        file.writelines(f"r{number}.jpg,{100 + number},{1 + number % 2},0,0,3,4\n" for number in range(10))


def test_the_closed_set_divides_each_subject_without_a_common_image(uccs: Path) -> None:
    seen_again(uccs)
    manifest = readers.read("uccs", uccs)
    plan = load("uccs.closed")
    assert plan.gallery is not None and plan.probe is not None
    known = {place for place, row in enumerate(manifest.rows) if row.role == "probe" and row.subject != "unknown"}
    draws = []
    for repetition in range(3):
        gallery, probe = (set(chosen(manifest, side, repetition)) for side in (plan.gallery, plan.probe))
        # Six faces of each subject: round(0.7 * 6) = 4 known, 2 asked for.
        assert gallery | probe == known and not gallery & probe and (len(gallery), len(probe)) == (8, 4)
        draws.append(tuple(sorted(gallery)))
    assert len(set(draws)) > 1
    vectors = np.array([at({"1": 0.0, "2": 90.0}.get(row.subject, 45.0))[0] for row in manifest.rows])
    found = run_protocol("uccs.closed", vectors, manifest)
    assert found.mean["rank1"] == 1 and len(found.repetitions) == 10
    assert found.repetitions[0].counts["mated probes"] == 4


@pytest.mark.parametrize(
    ("sample", "words"), [({"rest": True}, "name the share"), ({"share": 0.5, "count": 2}, "one of the two")]
)
def test_a_draw_that_cannot_be_meant_is_refused(sample: dict[str, Any], words: str) -> None:
    tree = {"protocol": "mine", "title": "t", "source": "s", "gallery": {"sample": sample}, "probe": {}}
    with pytest.raises(EvaluationError, match=words):
        check({**tree, "figures": ["rank1"]}, "mine")


# --- the command for few pixels ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["bridge", "aird"])
@pytest.mark.parametrize(
    ("miniature", "protocol", "figure"),
    [
        ("tinyface", "tinyface", "rank1"),
        ("scface", "scface.d1", "rank1"),
        ("scface", "scface.d2", "rank1"),
        ("scface", "scface.d3", "rank1"),
        ("survface", "qmul_survface.open", "tpir20@0.3"),
        ("uccs", "uccs.closed", "rank1"),
        ("uccs", "uccs.identification", "rank1"),
        ("lfw", "lfw", "accuracy"),
    ],
)
def test_every_set_of_few_pixels_goes_from_its_folder_to_figures_by_one_command(
    method: str,
    miniature: str,
    protocol: str,
    figure: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root: Path = request.getfixturevalue(miniature)
    if protocol == "uccs.closed":
        seen_again(root)
    random = np.random.default_rng(0)
    for file in sorted([*root.rglob("*.jpg"), *root.rglob("*.png")]):  # flat pictures would all look alike
        pixels = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(file)
    words = ["reproduce", method, "--table", "protocols", "--protocol", protocol, "--data", str(root)]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["protocol"]) == (f"lrfr_{method}_16", protocol)
    ours = found["ours"]
    values = [row[figure] for row in ours] if isinstance(ours, list) else [ours["mean"][figure]]
    assert values and all(0 <= value <= 1 for value in values)
    if isinstance(ours, list):
        assert [(row["mode"], row["pairs"]) for row in ours] == [("lr2lr", 8), ("hr2lr", 8)]
