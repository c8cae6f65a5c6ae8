"""``.bin`` files of verification sets: thousands of encoded images in one pickle, read without running it.

A pickle is a program, and these files come from strangers. Here it is read opcode by
opcode: lists, tuples, bytes and truth values are understood (also NumPy's truth values, by
their description alone), anything else is refused by name. Nothing that a file names is
ever imported or called.

An image in such a file has the path ``lfw.bin/000042``: the file, then the image's
number. ``xzoo.data.images`` opens it like any other.
"""

from __future__ import annotations

import io
import mmap
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from xzoo.data.manifest import Pairs
from xzoo.data.readers.core import Listing, Reader
from xzoo.errors import DataError, MissingFile

__all__ = ["READERS", "Content", "content", "image_bytes", "names_image", "parse"]

_MARK = object()
_BYTES = {
    # opcode: bytes before the payload
    "BINBYTES": 5,
    "SHORT_BINBYTES": 2,
    "BINBYTES8": 9,
    "BYTEARRAY8": 9,
    "BINSTRING": 5,
    "SHORT_BINSTRING": 2,
}
_SCALAR = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}
_DTYPE = {("numpy", "dtype")}
_BOOL_TYPES = ("b1", "?", "bool")


@dataclass(frozen=True)
class _Span:
    """Where a run of bytes lies in the file."""

    start: int
    length: int


@dataclass(frozen=True)
class _Name:
    """A thing that the file names; never imported."""

    module: str
    name: str


@dataclass
class _Described:
    """NumPy's type of a truth value, by its description."""

    code: object


@dataclass(frozen=True)
class Content:
    """What a ``.bin`` file holds.

    Attributes:
        spans: Start and length of each encoded image in the file.
        same: For each pair (images 2p and 2p + 1) whether both show one person.
    """

    spans: tuple[tuple[int, int], ...]
    same: tuple[bool, ...]


def content(path: str | Path) -> Content:
    """Return where the images of a ``.bin`` file lie, and which pairs are of one person.

    The answer is kept until the file changes.

    Raises:
        MissingFile: There is no such file.
        DataError: It is no such pickle, or holds an instruction that this reading refuses.
    """
    file = Path(path)
    try:
        facts = file.stat()
    except OSError as fault:
        raise MissingFile(f"no file {str(file)!r}") from fault
    return _content(str(file), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=16)
def _content(path: str, changed: int, size: int) -> Content:
    if not size:
        raise DataError(f"cannot read {path!r}", why="the file is empty (0 bytes)")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        return parse(raw, path)


def parse(raw: bytes | mmap.mmap, label: str) -> Content:
    """Read the pickle ``(images, same)`` without running it.

    Args:
        raw: The whole file.
        label: What it is called in an error.

    Raises:
        DataError: As :func:`content`.
    """
    found = _run(raw, label)
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(isinstance(part, list) for part in found):
        raise DataError(f"cannot read {label!r}", why="it is no pair of lists (images, same)")
    images, same = found
    if not all(isinstance(item, _Span) for item in images):
        raise DataError(f"cannot read {label!r}", why="its first list holds something other than encoded images")
    flags = [_flag(item, raw) for item in same]
    if any(flag is None for flag in flags):
        raise DataError(f"cannot read {label!r}", why="its second list holds something other than truth values")
    if len(images) != 2 * len(flags) or not flags:
        raise DataError(
            f"cannot read {label!r}", why=f"{len(images)} images for {len(flags)} pairs: there must be two a pair"
        )
    return Content(tuple((item.start, item.length) for item in images), tuple(bool(flag) for flag in flags))


def names_image(path: str | Path) -> bool:
    """Tell whether a path means an image inside a ``.bin`` file."""
    file = Path(path)
    return file.parent.suffix == ".bin" and file.name.isdecimal() and file.parent.is_file()


def image_bytes(path: str | Path) -> bytes:
    """Return one encoded image of a ``.bin`` file: ``folder/lfw.bin/000042``.

    Raises:
        MissingFile: There is no such file, or it holds fewer images.
        DataError: The file is refused.
    """
    place = Path(path)
    spans = content(place.parent).spans
    if int(place.name) >= len(spans):
        raise MissingFile(f"no image {place.name} in {str(place.parent)!r}", exists=f"it holds {len(spans)}")
    start, length = spans[int(place.name)]
    with open(place.parent, "rb") as file:
        file.seek(start)
        return file.read(length)


def _run(raw: bytes | mmap.mmap, label: str) -> Any:
    """Follow the instructions that build lists, tuples, bytes and truth values; refuse all others."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for name, argument, position in _instructions(raw, label):
            if name in _BYTES:
                stack.append(_Span(position + _BYTES[name], len(argument)))
            elif name in ("NEWTRUE", "NEWFALSE"):
                stack.append(name == "NEWTRUE")
            elif name in ("INT", "BININT", "BININT1", "BININT2", "NONE") or "UNICODE" in name:
                stack.append(argument)
            elif name in ("EMPTY_LIST", "EMPTY_TUPLE"):
                stack.append([] if name == "EMPTY_LIST" else ())
            elif name == "MARK":
                stack.append(_MARK)
            elif name in ("LIST", "TUPLE"):
                items = _since_mark(stack)
                stack.append(items if name == "LIST" else tuple(items))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            elif name in ("APPEND", "APPENDS"):
                items = [stack.pop()] if name == "APPEND" else _since_mark(stack)
                if not isinstance(stack[-1], list):
                    raise _refused(label, position, name)
                stack[-1].extend(items)
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[int(argument)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[int(argument)])
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                stack.append(_named(name, argument, stack, label, position))
            elif name == "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(_described(called, arguments, label, position))
            elif name == "BUILD" and isinstance(stack[-2], _Described):
                stack.pop()  # byte order and the like of a single byte
            elif name == "STOP":
                if len(stack) != 1:
                    raise _refused(label, position, name)
                return stack[0]
            elif name not in ("PROTO", "FRAME"):
                raise _refused(label, position, name)
    except (IndexError, KeyError, TypeError) as fault:
        raise DataError(
            f"cannot read {label!r}", why="its pickle is damaged: an instruction lacks its operand"
        ) from fault
    raise DataError(f"cannot read {label!r}", why="its pickle ends too early")


def _instructions(raw: bytes | mmap.mmap, label: str) -> Iterator[tuple[str, Any, int]]:
    try:
        file = cast("IO[bytes]", raw) if isinstance(raw, mmap.mmap) else io.BytesIO(raw)
        for opcode, argument, position in pickletools.genops(file):
            yield opcode.name, argument, position or 0
    except (ValueError, UnicodeDecodeError, OverflowError, MemoryError) as fault:
        raise DataError(f"cannot read {label!r}", why=f"it is no pickle, or a damaged one: {fault}") from fault


def _since_mark(stack: list[Any]) -> list[Any]:
    place = len(stack) - 1
    while stack[place] is not _MARK:
        place -= 1
        if place < 0:
            raise IndexError
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _named(name: str, argument: Any, stack: list[Any], label: str, position: int) -> _Name:
    if name == "GLOBAL":
        module, _, thing = str(argument).partition(" ")
    else:
        thing, module = str(stack.pop()), str(stack.pop())
    if (module, thing) not in _SCALAR | _DTYPE:
        raise DataError(
            f"refused to read {label!r}",
            why=f"its pickle names {module}.{thing} (byte {position}): loading it could run any code",
            do="get the file from its owner again, and do not open this one with pickle",
        )
    return _Name(module, thing)


def _described(called: Any, arguments: Any, label: str, position: int) -> Any:
    """Return what NumPy would make of a description: the type of a truth value, or such a value."""
    if isinstance(called, _Name) and isinstance(arguments, tuple) and arguments:
        if (called.module, called.name) in _DTYPE:
            return _Described(arguments[0])
        kind, *value = arguments
        if isinstance(kind, _Described) and len(value) == 1 and isinstance(value[0], _Span):
            return (kind, value[0])
    raise _refused(label, position, "REDUCE")


def _flag(item: Any, raw: bytes | mmap.mmap) -> bool | None:
    if isinstance(item, (bool, int)):
        return bool(item) if item in (0, 1) else None
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], _Described):
        kind, span = item
        code = (
            bytes(raw[kind.code.start : kind.code.start + kind.code.length]).decode("latin-1")
            if isinstance(kind.code, _Span)
            else kind.code
        )
        if code in _BOOL_TYPES and span.length == 1:
            return bool(raw[span.start])
    return None


def _refused(label: str, position: int, name: str) -> DataError:
    return DataError(
        f"refused to read {label!r}",
        why=f"its pickle holds the instruction {name} (byte {position}); a list of images needs none such",
        do="get the file from its owner again, and do not open this one with pickle",
    )


def _scan(file: str) -> Any:
    def scan(listing: Listing, *, file: str = file) -> None:
        """List the images of one file; people have no names in it."""
        held = content(listing.root / file)
        for pair, same in enumerate(held.same):
            for side in (0, 1):
                who = f"pair {pair + 1}" + ("" if same else "ab"[side])
                listing.add(f"{file}/{2 * pair + side:06d}", who, "VIS")
        places = np.arange(2 * len(held.same))
        listing.pairs = Pairs(places[0::2], places[1::2], np.array(held.same))
        listing.counts["genuine pairs"] = sum(held.same)
        listing.notes.append("people have no names in the file: a subject is a pair, or one side of an impostor pair")

    return scan


def _reader(name: str, file: str, title: str, pairs: int) -> Reader:
    return Reader(
        name=name,
        title=title,
        source="insightface, recognition/arcface_torch/eval/verification.py",
        scan=_scan(file),
        published={"pairs": pairs, "genuine pairs": pairs // 2, "images": 2 * pairs},
        layout=file,
    )


READERS = {
    reader.name: reader
    for reader in (
        _reader("lfw_bin", "lfw.bin", "LFW, 6,000 pairs in one file", 6000),
        _reader("calfw_bin", "calfw.bin", "CALFW, 6,000 pairs in one file", 6000),
        _reader("cplfw_bin", "cplfw.bin", "CPLFW, 6,000 pairs in one file", 6000),
        _reader("cfp_fp_bin", "cfp_fp.bin", "CFP-FP, 7,000 pairs in one file", 7000),
        _reader("agedb_30_bin", "agedb_30.bin", "AgeDB-30, 6,000 pairs in one file", 6000),
    )
}
