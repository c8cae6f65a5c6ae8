"""TinyFace, laid out as its owners ship it, the aligned copies of the AdaFace release beside it."""

from __future__ import annotations

import numpy as np

from xzoo.data.people.layouts.core import Page
from xzoo.errors import OptionError

__all__ = ["lay"]

ALIGNED = "aligned_pad_0.1_pad_high"


def lay(
    page: Page,
    *,
    train: int | None = None,
    probes: int = 2,
    mates: int = 2,
    distractors: int = 8,
    size: tuple[int, int] = (20, 16),
    aligned: bool = False,
) -> None:
    """Lay TinyFace out: probes, mates and distractors for testing, other people for training.

    Args:
        page: To be filled.
        train: Subjects for training, the last ones; a third of all by default.
        probes: Probe images of each test subject.
        mates: Gallery images of each test subject.
        distractors: Images of as many further people.
        size: Height and width; the mean of the real set is 20 by 16.
        aligned: Write the aligned copies, 112 by 112, too.
    """
    from xzoo.data.readers import mat

    last = page.subjects // 3 if train is None else train
    if not 0 <= last < page.subjects or min(probes, mates) < 1 or distractors < 0:
        raise OptionError(
            f"train={train!r}, probes={probes}, mates={mates}, distractors={distractors} of layout 'tinyface'",
            why="somebody must be left for testing, with a probe and a mate",
        )
    listed: dict[str, list[tuple[str, int]]] = {"Gallery_Match": [], "Probe": []}

    def place(folder: str, name: str, subject: int, sample: int) -> None:
        page.picture(f"Testing_Set/{folder}/{name}", "face", subject, sample, "VIS", size)
        if aligned:
            page.picture(f"{ALIGNED}/{folder}/{name}", "face", subject, sample, "VIS", (112, 112))

    for subject in range(page.subjects - last):
        for sample in range(probes + mates):
            folder = "Probe" if sample < probes else "Gallery_Match"
            name = f"{subject + 1}_{sample + 1}.jpg"
            place(folder, name, subject, sample)
            listed[folder].append((name, subject + 1))
    for number in range(distractors):
        place("Gallery_Distractor", f"d{number + 1}.jpg", page.subjects + number, 0)
    for number in range(last):
        subject = page.subjects - last + number
        for sample in range(probes + mates):
            name = f"{subject + 1}_{sample + 1}.jpg"
            page.picture(f"Training_Set/{subject + 1}/{name}", "face", subject, sample, "VIS", size)
            if aligned:
                page.picture(f"{ALIGNED}/Train/{subject + 1}/{name}", "face", subject, sample, "VIS", (112, 112))
    for folder, file, word in (
        ("Gallery_Match", "gallery_match_img_ID_pairs.mat", "gallery"),
        ("Probe", "probe_img_ID_pairs.mat", "probe"),
    ):
        names = np.array([[name] for name, _ in listed[folder]], object)
        numbers = np.array([[float(number)] for _, number in listed[folder]])
        mat.save(page.folder / "Testing_Set" / file, {f"{word}_set": names, f"{word}_ids": numbers})
