"""SCface, laid out as its owners ship it."""

from __future__ import annotations

from xzoo.data.people.layouts.core import Page, Piece
from xzoo.data.people.layouts.marks import marks
from xzoo.errors import OptionError

__all__ = ["lay"]

SIZES = {1: (100, 75), 2: (144, 108), 3: (224, 168)}
"""Height and width by label of the distance; label 1 is the farthest."""

COLUMNS = ("ID", "birth date", "gender (0 m, 1 f)", "beard", "moustache", "glasses")


def lay(page: Page, *, first: int = 1, mugshot: tuple[int, int] = (320, 240)) -> None:
    """Lay SCface out: a mug shot, an infrared one, and seven cameras at three distances for each subject.

    ``features.txt`` and ``landmarks.txt`` say what each face was drawn with and where its eyes, nose and mouth are.

    Args:
        page: To be filled.
        first: Number of the first subject: 1 to 43 are for training (world), 44 to 87 dev, 88 to 130 eval.
        mugshot: Height and width of mug shots.
    """
    if first < 1 or first + page.subjects - 1 > 130:
        raise OptionError(
            f"first={first} of layout 'scface' with {page.subjects} subjects", why="subjects are numbered 1 to 130"
        )
    placed: list[tuple[str, Piece]] = []
    for subject in range(page.subjects):
        who = f"{first + subject:03d}"
        plan = [(f"mugshot_frontal_cropped_all/{who}_frontal.jpg", 0, "VIS", mugshot)]
        plan.append((f"surveillance_cameras_IR_cam8/{who}_cam8.jpg", 1, "NIR", mugshot))
        for camera in range(1, 8):
            for label, size in SIZES.items():
                path = f"surveillance_cameras_distance_{label}/cam_{camera}/{who}_cam{camera}_{label}.jpg"
                plan.append((path, 10 * camera + label, "VIS" if camera < 6 else "NIR", size))
        for path, sample, spectrum, size in plan:
            page.picture(path, "face", subject, sample, spectrum, size)
            placed.append((path, Piece("face", subject, sample, spectrum, size)))
    known = marks(page, [piece for _, piece in placed])
    lines, features = [], []
    for (path, piece), mark in zip(placed, known, strict=True):
        stem = path.rpartition("/")[2].removesuffix(".jpg")
        right, left, nose, *corners = mark.points5
        points = (right, left, nose, (corners[0] + corners[1]) / 2)
        lines.append(" ".join([stem, *(f"{value:.2f}" for point in points for value in point)]))
        if stem.endswith("frontal"):
            groups = mark.groups
            flags = (
                groups["presentation"] == "feminine",
                groups["beard"] == "beard",
                groups["beard"] in ("beard", "moustache"),
                groups["glasses"] == "glasses",
            )
            features.append("\t".join([str(first + piece.subject), "1.1.1980", *(str(int(flag)) for flag in flags)]))
    header = [
        "Generated people: nobody was born on these days.",
        *(f"{name}, a column" for name in COLUMNS),
        "",
        "",
        "",
    ]
    page.text("features.txt", [*header, *features])
    page.text("landmarks.txt", lines)
