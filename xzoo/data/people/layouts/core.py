"""What all layouts share: a page on which files are placed, and how it is filled."""

from __future__ import annotations

import inspect
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from xzoo.errors import OptionError, nearest
from xzoo.hub.files import disk_full, existing_parent, whole_folder

__all__ = ["Draw", "Kind", "Page", "Piece", "fill"]

Kind = Literal["face", "body"]
Pixels: TypeAlias = npt.NDArray[np.uint8]
Draw: TypeAlias = Callable[[Kind, int, int, str, tuple[int, int]], Pixels]
"""``draw(kind, subject, sample, spectrum, (height, width)) -> uint8 [H, W, 3]``."""

_BATCH = 64
_ROOM = 96 << 20
"""Bytes of drawn pieces held at a time."""


@dataclass(frozen=True)
class Piece:
    """A person in a picture.

    Args:
        kind: A face or a whole body.
        subject: Number of the person.
        sample: Number of the moment; one moment of one person is one picture in each spectrum.
        spectrum: Band.
        size: Height and width in pixels.
        at: Left and top pixel in the picture.
        distance: Metres from the camera, for the generator; its own choice of near ones if None.
    """

    kind: Kind
    subject: int
    sample: int
    spectrum: str
    size: tuple[int, int]
    at: tuple[int, int] = (0, 0)
    distance: float | None = None


@dataclass(frozen=True)
class _Planned:
    path: str
    size: tuple[int, int]
    pieces: tuple[Piece, ...]
    grey: bool
    level: int


@dataclass
class Page:
    """A data set while it is being laid out.

    Args:
        folder: Where the files go; a layout writes through the methods alone.
        subjects: How many people.
        seed: For every random choice of the layout.
        draw: Draws one person; used directly where a file holds many encoded pictures.
        generated: Whether the generator draws, whose labels then hold for the pictures.
    """

    folder: Path
    subjects: int
    seed: int
    draw: Draw
    generated: bool = False
    _plan: list[_Planned] = field(default_factory=list, repr=False)

    def picture(
        self,
        path: str,
        kind: Kind,
        subject: int,
        sample: int,
        spectrum: str,
        size: tuple[int, int],
        *,
        grey: bool | None = None,
    ) -> None:
        """Place a picture of one person; ``path`` ends in .png, .jpg or .bmp.

        Args:
            path: Relative to the data set's root.
            kind: ``"face"`` or ``"body"``.
            subject: Number of the person.
            sample: Number of the moment.
            spectrum: Band.
            size: Height and width in pixels.
            grey: One channel in the file; by default for every band but VIS.
        """
        self.scene(path, size, [Piece(kind, subject, sample, spectrum, size)], grey=grey)

    def scene(
        self, path: str, size: tuple[int, int], pieces: Sequence[Piece], *, grey: bool | None = None, level: int = 96
    ) -> None:
        """Place a picture of several people on a plain background of grey value ``level``; later ones cover earlier."""
        grey = all(piece.spectrum != "VIS" for piece in pieces) if grey is None else grey
        self._plan.append(_Planned(path, size, tuple(pieces), grey, level))

    def text(self, path: str, content: str | Sequence[str]) -> None:
        """Write a text file; lines given as a sequence each end in a line feed."""
        self.data(path, (content if isinstance(content, str) else "".join(f"{line}\n" for line in content)).encode())

    def data(self, path: str, content: bytes) -> None:
        """Write any other file."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def make(self, path: str) -> None:
        """Make a folder that may stay empty."""
        (self.folder / path).mkdir(parents=True, exist_ok=True)

    def encoded(
        self,
        kind: Kind,
        subject: int,
        sample: int,
        spectrum: str,
        size: tuple[int, int],
        *,
        form: Literal["jpeg", "png"] = "jpeg",
        grey: bool = False,
    ) -> bytes:
        """Draw a person now and return the bytes of an image file."""
        drawn = _fitted(self.draw(kind, subject, sample, spectrum, size), size)
        return encode(drawn[..., 0] if grey else drawn, form)


def encode(pixels: Pixels, form: str) -> bytes:
    """Return the bytes of an image file of ``uint8 [H, W]`` or ``[H, W, 3]``: jpeg, png or bmp."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **({"quality": 95} if form == "jpeg" else {}))
    return out.getvalue()


def fill(
    name: str,
    lay: Callable[..., None],
    target: Path,
    *,
    subjects: int,
    seed: int,
    draw: Draw | None,
    progress: bool,
    options: Mapping[str, Any],
) -> Path:
    """Lay a data set out; see :func:`xzoo.data.people.layouts.write`."""
    _check(name, lay, target, subjects, options)
    with whole_folder(target) as part:
        page = Page(part, subjects, seed, draw or _generator(seed), generated=draw is None)
        lay(page, **options)
        _check_room(target, page._plan)
        _paint(page, None if draw is None else draw, seed, progress)
    return target


def _check(name: str, lay: Callable[..., None], target: Path, subjects: int, options: Mapping[str, Any]) -> None:
    if isinstance(subjects, bool) or not isinstance(subjects, int) or not 1 <= subjects <= 1_000_000:
        raise OptionError(
            f"subjects={subjects!r} of layout {name!r}", why="must be a whole number from 1 to 1000000", do="subjects=8"
        )
    taken = [
        key for key, parameter in inspect.signature(lay).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for key in options:
        if key not in taken:
            raise OptionError(
                f"option {key!r} of layout {name!r}",
                why="it has no such option",
                exists=", ".join(nearest(key, taken) or taken) or "no options at all",
            )
    if (target.exists() or target.is_symlink()) and not (target.is_dir() and not any(target.iterdir())):
        raise OptionError(
            f"{str(target)!r} as the folder of layout {name!r}",
            why="it already holds something, and nothing is overwritten",
            do="name a new folder, or empty this one",
        )


def _check_room(target: Path, plan: Sequence[_Planned]) -> None:
    needed = sum(2 * one.size[0] * one.size[1] + 4096 for one in plan)
    if shutil.disk_usage(existing_parent(target)).free < needed:
        raise disk_full(target, needed)


def _paint(page: Page, draw: Draw | None, seed: int, progress: bool) -> None:
    """Draw the planned pictures, many people of one kind, band and size at a time."""
    with tqdm(total=len(page._plan), unit="image", desc="drawing", disable=None if progress else True) as bar:
        start = 0
        while start < len(page._plan):
            stop, room = start, 0
            while stop < len(page._plan) and (room < _ROOM or stop == start):
                room += sum(3 * piece.size[0] * piece.size[1] for piece in page._plan[stop].pieces)
                stop += 1
            block = page._plan[start:stop]
            pieces = list(dict.fromkeys(piece for one in block for piece in one.pieces))
            drawn = (
                _many(pieces, seed)
                if draw is None
                else {
                    piece: _fitted(
                        draw(piece.kind, piece.subject, piece.sample, piece.spectrum, piece.size), piece.size
                    )
                    for piece in pieces
                }
            )
            for one in block:
                page.data(one.path, _composed(one, drawn))
                bar.update()
            start = stop


def _composed(one: _Planned, drawn: Mapping[Piece, Pixels]) -> bytes:
    height, width = one.size
    canvas = np.full((height, width, 3), one.level, np.uint8)
    for piece in one.pieces:
        left, top = piece.at
        pixels = drawn[piece]
        x, y = max(left, 0), max(top, 0)
        room = canvas[y : top + piece.size[0], x : left + piece.size[1]]
        room[:] = pixels[y - top : y - top + room.shape[0], x - left : x - left + room.shape[1]]
    form = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp"}[Path(one.path).suffix.lower()]
    return encode(canvas[..., 0] if one.grey else canvas, form)


def _fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.shape != (*size, 3) or pixels.dtype != np.uint8:
        raise OptionError(
            f"draw() returned {pixels.dtype} {list(pixels.shape)}", why=f"it was asked for uint8 {[*size, 3]}"
        )
    return pixels


def _generator(seed: int) -> Draw:
    def one(kind: Kind, subject: int, sample: int, spectrum: str, size: tuple[int, int]) -> Pixels:
        piece = Piece(kind, subject, sample, spectrum, size)
        return _many([piece], seed)[piece]

    return one


def _many(pieces: Sequence[Piece], seed: int) -> dict[Piece, Pixels]:
    """Draw with the generator, in batches of one kind, band and size."""
    groups: dict[tuple[Kind, str, tuple[int, int], float | None], list[Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.kind, piece.spectrum, piece.size, piece.distance), []).append(piece)
    drawn: dict[Piece, Pixels] = {}
    for members in groups.values():
        for start in range(0, len(members), _BATCH):
            some = members[start : start + _BATCH]
            drawn.update(zip(some, _batch(some, seed), strict=True))
    return drawn


def _batch(members: Sequence[Piece], seed: int) -> list[Pixels]:
    import torch

    kind, spectrum, (height, width), distance = (
        members[0].kind,
        members[0].spectrum,
        members[0].size,
        members[0].distance,
    )
    who = torch.tensor([piece.subject for piece in members])
    when = torch.tensor([piece.sample for piece in members])
    if kind == "face":
        from xzoo.data.people.render import faces

        # The generator draws squares; another shape is cut from the middle of the larger one.
        side = min(max(height, width, 32), 448)
        pictures = faces(who, when, spectrum, size=side, seed=seed, distance=distance)
    else:
        from xzoo.data.people.body import bodies

        drawn = (min(max(height, 32), 1024), min(max(width, 32), 1024))
        pictures = bodies(who, when, spectrum, size=drawn, seed=seed, distance=distance)
    return [_resized(picture, (height, width), cut=kind == "face") for picture in pictures.permute(0, 2, 3, 1).numpy()]


def _resized(pixels: Pixels, size: tuple[int, int], *, cut: bool) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    height, width = size
    image = Image.fromarray(pixels)
    box: tuple[float, float, float, float] | None = None
    if cut:
        scale = min(image.width / width, image.height / height)
        w, h = width * scale, height * scale
        left, top = (image.width - w) / 2, (image.height - h) / 2
        box = (left, top, left + w, top + h)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))
