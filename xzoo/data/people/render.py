"""Faces from numbers: one call from subjects and samples to pictures."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.people.bands import SPECTRA, radiance
from xzoo.data.people.cameras import BITS, CAMERAS, compose, expose, path_at, pose_grid
from xzoo.data.people.draws import normals
from xzoo.data.people.surface import canvas, surface
from xzoo.data.people.traits import moment, person
from xzoo.errors import OptionError

__all__ = ["SPECTRA", "check", "faces"]

CHUNK = 8
"""Faces drawn at once on a CPU, always: matrix products of other batches round otherwise in the last bit."""


@torch.inference_mode()
def faces(
    subjects: Tensor,
    samples: Tensor,
    spectrum: str,
    *,
    size: int = 112,
    seed: int = 0,
    camera: str = "house",
    distance: float | None = None,
    bits: int = 8,
    phase: Tensor | None = None,
    nuisances: float = 1.0,
    pose: float = 1.0,
    device: str | torch.device | None = None,
) -> Tensor:
    """Draw generated faces, roughly aligned to the ArcFace template.

    A picture depends on ``(seed, subject, sample, spectrum, camera, size)``
    alone, not on its batch. The same sample of a subject in two spectra is one
    moment (pose, expression, state of the day) seen by two cameras; lights,
    backgrounds and sensor noise belong to each spectrum.

    Args:
        subjects: Subject numbers, integers ``[B]``, any of 2**63.
        samples: Sample numbers, integers ``[B]``.
        spectrum: One of ``SPECTRA``.
        size: Side of the pictures in pixels, 32 to 448.
        seed: The world; another seed has other people.
        camera: The set of sensors, one of ``cameras.CAMERAS``.
        distance: Metres between face and camera, whose lens still fills the picture; None is arm's length.
        bits: 8 for pictures, 14 or 16 for raw counts of the sensor (see ``cameras.expose``).
        phase: How far each moment has moved on to the next sample, float ``[B]`` in [0, 1]: frames of a track.
        nuisances: Scales pose, expression, wear and the state of the day; 0 is a passport picture.
        pose: Scales the turn of the head and its place in the picture once more; 0 is the same moment from the front.
        device: Where to draw; the device of ``subjects`` if None.

    Returns:
        RGB pictures, uint8 ``[B, 3, size, size]``, with equal channels where the band has one; with 14 or 16
        bits int32 ``[B, 1, size, size]`` (VIS: three channels).

    Raises:
        OptionError: A spectrum, camera or size that does not exist, or ``subjects`` and ``samples``
            that are not integer vectors of one length.
    """
    check(spectrum, size, camera)
    check_numbers(subjects, samples)
    check_view(distance, bits, phase, nuisances, pose, len(subjects))
    device = torch.device(device) if device is not None else subjects.device
    subjects, samples = subjects.to(device, torch.int64), samples.to(device, torch.int64)
    if not len(subjects):
        return torch.empty(0, 3, size, size, dtype=torch.uint8 if bits == 8 else torch.int32, device=device)
    ahead = torch.zeros(len(subjects), device=device) if phase is None else phase.to(device)
    parts = [
        _draw(
            some,
            which,
            spectrum,
            size,
            seed,
            camera,
            distance,
            bits,
            when if phase is not None else None,
            nuisances,
            pose,
        )
        for some, which, when in blocks(subjects, samples, ahead)
    ]
    return torch.cat(parts)[: len(subjects)]


def blocks(*numbers: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield vectors of one length in blocks, on a CPU of ``CHUNK`` each, the last one padded with zeros.

    So no row depends on how many others were asked for; the caller drops what was padded.
    """
    cpu = numbers[0].device.type == "cpu"
    chunk = CHUNK if cpu else 1024
    fill = (0, (-len(numbers[0])) % chunk if cpu else 0)
    return zip(*(torch.split(F.pad(column, fill), chunk) for column in numbers), strict=True)


def _draw(
    subjects: Tensor,
    samples: Tensor,
    spectrum: str,
    size: int,
    seed: int,
    camera: str,
    distance: float | None,
    bits: int,
    phase: Tensor | None,
    nuisances: float,
    pose: float,
) -> Tensor:
    who = person(seed, subjects)
    now = moment(seed, subjects, samples, phase=phase, nuisances=nuisances, pose=pose)
    c = canvas(cells(size), subjects.device)
    face = surface(who, now, c)
    grid = pose_grid(now, face.height, size)
    scene = normals(seed, subjects, samples, 21 + 2 * SPECTRA.index(spectrum), 12).clamp_(-2.2, 2.2) * nuisances
    shot = shots(seed, subjects, samples, spectrum)
    path = path_at(distance, spectrum)
    seen = radiance(who, now, face, c, scene, spectrum)
    picture = compose(seen, grid, spectrum, shot, now["covered"], path)
    return expose(picture, spectrum, CAMERAS[camera][spectrum], shot, path=path, bits=bits, sensor=seed)


def cells(size: int) -> int:
    """Return the cells across the canvas of a picture."""
    return 16 * round(size / 14)


def shots(seed: int, subjects: Tensor, samples: Tensor, spectrum: str) -> Tensor:
    """Return the standard normal numbers of a picture behind and in front of the face, ``[B, 64]``."""
    return normals(seed, subjects, samples, 22 + 2 * SPECTRA.index(spectrum), 64).clamp_(-2.6, 2.6)


def check(spectrum: str, size: int, camera: str) -> None:
    """Refuse a spectrum, a size or a camera that the generator does not have.

    Raises:
        OptionError: Naming what exists.
    """
    if spectrum not in SPECTRA:
        raise OptionError(
            f"spectrum {spectrum!r} of generated people",
            why="the generator does not draw this band",
            exists=", ".join(SPECTRA),
            do=f'spectrum="{SPECTRA[0]}"',
        )
    if camera not in CAMERAS:
        raise OptionError(
            f"camera {camera!r} of generated people",
            why="there is no such set of sensors",
            exists=", ".join(CAMERAS),
            do='camera="house"',
        )
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 448:
        raise OptionError(
            f"size={size!r} of generated people",
            why="the side is a whole number of pixels from 32 to 448",
            do="size=112",
        )


def check_view(
    distance: float | None, bits: int, phase: Tensor | None, nuisances: float, pose: float, count: int
) -> None:
    if distance is not None and not (isinstance(distance, int | float) and 1.0 <= distance <= 5000.0):
        raise OptionError(
            f"distance={distance!r} of generated people", why="must be metres, from 1 to 5000", do="distance=30"
        )
    if bits not in BITS:
        raise OptionError(
            f"bits={bits!r} of generated people", why="no sensor here has that depth", exists="8, 14, 16", do="bits=8"
        )
    if not 0.0 <= nuisances <= 2.0:
        raise OptionError(
            f"nuisances={nuisances!r} of generated people",
            why="scales how much moments differ, from 0 to 2",
            do="nuisances=1.0",
        )
    if not 0.0 <= pose <= 2.0:
        raise OptionError(
            f"pose={pose!r} of generated people", why="scales how far heads turn, from 0 to 2", do="pose=0.0"
        )
    if phase is not None and phase.shape != (count,):
        raise OptionError(
            f"phase {tuple(phase.shape)} for {count} generated pictures",
            why="there must be one number in [0, 1] for each",
            do=f"phase=torch.linspace(0, 1, {count})",
        )


def check_numbers(subjects: Tensor, samples: Tensor) -> None:
    whole = (torch.int64, torch.int32, torch.int16, torch.uint8)
    if any(part.ndim != 1 or part.dtype not in whole for part in (subjects, samples)) or len(subjects) != len(samples):
        raise OptionError(
            f"subjects {tuple(subjects.shape)} {subjects.dtype} and samples {tuple(samples.shape)} {samples.dtype}",
            why="both must be integer vectors of one length",
            do="faces(torch.arange(8), torch.zeros(8, dtype=torch.int64), ...)",
        )
