"""A manifest is right in every row, or one error lists all that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xzoo.data.manifest import Manifest, Row
from xzoo.errors import DataError, MissingExtra, MissingFile, OptionError

GOOD = """path,subject,spectrum,split
a1.png,ann,VIS,train
a2.png,ann,LWIR,train
b1.png,bob,VIS,test
b2.png,bob,LWIR,test
"""

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight small images, all different."""
    for number, name in enumerate(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2"]):
        Image.new("L", (12, 10), 20 * number).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a manifest beside the images and return its path."""

    def write(text: str | bytes, name: str = "manifest.csv") -> Path:
        file = folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def faults(path: Path, *, deep: bool = False) -> list[str]:
    return list(Manifest.check(path, deep=deep).problems)


def test_a_good_csv_gives_its_rows(write: Write, folder: Path) -> None:
    manifest = Manifest.read(write(GOOD))
    assert manifest.rows[3] == Row("b2.png", "bob", "LWIR", split="test", index=3)
    assert (manifest.subjects, manifest.spectra, manifest.splits) == (
        ("ann", "bob"),
        ("VIS", "LWIR"),
        ("test", "train"),
    )
    assert manifest.labels.tolist() == [0, 0, 1, 1]
    assert manifest.labels.dtype == np.int64
    assert manifest.paths[0] == folder / "a1.png"
    assert len(manifest) == 4


def test_every_optional_column_is_read(write: Write) -> None:
    text = (
        'path,subject,spectrum,camera,session,split,box\na1.png,ann,VIS,c1,2,train,"1,2,3,4"\na2.png,ann,VIS,,,train,\n'
    )
    rows = Manifest.read(write(text)).rows
    assert rows[0] == Row("a1.png", "ann", "VIS", "c1", "2", "train", (1, 2, 3, 4), 0)
    assert rows[1] == Row("a2.png", "ann", "VIS", None, None, "train", None, 1)


FORMS = {
    "windows line ends": GOOD.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "blank lines": GOOD.replace("\n", "\n\n").encode(),
    "blanks around cells": GOOD.replace(",", " , ").encode(),
    "quoted": GOOD.replace("ann", '"ann"').encode(),
    "no newline at the end": GOOD.strip().encode(),
    "other column order": "\n".join(",".join(line.split(",")[::-1]) for line in GOOD.split()).encode(),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_the_same_rows_are_read_from_every_honest_form(write: Write, content: bytes) -> None:
    assert Manifest.read(write(content)).hash == Manifest.read(write(GOOD, "good.csv")).hash


def test_without_a_split_column_no_row_has_a_split(write: Write) -> None:
    manifest = Manifest.read(write("path,subject,spectrum\na1.png,ann,VIS\n"))
    assert manifest.rows[0].split is None
    assert manifest.splits == ()


def test_absolute_and_climbing_paths_are_allowed(write: Write, folder: Path) -> None:
    text = f"path,subject,spectrum\n{folder / 'a1.png'},ann,VIS\n../{folder.name}/a2.png,ann,LWIR\n"
    assert [path.is_file() for path in Manifest.read(write(text)).paths] == [True, True]


def test_two_boxes_of_one_image_are_two_rows(write: Write) -> None:
    text = 'path,subject,spectrum,box\na1.png,ann,VIS,"0,0,5,5"\na1.png,bob,VIS,"5,5,5,5"\n'
    assert len(Manifest.read(write(text))) == 2


FAULTS = {
    "missing file": ("x.png,ann,VIS,train", "line 6: no file 'x.png'"),
    "folder for a file": (".,ann,VIS,train", "line 6: '.' cannot be read: it is a folder"),
    "empty path": (",ann,VIS,train", "line 6: path is empty"),
    "empty subject": ("a3.png,,VIS,train", "line 6: subject is empty"),
    "blank subject": ("a3.png,  ,VIS,train", "line 6: subject is empty"),
    "empty spectrum": ("a3.png,ann,,train", "line 6: spectrum is empty"),
    "empty split": ("a3.png,ann,VIS,", "line 6: split is empty, but other rows have one"),
    "lower case": ("a3.png,ann,vis,train", "line 6: spectrum 'vis' is written 'VIS'"),
    "misspelt": ("a3.png,ann,LVIR,train", "line 6: unknown spectrum 'LVIR'; is 'LWIR' meant?"),
    "unknown spectrum": ("a3.png,ann,XRAY,train", "line 6: unknown spectrum 'XRAY'; known: VIS NIR SWIR MWIR LWIR"),
    "too few cells": ("a3.png,ann,VIS", "line 6: 3 cells, but the header has 4"),
    "too many cells": ("a3.png,ann,VIS,train,x", "line 6: 5 cells, but the header has 4"),
    "twice": ("a1.png,ann,VIS,train", "line 6: 'a1.png' is the same image as line 2"),
    "twice in other words": ("./a1.png,ann,VIS,train", "line 6: './a1.png' is the same image as line 2"),
    "in two splits": (
        "a3.png,ann,VIS,test",
        "line 6: subject 'ann' is in split 'test' here, but in 'train' at line 2",
    ),
    "open quotation": ('"a3.png,ann,VIS,train', "line 6: unexpected end of data; is a quotation mark left open?"),
}


@pytest.mark.parametrize(("row", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_reported_with_its_line(write: Write, row: str, expected: str) -> None:
    path = write(GOOD + row + "\n")
    assert faults(path) == [expected]
    with pytest.raises(DataError) as caught:
        Manifest.read(path)
    assert expected in str(caught.value)
    assert "manifest.csv" in str(caught.value)


BOXES = {
    "1,2,3": "is not four whole numbers",
    "1.5,2,3,4": "is not four whole numbers",
    "a,b,c,d": "is not four whole numbers",
    "-1,2,3,4": "starts before 0",
    "1,2,0,4": "no area",
    "8,0,5,5": "leaves the image of 12 x 10 pixels",
}


@pytest.mark.parametrize(("box", "word"), BOXES.items(), ids=BOXES.keys())
def test_a_box_must_lie_in_its_image(write: Write, box: str, word: str) -> None:
    (fault,) = faults(write(f'path,subject,spectrum,box\na1.png,ann,VIS,"{box}"\n'))
    assert fault.startswith("line 2: box")
    assert word in fault


def test_a_box_is_measured_on_the_upright_image(write: Write, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (12, 10)).save(folder / "turned.png", exif=exif)
    assert faults(write('path,subject,spectrum,box\nturned.png,ann,VIS,"0,0,10,12"\n')) == []


STRUCTURE = {
    "empty file": (b"", ["line 1: the file is empty; its first line names the columns: path,subject,spectrum"]),
    "header only": (b"path,subject,spectrum\n", ["there is no image in it"]),
    "semicolons": (b"path;subject;spectrum\na;b;c\n", ["line 1: columns are separated by ';'; a manifest uses commas"]),
    "tabs": (b"path\tsubject\tspectrum\n", ["line 1: columns are separated by '\\t'; a manifest uses commas"]),
    "no subject": (b"path,spectrum\na1.png,VIS\n", ["line 1: no column 'subject'"]),
    "misspelt column": (
        b"path,subjekt,spectrum\na1.png,ann,VIS\n",
        ["line 1: no column 'subject'; is 'subjekt' meant?"],
    ),
    "column in capitals": (b"Path,subject,spectrum\n", ["line 1: no column 'path'; is 'Path' meant?"]),
    "column twice": (b"path,subject,subject,spectrum\n", ["line 1: column 'subject' occurs 2 times"]),
    "not UTF-8": (
        "path,subject,spectrum\nä.png,ann,VIS\n".encode("latin-1"),
        ["line 2: not UTF-8 (byte 0xe4); save the file as UTF-8"],
    ),
    "UTF-16": (GOOD.encode("utf-16"), ["line 1: not UTF-8 (byte 0xff); save the file as UTF-8"]),
}


@pytest.mark.parametrize(("content", "expected"), STRUCTURE.values(), ids=STRUCTURE.keys())
def test_a_table_of_the_wrong_form_is_one_clear_fault(write: Write, content: bytes, expected: list[str]) -> None:
    path = write(content)
    assert faults(path) == expected
    with pytest.raises(DataError):
        Manifest.read(path)


def test_all_faults_come_in_one_error_in_row_order(write: Write) -> None:
    text = GOOD + "x.png,cid,VIS,train\na3.png,,vis,\nb3.png,bob,LWIR,train\na1.png,ann,VIS,train\n"
    path = write(text)
    found = faults(path)
    assert [fault.split(":")[0] for fault in found] == ["line 6", "line 7", "line 7", "line 7", "line 8", "line 9"]
    with pytest.raises(DataError, match="6 faults") as caught:
        Manifest.read(path)
    assert all(fault in str(caught.value) for fault in found)


def test_lines_are_counted_as_an_editor_shows_them(write: Write) -> None:
    path = write('path,subject,spectrum\n\na1.png,"two\nlines",VIS\nx.png,ann,VIS\n')
    assert faults(path) == ["line 5: no file 'x.png'"]


def test_an_unreadable_image_is_a_fault(write: Write, folder: Path) -> None:
    (folder / "a3.png").write_bytes(b"nothing")
    (folder / "b3.png").write_bytes((folder / "b1.png").read_bytes()[:-20])
    found = faults(write(GOOD + "a3.png,ann,VIS,train\nb3.png,bob,VIS,test\n"))
    assert found[0] == "line 6: 'a3.png' cannot be read: not an image, or of an unknown kind"
    assert found[1].startswith("line 7: 'b3.png' cannot be read")


def test_a_cut_jpeg_is_found_by_the_deep_check(write: Write, folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(folder / "c.jpg")
    (folder / "c.jpg").write_bytes((folder / "c.jpg").read_bytes()[:1500])
    path = write(GOOD + "c.jpg,ann,VIS,train\n")
    assert faults(path) == []
    (fault,) = faults(path, deep=True)
    assert fault.startswith("line 6: 'c.jpg' cannot be read")


def test_equal_bytes_under_two_names_are_found_by_the_deep_check(write: Write, folder: Path) -> None:
    (folder / "a3.png").write_bytes((folder / "b1.png").read_bytes())
    path = write(GOOD + "a3.png,ann,VIS,train\n")
    assert faults(path) == []
    assert faults(path, deep=True) == ["line 6: 'a3.png' has the same bytes and box as line 4"]


def test_check_counts_and_notes(write: Write) -> None:
    text = "path,subject,spectrum,split,mood\na1.png,ann,VIS,train,calm\na2.png,ann,LWIR,train,\nb1.png,bob,VIS,test,\n"
    check = Manifest.check(write(text))
    assert check.problems == ()
    assert check.counts == {"test": {"VIS": 1}, "train": {"VIS": 1, "LWIR": 1}}
    assert (check.rows, check.subjects) == (3, 2)
    assert check.notes == ("line 1: columns not used: 'mood'", "1 of 2 subjects have no LWIR: bob")


def test_a_long_list_of_faults_is_counted(write: Write) -> None:
    rows = "".join(f"x{number}.png,ann,VIS\n" for number in range(70))
    with pytest.raises(DataError, match="70 faults") as caught:
        Manifest.read(write("path,subject,spectrum\n" + rows))
    assert "and 20 more" in str(caught.value)
    assert "xzoo data check" in str(caught.value)


# --- other forms -------------------------------------------------------------------------------


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return path


def test_a_folder_is_read_in_natural_order_and_by_wavelength(tmp_path: Path) -> None:
    for name in ["s10/VIS/1.png", "s2/LWIR/1.jpg", "s2/VIS/10.png", "s2/VIS/2.png", "s2/.cache/x.png"]:
        image(tmp_path / name)
    rows = Manifest.read(tmp_path).rows
    assert [row.path for row in rows] == ["s2/VIS/2.png", "s2/VIS/10.png", "s2/LWIR/1.jpg", "s10/VIS/1.png"]
    assert rows[2] == Row("s2/LWIR/1.jpg", "s2", "LWIR", index=2)


def test_a_folder_with_images_in_wrong_places_is_refused(tmp_path: Path) -> None:
    for name in ["x.png", "ann/y.png", "ann/vis/z.png", "ann/VIS/deep/w.png", "ann/VIS/good.png"]:
        image(tmp_path / name)
    (tmp_path / "ann/notes.txt").write_text("")
    check = Manifest.check(tmp_path)
    assert set(check.problems) == {
        "x.png: images belong into subject/SPECTRUM/",
        "ann/y.png: images belong into subject/SPECTRUM/",
        "ann/VIS/deep/w.png: images belong into subject/SPECTRUM/",
        "ann/vis/z.png: spectrum 'vis' is written 'VIS'",
    }
    assert check.notes == ("ann/notes.txt: ignored, not an image by its ending",)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no image in it"):
        Manifest.read(tmp_path)


def test_a_folder_with_a_manifest_means_the_manifest(write: Write, folder: Path) -> None:
    write(GOOD)
    assert len(Manifest.read(folder)) == 4


def test_parquet_holds_the_same_rows(write: Write, folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    expected = Manifest.read(write(GOOD))
    columns = {name: [getattr(row, name) for row in expected.rows] for name in ("path", "subject", "spectrum", "split")}
    columns["box"] = [None] * 4
    columns["score"] = [0.5] * 4
    parquet.write_table(pyarrow.table(columns), folder / "m.parquet")
    assert Manifest.read(folder / "m.parquet").hash == expected.hash


def test_parquet_faults_name_the_row(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"path": ["a1.png", None], "subject": [1, 2], "spectrum": ["VIS", "NIR"], "box": [[0, 0, 5, 50], None]}
    parquet.write_table(pyarrow.table(columns), folder / "m.parquet")
    assert faults(folder / "m.parquet") == [
        "row 1: box 0,0,5,50 leaves the image of 12 x 10 pixels",
        "row 2: path is empty",
    ]


def test_a_broken_parquet_is_one_fault(write: Write) -> None:
    pytest.importorskip("pyarrow")
    (fault,) = faults(write(b"PAR0", "m.parquet"))
    assert fault.startswith("not a parquet file")


def test_without_pyarrow_the_package_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="pip install pyarrow"):
        Manifest.read(write(b"", "m.parquet"))


def test_a_missing_manifest_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nothing.csv"):
        Manifest.read(tmp_path / "nothing.csv")


def test_another_kind_of_file_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"'\.json' are not known"):
        Manifest.read(write(b"{}", "m.json"))


# --- what one does with it ---------------------------------------------------------------------


def table(*names: str) -> Manifest:
    """Rows from ``subject/SPECTRUM/number[/split]``; no files."""
    rows = []
    for index, name in enumerate(names):
        subject, spectrum, _, *split = name.split("/")
        rows.append(Row(name, subject, spectrum, split=split[0] if split else None, index=index))
    return Manifest(tuple(rows), Path("root"))


MANY = table("a/VIS/1", "b/VIS/1", "a/LWIR/1", "a/VIS/2", "a/VIS/3", "b/LWIR/1", "b/VIS/2", "c/VIS/1")

SELECTIONS = {
    "all": ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
    "one spectrum": ({"spectrum": "LWIR"}, [2, 5]),
    "two spectra": ({"spectrum": ["VIS", "LWIR"]}, [0, 1, 2, 3, 4, 5, 6, 7]),
    "the first of each": ({"spectrum": "VIS", "samples": (1, 1)}, [0, 1, 7]),
    "the second to the end": ({"spectrum": "VIS", "samples": (2, None)}, [3, 4, 6]),
    "samples count within a spectrum": ({"samples": (1, 1)}, [0, 1, 2, 5, 7]),
}


@pytest.mark.parametrize(("chosen", "expected"), SELECTIONS.values(), ids=SELECTIONS.keys())
def test_selections_keep_the_order_and_the_index(chosen: dict[str, object], expected: list[int]) -> None:
    assert [row.index for row in MANY.select(**chosen).rows] == expected


def test_selecting_a_split() -> None:
    manifest = table("a/VIS/1/train", "b/VIS/1/test", "c/VIS/1/dev")
    assert manifest.select(split="test").subjects == ("b",)
    assert manifest.select(split=["dev", "train"]).subjects == ("a", "c")


def test_a_selection_that_leaves_nothing_says_what_there_is() -> None:
    with pytest.raises(DataError, match="split='tset'") as caught:
        table("a/VIS/1/train", "b/VIS/1/test").select(split="tset")
    assert "split train: 1 VIS; split test: 1 VIS" in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"spectrum": "lwir"}, {"samples": (0, 1)}, {"samples": (3, 2)}, {"split": 3}], ids=str
)
def test_a_selection_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        MANY.select(**wrong)


def test_the_hash_is_of_the_rows_and_not_of_where_they_lie() -> None:
    moved = Manifest(MANY.rows, Path("elsewhere"))
    assert moved.hash == MANY.hash
    assert Manifest(MANY.rows[::-1], MANY.root).hash != MANY.hash


def test_a_written_manifest_reads_the_same(write: Write, folder: Path) -> None:
    text = 'path,subject,spectrum,camera,box\na1.png,"a, b",VIS,,"1,2,3,4"\na2.png,änn,LWIR,c1,\n'
    manifest = Manifest.read(write(text))
    copy = Manifest.read(manifest.write_csv(folder / "copy.csv"))
    assert copy.hash == manifest.hash
    assert "split" not in (folder / "copy.csv").read_text(encoding="utf-8")


def test_a_manifest_written_elsewhere_still_finds_its_images(write: Write, folder: Path) -> None:
    manifest = Manifest.read(write(GOOD))
    moved = Manifest.read(manifest.write_csv(folder / "runs" / "1" / "m.csv"))
    assert [path.resolve() for path in moved.paths] == [path.resolve() for path in manifest.paths]
    assert moved.rows[0].path == "../../a1.png"


@pytest.mark.parametrize("name", ["roadscene", "orl", "orl_pseudo_lwir", "lwir_faces"])
def test_real_sets_are_read_without_a_fault(real_data: Path, name: str) -> None:
    assert len(Manifest.read(real_data / name)) > 50
