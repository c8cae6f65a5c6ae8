"""RegDB, with the ten lists of the AGW line."""

from __future__ import annotations

import random

from xzoo.data.people.layouts.core import Page
from xzoo.errors import OptionError

__all__ = ["lay"]

_SPECTRA = {"visible": "VIS", "thermal": "LWIR"}


def lay(page: Page, *, samples: int = 10, trials: int = 10, size: tuple[int, int] = (384, 128)) -> None:
    """Lay RegDB out: in each trial half of the subjects train and the others test.

    Args:
        page: To be filled.
        samples: Images of each subject in each band.
        trials: Divisions into train and test.
        size: Height and width of the images.
    """
    if page.subjects < 2 or samples < 1 or trials < 1:
        raise OptionError(
            f"{page.subjects} subjects, samples={samples}, trials={trials} of layout 'regdb'",
            why="both halves need a subject, and there is at least one image and one trial",
        )
    paths: dict[tuple[int, str], list[str]] = {}
    for subject in range(page.subjects):
        for word, spectrum in _SPECTRA.items():
            folder = f"{word.capitalize()}/{subject + 1}"
            stem = f"{folder}/{'fe' * (subject % 2)}male_front_{word[0]}"
            names = [f"{stem}_{subject * samples + sample:05d}_{subject + 1}.bmp" for sample in range(samples)]
            for sample, path in enumerate(names):
                # The owner's two cameras are fixed to each other: both bands see one moment.
                page.picture(path, "body", subject, sample, spectrum, size)
            paths[subject, word] = names
    lot = random.Random(page.seed)
    for trial in range(1, trials + 1):
        order = lot.sample(range(page.subjects), page.subjects)
        halves = {"train": sorted(order[: page.subjects // 2]), "test": sorted(order[page.subjects // 2 :])}
        for split, subjects in halves.items():
            for word in _SPECTRA:
                lines = [f"{path} {label}" for label, subject in enumerate(subjects) for path in paths[subject, word]]
                page.text(f"idx/{split}_{word}_{trial}.txt", lines)
