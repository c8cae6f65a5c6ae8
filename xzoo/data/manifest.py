"""A manifest: the table that says what each image is.

Three forms hold the same facts: a ``csv``, a ``parquet`` file, or a folder
``subject/SPECTRUM/image``. A manifest is checked as a whole when it is read;
it is either right in every row, or an error lists all that is wrong.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from xzoo.catalog.names import SPECTRA, as_strings, natural_key
from xzoo.data.images import SUFFIXES, open_image, read_image, upright_size
from xzoo.errors import DataError, ImageError, MissingExtra, MissingFile, OptionError, nearest, problems

if TYPE_CHECKING:
    import numpy.typing as npt

    from xzoo.data.images import Box

__all__ = ["OPTIONAL", "REQUIRED", "Check", "Manifest", "Pairs", "Row"]

REQUIRED = ("path", "subject", "spectrum")
OPTIONAL = (
    *("camera", "session", "split", "box"),
    *("distance", "role", "fold", "template", "media", "landmarks", "quality", "group"),
)
_PARSED = ("box", "landmarks", "quality")
_LATER = OPTIONAL[4:]
"""Columns that came later: a manifest without them has the hash it always had."""

Points: TypeAlias = tuple[tuple[float, float], ...]
"""Landmarks ``(x, y)`` in pixels of the upright image, in the order of their scheme."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image.

    Args:
        path: As written in the manifest: relative to its root, or absolute.
        subject: Who, or what, is in the image.
        spectrum: One of ``SPECTRA``.
        camera: Which camera took it.
        session: Which recording session it belongs to.
        split: Which part of the data it belongs to, such as ``train``.
        box: ``(x, y, width, height)`` in pixels of the upright image.
        index: Place in the manifest as it was read, from 0. A selection keeps
            it, so that two rows with the same index are the same image.
        distance: From the camera, as the data set names it: ``30m``, ``d1``.
        role: What the data set's owner uses it for: ``gallery``, ``probe``, ``distractor`` ...
        fold: Which fold or trial of the protocol this row belongs to. An image has one row for
            each fold, role or template that it takes part in.
        template: Which template it is part of, where the owner defines them.
        media: Which still or video of the template it comes from.
        landmarks: Points in pixels of the upright image. Five of them are both eyes, the nose and both corners
            of the mouth, from left to right in the picture, and two are both eyes; networks that take aligned
            faces are given them so.
        quality: The detector's score of the face, or another weight of the image in its template.
        group: For differential performance: ``gender=f age=30-39``, blank between attributes.
    """

    path: str
    subject: str
    spectrum: str
    camera: str | None = None
    session: str | None = None
    split: str | None = None
    box: Box | None = None
    index: int = 0
    distance: str | None = None
    role: str | None = None
    fold: str | None = None
    template: str | None = None
    media: str | None = None
    landmarks: Points | None = None
    quality: float | None = None
    group: str | None = None

    @property
    def domain(self) -> str:
        """The spectrum with its distance where one is known: ``VIS-500m``."""
        return self.spectrum if self.distance is None else f"{self.spectrum}-{self.distance}"


@dataclass(frozen=True, eq=False)
class Pairs:
    """A list of comparisons that a data set's owner prescribes.

    Attributes:
        first: ``[P]`` places in the manifest's rows (``Row.index``), or names of templates.
        second: ``[P]``, alike.
        same: ``bool [P]``: do both show one subject.
        fold: ``int [P]``, from 1; ``None`` where the list has no folds.
    """

    first: npt.NDArray[Any]
    second: npt.NDArray[Any]
    same: npt.NDArray[np.bool_]
    fold: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.first, self.second, self.same, self.fold) if part is not None}
        if len(lengths) > 1:
            raise DataError(
                f"pairs of {len(self.first)}, {len(self.second)} and {len(self.same)}", why="A pair has one of each."
            )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.same)


@dataclass(frozen=True)
class Check:
    """What ``Manifest.check`` found.

    Args:
        problems: Every fault, in row order; empty when the manifest is usable.
        notes: What is allowed but worth knowing.
        rows: Rows in the table, faulty ones included.
        subjects: Distinct subjects in the rows that could be understood.
        counts: Images by split, then spectrum; ``-`` stands for no split.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    rows: int
    subjects: int
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Manifest:
    """Images with what is known about them, checked.

    Paths in the rows are relative to ``root`` or absolute; ``..`` is allowed.
    ``pairs`` are comparisons that the data's owner prescribes, if any; a file
    written by ``write_csv`` does not hold them.

    Example:
        >>> rows = (Row("a.png", "ann", "VIS"), Row("b.png", "ann", "LWIR", index=1))
        >>> Manifest(rows, root=Path("faces")).select(spectrum="LWIR").paths
        [PosixPath('faces/b.png')]
    """

    rows: tuple[Row, ...]
    root: Path
    pairs: Pairs | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read and check a manifest: ``.csv``, ``.parquet`` or a folder.

        A folder that holds a ``manifest.csv`` means that file. Cells are
        stripped of surrounding blanks. Image headers are read here, pixels
        are not (``check(deep=True)`` decodes everything).

        Raises:
            DataError: With every fault and its row.
            MissingFile: If there is nothing at ``path``.
            MissingExtra: If pyarrow is needed and not installed.
        """
        table = _read_table(path)
        rows, faults = _checked(table, deep=False)
        if faults:
            count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
            raise DataError(
                f"manifest {str(path)!r} has {count}",
                why=problems(faults, limit=50),
                do=f"xzoo data check {path}" if len(faults) > 50 else "mend the rows above and read it again",
            )
        return cls(tuple(rows), table.root)

    @classmethod
    def check(cls, path: str | Path, *, deep: bool = False) -> Check:
        """Report every fault of a manifest, and what it holds, without raising for them.

        Args:
            path: As for ``read``.
            deep: Also decode every image, and report images with equal bytes.

        Raises:
            MissingFile: If there is nothing at ``path``.
            MissingExtra: If pyarrow is needed and not installed.
        """
        table = _read_table(path)
        rows, faults = _checked(table, deep=deep)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            counts[row.split or "-"][row.spectrum] += 1
        ordered = {
            split: {spectrum: counts[split][spectrum] for spectrum in SPECTRA if counts[split][spectrum]}
            for split in sorted(counts, key=natural_key)
        }
        notes = [*table.notes, *_one_sided(rows)]
        return Check(tuple(faults), tuple(notes), len(table.records), len({row.subject for row in rows}), ordered)

    def write_csv(self, path: str | Path) -> Path:
        """Write the rows as a csv; relative paths are rewritten for its new folder."""
        from xzoo.hub import atomic_write

        target = Path(path)
        columns = [*REQUIRED, *(name for name in OPTIONAL if any(getattr(row, name) is not None for row in self.rows))]
        moved = self.root.resolve() != target.parent.resolve()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in self.rows:
            cells = asdict(row)
            if moved and not Path(row.path).is_absolute():
                cells["path"] = Path(os.path.relpath(self.root / row.path, target.parent)).as_posix()
            if row.box is not None:
                cells["box"] = ",".join(map(str, row.box))
            if row.landmarks is not None:
                cells["landmarks"] = " ".join(f"{number:g}" for point in row.landmarks for number in point)
            writer.writerow(["" if cells[name] is None else cells[name] for name in columns])
        with atomic_write(target) as temporary:
            Path(temporary).write_text(text.getvalue(), encoding="utf-8", newline="")
        return target

    def select(
        self,
        *,
        split: str | Iterable[str] | None = None,
        spectrum: str | Iterable[str] | None = None,
        samples: tuple[int, int | None] | None = None,
    ) -> Manifest:
        """Return the rows that fit every filter, in order, with their ``index`` unchanged.

        Args:
            split: One split or several; all by default.
            spectrum: One spectrum or several; all by default.
            samples: First and last sample (from 1, inclusive; no last: to the
                end) of each subject in each spectrum, counted in manifest
                order after the split was chosen.

        Raises:
            DataError: If no row is left, naming what there is.
            OptionError: If a spectrum or the range of samples cannot be meant.
        """
        splits, spectra = as_strings(split, "split"), as_strings(spectrum, "spectrum")
        for word in spectra or ():
            if word not in SPECTRA:
                raise OptionError(f"spectrum={word!r}", why=_spectrum_hint(word))
        rows: Sequence[Row] = [
            row
            for row in self.rows
            if (splits is None or row.split in splits) and (spectra is None or row.spectrum in spectra)
        ]
        if samples is not None:
            first, last = _first_to_last(samples)
            rows = [row for number, row in _numbered(rows) if first <= number and (last is None or number <= last)]
        if not rows:
            wanted = {"split": split, "spectrum": spectrum, "samples": samples}
            raise DataError(
                "no image with " + ", ".join(f"{key}={value!r}" for key, value in wanted.items() if value is not None),
                exists="; ".join(
                    f"split {name or '-'}: {', '.join(f'{count} {key}' for key, count in sorted(held.items()))}"
                    for name, held in _held(self.rows).items()
                )
                or "nothing: the manifest is empty",
            )
        return Manifest(tuple(rows), self.root, self.pairs)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the rows, wherever their root may lie."""
        digest = hashlib.sha256()
        for row in self.rows:
            facts: list[Any] = [row.path, row.subject, row.spectrum, row.camera, row.session, row.split, row.box]
            if later := {name: value for name in _LATER if (value := getattr(row, name)) is not None}:
                facts.append(later)
            digest.update(json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        return digest.hexdigest()

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Distinct subjects, sorted as people count."""
        return tuple(sorted({row.subject for row in self.rows}, key=natural_key))

    @cached_property
    def spectra(self) -> tuple[str, ...]:
        """Spectra that occur, by wavelength."""
        present = {row.spectrum for row in self.rows}
        return tuple(name for name in SPECTRA if name in present)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Splits that occur, sorted; empty when the manifest names none."""
        return tuple(sorted({row.split for row in self.rows if row.split is not None}, key=natural_key))

    @cached_property
    def paths(self) -> list[Path]:
        """Where each image lies: the root joined with each row's path."""
        return [self.root / row.path for row in self.rows]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """``int64 [N]``: place of each row's subject in ``subjects``."""
        place = {subject: number for number, subject in enumerate(self.subjects)}
        return np.array([place[row.subject] for row in self.rows], dtype=np.int64)


# --- reading the table -------------------------------------------------------------------------


class _Record(NamedTuple):
    where: str
    cells: Mapping[str, str]


@dataclass
class _Table:
    root: Path
    records: list[_Record] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _read_table(source: str | Path) -> _Table:
    from xzoo.hub import as_path

    path = as_path(source, "manifest")
    if os.path.isdir(path):  # unlike Path.is_dir, quiet where the name is too long for a file
        listed = path / "manifest.csv"
        return _read_csv(listed) if listed.is_file() else _read_folder(path)
    if not os.path.exists(path):
        raise MissingFile(f"no manifest {str(path)!r}", exists="a .csv, a .parquet, or a folder subject/SPECTRUM/image")
    reader = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"cannot read manifest {str(path)!r}",
            why=f"files ending in {path.suffix or 'nothing'!r} are not known",
            exists="a .csv, a .parquet, or a folder subject/SPECTRUM/image",
        )
    return reader(path)


def _read_csv(path: Path) -> _Table:
    table = _Table(path.parent)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        table.faults.append(f"line {line}: not UTF-8 (byte 0x{raw[fault.start]:02x}); save the file as UTF-8")
        return table
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    header: list[str] | None = None
    try:
        for cells in lines:
            # A quoted cell may span lines; a row is named by its first one.
            where, start = f"line {start}", lines.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = cells
                if not _header_fits(header, table, where):
                    return table
            elif len(cells) != len(header):
                table.faults.append(f"{where}: {len(cells)} cells, but the header has {len(header)}")
            else:
                table.records.append(_Record(where, dict(zip(header, cells, strict=True))))
    except csv.Error as fault:
        table.faults.append(f"line {start}: {fault}; is a quotation mark left open?")
    if header is None:
        table.faults.append("line 1: the file is empty; its first line names the columns: " + ",".join(REQUIRED))
    return table


def _read_parquet(path: Path) -> _Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as fault:
        raise MissingExtra(
            f"cannot read {str(path)!r}", why="parquet needs the package pyarrow", do="pip install pyarrow"
        ) from fault
    table = _Table(path.parent)
    try:
        with parquet.ParquetFile(path) as file:
            columns = [str(name) for name in file.schema_arrow.names]
            if not _header_fits(columns, table, "columns"):
                return table
            content = file.read(columns=[name for name in columns if name in REQUIRED + OPTIONAL]).to_pylist()
    except (pyarrow.ArrowException, OSError) as fault:
        table.faults.append(f"not a parquet file: {str(fault).splitlines()[0]}")
        return table
    for number, values in enumerate(content, start=1):
        table.records.append(_Record(f"row {number}", {key: _cell(value) for key, value in values.items()}))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).strip()


def _read_folder(root: Path) -> _Table:
    table = _Table(root)
    for file in sorted(root.rglob("*"), key=lambda entry: natural_key(entry.relative_to(root).as_posix())):
        name = file.relative_to(root)
        if any(part.startswith(".") for part in name.parts) or not file.is_file():
            continue
        if file.suffix.lower() not in SUFFIXES:
            table.notes.append(f"{name.as_posix()}: ignored, not an image by its ending")
        elif len(name.parts) != 3:
            table.faults.append(f"{name.as_posix()}: images belong into subject/SPECTRUM/")
        else:
            cells = {"path": name.as_posix(), "subject": name.parts[0], "spectrum": name.parts[1]}
            table.records.append(_Record(name.as_posix(), cells))
    # Stable: within a subject the spectra follow their wavelength, not the alphabet.
    table.records.sort(key=lambda record: (natural_key(record.cells["subject"]), _order(record.cells["spectrum"])))
    return table


def _order(spectrum: str) -> int:
    return SPECTRA.index(spectrum) if spectrum in SPECTRA else len(SPECTRA)


def _header_fits(header: list[str], table: _Table, where: str) -> bool:
    known = (*REQUIRED, *OPTIONAL)
    for name, count in Counter(header).items():
        if count > 1:
            table.faults.append(f"{where}: column {name!r} occurs {count} times")
    missing = [name for name in REQUIRED if name not in header]
    if missing and len(header) == 1 and (mark := next((mark for mark in ";\t|" if mark in header[0]), "")):
        table.faults.append(f"{where}: columns are separated by {mark!r}; a manifest uses commas")
        return False
    for name in missing:
        close = [column for column in header if column.lower() == name] or nearest(name, header)
        table.faults.append(f"{where}: no column {name!r}" + (f"; is {close[0]!r} meant?" if close else ""))
    ignored = [name for name in header if name not in known]
    if ignored:
        table.notes.append(f"{where}: columns not used: {', '.join(map(repr, ignored))}")
    return not table.faults


# --- checking the rows -------------------------------------------------------------------------


def _checked(table: _Table, *, deep: bool) -> tuple[list[Row], list[str]]:
    """Return the rows that could be understood, and every fault in row order."""
    rows: list[Row] = []
    # Faults of row i stand at place i, whichever check found them.
    faults: list[list[str]] = [[] for _ in table.records]
    has_splits = any(record.cells.get("split") for record in table.records)
    kept: list[int] = []
    for number, (_, cells) in enumerate(table.records):
        found = faults[number]
        found += [f"{name} is empty" for name in REQUIRED if not cells[name]]
        if cells["spectrum"] and cells["spectrum"] not in SPECTRA:
            found.append(_spectrum_hint(cells["spectrum"]))
        if has_splits and not cells.get("split"):
            found.append("split is empty, but other rows have one")
        box = _box(cells.get("box") or "", found)
        landmarks = _landmarks(cells.get("landmarks") or "", found)
        quality = _quality(cells.get("quality") or "", found)
        if not found:
            facts: dict[str, Any] = {name: cells.get(name) or None for name in OPTIONAL if name not in _PARSED}
            facts |= {name: cells[name] for name in REQUIRED}
            rows.append(Row(**facts, box=box, landmarks=landmarks, quality=quality, index=number))
            kept.append(number)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for number, (fault, _) in zip(
            kept, pool.map(lambda row: _file_fault(table.root, row, deep), rows), strict=True
        ):
            if fault:
                faults[number].append(fault)
        if deep:
            distinct = {(os.path.normpath(row.path), row.box): row for row in reversed(rows)}
            first = sorted(distinct.values(), key=lambda row: row.index)
            sums = pool.map(lambda row: _content(table.root, row), first)
            _report_twins(table, first, list(sums), "has the same bytes and box as", faults)
    # An image may stand once in each fold, role and template.
    uses = [(os.path.normpath(row.path), row.box, row.fold, row.role, row.template) for row in rows]
    _report_twins(table, rows, uses, "is the same image as", faults)
    _report_leaks(table, rows, faults)

    listed = [f"{table.records[i].where}: {text}" for i, found in enumerate(faults) for text in found]
    if not table.records and not table.faults:
        table.faults.append("there is no image in it")
    return rows, table.faults + listed


def _spectrum_hint(word: str) -> str:
    if word.upper() in SPECTRA:
        return f"spectrum {word!r} is written {word.upper()!r}"
    close = nearest(word.upper(), SPECTRA)
    return f"unknown spectrum {word!r}; " + (f"is {close[0]!r} meant?" if close else f"known: {' '.join(SPECTRA)}")


def _box(text: str, faults: list[str]) -> Box | None:
    if not text:
        return None
    try:
        x, y, w, h = (int(part) for part in text.replace(",", " ").split())
    except ValueError:
        faults.append(f"box {text!r} is not four whole numbers x,y,width,height")
        return None
    if x < 0 or y < 0 or w < 1 or h < 1:
        faults.append(f"box {text!r} starts before 0 or has no area")
    return x, y, w, h


def _landmarks(text: str, faults: list[str]) -> Points | None:
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if not numbers or len(numbers) % 2 or not np.isfinite(numbers).all():
        faults.append(f"landmarks {text!r} are not pairs of numbers x y")
        return None
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _quality(text: str, faults: list[str]) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = float("nan")
    if value is not None and not np.isfinite(value):
        faults.append(f"quality {text!r} is not a number")
        return None
    return value


def _file_fault(root: Path, row: Row, deep: bool) -> tuple[str, Row]:
    try:
        with open_image(root / row.path) as image:
            # Only a box needs the size, and a PNG may hide its orientation behind the pixels.
            width, height = upright_size(image) if row.box else image.size
            if not row.box:
                image.verify()
        if row.box and (row.box[0] + row.box[2] > width or row.box[1] + row.box[3] > height):
            return f"box {','.join(map(str, row.box))} leaves the image of {width} x {height} pixels", row
        if deep:
            read_image(root / row.path)
    except MissingFile:
        return f"no file {row.path!r}", row
    except ImageError as fault:
        return f"{row.path!r} cannot be read: {fault.why}", row
    return "", row


def _content(root: Path, row: Row) -> tuple[str, Box | None] | None:
    try:
        with open(root / row.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), row.box
    except OSError:
        return None


def _report_twins(
    table: _Table, rows: Sequence[Row], keys: Sequence[object], word: str, faults: list[list[str]]
) -> None:
    first: dict[object, int] = {}
    for row, key in zip(rows, keys, strict=True):
        earlier = row.index if key is None else first.setdefault(key, row.index)
        if earlier != row.index:
            faults[row.index].append(f"{row.path!r} {word} {table.records[earlier].where}")


def _report_leaks(table: _Table, rows: Sequence[Row], faults: list[list[str]]) -> None:
    home: dict[tuple[str, str | None], Row] = {}  # each fold divides the subjects anew
    told: set[tuple[str, str | None, str | None]] = set()
    for row in rows:
        first = home.setdefault((row.subject, row.fold), row)
        if row.split != first.split and (row.subject, row.fold, row.split) not in told:
            told.add((row.subject, row.fold, row.split))
            faults[row.index].append(
                f"subject {row.subject!r} is in split {row.split!r} here, "
                f"but in {first.split!r} at {table.records[first.index].where}"
            )


def _one_sided(rows: Sequence[Row]) -> Iterator[str]:
    held: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        held[row.subject].add(row.spectrum)
    for spectrum in SPECTRA:
        lacking = sorted((subject for subject, spectra in held.items() if spectrum not in spectra), key=natural_key)
        if lacking and len(lacking) < len(held):
            more = ", ..." if len(lacking) > 3 else ""
            yield f"{len(lacking)} of {len(held)} subjects have no {spectrum}: {', '.join(lacking[:3])}{more}"


def _numbered(rows: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        seen[row.subject, row.spectrum] += 1
        yield seen[row.subject, row.spectrum], row


def _first_to_last(samples: tuple[int, int | None]) -> tuple[int, int | None]:
    match samples:
        case (int() as first, int() | None as last) if first >= 1 and (last is None or last >= first):
            return first, last
    raise OptionError(f"samples={samples!r}", why="samples are counted from 1: (first, last), or (first, None)")


def _held(rows: Iterable[Row]) -> dict[str | None, Counter[str]]:
    held: dict[str | None, Counter[str]] = defaultdict(Counter)
    for row in rows:
        held[row.split][row.spectrum] += 1
    return held
