"""Folders of generated people: what is in them, and what a kill, a full disk or another call does to them."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xzoo.data import Manifest, people
from xzoo.data.people import domains, files
from xzoo.data.people.body import bodies, body_labels
from xzoo.data.people.labels import face_labels
from xzoo.errors import DiskFull, OptionError, RunError

SMALL = {"subjects": 5, "samples": 2, "size": 32, "splits": {"all": 1}, "progress": False}


class Killed(BaseException):
    """Ends a process without a word to anybody."""


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(manifest: Path) -> list[dict[str, str]]:
    with open(manifest, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def kill_at(monkeypatch):
    """Let the n-th picture from now be the last thing that happens."""

    def arm(number: int, fault: BaseException | None = None) -> None:
        saved, save = 0, Image.Image.save

        def once(self: Image.Image, path: Path) -> None:
            nonlocal saved
            saved += 1
            if saved == number:
                monkeypatch.setattr(Image.Image, "save", save)
                Path(path).write_bytes(b"half a picture")
                raise fault or Killed
            save(self, path)

        monkeypatch.setattr(Image.Image, "save", once)

    return arm


@pytest.fixture
def quick(monkeypatch):
    """Draw at once: a colour that is a function of the numbers, and one label; pieces of four pictures."""

    def draw(kind, subjects, samples, domain, *, size, phase=None, **view):
        value = (subjects * 31 + samples * 7 + len(domain.name)) % 251
        return value.to(torch.uint8)[:, None, None, None].expand(-1, 3, size, size)

    def label(kind, subjects, samples, domain, **view):
        return {"pose": torch.stack([subjects, samples, samples], 1), "groups": {"hat": ["none"] * len(subjects)}}

    monkeypatch.setattr(domains, "draw", draw)
    monkeypatch.setattr(domains, "label", label)
    monkeypatch.setattr(files, "_TOGETHER", 4)


# --- what is in them ---------------------------------------------------------------------------


def test_a_set_says_where_when_and_who_of_every_picture(tmp_path):
    manifest = people.write(
        tmp_path / "p", subjects=2, samples=2, size=32, spectra=["LWIR-500m", "VIS"], labels=True, progress=False
    )
    rows = table(manifest)
    assert [row["path"] for row in rows] == [
        f"p0000{who}/{where}/00{n}.png" for who in (0, 1) for where in ("VIS", "LWIR-500m") for n in (0, 1)
    ]
    assert [row["distance"] for row in rows] == ["", "", "500m", "500m"] * 2
    assert [row["split"] for row in rows] == ["train"] * 4 + ["test"] * 4
    read = Manifest.read(manifest)
    assert read.rows[2].spectrum == "LWIR"
    assert read.rows[2].domain == "LWIR-500m"
    assert len(read.rows[2].landmarks) == 5
    assert "glasses=" in read.rows[0].group


def test_labels_are_those_of_the_generator(tmp_path):
    manifest = people.write(tmp_path / "p", labels=True, **SMALL)
    lines = [json.loads(line) for line in (tmp_path / "p" / "labels.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [row["path"] for row in table(manifest)]
    lwir = domains.Domain("LWIR").moment(1, sessions=False, frames=False)
    known = face_labels(torch.tensor([3]), torch.tensor([lwir]), spectrum="LWIR", size=32)
    (line,) = [line for line in lines if line["path"] == "p00003/LWIR/001.png"]
    for name in ("points68", "points54", "points5", "face_box", "pose"):
        assert np.allclose(line[name], getattr(known, name)[0], atol=0.006), name
    assert line["visible68"] == known.visible68[0].tolist()
    assert line["groups"] == {name: words[0] for name, words in known.groups.items()}
    assert line["session"] == lwir // 8


def test_boxes_of_the_manifest_are_whole_pixels_inside_the_picture(tmp_path):
    for row in table(people.write(tmp_path / "p", labels=True, **SMALL)):
        x, y, width, height = map(int, row["face_box"].split(","))
        assert 0 <= x < x + width <= 32
        assert 0 <= y < y + height <= 32


def test_frames_of_a_track_move_and_begin_with_their_still(tmp_path):
    manifest = people.write(tmp_path / "p", subjects=1, samples=2, tracks=6, spectra="VIS", size=64, splits={"a": 1})
    rows = table(manifest)
    assert [row["frame"] for row in rows] == [*map(str, range(6))] * 2
    assert [row["media"] for row in rows] == ["p00000-VIS-000"] * 6 + ["p00000-VIS-001"] * 6
    seen = [np.asarray(Image.open(tmp_path / "p" / row["path"]), dtype=float) for row in rows]
    still = people.faces(torch.tensor([0]), torch.tensor([0]), "VIS", size=64, phase=torch.zeros(1))[0]
    assert np.array_equal(seen[0], still.permute(1, 2, 0).numpy())
    steps = [np.abs(a - b).mean() for a, b in zip(seen[:5], seen[1:6], strict=True)]
    assert 0 < max(steps) < np.abs(seen[0] - seen[6]).mean(), "the next track is another moment"


def test_sessions_are_shared_by_all_domains_and_moments_by_none(tmp_path):
    spectra = people.SPECTRA
    manifest = people.write(
        tmp_path / "p", subjects=1, samples=2, spectra=spectra, sessions=True, size=32, splits={"a": 1}, progress=False
    )
    assert [row["session"] for row in table(manifest)] == ["0", "1"] * len(spectra)
    moments = {domains.Domain(band).moment(n, sessions=True, frames=False) for band in spectra for n in (0, 1)}
    assert len(moments) == 2 * len(spectra)


def test_no_two_domains_share_a_moment_or_a_session_unless_asked():
    every = [domains.Domain(band, far) for band in people.SPECTRA for far in (None, 30, 500)]
    for frames in (False, True):
        ranges = [
            range(first, last + 2)
            for each in every
            for first, last in [[each.moment(n, sessions=False, frames=frames) for n in (0, 998)]]
        ]
        starts = sorted((one.start // 8, (one.stop - 1) // 8) for one in ranges)
        assert all(a[1] < b[0] for a, b in zip(starts, starts[1:], strict=False))


@pytest.mark.parametrize(("bits", "most"), [(14, 2**14), (16, 2**16)])
def test_counts_of_the_sensor_are_kept_to_the_last_bit(tmp_path, bits, most):
    people.write(tmp_path / "p", bits=bits, **SMALL)
    with Image.open(tmp_path / "p" / "p00001" / "LWIR" / "000.png") as image:
        kept = np.asarray(image).astype(int)
    drawn = people.faces(torch.tensor([1]), torch.tensor([1000]), "LWIR", size=32, bits=bits)
    assert np.array_equal(kept, drawn[0, 0].numpy())
    assert 256 < kept.max() < most
    with Image.open(tmp_path / "p" / "p00001" / "VIS" / "000.png") as image:
        assert image.mode == "RGB"
    assert len(Manifest.check(tmp_path / "p", deep=True).problems) == 0


def test_faces_and_bodies_of_one_moment_lie_side_by_side(tmp_path):
    options = {"spectra": ["LWIR-30m"], "subjects": 2, "samples": 1, "size": 32, "body_size": (96, 32), "seed": 3}
    manifest = people.write(tmp_path / "p", kind="both", labels=True, progress=False, **options)
    assert [row["path"] for row in table(manifest)] == [
        f"p0000{who}/LWIR-30m/000-{kind}.png" for who in (0, 1) for kind in ("face", "body")
    ]
    who, moment = torch.tensor([1]), torch.tensor([1000 * (1 + 5 * 30)])
    drawn = bodies(who, moment, "LWIR", size=(96, 32), seed=3, distance=30)
    with Image.open(tmp_path / "p" / "p00001/LWIR-30m/000-body.png") as image:
        assert np.array_equal(np.asarray(image), drawn[0, 0].numpy())
    lines = [json.loads(line) for line in (tmp_path / "p" / "labels.jsonl").read_text().splitlines()]
    face, body = lines[2:]
    known = body_labels(who, moment, spectrum="LWIR", size=(96, 32), seed=3, distance=30)
    for name in ("torso_box", "lower_body_box", "keypoints", "distance"):
        assert np.allclose(body[name], getattr(known, name)[0], atol=0.006), name
    assert body["groups"] == face["groups"]
    row = table(manifest)[3]
    x, y, width, height = map(int, row["body_box"].split(","))
    assert 0 <= x < x + width <= 32
    assert 0 <= y < y + height <= 96
    assert row["landmarks"] == ""
    assert len(Manifest.read(manifest)) == 4


def test_a_set_of_bodies_alone_has_plain_names(tmp_path):
    manifest = people.write(
        tmp_path / "p", kind="body", subjects=2, samples=1, spectra="NIR", body_size=(64, 32), progress=False
    )
    assert [row["path"] for row in table(manifest)] == ["p00000/NIR/000.png", "p00001/NIR/000.png"]
    with Image.open(tmp_path / "p" / "p00000/NIR/000.png") as image:
        assert image.size == (32, 64)


def test_a_set_of_many_subjects_is_planned_in_pieces_of_one_size():
    small = {"body_size": (384, 128), "seed": 0, "camera": "house", "bits": 8, "sessions": False, "labels": False}
    for subjects, samples, tracks in [(100_000, 2, None), (1, 999, 999), (70, 1, 64)]:
        plan = files._Plan(
            subjects=subjects,
            samples=samples,
            tracks=tracks,
            domains=domains.parse(people.SPECTRA),
            kinds=("face", "body"),
            size=112,
            splits=(("a", subjects),),
            device=torch.device("cpu"),
            **small,
        )
        sizes = [len(unit) for _, unit in zip(range(40), plan.units(), strict=False)]
        assert max(sizes) <= 64 * len(people.SPECTRA) * 2
    assert sum(map(len, plan.units())) == plan.pictures


# --- what happens to them ----------------------------------------------------------------------


def test_a_set_begun_in_pieces_of_another_size_begins_again(quick, tmp_path, monkeypatch, kill_at):
    kill_at(11)
    with pytest.raises(Killed):
        people.write(tmp_path / "p", **SMALL)
    monkeypatch.setattr(files, "_TOGETHER", 6)
    people.write(tmp_path / "p", **SMALL)
    assert tree(tmp_path / "p") == tree(people.write(tmp_path / "whole", **SMALL).parent)


@pytest.mark.parametrize("at", [1, 5, 11, 20])
def test_a_killed_set_goes_on_to_the_same_bytes(quick, tmp_path, monkeypatch, kill_at, at):
    whole = people.write(tmp_path / "whole", labels=True, **SMALL).parent
    kill_at(at)
    with pytest.raises(Killed):
        people.write(tmp_path / "killed", labels=True, **SMALL)
    assert not (tmp_path / "killed" / "manifest.csv").exists()
    assert "there is no image in it" in Manifest.check(tmp_path / "killed").problems

    drawn: list[Path] = []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, path: (drawn.append(path), save(self, path)))
    people.write(tmp_path / "killed", labels=True, **SMALL)
    assert tree(tmp_path / "killed") == tree(whole)
    assert len(drawn) == 20 - (at - 1) // 8 * 8, "whole pieces are not drawn again"


def test_a_process_killed_by_the_system_is_taken_up(tmp_path, monkeypatch):
    script = (
        "import os, signal, sys\n"
        "from PIL import Image\n"
        "from xzoo.data import people\n"
        "from xzoo.data.people import files\n"
        "files._TOGETHER, left, save = 4, iter(range(11)), Image.Image.save\n"
        "def once(self, path):\n"
        "    save(self, path)\n"
        "    next(left, None) is not None or os.kill(os.getpid(), signal.SIGKILL)\n"
        "Image.Image.save = once\n"
        f"people.write(sys.argv[1], **{SMALL!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed")], check=False)
    assert done.returncode == -signal.SIGKILL
    monkeypatch.setattr(files, "_TOGETHER", 4)
    people.write(tmp_path / "killed", **SMALL)
    # Nor does it matter how many pictures were drawn at a time.
    monkeypatch.setattr(files, "_TOGETHER", 64)
    assert tree(tmp_path / "killed") == tree(people.write(tmp_path / "whole", **SMALL).parent)


@pytest.mark.parametrize("at", range(8))
def test_a_kill_while_the_pictures_are_put_in_place_is_taken_up(quick, tmp_path, monkeypatch, at):
    whole = tree(people.write(tmp_path / "whole", **SMALL).parent)
    left, move = iter(range(at)), os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path / "killed" and next(left, None) is None:
            raise Killed
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    try:
        people.write(tmp_path / "killed", **SMALL)
    except Killed:
        monkeypatch.setattr(os, "replace", move)
        people.write(tmp_path / "killed", **SMALL)
    assert tree(tmp_path / "killed") == whole


def test_ctrl_c_says_what_is_kept(quick, tmp_path, monkeypatch, kill_at):
    kill_at(10, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match=r"8 of 20 pictures, which are kept in .*same call"):
        people.write(tmp_path / "p", **SMALL)


def test_a_finished_set_is_left_as_it_is(quick, tmp_path, monkeypatch):
    manifest = people.write(tmp_path / "p", **SMALL)
    monkeypatch.setattr(Image.Image, "save", None)
    assert people.write(tmp_path / "p", **SMALL) == manifest


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"samples": 3}, "samples was 2, is 3"),
        ({"spectra": ["VIS"]}, "domains was"),
        ({"camera": "blackhot_lowres"}, "camera was 'house'"),
        ({"labels": True}, "labels was False, is True"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_made_with_other_options_is_refused(quick, tmp_path, kill_at, finished, change, says):
    if not finished:
        kill_at(3)
    with suppress(Killed):
        people.write(tmp_path / "p", **SMALL)
    before = tree(tmp_path)
    with pytest.raises(OptionError, match=says):
        people.write(tmp_path / "p", **SMALL | change)
    assert tree(tmp_path) == before


def test_a_disk_that_fills_up_while_going_on_leaves_nothing_behind(quick, tmp_path, monkeypatch, kill_at):
    (tmp_path / "p").mkdir()
    kill_at(10)
    with pytest.raises(Killed):
        people.write(tmp_path / "p", **SMALL)
    kill_at(5, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFull, match="Nothing half-written"):
        people.write(tmp_path / "p", **SMALL)
    assert list((tmp_path / "p").iterdir()) == []


def test_what_was_made_already_needs_no_room(quick, tmp_path, monkeypatch, kill_at):
    kill_at(19)
    with pytest.raises(Killed):
        people.write(tmp_path / "p", **SMALL)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 4 * (2 * 32 * 32 + 4096)})())
    people.write(tmp_path / "p", **SMALL)
    with pytest.raises(DiskFull):
        people.write(tmp_path / "other", **SMALL)


@pytest.mark.skipif(files.fcntl is None, reason="the system has no file locks")
def test_two_processes_do_not_fill_one_folder(quick, tmp_path, kill_at):
    kill_at(3)
    with pytest.raises(Killed):
        people.write(tmp_path / "p", **SMALL)
    with files._alone(tmp_path / "p" / ".unfinished"), pytest.raises(RunError, match="another process"):
        people.write(tmp_path / "p", **SMALL)
    people.write(tmp_path / "p", **SMALL)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_place_that_cannot_be_written_to_is_refused(quick, tmp_path, monkeypatch, number):
    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OptionError, match="cannot be written") as caught:
        people.write(tmp_path / "p", **SMALL)
    assert os.strerror(number) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_inside_a_file_is_refused(quick, tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(OptionError, match="cannot be written"):
        people.write(tmp_path / "note" / "p", **SMALL)


def test_a_set_whose_manifest_was_taken_away_is_refused(quick, tmp_path):
    people.write(tmp_path / "p", **SMALL).unlink()
    with pytest.raises(OptionError, match=r"manifest\.csv was taken away"):
        people.write(tmp_path / "p", **SMALL)


BAD = [
    ({"spectra": ["VIS", "XRAY"]}, "XRAY"),
    ({"spectra": ["LWIR-far"]}, "LWIR-500m"),
    ({"spectra": ["LWIR-0m"]}, "from 1 to 5000"),
    ({"spectra": ["vis"]}, "'VIS'"),
    ({"spectra": []}, "no spectra"),
    ({"kind": "hand"}, "kind='hand'"),
    ({"subjects": 0}, "subjects=0"),
    ({"subjects": -3}, "subjects=-3"),
    ({"samples": 1000}, "from 1 to 999"),
    ({"size": 8}, "size=8"),
    ({"size": (112, 112)}, "size="),
    ({"kind": "body", "body_size": 128}, "body_size=128"),
    ({"kind": "body", "body_size": (384, 8)}, "body_size"),
    ({"bits": 12}, "bits=12"),
    ({"bits": 16, "kind": "both"}, "bodies have 8 bits"),
    ({"tracks": 1}, "tracks=1"),
    ({"seed": -1}, "seed=-1"),
    ({"camera": "hose"}, "hose"),
    ({"splits": {"": 1}}, "splits"),
    ({"splits": {"a": float("nan")}}, "splits"),
]


@pytest.mark.parametrize(("change", "says"), BAD, ids=[str(change) for change, _ in BAD])
def test_what_cannot_be_made_is_one_error_of_four_parts_and_no_file(tmp_path, change, says):
    with pytest.raises(OptionError, match=says.replace("(", r"\(")) as caught:
        people.write(tmp_path / "p", **SMALL | change)
    assert caught.value.asked and caught.value.do
    assert caught.value.why or caught.value.exists
    assert str(caught.value).count("\n") < 4
    assert list(tmp_path.iterdir()) == []
