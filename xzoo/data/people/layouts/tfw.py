"""TFW, laid out as its owners ship it: thermal faces indoors and outdoors, box and five points."""

from __future__ import annotations

from xzoo.data.people.layouts.core import Page, Piece
from xzoo.data.people.layouts.marks import marks, paint_iron
from xzoo.errors import OptionError

__all__ = ["lay"]

FRAME = (348, 464)
HEADER = ("filename", "x0", "y0", "x1", "y1", *(f"p{number}{axis}" for number in range(1, 6) for axis in "xy"))


def lay(page: Page, *, samples: int = 3, crowd: int = 3, iron: bool = True) -> None:
    """Lay TFW out: one face a frame indoors, up to ``crowd`` smaller ones outdoors.

    Annotations are whole pixels, as in the real set, so that a point lies up to half a pixel beside its feature.

    Args:
        page: To be filled; three subjects at least.
        samples: Indoor frames of each subject.
        crowd: Faces in an outdoor frame at most, 1 to 3.
        iron: Write the frames in the iron palette, too; grey ones are always there.
    """
    if page.subjects < 3 or samples < 1 or not 1 <= crowd <= 3:
        raise OptionError(
            f"{page.subjects} subjects, samples={samples}, crowd={crowd} of layout 'tfw'",
            why="three parts need a subject each, and an outdoor frame holds 1 to 3 faces",
        )
    fifth = max(1, page.subjects // 5)
    people = list(range(page.subjects))
    parts = {"train": people[: -2 * fifth], "val": people[-2 * fifth : -fifth], "test": people[-fifth:]}
    for part, members in parts.items():
        frames: dict[str, list[tuple[str, list[Piece]]]] = {"indoor": [], "outdoor": []}
        for subject in members:
            for sample in range(samples):
                at = (104 + 20 * (sample % 3), 46)
                name = f"{subject + 1:03d}_{sample + 1:02d}.png"
                frames["indoor"].append((name, [Piece("face", subject, sample, "LWIR", (256, 256), at)]))
        for number in range(0, len(members), crowd):
            group = [
                Piece("face", subject, 50, "LWIR", (128, 128), (20 + 148 * place, 110))
                for place, subject in enumerate(members[number : number + crowd])
            ]
            frames["outdoor"].append((f"crowd_{number + 1:03d}.png", group))
        for place, scenes in frames.items():
            pieces = [piece for _, group in scenes for piece in group]
            known = iter(marks(page, pieces))
            lines = [",".join(HEADER)]
            for name, group in scenes:
                page.scene(f"TFW/{part}/{place}_gray/{name}", FRAME, group)
                if iron:
                    paint_iron(page, f"TFW/{part}/{place}/{name}", FRAME, group)
                for _ in group:
                    mark = next(known)
                    values = [*mark.box, *mark.points5.reshape(-1)]
                    lines.append(",".join([name, *(str(round(float(value))) for value in values)]))
            page.text(f"TFW/{part}/{place}.csv", lines)
