"""SF-TL54, laid out as its owners ship it: thermal frames with 54 points, and their visible pair."""

from __future__ import annotations

import json

from xzoo.data.people.layouts.core import Page, Piece
from xzoo.data.people.layouts.marks import Marks, marks, paint_iron
from xzoo.errors import OptionError

__all__ = ["lay"]

FRAME = (348, 464)
CONTOURS = {
    # label: points of the set of 54, in file order
    "jaw": range(17),
    "right_brow": range(17, 22),
    "left_brow": range(22, 27),
    "bridge": range(27, 31),
    "nostrils": range(31, 36),
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "mouth": range(48, 54),
}


def lay(page: Page, *, trials: int = 2, positions: int = 9, side: int = 256, iron: bool = False) -> None:
    """Lay SF-TL54 out; of 142 subjects 100 are for training, 10 for validation, 32 for testing, others in proportion.

    Args:
        page: To be filled; three subjects at least.
        trials: Of each subject.
        positions: Of the head in each trial.
        side: Of the drawn head in the frame of 464 by 348 pixels.
        iron: Write the frames in the iron palette, too.
    """
    if page.subjects < 3 or trials < 1 or not 1 <= positions <= 9 or not 32 <= side <= 348:
        raise OptionError(
            f"{page.subjects} subjects, trials={trials}, positions={positions}, side={side} of layout 'sf_tl54'",
            why="three parts need a subject each, there are 1 to 9 positions, and a head has 32 to 348 pixels",
        )
    test = max(1, round(page.subjects * 32 / 142))
    val = max(1, round(page.subjects * 10 / 142))
    placed: list[tuple[str, str, Piece]] = []
    for subject in range(page.subjects):
        part = (
            "test" if subject >= page.subjects - test else "val" if subject >= page.subjects - test - val else "train"
        )
        for trial in range(trials):
            for position in range(positions):
                stem = f"{subject + 1}_{trial + 1}_1_{position + 1}_1"
                # Positions lie on a grid of three by three; the head stays inside the frame.
                left = (FRAME[1] - side) * (position % 3) // 2
                top = (FRAME[0] - side) * (position // 3) // 2
                piece = Piece("face", subject, 100 * trial + position, "LWIR", (side, side), (left, top))
                page.scene(f"dataset/gray/{part}/images/{stem}.png", FRAME, [piece])
                seen = Piece("face", subject, 100 * trial + position, "VIS", (side, side), (left, top))
                page.scene(f"dataset/rgb/{part}/{stem}.png", FRAME, [seen])
                if iron:
                    paint_iron(page, f"dataset/iron/{part}/images/{stem}.png", FRAME, [piece])
                placed.append((part, stem, piece))
    for (part, stem, _), mark in zip(placed, marks(page, [piece for _, _, piece in placed]), strict=True):
        text = json.dumps({"version": "4.5.6", "shapes": _shapes(mark), "imagePath": f"{stem}.png"}, indent=1)
        for palette in ("gray", *(("iron",) if iron else ())):
            page.text(f"dataset/{palette}/{part}/json/{stem}.json", text + "\n")
    page.text("dataset/challenging_images.csv", ["sub_id,trial_id,pos_id"])


def _shapes(mark: Marks) -> list[dict[str, object]]:
    left, top, right, bottom = (round(float(value), 3) for value in mark.box)
    shapes: list[dict[str, object]] = [
        {"label": "face", "points": [[left, top], [right, bottom]], "shape_type": "rectangle"}
    ]
    for label, places in CONTOURS.items():
        points = [[round(float(value), 3) for value in mark.points54[place]] for place in places]
        shapes.append({"label": label, "points": points, "shape_type": "linestrip"})
    return shapes
