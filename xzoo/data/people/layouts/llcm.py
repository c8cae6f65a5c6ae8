"""LLCM, laid out as ``ZYK100/LLCM`` describes it.

Each camera is a session: clothes change from one to the next.
"""

from __future__ import annotations

from xzoo.data.people.layouts.core import Page
from xzoo.errors import OptionError

__all__ = ["lay"]

_CAMERAS = {"vis": (1, 2, 3, 4, 5, 6, 7, 8, 9), "nir": (1, 2, 4, 5, 6, 7, 8, 9)}
_SPECTRA = {"vis": "VIS", "nir": "NIR"}


def lay(
    page: Page,
    *,
    test: int | None = None,
    samples: int = 2,
    cameras: int = 9,
    size: tuple[int, int] = (384, 128),
    explicit: bool = False,
) -> None:
    """Lay LLCM out: test images twice, lists in ``idx``; subjects of the test part come last.

    Args:
        page: To be filled.
        test: Test subjects; a third of all by default.
        samples: Images of each subject by each camera.
        cameras: Cameras that see people, the first of nine; camera 3 has no NIR.
        size: Height and width of the images.
        explicit: Write ``query_v2.txt`` and ``gallery_v2.txt``, too, of which protocol D is made. Those of its authors
            are not public: here each names all test images of both bands.
    """
    last = (page.subjects + 2) // 3 if test is None else test
    if not 0 < last < page.subjects:
        raise OptionError(
            f"test={test!r} of layout 'llcm' with {page.subjects} subjects", why="both parts need a subject"
        )
    if not 1 <= cameras <= 9 or samples < 1:
        raise OptionError(f"cameras={cameras}, samples={samples} of layout 'llcm'", why="1 to 9 cameras, 1 sample")
    first = page.subjects - last
    lists: dict[str, list[str]] = {f"{part}_{short}": [] for part in ("train", "test") for short in _SPECTRA}
    for subject in range(page.subjects):
        name = f"{subject + 1:04d}"
        for short, spectrum in _SPECTRA.items():
            for camera in _CAMERAS[short]:
                if camera > cameras:
                    continue
                for sample in range(samples):
                    file = f"{name}_c{camera}_s{sample + 1}_f{100 * camera + sample}_{short}.jpg"
                    moment = 100 * camera + sample + (50 if short == "nir" else 0)
                    places = [f"{short}/{name}/{file}"]
                    if subject >= first:
                        places.append(f"test_{short}/cam{camera}/{name}/{file}")
                    for path in places:
                        page.picture(path, "body", subject, moment, spectrum, size)
                    label = subject if subject < first else subject - first
                    lists[f"{'train' if subject < first else 'test'}_{short}"].append(f"{places[0]} {label}")
    page.make("test_nir/cam3")
    for stem, lines in lists.items():
        page.text(f"idx/{stem}.txt", lines)
    if explicit:
        tested = [line.rpartition(" ")[0] for short in _SPECTRA for line in lists[f"test_{short}"]]
        lines = [f"{path} {int(path.split('/')[1])}" for path in tested]
        page.text("query_v2.txt", lines)
        page.text("gallery_v2.txt", lines)
    page.text("idx/test_id.txt", ",".join(str(subject + 1) for subject in range(first, page.subjects)) + "\n")
