"""Faces from numbers: one call from subjects and samples to pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from xzoo.data.people.bands import heat, reflection
from xzoo.data.people.cameras import CAMERAS, photograph, pose_grid, thermogram
from xzoo.data.people.draws import normals
from xzoo.data.people.surface import canvas, surface
from xzoo.data.people.traits import moment, person
from xzoo.errors import OptionError

__all__ = ["SPECTRA", "check", "faces"]

SPECTRA = ("VIS", "LWIR")
"""The bands in which the generator sees people."""

_CHUNK = 32
"""Faces drawn at once: larger batches leave the processor's cache and are slower."""


@torch.inference_mode()
def faces(
    subjects: Tensor,
    samples: Tensor,
    spectrum: str,
    *,
    size: int = 112,
    seed: int = 0,
    camera: str = "house",
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
        spectrum: ``"VIS"`` or ``"LWIR"``.
        size: Side of the pictures in pixels, 32 to 448.
        seed: The world; another seed has other people.
        camera: The thermal sensor, one of ``cameras.CAMERAS``; VIS has one camera.
        device: Where to draw; the device of ``subjects`` if None.

    Returns:
        RGB pictures, uint8 ``[B, 3, size, size]``; LWIR has equal channels.

    Raises:
        OptionError: A spectrum, camera or size that does not exist, or ``subjects`` and ``samples``
            that are not integer vectors of one length.
    """
    check(spectrum, size, camera)
    _check_numbers(subjects, samples)
    device = torch.device(device) if device is not None else subjects.device
    subjects, samples = subjects.to(device, torch.int64), samples.to(device, torch.int64)
    chunk = _CHUNK if device.type == "cpu" else 1024
    parts = [
        _draw(some, which, spectrum, size, seed, camera)
        for some, which in zip(torch.split(subjects, chunk), torch.split(samples, chunk), strict=True)
    ]
    return torch.cat(parts) if parts else torch.empty(0, 3, size, size, dtype=torch.uint8, device=device)


def _draw(subjects: Tensor, samples: Tensor, spectrum: str, size: int, seed: int, camera: str) -> Tensor:
    who, now = person(seed, subjects), moment(seed, subjects, samples)
    c = canvas(16 * round(size / 14), subjects.device)
    face = surface(who, now, c)
    grid = pose_grid(now, face.height, size)
    scene = normals(seed, subjects, samples, 21 + 2 * SPECTRA.index(spectrum), 12).clamp_(-2.2, 2.2)
    shot = normals(seed, subjects, samples, 22 + 2 * SPECTRA.index(spectrum), 48).clamp_(-2.6, 2.6)
    if spectrum == "VIS":
        return photograph(reflection(who, now, face, c, scene), grid, shot)
    return thermogram(heat(who, now, face, c, scene), grid, shot, CAMERAS[camera], seed)


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
            why="there is no such thermal sensor",
            exists=", ".join(CAMERAS),
            do='camera="house"',
        )
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 448:
        raise OptionError(
            f"size={size!r} of generated people",
            why="the side is a whole number of pixels from 32 to 448",
            do="size=112",
        )


def _check_numbers(subjects: Tensor, samples: Tensor) -> None:
    whole = (torch.int64, torch.int32, torch.int16, torch.uint8)
    if any(part.ndim != 1 or part.dtype not in whole for part in (subjects, samples)) or len(subjects) != len(samples):
        raise OptionError(
            f"subjects {tuple(subjects.shape)} {subjects.dtype} and samples {tuple(samples.shape)} {samples.dtype}",
            why="both must be integer vectors of one length",
            do="faces(torch.arange(8), torch.zeros(8, dtype=torch.int64), ...)",
        )
