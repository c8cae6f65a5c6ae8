"""From video frames and a detector's boxes to pictures of people with a manifest.

The detector is anybody's: its boxes come as a file. Who is in a box is told by annotated faces, by the rules of
:func:`xzoo.data.readers.boxes.assign`, or by the boxes themselves. Everything that is left out is counted.

A table of boxes is a csv with the columns ``frame,x,y,w,h`` and perhaps ``score``: the frame's path below the folder
of frames, left and top in pixels, width, height, and the detector's confidence. Further columns ``subject spectrum
camera session split distance media`` go into the manifest; a table of faces needs ``subject``. JSON as COCO has it
says the same: ``images`` with ``file_name``, ``annotations`` with ``image_id``, ``bbox`` and ``score``, or the list of
results in which ``image_id`` is the path of the frame.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageOps

from xzoo import errors
from xzoo.catalog.names import SPECTRA, natural_key
from xzoo.data.images import SUFFIXES, open_image, upright_size
from xzoo.data.manifest import Manifest, Row
from xzoo.data.readers.boxes import OUTSIDE, Box, assign, within
from xzoo.hub import as_path
from xzoo.hub.files import whole_folder

__all__ = ["FACTS", "Cropped", "Detection", "crop_people", "read_boxes"]

FACTS = ("subject", "spectrum", "camera", "session", "split", "distance", "media")
"""Columns that a table of boxes may have beside frame, box and score."""

SCORE = 0.25
"""Least confidence: ours, the paper names none (arXiv 2503.10931)."""

_BAND = re.compile(rf"({'|'.join(SPECTRA)})(?:-(\d+m))?")
_REASONS = {
    "no face": "no annotated face lies in them",
    "ambiguous": "two faces or more lie in them",
    "taken": "another body fits the same face better",
    "several": "there are several in a frame, and no faces tell them apart",
    OUTSIDE: "they lie outside their frame",
}


@dataclass(frozen=True)
class Detection:
    """A box of a frame.

    Attributes:
        frame: Path below the folder of frames, parts joined by ``/``.
        box: ``(x, y, width, height)`` in pixels of the upright frame.
        score: The detector's confidence, if it tells one.
        facts: What is known besides, by column of the manifest.
        where: Where it stands: ``line 7`` or ``annotations[3]``.
    """

    frame: str
    box: Box
    score: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Cropped:
    """What became of the boxes.

    Attributes:
        manifest: The manifest that was written.
        people: Pictures in it.
        subjects: Subjects in it.
        frames: Frames that were looked at.
        notes: A line for everything that was left out or changed, with its count.
    """

    manifest: Path
    people: int
    subjects: int
    frames: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "manifest": str(self.manifest),
            "people": self.people,
            "subjects": self.subjects,
            "frames": self.frames,
            "notes": list(self.notes),
        }


def crop_people(
    frames: str | Path,
    boxes: str | Path,
    out: str | Path,
    *,
    faces: str | Path | None = None,
    score: float = SCORE,
    overlap: Literal["face", "iou"] = "face",
    spectrum: str | None = None,
    crops: bool = True,
) -> Cropped:
    """Cut the people out of video frames, say who they are, and write a manifest.

    The folder appears whole or not at all: ``manifest.csv``, ``boxes.csv`` (every box and what became of it) and
    ``crops``, as PNG of the frame's own depth.

    With ``faces`` a body belongs to the face that lies in it. Without, a box names its ``subject``, or its frame lies
    in a folder of that name, and a frame with several such boxes is left out. The band of a frame is that of the
    column ``spectrum``, else the argument, else that of a folder called like a band or a domain (``LWIR-30m``).

    Args:
        frames: Folder of images; those in folders below it belong to it, too.
        boxes: The detector's boxes of people; see the module.
        out: A folder that does not exist yet, or is empty.
        faces: Annotated faces, a file of the same form with subjects.
        score: Boxes of less confidence are left out.
        overlap: ``face``: of a face with a body as a share of the face. ``iou``: over the union, the literal reading of
            the paper, by which nothing is ever ambiguous.
        spectrum: The band of frames whose boxes name none.
        crops: Cut the people out; otherwise the manifest names the frames and the boxes in them.

    Raises:
        MissingFile: A folder or a file that is not there.
        DataError: Faults in the files, all at once with their lines; or nobody is left.
        OptionError: An argument that cannot be meant, or ``out`` holds something already.
        DiskFull: There is no room.
    """
    if spectrum is not None and spectrum not in SPECTRA:
        raise errors.OptionError(f"spectrum={spectrum!r}", why="no such band", exists=" ".join(SPECTRA))
    if overlap not in ("face", "iou"):
        raise errors.OptionError(f"overlap={overlap!r}", why="no such rule", exists="face, iou")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise errors.OptionError(f"score={score!r}", why="it is a number")
    folder, target = as_path(frames, "frames"), as_path(out, "out")
    if not folder.is_dir():
        raise errors.MissingFile(f"no folder {str(folder)!r} of frames", do="name the folder that holds the images")
    if (target.exists() or target.is_symlink()) and not (target.is_dir() and not any(target.iterdir())):
        raise errors.OptionError(
            f"{str(target)!r} as the folder of the people",
            why="it already holds something, and nothing is overwritten",
            do="name a new folder, or empty this one",
        )
    every = _images(folder)
    job = _Job(folder, overlap, spectrum, named=faces is not None)
    detected = read_boxes(boxes, category="person", notes=job.notes)
    known = [] if faces is None else read_boxes(faces, category="face", notes=[])
    job.check(every, detected, known, str(boxes), "" if faces is None else str(faces))
    if weak := sum(one.score is not None and one.score < score for one in detected):
        job.notes.append(f"{weak} of {len(detected)} boxes left out: their score is below {score:g}")
    job.sort([one for one in detected if one.score is None or one.score >= score], known)
    if bare := len(set(every) - {one.frame for one in detected}):
        job.notes.append(f"{bare} of {len(every)} frames have no box")
    if not job.rows:
        raise errors.DataError(
            f"nobody is left of {len(detected)} boxes in {str(boxes)!r}",
            why="; ".join(job.notes),
            do="look at boxes, faces and score",
        )
    with whole_folder(target) as part:
        job.write(part, crops)
    subjects = {row.subject for row in job.rows}
    return Cropped(target / "manifest.csv", len(job.rows), len(subjects), len(every), tuple(job.notes))


class _Job:
    """The boxes of one call, while they are sorted."""

    def __init__(self, folder: Path, overlap: Literal["face", "iou"], spectrum: str | None, *, named: bool) -> None:
        self.folder, self.overlap, self.spectrum, self.named = folder, overlap, spectrum, named
        self.notes: list[str] = []
        self.rows: list[Row] = []
        self.table: list[list[str]] = []

    def check(
        self, every: Sequence[str], detected: Sequence[Detection], known: Sequence[Detection], file: str, faces: str
    ) -> None:
        """Refuse boxes of frames that are not there, faces without a subject, and frames without a band."""
        there, wrong = set(every), []
        for some, name, tells in ((detected, file, not self.named), (known, faces, True)):
            for one in some:
                facts, where = self._facts(one), f"{Path(name).name} {one.where}"
                said = facts.get("spectrum")
                if one.frame not in there:
                    wrong.append(f"{where}: no frame {one.frame!r}")
                elif said not in SPECTRA:
                    wrong.append(f"{where}: {f'{said!r} is no band' if said else f'no band is known of {one.frame!r}'}")
                elif tells and not facts.get("subject"):
                    wrong.append(f"{where}: no subject is known of {one.frame!r}")
        if wrong:
            raise errors.DataError(
                f"boxes of {str(self.folder)!r} have {len(wrong)} fault{'s' * (len(wrong) > 1)}",
                why=errors.problems(wrong, limit=20),
                do="mend these; --spectrum names the band of all frames, --faces or a column subject tells who it is",
            )

    def _facts(self, one: Detection) -> dict[str, str]:
        """Return what is known of a box: its columns, then what the folders of its frame say."""
        *parents, _ = one.frame.split("/")
        facts: dict[str, str] = {"media": "/".join(parents)} if parents else {}
        bands = [found for name in parents if (found := _BAND.fullmatch(name))]
        if self.spectrum is not None:
            facts["spectrum"] = self.spectrum
        elif bands:
            facts["spectrum"] = bands[-1][1]
        if bands and bands[-1][2]:
            facts["distance"] = bands[-1][2]
        people = [name for name in parents if not _BAND.fullmatch(name)]
        if people and not self.named:
            facts["subject"] = people[0]
        return facts | {key: value for key, value in one.facts.items() if value}

    def sort(self, detected: Sequence[Detection], known: Sequence[Detection]) -> None:
        """Give each box a subject, or a reason why it has none."""
        frames: dict[str, tuple[list[Detection], list[Detection]]] = defaultdict(lambda: ([], []))
        for side, some in enumerate((detected, known)):
            for one in some:
                frames[one.frame][side].append(one)
        left_out: Counter[str] = Counter()
        cut = 0
        stems = Counter(frame[: -len(Path(frame).suffix)] for frame in frames)
        for frame in sorted(frames, key=natural_key):
            bodies, faces = frames[frame]
            if not bodies:
                continue
            with open_image(self.folder / frame) as image:
                width, height = upright_size(image)
            inside = [within(one.box, width, height) for one in bodies]
            for place, (facts, share, why) in enumerate(self._told(bodies, faces, inside)):
                one, box = bodies[place], inside[place]
                path = ""
                if why:
                    left_out[why] += 1
                elif box is not None:
                    cut += box != tuple(round(number) for number in one.box)
                    stem = frame[: -len(Path(frame).suffix)]
                    path = f"crops/{stem if stems[stem] == 1 else frame}-{place}.png"
                    known_facts: dict[str, Any] = dict(facts)
                    self.rows.append(Row(path=frame, box=box, quality=one.score, **known_facts))
                score = "" if one.score is None else f"{one.score:g}"
                who = "" if why else facts["subject"]
                numbers = [f"{number:g}" for number in one.box]
                self.table.append([frame, *numbers, score, f"{share:.4f}", who, why, path])
        self.notes += [
            f"{number} of {len(detected)} boxes left out: {_REASONS[why]}" for why, number in sorted(left_out.items())
        ]
        if self.named and (alone := len(known) - len(self.rows)):
            self.notes.append(f"{alone} of {len(known)} faces have no body")
        if cut:
            self.notes.append(f"{cut} boxes were cut at the edge of their frame")

    def _told(
        self,
        bodies: Sequence[Detection],
        faces: Sequence[Detection],
        inside: Sequence[tuple[int, int, int, int] | None],
    ) -> Iterator[tuple[dict[str, str], float, str]]:
        """Yield what is known of each box, its overlap with a face, and why it is left out."""
        there = [place for place, box in enumerate(inside) if box is not None]
        if not self.named:
            for one, box in zip(bodies, inside, strict=True):
                alone = len(there) == 1 or bool(one.facts.get("subject"))
                yield self._facts(one), 0.0, OUTSIDE if box is None else "" if alone else "several"
            return
        given = assign(
            [bodies[place].box for place in there],
            [1.0 if (score := bodies[place].score) is None else score for place in there],
            [face.box for face in faces],
            rule=self.overlap,
        )
        found = dict(zip(there, given, strict=True))
        for place, one in enumerate(bodies):
            if place not in found:
                yield {}, 0.0, OUTSIDE
            elif (face := found[place].face) is None:
                yield {}, found[place].overlap, found[place].why
            else:
                yield self._facts(one) | self._facts(faces[face]), found[place].overlap, ""

    def write(self, part: Path, crops: bool) -> None:
        """Write crops, manifest and table into a folder."""
        kept = [line[-1] for line in self.table if line[-1]]
        if crops:
            at: dict[str, list[int]] = defaultdict(list)
            for place, row in enumerate(self.rows):
                at[row.path].append(place)
            for frame, places in at.items():
                with open_image(self.folder / frame) as image:
                    upright = ImageOps.exif_transpose(image)
                    for place in places:
                        _save(upright, self.rows[place].box, part / kept[place])
            self.rows = [replace(row, path=path, box=None) for row, path in zip(self.rows, kept, strict=True)]
        else:
            self.rows = [replace(row, path=(self.folder.resolve() / row.path).as_posix()) for row in self.rows]
        self.rows = [replace(row, index=place) for place, row in enumerate(self.rows)]
        Manifest(tuple(self.rows), part).write_csv(part / "manifest.csv")
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["frame", "x", "y", "w", "h", "score", "overlap", "subject", "left_out", "crop"])
        writer.writerows(self.table if crops else [[*line[:-1], ""] for line in self.table])
        (part / "boxes.csv").write_text(text.getvalue(), encoding="utf-8", newline="")


def _save(image: Image.Image, box: tuple[int, int, int, int] | None, target: Path) -> None:
    assert box is not None  # every row of a frame has one
    x, y, width, height = box
    piece = image.crop((x, y, x + width, y + height))
    target.parent.mkdir(parents=True, exist_ok=True)
    (piece.convert("RGB") if piece.mode in ("CMYK", "YCbCr", "LAB", "HSV") else piece).save(target)


def _images(folder: Path) -> list[str]:
    """Return the paths of all images below a folder, in the order in which people count."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(root) / name).relative_to(folder).as_posix())
    if not found:
        raise errors.MissingFile(f"no image in {str(folder)!r}", exists="images end in " + " ".join(SUFFIXES))
    return sorted(found, key=natural_key)


# --- files of boxes ----------------------------------------------------------------------------


def read_boxes(path: str | Path, *, category: str = "person", notes: list[str] | None = None) -> list[Detection]:
    """Read a table of boxes: ``.csv``, or ``.json`` as COCO has it; see the module.

    Args:
        path: The file.
        category: Of a COCO file with several categories: the one that is taken; others are counted in ``notes``.
        notes: Gets a line for each category that is left out.

    Raises:
        MissingFile: There is no such file.
        DataError: Faults, all at once with their places.
    """
    file = as_path(path, "boxes")
    if not file.is_file():
        raise errors.MissingFile(f"no file of boxes {str(file)!r}", exists="a .csv or a COCO .json")
    form = {".csv": _of_csv, ".json": _of_coco}.get(file.suffix.lower())
    if form is None:
        raise errors.DataError(
            f"boxes in {str(file)!r}",
            why=f"files ending in {file.suffix or 'nothing'!r} are not known",
            exists=".csv, .json",
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise errors.DataError(f"boxes in {str(file)!r}", why=f"byte {fault.start} is not UTF-8") from fault
    found: list[Detection] = []
    wrong: list[str] = []
    for where, cells in form(text, str(file), category, [] if notes is None else notes):
        try:
            found.append(_detection(where, cells))
        except ValueError as fault:
            wrong.append(f"{where}: {fault}")
    if wrong:
        raise errors.DataError(
            f"boxes in {str(file)!r} have {len(wrong)} fault{'s' * (len(wrong) > 1)}",
            why=errors.problems(wrong, limit=20),
            do="a box is frame,x,y,w,h in pixels, with w and h above 0",
        )
    return found


def _detection(where: str, cells: Mapping[str, Any]) -> Detection:
    """Return a box; a cell that is wrong raises ValueError with a word."""
    if "fault" in cells:
        raise ValueError(cells["fault"])
    frame = str(cells["frame"]).replace("\\", "/").removeprefix("./")
    if not frame:
        raise ValueError("no frame is named")
    numbers = []
    for name in ("x", "y", "w", "h"):
        try:
            numbers.append(float(cells[name]))
        except (TypeError, ValueError):
            raise ValueError(f"{name} {cells[name]!r} is no number") from None
    x, y, width, height = numbers
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number of the box is not finite")
    if width <= 0 or height <= 0:
        raise ValueError(f"the box has no area: w {width:g}, h {height:g}")
    score: float | None = None
    if cells.get("score") not in (None, ""):
        try:
            score = float(cells["score"])
        except (TypeError, ValueError):
            raise ValueError(f"score {cells['score']!r} is no number") from None
        if not math.isfinite(score):
            raise ValueError("the score is not finite")
    facts = {name: str(cells[name]) for name in FACTS if cells.get(name) not in (None, "")}
    return Detection(frame, (x, y, width, height), score, facts, where)


def _of_csv(text: str, file: str, category: str, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip().lower() for cell in next(lines, [])]
    needed = ("frame", "x", "y", "w", "h")
    if lacking := [name for name in needed if name not in header]:
        raise errors.DataError(
            f"boxes in {file!r}",
            why=f"line 1 names no column {', '.join(lacking)}",
            exists=", ".join(header[:12]),
            do="frame,x,y,w,h and perhaps score," + ",".join(FACTS),
        )
    for cells in lines:
        where = f"line {lines.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            yield where, {"fault": f"{len(cells)} cells, but the header has {len(header)}"}
        else:
            yield where, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _of_coco(text: str, file: str, category: str, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as fault:
        raise errors.DataError(f"boxes in {file!r}", why=f"it is no JSON: {fault}") from fault
    results = isinstance(tree, list)
    annotations = tree if results else tree.get("annotations") if isinstance(tree, dict) else None
    images = [] if results or not isinstance(tree, dict) else tree.get("images", [])
    if not isinstance(annotations, list) or not isinstance(images, list):
        raise errors.DataError(
            f"boxes in {file!r}",
            why="it is neither an object with images and annotations nor a list of results",
            do='{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"image_id": 1, "bbox": [x, y, w, h]}]}',
        )
    known = {image["id"]: image for image in images if isinstance(image, dict) and "id" in image}
    names = {}
    for each in [] if results else tree.get("categories", []):
        if isinstance(each, dict):
            names[each.get("id")] = str(each.get("name", each.get("id")))
    if len(names) > 1 and category not in names.values():
        raise errors.DataError(
            f"boxes in {file!r}",
            why=f"none of its categories is {category!r}",
            exists=", ".join(sorted(names.values())[:8]),
        )
    others: Counter[str] = Counter()
    for place, one in enumerate(annotations):
        where = f"{'results' if results else 'annotations'}[{place}]"
        if not isinstance(one, dict):
            yield where, {"fault": "it is no object"}
            continue
        name = names.get(one.get("category_id"), category)
        if len(names) > 1 and name != category:
            others[name] += 1
            continue
        yield where, _coco_cells(one, known)
    notes += [
        f"{number} of {len(annotations)} boxes left out: category {name}" for name, number in sorted(others.items())
    ]


def _coco_cells(one: Mapping[str, Any], known: Mapping[Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    image = one.get("image_id")
    if isinstance(image, str) and image not in known:
        about: Mapping[str, Any] = {"file_name": image}
    elif isinstance(image, int | str) and image in known:
        about = known[image]
    else:
        return {"fault": f"image_id {image!r} is neither one of images nor the path of a frame"}
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return {"fault": f"bbox {box!r} is not [x, y, w, h]"}
    cells = {"frame": about.get("file_name", ""), **dict(zip("xywh", box, strict=True)), "score": one.get("score")}
    return cells | {name: one.get(name, about.get(name)) for name in FACTS}
