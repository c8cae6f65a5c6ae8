"""A folder of generated people, with its manifest."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import shutil
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from xzoo import __version__
from xzoo.data.people import domains as facts
from xzoo.data.people.domains import MOST_SAMPLES, SESSION, Domain, whole
from xzoo.errors import OptionError, RunError
from xzoo.hub.files import as_path, cannot_write, disk_full, existing_parent
from xzoo.loading import device_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["COLUMNS", "as_image", "write"]

COLUMNS = (
    *("path", "subject", "spectrum", "camera", "split", "session", "distance", "media", "group", "landmarks"),
    *("kind", "frame", "pose", "face_box", "body_box"),
)
"""Columns of the manifest. The last line is not read by ``Manifest``, and nor are boxes, which would crop."""

_SPLITS: Mapping[str, float] = {"train": 0.75, "test": 0.25}
_TOGETHER = 64
"""Pictures drawn in one call."""

_HIDDEN, _MADE, _DONE, _LOCK, _LABELS = ".unfinished", "synth.json", "progress.json", "lock", "labels.jsonl"


def write(
    folder: str | Path,
    *,
    subjects: int = 64,
    samples: int = 2,
    spectra: str | Iterable[str] = ("VIS", "LWIR"),
    size: int = 112,
    seed: int = 0,
    camera: str = "house",
    splits: Mapping[str, float] = _SPLITS,
    kind: str = "face",
    body_size: tuple[int, int] = (384, 128),
    bits: int = 8,
    tracks: int | None = None,
    sessions: bool = False,
    labels: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Path:
    """Fill a folder with pictures of generated people and a manifest.

    The layout is ``SUBJECT/DOMAIN/NNN.png`` beside ``manifest.csv``, whose columns are ``COLUMNS``
    as far as they have something to say. Every picture is a moment of its own, so nothing in it but
    the person links a VIS to an LWIR picture. More subjects or samples leave the others as they are.

    The pictures appear once all are there. A call that was killed is taken up by the same call, and
    ends in the same bytes as one that was not; a finished folder is left as it is. Memory
    does not depend on how many are made.

    Args:
        folder: Where; must not exist yet, be empty, or come from the same call.
        subjects: How many people.
        samples: Pictures of each person in each domain, at most 999.
        spectra: Domains: bands, or bands at a distance such as ``"LWIR-500m"``.
        size: Side of faces in pixels, 32 to 448.
        seed: The world; another seed has other people.
        camera: The sensors: ``"house"``, on which the house weights were trained, or
            ``"blackhot_lowres"``, which they never saw (inverted, coarse, strong gain control).
        splits: Shares of the subjects; each subject is in one split.
        kind: ``"face"``, ``"body"``, or ``"both"`` of each moment.
        body_size: Height and width of bodies in pixels.
        bits: 8, or 14 or 16 for raw counts of the sensors in 16-bit PNG (faces; VIS keeps 8).
        tracks: Frames of a video track that takes the place of each picture; None for stills.
        sessions: Picture n of all domains is taken in session n (the same clothes and state of the
            day). Otherwise no two domains share a session.
        labels: Also write ``labels.jsonl``, one line per picture: landmarks with visibility, boxes,
            pose and groups; the manifest then has the five points, pose, boxes and groups.
        device: Where to draw; CPU if None.
        progress: Show a progress bar on stderr where that is a terminal.

    Returns:
        The path of ``manifest.csv``.

    Raises:
        OptionError: Impossible numbers, unknown names, a folder that holds something else or was
            made by another call, or a place that cannot be written to.
        DiskFull: There is not enough room; nothing is left behind.
        RunError: Another process is filling the folder.
        KeyboardInterrupt: Ctrl-C; what was finished is kept for the same call.
    """
    target, wanted = as_path(folder, "folder"), facts.parse(spectra)
    shares = _check_splits(splits, whole(subjects, "subjects", 1, 1_000_000, "subjects=64"))
    plan = _Plan(
        subjects=subjects,
        samples=whole(samples, "samples", 1, MOST_SAMPLES, "samples=2"),
        domains=wanted,
        kinds=facts.kinds(kind),
        size=size,
        body_size=facts.pair(body_size),
        seed=seed,
        camera=camera,
        bits=bits,
        tracks=None if tracks is None else whole(tracks, "tracks", 2, 999, "tracks=16, or None for stills"),
        sessions=sessions,
        labels=labels,
        splits=shares,
        device=device_of(device),
    )
    facts.check(wanted, kind=kind, size=size, body_size=plan.body_size, seed=seed, camera=camera, bits=bits)
    if _is_finished(target, plan):
        return target / "manifest.csv"
    new, part = not target.exists(), target / _HIDDEN
    done = _Progress.read(part / _DONE)
    _check_room(target, plan, done.pictures)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            _start(part, plan, done)
            _fill(part, plan, done, progress)
            _publish(part, target)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"stopped after {done.pictures} of {plan.pictures} pictures, which are kept in {str(target)!r}; "
            "go on with the same call"
        ) from stop
    except OSError as error:
        if done.pictures < plan.pictures:
            shutil.rmtree(part, ignore_errors=True)
            if new:
                with suppress(OSError):
                    target.rmdir()
        if refusal := cannot_write(target, error):
            raise refusal from error
        raise
    return target / "manifest.csv"


# --- what is made ------------------------------------------------------------------------------


class _Shot(NamedTuple):
    """One picture: who, where, when, and how the file is called."""

    subject: int
    domain: Domain
    kind: str
    number: int
    frame: int


@dataclass(frozen=True)
class _Plan:
    subjects: int
    samples: int
    domains: tuple[Domain, ...]
    kinds: tuple[str, ...]
    size: int
    body_size: tuple[int, int]
    seed: int
    camera: str
    bits: int
    tracks: int | None
    sessions: bool
    labels: bool
    splits: tuple[tuple[str, int], ...]  # name, and the first subject after it
    device: torch.device

    @property
    def each(self) -> int:
        """Pictures of a person in a domain, of one kind."""
        return self.samples * (self.tracks or 1)

    @property
    def pictures(self) -> int:
        return self.subjects * self.each * len(self.domains) * len(self.kinds)

    def options(self) -> dict[str, object]:
        """Return what the bytes depend on, as JSON values."""
        return {
            "xzoo": __version__,
            "torch": torch.__version__.split("+")[0],
            "subjects": self.subjects,
            "samples": self.samples,
            "domains": [domain.name for domain in self.domains],
            "kinds": list(self.kinds),
            "size": self.size if "face" in self.kinds else None,
            "body_size": list(self.body_size) if "body" in self.kinds else None,
            "seed": self.seed,
            "camera": self.camera,
            "bits": self.bits,
            "tracks": self.tracks,
            "sessions": self.sessions,
            "labels": self.labels,
            "splits": [list(split) for split in self.splits],
            "device": self.device.type,
        }

    def units(self) -> Iterator[list[_Shot]]:
        """Yield what is drawn and noted together, a bounded number of pictures, always in the same order."""
        frames = self.tracks or 1
        if self.each <= _TOGETHER:
            step = _TOGETHER // self.each
            for first in range(0, self.subjects, step):
                some = range(first, min(first + step, self.subjects))
                every = itertools.product(some, self.domains, range(self.each), self.kinds)
                yield [_Shot(who, where, kind, *divmod(at, frames)) for who, where, at, kind in every]
            return
        for subject, domain in itertools.product(range(self.subjects), self.domains):
            for first in range(0, self.each, _TOGETHER):
                some = range(first, min(first + _TOGETHER, self.each))
                yield [_Shot(subject, domain, kind, *divmod(at, frames)) for at in some for kind in self.kinds]

    def path(self, shot: _Shot) -> str:
        frame = "" if self.tracks is None else f"-f{shot.frame:03d}"
        kind = f"-{shot.kind}" if len(self.kinds) > 1 else ""
        return f"{_name(shot.subject)}/{shot.domain.name}/{shot.number:03d}{frame}{kind}.png"

    def moment(self, shot: _Shot) -> int:
        return shot.domain.moment(shot.number, sessions=self.sessions, frames=self.tracks is not None)

    def split(self, subject: int) -> str:
        return self.splits[bisect_right([end for _, end in self.splits], subject)][0]

    def columns(self) -> list[str]:
        """Return the columns that have something to say."""
        told = {
            "distance": any(domain.distance for domain in self.domains),
            "media": self.tracks is not None,
            "frame": self.tracks is not None,
            "kind": self.kinds != ("face",),
            **dict.fromkeys(("group", "landmarks", "pose", "face_box", "body_box"), self.labels),
        }
        return [name for name in COLUMNS if told.get(name, True)]


def _name(subject: int) -> str:
    return f"p{subject:05d}"


def _row(plan: _Plan, shot: _Shot, known: Mapping[str, Any]) -> dict[str, object]:
    """Return the cells of a picture in the manifest."""
    spectrum, distance = shot.domain
    box = {name: known[name] for name in ("face_box", "body_box") if known.get(name) is not None}
    return {
        "path": plan.path(shot),
        "subject": _name(shot.subject),
        "spectrum": spectrum,
        "camera": "colour" if spectrum == "VIS" else plan.camera,
        "split": plan.split(shot.subject),
        "session": plan.moment(shot) // SESSION,
        "distance": "" if distance is None else f"{distance}m",
        "media": f"{_name(shot.subject)}-{shot.domain.name}-{shot.number:03d}",
        "kind": shot.kind,
        "frame": shot.frame,
        "group": " ".join(f"{key}={value}" for key, value in known.get("groups", {}).items()),
        "landmarks": " ".join(f"{number:g}" for point in known.get("points5") or () for number in point),
        "pose": ",".join(f"{number:g}" for number in known.get("pose") or ()),
        **{name: _corner_and_size(corners) for name, corners in box.items()},
    }


def _corner_and_size(box: list[float]) -> str:
    """Return corners as the manifest writes boxes, whole pixels ``x,y,width,height``.

    Labels count from the middle of the first pixel, so its left edge is at -0.5.
    """
    left, top, right, bottom = (round(edge + 0.5) for edge in box)
    return f"{left},{top},{right - left},{bottom - top}"


# --- making it ---------------------------------------------------------------------------------


@dataclass
class _Progress:
    """How far a folder is: whole units, their pictures, and the bytes of the tables that tell of them."""

    units: int = 0
    pictures: int = 0
    manifest: int = 0
    labels: int = 0
    together: int = field(default_factory=lambda: _TOGETHER)

    @classmethod
    def read(cls, path: Path) -> _Progress:
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        # Units of another size begin elsewhere.
        return found if found.together == _TOGETHER else cls()

    def write(self, path: Path) -> None:
        _replace(path, json.dumps(self.__dict__))


def _replace(path: Path, text: str) -> None:
    """Write a small file whole: a kill leaves the old one or the new one."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def _start(part: Path, plan: _Plan, done: _Progress) -> None:
    """Note the options, and cut the tables back to what is known to be whole."""
    if not (part / _MADE).exists():
        _replace(part / _MADE, json.dumps(plan.options(), indent=2) + "\n")
    if not done.units:
        (part / "manifest.csv").write_text(",".join(plan.columns()) + "\n", encoding="utf-8", newline="")
        done.manifest = (part / "manifest.csv").stat().st_size
        if plan.labels:
            (part / _LABELS).touch()
    for name, length in (("manifest.csv", done.manifest), (_LABELS, done.labels)):
        with suppress(FileNotFoundError):
            os.truncate(part / name, length)


def _fill(part: Path, plan: _Plan, done: _Progress, progress: bool) -> None:
    unit = "picture" if len(plan.kinds) > 1 else plan.kinds[0]
    with (
        tqdm(
            total=plan.pictures,
            initial=done.pictures,
            unit=unit,
            desc="generating people",
            disable=None if progress else True,
        ) as bar,
        open(part / "manifest.csv", "a", newline="", encoding="utf-8") as manifest,
        open(part / (_LABELS if plan.labels else os.devnull), "a", newline="", encoding="utf-8") as labels,
    ):
        for shots in itertools.islice(plan.units(), done.units, None):
            known = _draw(part, plan, shots, bar)
            done.manifest += _append(manifest, _table(plan, shots, known))
            if plan.labels:
                lines = ({"path": plan.path(shot), **told} for shot, told in zip(shots, known, strict=True))
                done.labels += _append(labels, "".join(f"{json.dumps(line)}\n" for line in lines))
            done.units, done.pictures = done.units + 1, done.pictures + len(shots)
            done.write(part / _DONE)


def _append(file: IO[str], text: str) -> int:
    file.write(text)
    file.flush()
    return len(text.encode())


def _table(plan: _Plan, shots: list[_Shot], known: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, plan.columns(), restval="", extrasaction="ignore", lineterminator="\n")
    table.writerows(_row(plan, shot, told) for shot, told in zip(shots, known, strict=True))
    return text.getvalue()


def _draw(part: Path, plan: _Plan, shots: list[_Shot], bar: tqdm[Any]) -> list[dict[str, Any]]:
    """Draw and save the pictures of a unit; return what is known about each."""
    known: list[dict[str, Any]] = [{} for _ in shots]
    for domain, kind in itertools.product(plan.domains, plan.kinds):
        places = [place for place, shot in enumerate(shots) if shot.domain == domain and shot.kind == kind]
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            who = torch.tensor([shots[place].subject for place in some])
            when = torch.tensor([plan.moment(shots[place]) for place in some])
            phase = torch.tensor([shots[place].frame / plan.tracks for place in some]) if plan.tracks else None
            view: dict[str, Any] = {"size": plan.size, "body_size": plan.body_size, "seed": plan.seed, "phase": phase}
            drawn = facts.draw(
                kind, who, when, domain, camera=plan.camera, bits=plan.bits, device=plan.device, **view
            ).cpu()
            for place, picture in zip(some, drawn, strict=True):
                path = part / plan.path(shots[place])
                path.parent.mkdir(parents=True, exist_ok=True)
                as_image(picture, domain.spectrum).save(path)
            if plan.labels:
                told = facts.label(kind, who.to(plan.device), when.to(plan.device), domain, **view)
                for place, row in zip(some, facts.rows(told, len(some)), strict=True):
                    known[place] = row
            bar.update(len(some))
    return known


def as_image(picture: Tensor, spectrum: str) -> Image.Image:
    """Return one drawn picture ``[3 or 1, H, W]`` as it is saved: all bands but the visible one have one channel."""
    if spectrum == "VIS":
        return Image.fromarray(picture.permute(1, 2, 0).numpy())
    grey = picture[0].numpy()
    return Image.fromarray(grey if picture.dtype == torch.uint8 else grey.astype("uint16"))


def _publish(part: Path, target: Path) -> None:
    """Move what is finished into place; the manifest, which says that all is there, comes last."""
    last = ("manifest.csv", _MADE, _DONE, _LOCK)
    for path in sorted(part.iterdir()):
        if path.name not in last:
            os.replace(path, target / path.name)
    for name in (_MADE, "manifest.csv"):
        with suppress(FileNotFoundError):
            os.replace(part / name, target / name)
    shutil.rmtree(part)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep a second process out of a folder; the system lifts the lock of a process that was killed."""
    with open(part / _LOCK, "a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as taken:
                raise RunError(
                    f"{str(part.parent)!r} is being filled by another process",
                    why="two at once would spoil its manifest",
                    do="wait for it, or name another folder",
                ) from taken
        yield


# --- refusing ----------------------------------------------------------------------------------


def _check_splits(splits: Mapping[str, float], subjects: int) -> tuple[tuple[str, int], ...]:
    """Return the first subject after each split: contiguous runs, every split at least one subject."""

    def refuse(asked: str, why: str, do: str) -> OptionError:
        return OptionError(asked, why=why, do=do)

    shares = list(splits.values())
    if not shares or any(not math.isfinite(share) or share <= 0 for share in shares) or not all(splits):
        raise refuse(
            f"splits={dict(splits)!r}", "each split needs a name and a share above 0", f"splits={dict(_SPLITS)!r}"
        )
    if len(splits) > subjects:
        raise refuse(
            f"{len(splits)} splits of {subjects} subjects",
            "every split needs a subject of its own",
            f"subjects={len(splits)} or more, or fewer splits",
        )
    ends: list[tuple[str, int]] = []
    reached = 0.0
    for place, (name, share) in enumerate(splits.items()):
        reached += share / sum(shares)
        # Neither this split nor those after it may come away empty.
        low, high = (ends[-1][1] if ends else 0) + 1, subjects - (len(splits) - place - 1)
        ends.append((name, min(max(round(reached * subjects), low), high)))
    return tuple(ends)


def _is_finished(target: Path, plan: _Plan) -> bool:
    """Tell whether a folder is the result of this call already; refuse one that is something else."""
    if not target.exists() and not target.is_symlink():
        return False
    held = {path.name for path in target.iterdir()} if target.is_dir() else {""}
    made = next((path for path in (target / _MADE, target / _HIDDEN / _MADE) if path.is_file()), None)
    if made is None:
        # A kill may come before the options are noted.
        if held <= {_HIDDEN} and not any(path.is_dir() for path in (target / _HIDDEN).glob("*")):
            return False
        raise OptionError(
            f"{str(target)!r} as the folder of generated people",
            why="it already holds something, and nothing is overwritten",
            do="name a new folder, or empty this one",
        )
    wanted, found = plan.options(), json.loads(made.read_text(encoding="utf-8"))
    differs = [key for key in wanted if found.get(key) != wanted[key]]
    if differs:
        raise OptionError(
            f"{str(target)!r} as the folder of generated people",
            why="it was begun by another call: "
            + "; ".join(f"{key} was {found.get(key)!r}, is {wanted[key]!r}" for key in differs[:3]),
            do="go on with the same options, or name a new folder",
        )
    if {"manifest.csv", _MADE} <= held:
        shutil.rmtree(target / _HIDDEN, ignore_errors=True)
        return True
    if _HIDDEN not in held:
        raise OptionError(
            f"{str(target)!r} as the folder of generated people",
            why="its manifest.csv was taken away",
            do="name a new folder, or empty this one",
        )
    return False


def _check_room(target: Path, plan: _Plan, pictures: int) -> None:
    # Noise hardly compresses: colour files reach two bytes per pixel, as do counts of the sensor.
    areas = {"face": plan.size * plan.size, "body": plan.body_size[0] * plan.body_size[1]}
    each = sum(2 * areas[kind] + 4096 + 6144 * plan.labels for kind in plan.kinds) / len(plan.kinds)
    needed = int((plan.pictures - pictures) * each)
    if shutil.disk_usage(existing_parent(target / _HIDDEN)).free < needed:
        raise disk_full(target, needed)
