"""A folder of generated people, with its manifest."""

from __future__ import annotations

import csv
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from xzoo.data.people.render import SPECTRA, check, faces
from xzoo.errors import OptionError
from xzoo.hub.files import cannot_write, disk_full, existing_parent

__all__ = ["write"]

_BAND = 1000
"""Sample numbers of the second spectrum start here: no two pictures of a folder are one moment."""

_SPLITS: Mapping[str, float] = {"train": 0.75, "test": 0.25}


def write(
    folder: str | Path,
    *,
    subjects: int = 64,
    samples: int = 2,
    spectra: Iterable[str] = SPECTRA,
    size: int = 112,
    seed: int = 0,
    camera: str = "house",
    splits: Mapping[str, float] = _SPLITS,
    progress: bool = True,
) -> Path:
    """Fill a new folder with pictures of generated people and a manifest.

    The layout is ``SUBJECT/SPECTRUM/NN.png`` beside ``manifest.csv`` (path,
    subject, spectrum, camera, split). Every picture is a moment of its own, so
    nothing in it but the person links a VIS to an LWIR picture. More subjects or
    samples leave the others as they are. The folder appears whole or not at all.

    Args:
        folder: Where; must not exist yet, or be empty.
        subjects: How many people.
        samples: Pictures of each person in each spectrum, at most 999.
        spectra: Bands, of ``"VIS"`` and ``"LWIR"``.
        size: Side of the pictures in pixels, 32 to 448.
        seed: The world; another seed has other people.
        camera: The thermal sensor: ``"house"``, on which the house weights were trained, or
            ``"blackhot_lowres"``, which they never saw (inverted, coarse, strong gain control).
        splits: Shares of the subjects; each subject is in one split.
        progress: Show a progress bar on stderr where that is a terminal.

    Returns:
        The path of ``manifest.csv``.

    Raises:
        OptionError: Impossible numbers, unknown names, or a folder that holds something.
        DiskFull: There is not enough room; nothing is left behind.
    """
    target, bands = Path(folder), [band for band in SPECTRA if band in set(spectra)]
    if unknown := [band for band in spectra if band not in SPECTRA]:
        check(unknown[0], size, camera)
    check(SPECTRA[0], size, camera)
    _check_counts(subjects, samples, bands, splits)
    _check_folder(target)
    rows = [
        (f"p{subject:05d}", subject, band, sample)
        for subject in range(subjects)
        for band in bands
        for sample in range(samples)
    ]
    _check_room(target, len(rows), size)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        part.mkdir(parents=True)
        _fill(part, rows, size, seed, camera, _split_of(subjects, splits), progress)
        if target.is_dir():
            target.rmdir()
        os.replace(part, target)
    except OSError as error:
        if refusal := cannot_write(target, error):
            raise refusal from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target / "manifest.csv"


def _fill(
    part: Path,
    rows: list[tuple[str, int, str, int]],
    size: int,
    seed: int,
    camera: str,
    split_of: list[str],
    progress: bool,
) -> None:
    with open(part / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "subject", "spectrum", "camera", "split"))
        for name, subject, band, sample in rows:
            sensor = "colour" if band == "VIS" else camera
            table.writerow((f"{name}/{band}/{sample:03d}.png", name, band, sensor, split_of[subject]))
    with tqdm(total=len(rows), unit="face", desc="generating people", disable=None if progress else True) as bar:
        for band in sorted({row[2] for row in rows}):
            some = [row for row in rows if row[2] == band]
            for start in range(0, len(some), 64):
                block = some[start : start + 64]
                who = torch.tensor([subject for _, subject, _, _ in block])
                when = torch.tensor([sample + _BAND * SPECTRA.index(band) for _, _, _, sample in block])
                drawn = faces(who, when, band, size=size, seed=seed, camera=camera)
                # A thermal picture has one channel; so has its file.
                pixels = drawn.permute(0, 2, 3, 1).numpy() if band == "VIS" else drawn[:, 0].numpy()
                for (name, _, _, sample), picture in zip(block, pixels, strict=True):
                    path = part / name / band / f"{sample:03d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(picture).save(path)
                bar.update(len(block))


def _split_of(subjects: int, splits: Mapping[str, float]) -> list[str]:
    """Return the split of each subject: contiguous runs, every split at least one subject."""
    names, total = list(splits), sum(splits.values())
    ends: list[int] = []
    reached = 0.0
    for place, name in enumerate(names):
        reached += splits[name] / total
        # Neither this split nor those after it may come away empty.
        low, high = (ends[-1] if ends else 0) + 1, subjects - (len(names) - place - 1)
        ends.append(min(max(round(reached * subjects), low), high))
    return [next(name for name, end in zip(names, ends, strict=True) if subject < end) for subject in range(subjects)]


def _check_counts(subjects: int, samples: int, bands: list[str], splits: Mapping[str, float]) -> None:
    def refuse(asked: str, why: str, do: str) -> OptionError:
        return OptionError(asked, why=why, do=do)

    for name, count, most in (("subjects", subjects, 1_000_000), ("samples", samples, _BAND - 1)):
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
            raise refuse(
                f"{name}={count!r} of generated people",
                f"must be a whole number from 1 to {most}",
                "people.write(folder, subjects=64, samples=2)",
            )
    if not bands:
        raise refuse("no spectra of generated people", "nothing would be drawn", f"spectra={SPECTRA!r}")
    shares = list(splits.values())
    if not shares or any(not math.isfinite(share) or share <= 0 for share in shares) or not all(splits):
        raise refuse(
            f"splits={dict(splits)!r}", "each split needs a name and a share above 0", f"splits={dict(_SPLITS)!r}"
        )
    if len(splits) > subjects:
        raise refuse(
            f"{len(splits)} splits of {subjects} subjects",
            "every split needs a subject of its own",
            f"subjects={len(splits)} or more",
        )


def _check_folder(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        raise OptionError(
            f"{str(target)!r} as the folder of generated people",
            why="it already holds something, and nothing is overwritten",
            do="name a new folder, or empty this one",
        )


def _check_room(target: Path, count: int, size: int) -> None:
    # Noise hardly compresses: colour files reach two bytes per pixel.
    needed = count * (2 * size * size + 4096)
    if shutil.disk_usage(existing_parent(target)).free < needed:
        raise disk_full(target, needed)
