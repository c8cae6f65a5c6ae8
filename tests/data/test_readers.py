"""Readers on miniatures in the exact layout of each data set."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from xzoo import errors
from xzoo.data import readers
from xzoo.data.manifest import Manifest, Row
from xzoo.data.people import layouts
from xzoo.data.readers import mat
from xzoo.data.readers.boxes import assign, overlap
from xzoo.evaluation.protocols import load
from xzoo.evaluation.protocols.runner import chosen
from xzoo.evaluation.protocols.schema import Sample, Selection


def flat(kind, subject, sample, spectrum, size):
    """Draw one grey value: what is in a picture does not matter here."""
    return np.full((*size, 3), (subject * 7 + sample) % 256, np.uint8)


def lay(name, folder, subjects=6, **options):
    return layouts.write(name, folder, subjects=subjects, draw=flat, size=(24, 8), progress=False, **options)


def image(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)


# --- the registry and what readers share -------------------------------------------------------


def test_every_reader_can_be_had_and_says_what_it_expects():
    assert len(readers.names()) >= 11
    for name in readers.names():
        reader = readers.get(name)
        assert reader.name == name and reader.title and reader.source and reader.layout


def test_an_unknown_reader_names_the_nearest(tmp_path):
    with pytest.raises(errors.NotFound, match="exists: sysu_mm01"):
        readers.read("sysu_mm02", tmp_path)


def test_an_unknown_option_names_those_there_are(tmp_path):
    with pytest.raises(errors.OptionError, match="option 'list'.*\n.*\n.*exists: lists"):
        readers.read("llcm", tmp_path, list="idx")


def test_a_missing_root_is_one_clear_error(tmp_path):
    with pytest.raises(errors.MissingFile, match="no folder"):
        readers.read("llcm", tmp_path / "nowhere")


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(errors.MissingFile, match="no file 'idx/train_vis.txt'"):
        readers.read("llcm", tmp_path)


def test_reading_tells_all_missing_images_at_once_and_checking_tells_the_rest(tmp_path):
    root = lay("llcm", tmp_path / "llcm", cameras=2)
    (root / "vis/0001/0001_c1_s1_f100_vis.jpg").unlink()
    (root / "nir/0002/0002_c2_s2_f201_nir.jpg").unlink()
    (root / "test_vis/cam1/0005/0005_c1_s1_f100_vis.jpg").write_bytes(b"not an image")
    with pytest.raises(errors.DataError) as told:
        readers.read("llcm", root)
    assert "2 faults" in str(told.value)
    assert "vis/0001/0001_c1_s1_f100_vis.jpg (idx/train_vis.txt line 1)" in str(told.value)
    found = readers.check("llcm", root)
    assert not found.ok and len(found.missing) == 2
    assert [line.split(":")[0] for line in found.unreadable] == ["test_vis/cam1/0005/0005_c1_s1_f100_vis.jpg"]
    assert found.differences["train subjects"] == (4, 713) and "cameras" in found.differences
    assert "published: 46767" in str(found) and found.to_dict()["ok"] is False


def test_a_deep_check_decodes_what_a_header_does_not_show(tmp_path):
    root = lay("regdb", tmp_path / "regdb", subjects=2, samples=1, trials=1)
    broken = root / "Visible/1/male_front_v_00000_1.bmp"
    broken.write_bytes(broken.read_bytes()[:-100])
    assert readers.check("regdb", root, trials=1).unreadable == ()
    assert "Visible/1" in readers.check("regdb", root, trials=1, deep=True).unreadable[0]


def test_readers_write_no_file(tmp_path):
    root = lay("llcm", tmp_path / "llcm", cameras=1)
    before = sorted(root.rglob("*"))
    readers.read("llcm", root)
    readers.check("llcm", root)
    assert sorted(root.rglob("*")) == before


def test_a_manifest_of_a_reader_can_be_written_and_read_again(tmp_path):
    root = lay("ijb_mdf", tmp_path / "mdf", subjects=4, frames=1)
    first = readers.read("ijb_mdf", root)
    again = Manifest.read(first.write_csv(root / "manifest.csv"))
    assert again.rows == first.rows and again.hash == first.hash


# --- the draw of galleries ---------------------------------------------------------------------

LENGTHS = (5, 7, 3, 10, 1, 2, 20)
DRAWN = {0: [3, 6, 1, 0, 0, 1, 12], 1: [1, 4, 0, 4, 0, 1, 14], 2: [0, 0, 0, 5, 0, 1, 8]}


@pytest.mark.parametrize("trial", DRAWN)
def test_the_seeded_draw_picks_the_published_indices(trial):
    cells = [(f"{subject:04d}", number) for subject, length in enumerate(LENGTHS) for number in range(length)]
    random.Random(5).shuffle(cells)  # the order of rows must not matter
    rows = tuple(Row(f"{s}/{n:04d}.jpg", s, "VIS", camera="1", index=i) for i, (s, n) in enumerate(cells))
    places = chosen(Manifest(rows, "."), Selection(sample=Sample()), trial)
    assert [int(rows[place].path[-8:-4]) for place in places] == DRAWN[trial]


def plain_gallery(root, cameras, ids, trial):
    """Walk the folders as the public scripts do: subjects, then cameras, one ``random.choice`` each."""
    random.seed(trial)
    drawn = []
    for subject in sorted(ids):
        for camera in cameras:
            folder = root / camera / subject
            if folder.is_dir():
                drawn.append(random.choice(sorted(f"{camera}/{subject}/{file.name}" for file in folder.iterdir())))
    return drawn


@pytest.mark.parametrize("spectrum", ["vis", "nir"])
def test_galleries_of_llcm_a_are_those_of_a_plain_walk(tmp_path, spectrum):
    root = lay("llcm", tmp_path / "cam7" / "llcm", subjects=9, test=8, samples=5, cameras=3)
    for file in sorted(root.glob("test_vis/cam2/000[2-5]/*"))[::3]:
        file.unlink()  # cameras that saw a person less often
    manifest = readers.read("llcm", root)
    ids = [f"{int(word):04d}" for word in (root / "idx/test_id.txt").read_text().split(",")]
    assert len(ids) == 8
    plan = load("llcm.A.i2v" if spectrum == "vis" else "llcm.A.v2i")
    for trial in range(10):
        found = [manifest.rows[place].path for place in chosen(manifest, plan.gallery, trial)]
        assert found == plain_gallery(root, [f"test_{spectrum}/cam{k}" for k in range(1, 10)], ids, trial)


def test_galleries_of_sysu_are_those_of_a_plain_walk_with_cameras_missing(tmp_path):
    root = lay("sysu_mm01", tmp_path / "sysu", subjects=10, test=8, samples=4)
    for file in (root / "cam4/0005").iterdir():
        file.unlink()
    (root / "cam4/0005").rmdir()
    manifest = readers.read("sysu_mm01", root)
    ids = [f"{subject:04d}" for subject in range(3, 11)]
    for mode, cameras in (("all", (1, 2, 4, 5)), ("indoor", (1, 2))):
        plan = load(f"sysu_mm01.agw.{mode}.1")
        for trial in range(10):
            found = [manifest.rows[place].path for place in chosen(manifest, plan.gallery, trial)]
            assert found == plain_gallery(root, [f"cam{k}" for k in cameras], ids, trial)


def test_official_galleries_of_sysu_follow_the_owners_order(tmp_path):
    root = lay("sysu_mm01", tmp_path / "sysu", subjects=6, test=2, samples=12)
    orders = mat.load(root / "exp/rand_perm_cam.mat")["rand_perm_cam"]
    for shots in (1, 10):
        manifest = readers.read("sysu_mm01", root, gallery="official", shots=shots)
        plan = load(f"sysu_mm01.official.all.{shots}")
        for trial in (0, 9):
            found = [manifest.rows[place].path for place in chosen(manifest, plan.gallery, trial)]
            expected = [
                f"cam{camera}/{subject:04d}/{int(number):04d}.jpg"
                for subject in (5, 6)
                for camera in (1, 2, 4, 5)
                for number in orders[camera - 1, 0][subject - 1, 0][trial][:shots]
            ]
            assert found == expected and len(found) == 8 * shots


# --- LLCM --------------------------------------------------------------------------------------


def test_the_lists_and_the_tree_of_llcm_hold_the_same_people(tmp_path):
    root = lay("llcm", tmp_path / "llcm", cameras=4)
    tree, listed = readers.read("llcm", root), readers.read("llcm", root, lists="idx")
    assert len(tree) == len(listed) == 6 * (4 + 3) * 2
    assert {row.path.split("/")[0] for row in tree.select(split="test").rows} == {"test_vis", "test_nir"}
    assert {row.path.split("/")[0] for row in listed.select(split="test").rows} == {"vis", "nir"}
    for manifest in (tree, listed):
        assert {row.camera for row in manifest.rows} == {"1", "2", "3", "4"}
        assert {row.camera for row in manifest.select(spectrum="NIR").rows} == {"1", "2", "4"}
        assert manifest.select(split="test").subjects == ("0005", "0006")


def test_lists_of_protocol_d_are_read_with_and_without_cameras(tmp_path):
    root = lay("llcm", tmp_path / "llcm", cameras=1)
    (root / "query_v2.txt").write_text("vis/0005/0005_c1_s1_f100_vis.jpg 5 1\n")
    (root / "gallery_v2.txt").write_text("nir/0005/0005_c1_s1_f100_nir.jpg 5\nnir/0006/0006_c1_s1_f100_nir.jpg 6\n")
    rows = [row for row in readers.read("llcm", root, lists="v2").rows if row.split == "test"]
    assert [(row.role, row.subject, row.spectrum, row.camera) for row in rows] == [
        ("gallery", "5", "NIR", None),
        ("gallery", "6", "NIR", None),
        ("probe", "5", "VIS", "1"),
    ]


def test_faults_in_lists_of_llcm_are_told_with_their_lines(tmp_path):
    root = lay("llcm", tmp_path / "llcm", cameras=1, samples=2)
    lines = (root / "idx/train_vis.txt").read_text().splitlines()
    lines[1] = lines[1].rpartition(" ")[0] + " 9"
    (root / "idx/train_vis.txt").write_text("\n".join([*lines, "nonsense"]))
    (root / "idx/test_id.txt").write_text("5,6,77,x\n")
    found = readers.check("llcm", root)
    assert [fault.split(":")[0] for fault in found.faults] == [
        "idx/train_vis.txt line 2",
        "idx/train_vis.txt line 9",
        "idx/test_id.txt line 1",
    ]
    assert found.missing == ("test images of subject 0077 (idx/test_id.txt)",)


# --- RegDB -------------------------------------------------------------------------------------


def test_each_trial_of_regdb_divides_all_people_into_two_halves(tmp_path):
    root = lay("regdb", tmp_path / "regdb", subjects=6, samples=2)
    manifest = readers.read("regdb", root)
    assert len(manifest) == 10 * 6 * 2 * 2 and readers.core.count(manifest, "images") == 24
    for trial in map(str, range(1, 11)):
        sides = {split: set() for split in ("train", "test")}
        for row in manifest.rows:
            if row.fold == trial:
                sides[row.split].add(row.subject)
        assert len(sides["train"]) == len(sides["test"]) == 3 and not sides["train"] & sides["test"]


def test_a_label_that_means_two_folders_of_regdb_is_a_fault_unless_labels_count(tmp_path):
    root = lay("regdb", tmp_path / "regdb", subjects=4, samples=1, trials=1)
    lines = (root / "idx/test_thermal_1.txt").read_text().splitlines()
    swapped = [f"{lines[1 - place].split()[0]} {place}" for place in range(2)]
    (root / "idx/test_thermal_1.txt").write_text("\n".join(swapped))
    with pytest.raises(errors.DataError, match="label 0 is folder"):
        readers.read("regdb", root, trials=1)
    manifest = readers.read("regdb", root, trials=1, subject="label")
    assert {row.subject for row in manifest.rows} == {"train-1-0", "train-1-1", "test-1-0", "test-1-1"}


# --- boxes and IJB-MDF -------------------------------------------------------------------------

FACE, OTHER = (10, 0, 10, 10), (40, 0, 10, 10)
BOXES = {
    "one face inside": ([(0, 0, 30, 80)], [FACE, OTHER], [0], [""]),
    "nobody": ([(0, 20, 30, 80)], [FACE, OTHER], [None], ["no face"]),
    "no faces at all": ([(0, 0, 30, 80)], [], [None], ["no face"]),
    "under half a face": ([(0, 0, 14, 80)], [FACE], [None], ["no face"]),
    "over half a face": ([(0, 0, 16, 80)], [FACE], [0], [""]),
    "two faces": ([(0, 0, 60, 80)], [FACE, OTHER], [None], ["ambiguous"]),
    "a second face by three quarters is still clear": ([(0, 0, 47, 80)], [FACE, (40, 0, 10, 10)], [0], [""]),
    "one face shared by two bodies": ([(0, 0, 18, 80), (5, 0, 30, 80)], [FACE], [None, 0], ["taken", ""]),
    "the surer of two": ([(0, 0, 30, 80), (5, 0, 30, 80)], [FACE], [None, 0], ["taken", ""]),
    "the smaller of two": ([(0, 0, 30, 80), (5, 0, 20, 80)], [FACE], [None, 0], ["taken", ""]),
}


@pytest.mark.parametrize("case", BOXES)
def test_bodies_are_given_to_faces_by_the_rule(case):
    bodies, faces, given, why = BOXES[case]
    scores = [0.5, 0.9] if case == "the surer of two" else [0.5, 0.5]
    found = assign(bodies, scores[: len(bodies)], faces)
    assert [one.face for one in found] == given and [one.why for one in found] == why


def test_literal_intersection_over_union_never_finds_a_body_ambiguous():
    body = (0, 0, 60, 160)
    assert overlap(body, FACE) == 1.0 and overlap(body, FACE, "iou") == pytest.approx(100 / 9600)
    assert assign([body], [0.5], [FACE, OTHER])[0].why == "ambiguous"
    assert assign([body], [0.5], [FACE, OTHER], rule="iou")[0].face == 0


def test_ijb_mdf_keeps_the_clear_bodies_and_says_how_many_it_left_out(tmp_path):
    root = lay("ijb_mdf", tmp_path / "mdf", subjects=4, frames=3, together=2)
    manifest = readers.read("ijb_mdf", root)
    assert len(manifest) == 4 * 4 * 3
    assert {row.domain for row in manifest.rows} == {"VIS-500m", "SWIR-30m", "MWIR-30m", "LWIR-30m"}
    assert {(row.subject, row.split) for row in manifest.rows} == {
        ("0001", "train"),
        ("0002", "test"),
        ("0003", "train"),
        ("0004", "test"),
    }
    assert {row.box for row in manifest.rows if row.subject in ("0001", "0003")} == {(2, 2, 8, 24)}
    found = readers.check("ijb_mdf", root)
    assert found.notes == tuple(f"8 bodies left out: {why}" for why in ("ambiguous", "no face", "taken"))
    faces = readers.read("ijb_mdf", root, kind="face")
    assert len(faces) == len(manifest) and {row.box[2:] for row in faces.rows} == {(2, 3)}


def test_boxes_outside_their_image_are_told_by_a_check(tmp_path):
    root = lay("ijb_mdf", tmp_path / "mdf", subjects=2, frames=1, crowded=False)
    text = (root / "bodies.csv").read_text().replace("VIS-500m-000,0,2,2,8,24", "VIS-500m-000,0,2,2,8,99")
    (root / "bodies.csv").write_text(text)
    assert "a box ends at" in readers.check("ijb_mdf", root).unreadable[0]


def test_faults_in_tables_are_told_with_their_lines(tmp_path):
    root = lay("ijb_mdf", tmp_path / "mdf", subjects=2, frames=1, crowded=False)
    with (root / "faces.csv").open("a") as file:
        file.write("VIS-500m-000,x,0001,1,1,1,1\nNOWHERE,0,0001,1,1,1,1\nVIS-500m-000,0,0001,1\n")
    (root / "galleries.csv").write_text("SUBJECT,GALLERY\n0001,1\n0002,3\n")
    told = readers.check("ijb_mdf", root).faults
    assert any("gallery '3' is not 1 or 2" in fault for fault in told)
    assert any("'NOWHERE' is not in videos.csv" in fault for fault in told)
    assert any("4 cells, but the header has 7" in fault for fault in told)
    assert any("subject '0002' is in no gallery" in fault for fault in told)
    (root / "videos.csv").write_text("VIDEO,BAND\n")
    with pytest.raises(errors.DataError, match="no column SPECTRUM, DISTANCE"):
        readers.read("ijb_mdf", root)


# --- faces by lists ----------------------------------------------------------------------------


def casia(root, folds=2):
    for fold in range(1, folds + 1):
        lists = {"vis_gallery": [], "nir_probe": [], "vis_train": []}
        for subject in ("10001", "10002", "10003"):
            for stem, band, number in (("vis_gallery", "VIS", 1), ("nir_probe", "NIR", 1), ("nir_probe", "NIR", 2)):
                path = f"s1/{band}/{subject}/{number:03d}.png"
                image(root / path)
                lists[stem].append("s1\\" + path[3:].replace("/", "\\"))
        image(root / "s2/VIS/20001/001.png")
        lists["vis_train"].append("s2\\VIS\\20001\\001.png")
        (root / "protocols").mkdir(exist_ok=True)
        for stem, lines in lists.items():
            (root / f"protocols/{stem}_{fold}.txt").write_text("\r\n".join(lines))
    return root


def test_casia_reads_backslash_lists_fold_by_fold(tmp_path):
    manifest = readers.read("casia_nirvis2", casia(tmp_path), folds=2)
    rows = [row for row in manifest.rows if row.fold == "2"]
    assert [(row.role, row.spectrum, row.subject, row.session) for row in rows][:2] == [
        ("gallery", "VIS", "10001", "s1"),
        ("gallery", "VIS", "10002", "s1"),
    ]
    assert sum(row.role == "probe" for row in rows) == 6 and rows[-1].subject == "20001"
    with pytest.raises(errors.MissingFile, match="vis_gallery_3.txt"):
        readers.read("casia_nirvis2", tmp_path, folds=3)


def two_tables(root, folder="", columns=("REFERENCE_ID", "SPATH"), ending=""):
    names = {"gallery": ("for_models.csv", "vis"), "probe": ("for_probes.csv", "thermal")}
    for role, (file, band) in names.items():
        lines = [",".join(columns)]
        for subject in ("1", "2"):
            for number in (1, 2):
                image(root / f"{band}/{subject}_{number}.png")
                lines.append(f"{subject},{band}/{subject}_{number}{ending}")
        target = root / (folder and f"{folder}/dev/{file}" or {"gallery": "enroll.csv", "probe": "probe.csv"}[role])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines))
    return root


def test_two_tables_make_a_gallery_and_probes_with_or_without_endings(tmp_path):
    for ending in (".png", ""):
        manifest = readers.read("gallery_probe", two_tables(tmp_path, ending=ending), probe_spectrum="MWIR")
        assert [(row.role, row.subject, row.spectrum) for row in manifest.rows[3:5]] == [
            ("gallery", "2", "VIS"),
            ("probe", "1", "MWIR"),
        ]


def test_a_table_without_a_subject_names_the_columns_there_are(tmp_path):
    with pytest.raises(errors.DataError, match="no column that says who.*\n.*exists: WHO, SPATH"):
        readers.read("gallery_probe", two_tables(tmp_path, columns=("WHO", "SPATH")))


def test_mcxface_names_its_bands_by_the_protocol(tmp_path):
    two_tables(tmp_path, "VIS-THERMAL")
    two_tables(tmp_path, "VIS-SWIR")
    assert readers.read("mcxface", tmp_path).spectra == ("VIS", "LWIR")
    assert readers.read("mcxface", tmp_path, protocol="VIS-SWIR").spectra == ("VIS", "SWIR")
    with pytest.raises(errors.OptionError, match="names two channels"):
        readers.read("mcxface", tmp_path, protocol="DEPTH")


def test_a_universal_table_tells_the_band_of_each_probe(tmp_path):
    two_tables(tmp_path, "VIS-UNIVERSAL")
    file = tmp_path / "VIS-UNIVERSAL/dev/for_probes.csv"
    first, *rest = file.read_text().splitlines()
    bands = ["thermal", "NIR", "swir", "sonar"]
    file.write_text(
        "\n".join([first + ",MODALITY", *(f"{line},{band}" for line, band in zip(rest, bands, strict=True))])
    )
    found = readers.check("mcxface", tmp_path, protocol="VIS-UNIVERSAL")
    assert found.faults == (
        "VIS-UNIVERSAL/dev/for_probes.csv line 5: spectrum 'SONAR' is not one of VIS NIR SWIR MWIR LWIR",
    )
    assert (found.counts["SWIR images"], found.counts["LWIR images"]) == (1, 1)


def test_polathermal_has_a_fold_for_each_split(tmp_path):
    for split in (1, 2):
        two_tables(tmp_path, f"VIS-thermal-overall-split{split}")
    manifest = readers.read("polathermal", tmp_path, splits=2)
    assert {row.fold for row in manifest.rows} == {"1", "2"} and len(manifest) == 16


def test_tufts_reads_the_owners_folders_and_those_with_the_sets_inside(tmp_path):
    for folder in ("TD_RGB_E_Set1", "TD_IR_A/TD_IR_A_Set2", "TD_NIR_A_Set1", "TD_LYT_A_Set1", "TD_RGB_A"):
        image(tmp_path / folder / "7" / "picture_1.jpg")
    found = {(row.spectrum, row.camera, row.session, row.subject) for row in readers.read("tufts", tmp_path).rows}
    assert found == {("VIS", "E", "1", "7"), ("LWIR", "A", "2", "7"), ("NIR", "A", "1", "7"), ("VIS", "A", None, "7")}


def test_cufsf_matches_sketches_to_photographs_and_tells_who_has_none(tmp_path):
    for subject in range(1, 5):
        image(tmp_path / f"photo/{subject:05d}fa010_930831.jpg")
        image(tmp_path / f"sketch/{subject:05d}fa010_930831.jpg")
    manifest = readers.read("cufsf", tmp_path, train=1)
    assert manifest.select(split="train").subjects == ("00001",)
    assert [row.role for row in manifest.rows] == ["gallery"] * 4 + ["probe"] * 4
    (tmp_path / "sketch/00004fa010_930831.jpg").unlink()
    assert readers.check("cufsf", tmp_path).missing == ("sketch of subject 00004",)


def test_a_list_of_pairs_numbers_each_image_once(tmp_path):
    for name in "abc":
        image(tmp_path / f"{name}.png")
    (tmp_path / "pairs.csv").write_text("FIRST,SECOND,SAME,FOLD\na.png,b.png,1,1\na.png,c.png,0,2\n")
    manifest = readers.read("pairs_list", tmp_path)
    assert [row.path for row in manifest.rows] == ["a.png", "b.png", "c.png"]
    pairs = manifest.pairs
    assert (pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist()) == ([0, 0], [1, 2], [True, False])
    assert pairs.fold.tolist() == [1, 2]
    (tmp_path / "pairs.csv").write_text("FIRST,SECOND,SAME\na.png,d.png,1\na.png,c.png,maybe\n")
    found = readers.check("pairs_list", tmp_path)
    assert found.missing == ("d.png (pairs.csv line 2)",) and "SAME is 'maybe'" in found.faults[0]


# --- MATLAB files ------------------------------------------------------------------------------


def test_matlab_files_come_back_as_they_were_written(tmp_path):
    given = {
        "numbers": np.arange(6.0).reshape(2, 3),
        "ids": np.array([[1], [400]], np.uint16),
        "names": ["one.jpg", "zwölf.jpg"],
        "deep": [np.array([[1, 2]], np.int32), ["x", np.zeros((0, 0))]],
    }
    found = mat.load(mat.save(tmp_path / "file.mat", given))
    assert found["numbers"].tolist() == given["numbers"].tolist() and found["ids"].dtype == np.uint16
    assert found["names"][:, 0].tolist() == given["names"]
    assert found["deep"][0, 0].tolist() == [[1, 2]] and found["deep"][1, 0][0, 0] == "x"


def test_matlab_files_of_other_writers_are_read(tmp_path):
    def element(kind, content, order=">"):
        return struct.pack(order + "II", kind, len(content)) + content + bytes(-len(content) % 8)

    # Big-endian, compressed, the name in a small element, doubles stored as bytes: all of it is allowed.
    small = struct.pack(">HH", 2, 1) + b"ab\0\0"
    body = (
        element(6, struct.pack(">II", 6, 0))
        + element(5, struct.pack(">ii", 1, 3))
        + small
        + element(2, bytes([1, 2, 3]))
    )
    packed = zlib.compress(element(14, body))
    head = b"MATLAB 5.0".ljust(116) + bytes(8) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "big.mat").write_bytes(head + struct.pack(">II", 15, len(packed)) + packed)
    found = mat.load(tmp_path / "big.mat")["ab"]
    assert found.tolist() == [[1.0, 2.0, 3.0]] and found.dtype == np.float64


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"hello", "no MATLAB 5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5"),
        (mat.dumps({"a": np.ones((3, 3))})[:-20], "it ends too early"),
    ],
    ids=["text", "version 7.3", "cut"],
)
def test_what_is_no_readable_matlab_file_is_said(tmp_path, content, why):
    (tmp_path / "file.mat").write_bytes(content)
    with pytest.raises(errors.DataError, match=why):
        mat.load(tmp_path / "file.mat")
