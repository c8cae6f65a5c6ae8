"""MATLAB 5 files, as many data sets list their images in them.

Read and written without SciPy, which the core install does not need: numbers,
text, cells and structs, compressed or not. Format: "MAT-File Format", The
MathWorks, level 5. Files of version 7.3 are HDF5 and are refused by name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xzoo import errors

__all__ = ["dumps", "load", "save"]

Array = npt.NDArray[Any]

_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",
}
_MATRIX, _COMPRESSED, _UTF8, _UTF16, _UTF32 = 14, 15, 16, 17, 18
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT, _CHAR = 1, 2, 4


def load(path: str | Path) -> dict[str, Any]:
    """Return the variables of a file.

    Numbers become arrays of the stored shape, a line of text a ``str``, several lines a list,
    cells an object array, a struct a dict (a struct array: an object array of dicts).

    Raises:
        MissingFile: There is no such file.
        DataError: It is no MATLAB 5 file, is damaged, or holds what is not read here.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except FileNotFoundError as fault:
        raise errors.MissingFile(f"no file {str(file)!r}") from fault
    if raw[:8] == b"\x89HDF\r\n\x1a\n" or raw[512:520] == b"\x89HDF\r\n\x1a\n":
        raise errors.DataError(
            f"cannot read {str(file)!r}",
            why="MATLAB 7.3 files are HDF5",
            do="in MATLAB: save(file, '-v7') writes it in the older form",
        )
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:128])
    if order is None:
        raise errors.DataError(f"cannot read {str(file)!r}", why="it is no MATLAB 5 file")
    found: dict[str, Any] = {}
    try:
        position = 128
        while position + 8 <= len(raw):
            kind, content, position = _element(raw, position, order)
            if kind == _COMPRESSED:
                kind, content, _ = _element(zlib.decompress(content), 0, order)
            if kind == _MATRIX:
                name, value = _matrix(content, order)
                found[name] = value
    except (struct.error, zlib.error, ValueError, KeyError, IndexError, UnicodeDecodeError) as fault:
        raise errors.DataError(f"cannot read {str(file)!r}", why=f"it is damaged: {fault}") from fault
    return found


def dumps(variables: Mapping[str, Any]) -> bytes:
    """Return a MATLAB 5 file of arrays of numbers, texts, and cells (object arrays or lists)."""
    head = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM"
    return head + b"".join(_packed(name, value) for name, value in variables.items())


def save(path: str | Path, variables: Mapping[str, Any]) -> Path:
    """Write what ``dumps`` returns to a file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(dumps(variables))
    return target


def _element(raw: bytes, position: int, order: str) -> tuple[int, bytes, int]:
    """Return the type and the bytes of the element at a position, and where the next one starts."""
    kind, size = struct.unpack_from(order + "II", raw, position)
    if kind >> 16:  # a small element holds up to four bytes in its own tag
        return kind & 0xFFFF, raw[position + 4 : position + 4 + (kind >> 16)], position + 8
    start = position + 8
    if start + size > len(raw):
        raise ValueError("it ends too early")
    padded = size if kind == _COMPRESSED else (size + 7) // 8 * 8
    return kind, raw[start : start + size], start + padded


def _matrix(raw: bytes, order: str) -> tuple[str, Any]:
    if not raw:
        return "", np.zeros((0, 0))
    _, flags, position = _element(raw, 0, order)
    (word,) = struct.unpack_from(order + "I", flags)
    kind = word & 0xFF
    _, content, position = _element(raw, position, order)
    shape = tuple(int(side) for side in np.frombuffer(content, order + "i4"))
    _, name, position = _element(raw, position, order)
    count = int(np.prod(shape))
    if kind in (_CELL, _STRUCT):
        keys = [""]
        if kind == _STRUCT:
            _, width, position = _element(raw, position, order)
            (length,) = struct.unpack(order + "i", width)
            _, content, position = _element(raw, position, order)
            keys = [
                content[start : start + length].split(b"\0")[0].decode() for start in range(0, len(content), length)
            ]
        items: list[Any] = []
        for _ in range(count):
            item: dict[str, Any] = {}
            for key in keys:
                _, content, position = _element(raw, position, order)
                item[key] = _matrix(content, order)[1]
            items.append(item if kind == _STRUCT else item[""])
        if kind == _STRUCT and count == 1:
            return name.decode(), items[0]
        cells = np.empty(count, object)
        cells[:] = items
        return name.decode(), cells.reshape(shape, order="F")
    stored, content, position = _element(raw, position, order)
    values = np.frombuffer(content, order + _TYPES[stored])
    if kind == _CHAR:
        return name.decode(), _text(content, stored, values, shape, order)
    if kind not in _CLASSES or word & 0x0800:
        raise ValueError(f"variable {name.decode()!r} is of a class that is not read here ({kind})")
    return name.decode(), values.astype(_CLASSES[kind]).reshape(shape, order="F")


def _text(content: bytes, stored: int, values: Array, shape: tuple[int, ...], order: str) -> str | list[str]:
    letters = list(content.decode("utf-8")) if stored == _UTF8 else [chr(int(code)) for code in values]
    if not letters:
        return ""
    lines = np.array(letters).reshape(shape, order="F")
    joined = ["".join(line) for line in lines.reshape(shape[0], -1)]
    return joined[0] if len(joined) == 1 else joined


def _packed(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        codes = np.array([ord(letter) for letter in value], "<u2")
        return _matrix_bytes(name, _CHAR, (1, len(codes)), _data(4, codes.tobytes()))
    array = value if isinstance(value, np.ndarray) else _as_array(value)
    shape = array.shape if array.ndim >= 2 else (array.size, 1)
    if array.dtype == object:
        items = array.reshape(shape).ravel(order="F")
        return _matrix_bytes(name, _CELL, shape, b"".join(_packed("", item) for item in items))
    form = array.dtype.kind + str(array.dtype.itemsize)
    kinds = {dtype: kind for kind, dtype in _CLASSES.items()}
    if form not in kinds:
        array, form = array.astype("f8"), "f8"
    stored = {dtype: kind for kind, dtype in reversed(_TYPES.items())}[form]
    content = np.asarray(array, f"<{form}").reshape(shape).tobytes(order="F")
    return _matrix_bytes(name, kinds[form], shape, _data(stored, content))


def _as_array(value: Any) -> Array:
    if isinstance(value, (list, tuple)):
        cells = np.empty(len(value), object)
        cells[:] = list(value)
        return cells
    return np.asarray(value, float).reshape(1, 1)


def _data(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _matrix_bytes(name: str, kind: int, shape: tuple[int, ...], content: bytes) -> bytes:
    body = _data(6, struct.pack("<II", kind, 0)) + _data(5, np.array(shape, "<i4").tobytes())
    return _data(_MATRIX, body + _data(1, name.encode()) + content)
