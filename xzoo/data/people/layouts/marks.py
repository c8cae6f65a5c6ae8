"""Landmarks and boxes of generated faces where a layout puts them into a picture, and the iron palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from xzoo.data.people.layouts.core import Page, Piece, encode

__all__ = ["Marks", "iron", "marks", "paint_iron"]

Floats: TypeAlias = npt.NDArray[np.float64]
Pixels: TypeAlias = npt.NDArray[np.uint8]

_BATCH = 64
_IRON = ((0, (0, 0, 10)), (51, (60, 0, 110)), (115, (170, 30, 120)), (166, (235, 95, 25)), (217, (255, 190, 25)),
         (255, (255, 255, 235)))  # fmt: skip


class Marks(NamedTuple):
    """What is known about one face of a picture, in pixels of the picture; the middle of the first pixel is at 0.

    Attributes:
        points54: ``[54, 2]``, the order of SF-TL54.
        points5: ``[5, 2]``, right and left eye, nose, right and left corner of the mouth.
        box: ``[4]``, left, top, right, bottom.
        groups: What the face was drawn with, a word for each attribute.
    """

    points54: Floats
    points5: Floats
    box: Floats
    groups: dict[str, str]


def marks(page: Page, pieces: Sequence[Piece]) -> list[Marks]:
    """Return the marks of pieces that show faces, in order.

    A face is drawn as a square of the longer side and cut to its shape in the middle; sides from 32 to 448
    pixels are drawn without another resize, so that points lie where the features are drawn.
    """
    import torch

    from xzoo.data.people.labels import face_labels

    groups: dict[tuple[str, int], list[int]] = {}
    for place, piece in enumerate(pieces):
        groups.setdefault((piece.spectrum, min(max(*piece.size, 32), 448)), []).append(place)
    found: dict[int, Marks] = {}
    for (spectrum, side), places in groups.items():
        for start in range(0, len(places), _BATCH):
            some = places[start : start + _BATCH]
            who = torch.tensor([pieces[place].subject for place in some])
            when = torch.tensor([pieces[place].sample for place in some])
            labels = face_labels(who, when, spectrum=spectrum, size=side, seed=page.seed)
            for row, place in enumerate(some):
                corners = labels.face_box[row].view(2, 2)
                moved = [
                    _moved(points.double().numpy(), pieces[place], side)
                    for points in (labels.points54[row], labels.points5[row], corners)
                ]
                words = {name: values[row] for name, values in labels.groups.items()}
                found[place] = Marks(moved[0], moved[1], moved[2].reshape(4), words)
    return [found[place] for place in range(len(pieces))]


def _moved(points: Floats, piece: Piece, side: int) -> Floats:
    """Return points of the drawn square in pixels of the picture."""
    height, width = piece.size
    scale = min(side / width, side / height)
    cut = np.array([(side - width * scale) / 2, (side - height * scale) / 2])
    return np.asarray((points + 0.5 - cut) / scale - 0.5 + np.array(piece.at))


def iron(grey: Pixels) -> Pixels:
    """Colour grey values ``[H, W]`` as thermal cameras do: dark blue, violet, orange, near white."""
    levels = np.arange(256)
    stops = [stop for stop, _ in _IRON]
    colours = np.stack([np.interp(levels, stops, [colour[channel] for _, colour in _IRON]) for channel in range(3)], 1)
    return np.asarray(np.rint(colours).astype(np.uint8)[grey])


def paint_iron(page: Page, path: str, size: tuple[int, int], pieces: Sequence[Piece], *, level: int = 96) -> None:
    """Draw a scene now, coloured by :func:`iron`, and write it."""
    canvas = np.full(size, level, np.uint8)
    for piece in pieces:
        left, top = piece.at
        drawn = page.draw(piece.kind, piece.subject, piece.sample, piece.spectrum, piece.size)[..., 0]
        x, y = max(left, 0), max(top, 0)
        room = canvas[y : top + piece.size[0], x : left + piece.size[1]]
        room[:] = drawn[y - top : y - top + room.shape[0], x - left : x - left + room.shape[1]]
    page.data(path, encode(iron(canvas), "png" if path.endswith(".png") else "jpeg"))
