"""From frames and boxes to people: every way out of the file is counted, and the pixels are those of the box."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xzoo import errors
from xzoo.cli import main
from xzoo.data import readers
from xzoo.data.frames import crop_people, read_boxes
from xzoo.data.manifest import Manifest
from xzoo.data.people import layouts
from xzoo.data.readers.boxes import within

HEAD = "frame,x,y,w,h,score\n"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three frames of 60 x 40 pixels in which every pixel tells its place."""
    folder = tmp_path / "frames"
    for name in ("LWIR-30m/v1/000.png", "LWIR-30m/v1/001.png", "VIS/v2/000.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[:40, :60]
        Image.fromarray((4 * x + y).astype(np.uint8)).save(folder / name)
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "boxes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_bodies_get_the_subject_of_the_face_in_them_and_all_others_are_counted_in_a_line_each(
    frames: Path, tmp_path: Path
) -> None:
    boxes = write(
        tmp_path / "people.csv",
        HEAD
        + "LWIR-30m/v1/000.png,2,1,20,30,0.9\n"  # of ann
        + "LWIR-30m/v1/000.png,-5,5,22,50,0.8\n"  # of her too, and worse; it leaves the frame
        + "LWIR-30m/v1/000.png,30,1,30,50,0.7\n"  # of ben; it leaves the frame below
        + "LWIR-30m/v1/000.png,0,0,60,40,0.6\n"  # around both
        + "LWIR-30m/v1/000.png,22,20,6,10,0.5\n"  # nobody
        + "LWIR-30m/v1/000.png,70,1,20,30,0.9\n"  # beside the frame
        + "LWIR-30m/v1/000.png,2,1,20,30,0.1\n"  # unsure
        + "VIS/v2/000.png,10,5,9,12,\n",  # of ann; its detector tells no score
    )
    faces = write(
        tmp_path / "faces.csv",
        "frame,x,y,w,h,subject,split\n"
        "LWIR-30m/v1/000.png,8,3,8,8,ann,test\nLWIR-30m/v1/000.png,40,3,8,8,ben,train\n"
        "VIS/v2/000.png,12,6,4,4,ann,test\nVIS/v2/000.png,50,6,4,4,ben,train\n",
    )
    found = crop_people(frames, boxes, tmp_path / "out", faces=faces)
    assert (found.people, found.subjects, found.frames) == (3, 2, 3)
    assert set(found.notes) == {
        "1 of 8 boxes left out: their score is below 0.25",
        "1 of 7 boxes left out: two faces or more lie in them",
        "1 of 7 boxes left out: no annotated face lies in them",
        "1 of 7 boxes left out: another body fits the same face better",
        "1 of 7 boxes left out: they lie outside their frame",
        "1 of 4 faces have no body",
        "1 boxes were cut at the edge of their frame",
        "1 of 3 frames have no box",
    }
    manifest = Manifest.read(found.manifest)
    assert [(row.subject, row.domain, row.split, row.media, row.quality) for row in manifest.rows] == [
        ("ann", "LWIR-30m", "test", "LWIR-30m/v1", 0.9),
        ("ben", "LWIR-30m", "train", "LWIR-30m/v1", 0.7),
        ("ann", "VIS", "test", "VIS/v2", None),
    ]
    sizes = []
    for row, (x, y) in zip(manifest.rows, ((2, 1), (30, 1), (10, 5)), strict=True):
        crop = np.asarray(Image.open(manifest.root / row.path))
        sizes.append(crop.shape)
        assert crop[0, 0] == 4 * x + y and crop[3, 2] == 4 * (x + 2) + y + 3
    assert sizes == [(30, 20), (39, 30), (12, 9)]
    told = [(line["left_out"], bool(line["crop"])) for line in table(tmp_path / "out")]
    assert sorted(told) == sorted(
        [("", True)] * 3 + [(why, False) for why in ("taken", "ambiguous", "no face", "outside the frame")]
    )


def test_without_crops_the_manifest_names_frames_and_boxes(frames: Path, tmp_path: Path) -> None:
    boxes = write(tmp_path / "people.csv", "frame,x,y,w,h,subject\nVIS/v2/000.png,-4,5,20,10,ann\n")
    found = crop_people(frames, boxes, tmp_path / "out", crops=False)
    (row,) = Manifest.read(found.manifest).rows
    assert (row.box, row.subject, Path(row.path)) == ((0, 5, 16, 10), "ann", frames / "VIS/v2/000.png")
    assert not (tmp_path / "out/crops").exists()


def test_without_faces_a_folder_names_the_subject_and_several_boxes_of_a_frame_are_left_out(
    frames: Path, tmp_path: Path
) -> None:
    text = HEAD + "LWIR-30m/v1/000.png,2,1,9,9,0.9\nLWIR-30m/v1/000.png,20,1,9,9,0.9\nVIS/v2/000.png,2,1,9,9,0.9\n"
    found = crop_people(frames, write(tmp_path / "people.csv", text), tmp_path / "out")
    assert [(row.subject, row.spectrum) for row in Manifest.read(found.manifest).rows] == [("v2", "VIS")]
    assert "2 of 3 boxes left out: there are several in a frame, and no faces tell them apart" in found.notes


COCO = {
    "images": [{"id": 7, "file_name": "VIS/v2/000.png", "spectrum": "NIR"}, {"id": 8, "file_name": "VIS/v2/9.png"}],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [10, 5, 9, 12], "score": 0.8, "subject": "ann"},
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 50, 30], "score": 0.9},
    ],
}


def test_coco_says_the_same_and_other_categories_are_counted(frames: Path, tmp_path: Path) -> None:
    boxes = write(tmp_path / "people.json", json.dumps(COCO))
    found = crop_people(frames, boxes, tmp_path / "out")
    (row,) = Manifest.read(found.manifest).rows
    assert (row.subject, row.spectrum, row.quality) == ("ann", "NIR", 0.8)
    assert "1 of 2 boxes left out: category car" in found.notes
    results = [{"image_id": "VIS/v2/000.png", "category_id": 1, "bbox": [10, 5, 9, 12], "score": 0.8}]
    (one,) = read_boxes(write(tmp_path / "results.json", json.dumps(results)))
    assert (one.frame, one.box, one.score) == ("VIS/v2/000.png", (10, 5, 9, 12), 0.8)


def test_frames_of_one_name_and_two_endings_keep_their_own_crops_and_their_depth(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    deep = (1000 * np.arange(40, dtype=np.uint16)[:, None] + np.arange(50, dtype=np.uint16)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "a.png")
    Image.new("L", (50, 40), 7).save(folder / "a.bmp")
    boxes = write(tmp_path / "people.csv", "frame,x,y,w,h,subject\na.png,3,2,5,4,ann\na.bmp,3,2,5,4,ann\n")
    found = crop_people(folder, boxes, tmp_path / "out", spectrum="LWIR")
    crops = {
        row.path: np.asarray(Image.open(tmp_path / "out" / row.path)) for row in Manifest.read(found.manifest).rows
    }
    assert len(crops) == 2
    assert (crops["crops/a.png-0.png"] == deep[2:6, 3:8]).all()
    assert (crops["crops/a.bmp-0.png"] == 7).all()


WRONG = {
    "a frame that is not there": (HEAD + "VIS/v2/7.png,1,1,9,9,1\n", "people.csv line 2: no frame 'VIS/v2/7.png'"),
    "a frame outside the folder": (HEAD + "../people.csv,1,1,9,9,1\n", "no frame '../people.csv'"),
    "a number that is none": (HEAD + "VIS/v2/000.png,1,one,9,9,1\n", "line 2: y 'one' is no number"),
    "an endless box": (HEAD + "VIS/v2/000.png,1,1,inf,9,1\n", "not finite"),
    "no area": (HEAD + "VIS/v2/000.png,1,1,0,9,1\n", "no area: w 0"),
    "too few cells": (HEAD + "VIS/v2/000.png,1,1\n", "3 cells, but the header has 6"),
    "no column": ("frame,left,top\n", "line 1 names no column x, y, w, h"),
    "no box at all": (HEAD, "3 of 3 frames have no box"),
    "nothing but weak boxes": (HEAD + "VIS/v2/000.png,1,1,9,9,0.1\n", "1 of 1 boxes left out: their score"),
    "a band that is none": ("frame,x,y,w,h,spectrum\nVIS/v2/000.png,1,1,9,9,UV\n", "'UV' is no band"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_boxes_is_said_with_its_line_and_nothing_is_written(
    case: str, frames: Path, tmp_path: Path
) -> None:
    text, said = WRONG[case]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(errors.XzooError, match=said.replace("(", r"\(").replace(".", r"\.")):
        crop_people(frames, write(tmp_path / "people.csv", text), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "people.csv"])


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"annotations": 3}, "neither an object"),
        ({**COCO, "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "car"}]}, "none of its categories"),
        ([{"image_id": 7, "bbox": [1, 2, 3, 4]}], "image_id 7 is neither"),
        ([{"image_id": "a.png", "bbox": [1, 2, 3]}], "is not .x, y, w, h"),
        ([3], r"results\[0\]: it is no object"),
    ],
)
def test_json_that_is_not_cocos_is_refused(tree: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(errors.DataError, match=said):
        read_boxes(write(tmp_path / "people.json", json.dumps(tree)))


def test_a_subject_or_a_band_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "frames/0.png")
    boxes = write(tmp_path / "people.csv", HEAD + "0.png,1,1,9,9,1\n")
    with pytest.raises(errors.DataError, match="no band is known of '0.png'"):
        crop_people(tmp_path / "frames", boxes, tmp_path / "out")
    with pytest.raises(errors.DataError, match="no subject is known of '0.png'"):
        crop_people(tmp_path / "frames", boxes, tmp_path / "out", spectrum="VIS")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(errors.OptionError, match="already holds something"):
        crop_people(tmp_path / "frames", boxes, tmp_path / "out", spectrum="VIS")


def test_a_box_is_cut_where_its_frame_ends() -> None:
    assert within((-3.4, 2.6, 10, 5), 60, 40) == (0, 3, 7, 5)
    assert within((55, 38, 10, 5), 60, 40) == (55, 38, 5, 2)
    assert within((55, 38, 10, 5)) == (55, 38, 10, 5)  # how large the frame is, nobody has looked
    assert within((-12, 2, 10, 5)) is within((60, 2, 10, 5), 60, 40) is within((2, 40, 10, 5), 60, 40) is None


def flat(kind: str, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), 40 * subject + 10, np.uint8)


def test_the_frames_of_a_known_set_give_the_people_that_its_reader_gives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = layouts.write("ijb_mdf", tmp_path / "mdf", subjects=4, draw=flat, size=(24, 8), progress=False)
    bands = {line.split(",")[0]: line.split(",")[1] for line in (root / "videos.csv").read_text().split()[1:]}
    for name, last in (("bodies", "score"), ("faces", "subject")):
        lines = [f"frame,x,y,w,h,{last},spectrum"]
        for line in (root / f"{name}.csv").read_text().split()[1:]:
            video, frame, *cells = line.split(",")
            if name == "faces":
                cells = [*cells[1:], cells[0]]
            lines.append(",".join([f"{video}/{int(frame):06d}.png", *cells, bands[video]]))
        write(tmp_path / f"{name}.csv", "\n".join(lines) + "\n")
    call = ["data", "boxes", root / "frames", tmp_path / "bodies.csv", tmp_path / "out"]
    assert main([*map(str, call), "--faces", str(tmp_path / "faces.csv")]) == 0
    assert "note: 8 of 72 boxes left out: two faces or more lie in them" in capfd.readouterr().out
    theirs = readers.read("ijb_mdf", root)
    ours = Manifest.read(tmp_path / "out")
    key = ("subject", "spectrum", "media", "quality")
    assert sorted(tuple(getattr(row, name) for name in key) for row in ours.rows) == sorted(
        tuple(getattr(row, name) for name in key) for row in theirs.rows
    )
    for row in ours.rows[::5]:
        assert set(np.unique(np.asarray(Image.open(ours.root / row.path)))) == {40 * (int(row.subject) - 1) + 10}
