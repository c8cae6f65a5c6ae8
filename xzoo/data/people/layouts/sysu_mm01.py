"""SYSU-MM01, laid out as ``wuancong/SYSU-MM01`` describes it.

Each camera is a session: clothes change from one to the next.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from xzoo.data.people.layouts.core import Page
from xzoo.errors import OptionError

__all__ = ["lay"]

_SPECTRA = {1: "VIS", 2: "VIS", 3: "NIR", 4: "VIS", 5: "VIS", 6: "NIR"}
_TRIALS = 10


def lay(
    page: Page, *, test: int | None = None, val: int = 1, samples: int = 2, size: tuple[int, int] = (384, 128)
) -> None:
    """Lay SYSU-MM01 out, the owner's draw of galleries included; test subjects come last.

    Args:
        page: To be filled.
        test: Test subjects; a third of all by default.
        val: Validation subjects, before them.
        samples: Images of each subject by each camera.
        size: Height and width of the images.
    """
    last = (page.subjects + 2) // 3 if test is None else test
    first = page.subjects - last - val
    if last < 1 or val < 0 or first < 1 or samples < 1:
        raise OptionError(
            f"test={test!r}, val={val} of layout 'sysu_mm01' with {page.subjects} subjects",
            why="training and test need a subject each",
        )
    names = [f"{subject + 1:04d}" for subject in range(page.subjects)]
    for subject, name in enumerate(names):
        for camera, spectrum in _SPECTRA.items():
            for sample in range(samples):
                path = f"cam{camera}/{name}/{sample + 1:04d}.jpg"
                page.picture(path, "body", subject, 100 * camera + sample, spectrum, size)
    for stem, some in (
        ("train", names[:first]),
        ("val", names[first : first + val]),
        ("test", names[first + val :]),
        ("available", names),
    ):
        page.text(f"exp/{stem}_id.txt", ",".join(str(int(name)) for name in some) + "\n")
    page.data("exp/rand_perm_cam.mat", _orders(page, samples))


def _orders(page: Page, samples: int) -> bytes:
    """Return the file that fixes the galleries: {camera}{subject}(trial, :), image numbers from 1."""
    from xzoo.data.readers import mat

    lot = random.Random(page.seed)
    cameras = np.empty((len(_SPECTRA), 1), object)
    for place in range(len(_SPECTRA)):
        subjects: Any = np.empty((page.subjects, 1), object)
        for subject in range(page.subjects):
            subjects[subject, 0] = np.array(
                [lot.sample(range(1, samples + 1), samples) for _ in range(_TRIALS)], np.float64
            )
        cameras[place, 0] = subjects
    return mat.dumps({"rand_perm_cam": cameras})
