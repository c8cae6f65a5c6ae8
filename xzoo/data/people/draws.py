"""Random numbers addressed by what they are for, not by when they are drawn.

A face must not depend on which other faces share its batch, so nothing here
keeps a state: every number is a hash of (seed, subject, sample, stream,
position), the SplitMix64 finaliser of Steele, Lea and Flood (OOPSLA 2014).
"""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fields", "noise_rows", "normals", "uniforms"]

_Whole: TypeAlias = npt.NDArray[Any]

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX = (-4658895280553007687, -7723592293110705685)
_FACTORS = np.array([_GOLDEN, *_MIX], np.int64).view(np.uint64)
_SHIFTS = np.array([30, 27, 31, 40], np.uint64)
_BANK = 1 << 20
_TILE = 1024
_CROP = 128


def uniforms(seed: int, subjects: Tensor, samples: Tensor, stream: int, count: int) -> Tensor:
    """Return numbers in (0, 1), float32 ``[B, count]``, on the device of ``subjects``.

    Args:
        seed: The world; another seed has other people.
        subjects: Subject numbers, int64 ``[B]``.
        samples: Sample numbers, int64 ``[B]``; zeros for what belongs to the subject.
        stream: What the numbers are for; streams are independent.
        count: How many numbers for each row.
    """
    if subjects.device.type == "cpu":
        # Rows are short: what torch needs to begin each step is most of its time.
        upper = torch.from_numpy(_bits_of(seed, subjects.numpy(), samples.numpy(), stream, count).astype(np.float32))
    else:
        upper = _bits_on_device(seed, subjects, samples, stream, count).to(torch.float32)
    return (upper + 0.5) * 2.0**-24


def _bits_of(seed: int, subjects: _Whole, samples: _Whole, stream: int, count: int) -> _Whole:
    """Return the upper 24 bits of each hash, ``[B, count]``; unsigned numbers wrap as the signed ones of torch do."""

    def mix(bits: _Whole) -> _Whole:
        bits = (bits ^ (bits >> _SHIFTS[0])) * _FACTORS[1]
        bits = (bits ^ (bits >> _SHIFTS[1])) * _FACTORS[2]
        mixed: _Whole = bits ^ (bits >> _SHIFTS[2])
        return mixed

    key = np.full(len(subjects), seed, np.int64).view(np.uint64)
    for part in (np.full(len(subjects), stream, np.int64), subjects, samples):
        key = mix(key * _FACTORS[0] + part.astype(np.int64, copy=False).view(np.uint64))
    upper: _Whole = mix(key[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _FACTORS[0]) >> _SHIFTS[3]
    return upper


def _bits_on_device(seed: int, subjects: Tensor, samples: Tensor, stream: int, count: int) -> Tensor:
    """Return the same as :func:`_bits_of` where the numbers lie."""
    key = torch.full_like(subjects, seed)
    for part in (torch.full_like(subjects, stream), subjects, samples):
        key = _mix(key * _GOLDEN + part)
    position = torch.arange(1, count + 1, device=subjects.device) * _GOLDEN
    return _shift(_mix(key[:, None] + position), 40)


def normals(seed: int, subjects: Tensor, samples: Tensor, stream: int, count: int) -> Tensor:
    """Return standard normal numbers, float32 ``[B, count]``; arguments as in ``uniforms``."""
    found: Tensor = torch.special.ndtri(uniforms(seed, subjects, samples, stream, count))
    return found


def noise_rows(starts: Tensor, length: int) -> Tensor:
    """Return rows of white Gaussian noise ``[B, length]``, cut from one fixed bank.

    Args:
        starts: One number in (0, 1) per row, float32 ``[B]``: where the row is cut.
        length: Numbers per row, below 2**20.
    """
    bank = _bank(str(starts.device))
    rows = bank.as_strided((_BANK - length, length), (1, 1))
    return rows[(starts * (_BANK - length)).long()]


def fields(starts: Tensor, cells: int) -> Tensor:
    """Return smooth random fields ``[B, cells, cells]``, about zero mean and unit variance.

    Each is the sum of two windows into fixed tiles whose amplitude falls with
    frequency, as it does in natural textures (Field, *J. Opt. Soc. Am. A* 4,
    1987); with four numbers per field no two people meet the same pair.

    Args:
        starts: Numbers in (0, 1), float32 ``[B, 4]``: where the windows are cut.
        cells: Side of the field; the pattern is the same whatever the side.
    """
    places = (starts * (_TILE - _CROP)).long()
    one, two = _tiles(str(starts.device))
    if starts.device.type == "cpu":
        # Copies of slices: a processor picks numbers one by one from an index.
        cuts = [
            (one[down : down + _CROP, across : across + _CROP], two[low : low + _CROP, right : right + _CROP])
            for down, across, low, right in places.tolist()
        ]
        field = torch.stack([first for first, _ in cuts]).add_(torch.stack([second for _, second in cuts]))
    else:
        span = _TILE - _CROP
        windows = [tile.as_strided((span, span, _CROP, _CROP), (_TILE, 1, _TILE, 1)) for tile in (one, two)]
        field = windows[0][places[:, 0], places[:, 1]] + windows[1][places[:, 2], places[:, 3]]
    field.mul_(0.5**0.5)
    if cells == _CROP:
        return field
    return F.interpolate(field[:, None], size=(cells, cells), mode="bilinear", align_corners=False)[:, 0]


@functools.cache
def _tiles(device: str) -> tuple[Tensor, Tensor]:
    zero = torch.zeros(1, dtype=torch.int64)
    white = normals(0, zero, zero, 98, 2 * _TILE * _TILE).view(2, _TILE, _TILE)
    down, across = torch.fft.fftfreq(_TILE)[:, None], torch.fft.rfftfreq(_TILE)
    frequency = (down.square() + across.square()).sqrt()
    # Waves from about 3 to 50 cells: wider ones are the business of traits, shorter ones of noise.
    fall = frequency.clamp(min=1.0 / 50.0) ** -1.3 * torch.exp(-((frequency * 3.0) ** 2)) * (frequency > 1.0 / 80.0)
    smooth = torch.fft.irfft2(torch.fft.rfft2(white) * fall, s=(_TILE, _TILE))
    one, two = (smooth / smooth.std((1, 2), keepdim=True)).to(device).unbind()
    return one.contiguous(), two.contiguous()


@functools.cache
def _bank(device: str) -> Tensor:
    zero = torch.zeros(1, dtype=torch.int64)
    return normals(0, zero, zero, 99, _BANK)[0].to(device)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX[0]
    bits = (bits ^ _shift(bits, 27)) * _MIX[1]
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, by: int) -> Tensor:
    # torch has no unsigned 64-bit shift: the sign bits that come in are masked off.
    return (bits >> by) & ((1 << (64 - by)) - 1)
