"""What all readers share: the list under construction, and what a check found."""

from __future__ import annotations

import csv
import inspect
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xzoo import errors
from xzoo.data.images import SUFFIXES, open_image, read_image, upright_size
from xzoo.data.manifest import Manifest, Pairs, Row

__all__ = ["Found", "Listing", "Reader", "count"]


@dataclass
class Listing:
    """A data set while it is being listed.

    Args:
        root: Folder of the data set, as its owner ships it.
        rows: The images so far.
        missing: Listed images that are not there, with where they are listed.
        faults: What is wrong with lists, one line each: file, line, fault.
        notes: What is allowed but worth knowing.
        pairs: Comparisons that the owner prescribes.
        counts: Figures that :func:`count` cannot find in the rows.
        published: Published counts; ``scan`` may add or drop what its options do not list.
    """

    root: Path
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: Pairs | None = None
    counts: dict[str, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    _folders: dict[str, dict[str, bool]] = field(default_factory=dict, repr=False)

    def add(self, path: str, subject: str, spectrum: str, *, listed: str = "", **facts: Any) -> None:
        """Add an image, or note that it is missing.

        Args:
            path: Relative to the root, parts joined by ``/``.
            subject: Who.
            spectrum: One of the five bands.
            listed: Where it is listed, such as ``idx/test_vis.txt line 3``; empty for an image found
                by looking, which exists.
            facts: Further columns of ``Row``.
        """
        if listed and not self.has(path):
            self.missing.append(f"{path} ({listed})")
            return
        self.rows.append(Row(path, subject, spectrum, index=len(self.rows), **facts))

    def has(self, path: str) -> bool:
        """Tell whether a file is there; each folder is looked at once."""
        folder, _, name = path.rpartition("/")
        return self._entries(folder).get(name) is False

    def images(self, folder: str) -> list[str]:
        """Return the names of the images in a folder, in code-point order; none where there is no folder."""
        entries = self._entries(folder)
        return sorted(name for name, is_folder in entries.items() if not is_folder and _is_image(name))

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder, in code-point order."""
        entries = self._entries(folder)
        return sorted(name for name, is_folder in entries.items() if is_folder and not name.startswith("."))

    def text(self, path: str, *, needed: bool = True) -> list[tuple[str, str]]:
        """Return the lines of a list that are not blank, each with where it stands.

        Raises:
            MissingFile: A needed list is not there.
            DataError: It is not text.
        """
        file = self.root / path
        if not file.is_file():
            if not needed:
                return []
            raise errors.MissingFile(
                f"no file {path!r} in {str(self.root)!r}",
                why="the data set's owner ships this list with the images",
                do="point to the folder that holds it",
            )
        try:
            content = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as fault:
            raise errors.DataError(f"list {path!r} is not text", why=f"byte {fault.start} is not UTF-8") from fault
        lines = ((f"{path} line {number}", line.strip()) for number, line in enumerate(content.splitlines(), start=1))
        return [(where, line) for where, line in lines if line]

    def table(
        self, path: str, columns: Iterable[str], *, needed: bool = True, delimiter: str = ","
    ) -> list[tuple[str, dict[str, str]]]:
        """Return the rows of a csv with a header, each with where it stands.

        Columns beside the wanted ones are kept. Faulty rows are noted in ``faults``.

        Raises:
            MissingFile: A needed table is not there.
            DataError: A column is missing.
        """
        lines = self.text(path, needed=needed)
        if not lines:
            return []
        header = [cell.strip() for cell in next(csv.reader([lines[0][1]], delimiter=delimiter))]
        if lacking := [name for name in columns if name not in header]:
            raise errors.DataError(
                f"table {path!r} in {str(self.root)!r}",
                why=f"no column {', '.join(lacking)}",
                exists=", ".join(header[:12]),
            )
        found: list[tuple[str, dict[str, str]]] = []
        for where, line in lines[1:]:
            cells = [cell.strip() for cell in next(csv.reader(io.StringIO(line), delimiter=delimiter))]
            if len(cells) != len(header):
                self.faults.append(f"{where}: {len(cells)} cells, but the header has {len(header)}")
            else:
                found.append((where, dict(zip(header, cells, strict=True))))
        return found

    def manifest(self) -> Manifest:
        """Return what is listed so far."""
        return Manifest(tuple(self.rows), self.root, self.pairs)

    def _entries(self, folder: str) -> dict[str, bool]:
        known = self._folders.get(folder)
        if known is None:
            try:
                with os.scandir(self.root / folder) as entries:
                    known = {entry.name: entry.is_dir() for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                known = {}
            self._folders[folder] = known
        return known


@dataclass(frozen=True)
class Found:
    """What ``check`` found of a data set.

    Attributes:
        reader: Name of the reader.
        root: Where it looked.
        counts: Figures counted, in the words of the published ones.
        published: What the owner or a paper publishes; absent where nobody does.
        missing: Listed images that are not there.
        unreadable: Images that cannot be read, with the reason.
        faults: What is wrong with the lists.
        notes: What is allowed but worth knowing.
    """

    reader: str
    root: str
    counts: Mapping[str, int]
    published: Mapping[str, int]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """Counted and published figures where they differ."""
        return {
            name: (self.counts.get(name, 0), expected)
            for name, expected in self.published.items()
            if self.counts.get(name, 0) != expected
        }

    @property
    def ok(self) -> bool:
        """Whether the set is whole: every count as published, every file there and readable."""
        return not (self.differences or self.missing or self.unreadable or self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain lists, dicts, numbers and strings."""
        return {
            "reader": self.reader,
            "root": self.root,
            "ok": self.ok,
            "counts": dict(self.counts),
            "published": dict(self.published),
            "differences": {name: list(pair) for name, pair in self.differences.items()},
            "missing": list(self.missing),
            "unreadable": list(self.unreadable),
            "faults": list(self.faults),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"{self.reader} in {self.root}: " + ("whole" if self.ok else "differs from what is published")]
        for name, number in self.counts.items():
            expected = self.published.get(name)
            said = "" if expected is None else "  as published" if expected == number else f"  published: {expected}"
            lines.append(f"  {name:<32} {number}{said}")
        for label, items in (
            ("missing", self.missing),
            ("unreadable", self.unreadable),
            ("fault", self.faults),
            ("note", self.notes),
        ):
            lines += [f"  {label}: {item}" for item in items[:20]]
            if len(items) > 20:
                lines.append(f"  ... and {len(items) - 20} more {label}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Reader:
    """How one data set is read.

    Args:
        name: The reader's name.
        title: The data set, in a line.
        source: Where layout and counts were published.
        scan: Fills a listing; its keyword arguments are the reader's options.
        published: Counts of the whole set in the words of :func:`count`.
        layout: The files it expects, one a line.
    """

    name: str
    title: str
    source: str
    scan: Callable[..., None]
    published: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""

    def listing(self, root: str | Path, options: Mapping[str, Any]) -> Listing:
        """List the data set, with whatever is wrong with it.

        Raises:
            OptionError: An option that the reader does not take.
            MissingFile: ``root``, or a list that the reader needs, is not there.
        """
        from xzoo.hub import as_path

        taken = {
            name: parameter
            for name, parameter in inspect.signature(self.scan).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        for key in options:
            if key not in taken:
                raise errors.OptionError(
                    f"option {key!r} of reader {self.name!r}",
                    why="it has no such option",
                    exists=", ".join(errors.nearest(key, taken) or taken) or "no options at all",
                )
        folder = as_path(root, "root")
        if not folder.is_dir():
            raise errors.MissingFile(
                f"no folder {str(folder)!r} for reader {self.name!r}", exists=self.title, do="give the data set's root"
            )
        listing = Listing(folder, published=dict(self.published))
        self.scan(listing, **options)
        return listing

    def manifest(self, root: str | Path, options: Mapping[str, Any]) -> Manifest:
        """Return the data set as a manifest; see :func:`xzoo.data.readers.read`."""
        listing = self.listing(root, options)
        wrong = [*listing.faults, *(f"missing: {item}" for item in listing.missing)]
        if wrong or not listing.rows:
            number = f"{len(wrong)} fault{'s' if len(wrong) > 1 else ''}" if wrong else "no image"
            raise errors.DataError(
                f"{self.name} in {str(listing.root)!r} has {number}",
                why=errors.problems(wrong, limit=20) or "nothing in it fits the layout",
                exists=f"expected: {self.layout}" if self.layout and not wrong else "",
                do=f"xzoo.data.readers.check({self.name!r}, root) tells all of it",
            )
        return listing.manifest()

    def check(self, root: str | Path, options: Mapping[str, Any], *, deep: bool = False) -> Found:
        """Compare the data set with what is published; see :func:`xzoo.data.readers.check`."""
        listing = self.listing(root, options)
        manifest = listing.manifest()
        counts = {name: count(manifest, name) for name in listing.published if name not in listing.counts}
        counts |= listing.counts
        for name in ("images", "subjects", *(f"{spectrum} images" for spectrum in manifest.spectra)):
            counts.setdefault(name, count(manifest, name))
        return Found(
            self.name,
            str(listing.root),
            counts,
            listing.published,
            tuple(listing.missing),
            tuple(_unreadable(manifest, deep)),
            tuple(listing.faults if listing.rows else [*listing.faults, "there is no image in it"]),
            tuple(listing.notes),
        )


def count(manifest: Manifest, words: str) -> int:
    """Count what a phrase such as ``test VIS images`` or ``fold:1 probe subjects`` names.

    The last word is ``images`` (distinct files and boxes), ``rows``, ``subjects``, ``cameras``,
    ``templates``, ``media`` or ``pairs``; ``fold:``, ``session:``, ``camera:`` and ``distance:`` take a value; every
    other word must be a row's split, spectrum or role.
    """
    *filters, unit = words.split()
    if unit == "pairs":
        return 0 if manifest.pairs is None else len(manifest.pairs)
    rows: Iterable[Row] = manifest.rows
    for word in filters:
        column, colon, value = word.partition(":")
        if colon:
            rows = [row for row in rows if getattr(row, column) == value]
        else:
            rows = [row for row in rows if word in (row.split, row.spectrum, row.role)]
    if unit == "rows":
        return len(list(rows))
    if unit == "images":
        return len({(row.path, row.box) for row in rows})
    column = {"subjects": "subject", "cameras": "camera", "templates": "template", "media": "media"}[unit]
    return len({value for row in rows if (value := getattr(row, column)) is not None})


def _unreadable(manifest: Manifest, deep: bool) -> Iterator[str]:
    # The box of one file that reaches furthest stands for all of its boxes.
    furthest: dict[str, tuple[int, int]] = {}
    for row in manifest.rows:
        x, y, width, height = row.box or (0, 0, 0, 0)
        right, low = furthest.get(row.path, (0, 0))
        furthest[row.path] = max(right, x + width), max(low, y + height)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        told = pool.map(lambda item: _fault(manifest.root / item[0], item[1], deep), furthest.items())
        for path, fault in zip(furthest, told, strict=True):
            if fault:
                yield f"{path}: {fault}"


def _fault(path: Path, furthest: tuple[int, int], deep: bool) -> str:
    try:
        with open_image(path) as image:
            width, height = upright_size(image) if any(furthest) else image.size
            if not any(furthest):
                image.verify()
        if furthest[0] > width or furthest[1] > height:
            return f"a box ends at {furthest[0]}, {furthest[1]}, outside its {width} x {height} pixels"
        if deep:
            read_image(path)
    except errors.MissingFile:
        return "not there"
    except errors.ImageError as fault:
        return fault.why
    return ""


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name[name.rfind(".") :].lower() in SUFFIXES
