"""Low-resolution faces made from sharp ones: named operators, each image drawing its own values.

How a face was made small changes every figure measured on it, so an operator
has a name and tells what it did (``record``), for the result to keep. All
resizing is two products with a matrix per image, on any device: a batch whose
images shrink to different sizes by different kernels is one product.

The kernels are those of OpenCV, which do not antialias (``area`` apart), but for
``bicubic_aa``, which is Pillow's. Values are rounded to ``uint8`` at the small size
and again at the end, as libraries on files do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from xzoo import __version__, errors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "KERNELS",
    "OPERATORS",
    "AreaCubic",
    "BicubicNative",
    "BilinearUp",
    "Degradation",
    "PowerOfTwo",
    "RandomKernels",
    "RandomRatio",
    "create",
    "matrix",
    "resized",
    "through",
]

KERNELS = ("nearest", "linear", "area", "cubic", "lanczos4")
"""OpenCV's, in the order in which random operators draw them."""


# --- resizing --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def matrix(kernel: str, before: int, after: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the weights ``float32 [after, before]`` by which a row of pixels is resized.

    Args:
        kernel: One of ``KERNELS`` as OpenCV has it, or ``bicubic_aa`` (Pillow's, antialiased).
        before: Pixels that there are.
        after: Pixels that there will be.

    Raises:
        OptionError: No such kernel, or a length below 1.
    """
    if kernel not in (*KERNELS, "bicubic_aa"):
        raise errors.OptionError(f"kernel {kernel!r}", exists=", ".join((*KERNELS, "bicubic_aa")))
    if min(before, after) < 1:
        raise errors.OptionError(f"{before} to {after} pixels", why="A length is at least one pixel.")
    scale = before / after
    weights = np.zeros((after, before))
    for row in range(after):
        for column, weight in _taps(kernel, row, scale, before):
            weights[row, min(max(column, 0), before - 1)] += weight  # the edge is repeated
    ready = weights.astype(np.float32)
    ready.setflags(write=False)  # it is shared
    return ready


def _taps(kernel: str, row: int, scale: float, before: int) -> list[tuple[int, float]]:
    """Return the pixels that one new pixel is made of, and their weights."""
    if kernel == "nearest":
        return [(math.floor(row * scale), 1.0)]
    if kernel == "area" and scale > 1:
        low, high = row * scale, min((row + 1) * scale, before)
        inside = range(math.floor(low), math.ceil(high - 1e-9))
        shares = [(column, min(high, column + 1) - max(low, column)) for column in inside]
        total = sum(share for _, share in shares)
        return [(column, share / total) for column, share in shares]
    if kernel == "area":  # OpenCV enlarges by area as a linear blend of whole pixels
        first = math.floor(row * scale)
        share = (row + 1) - (first + 1) / scale
        share = 0.0 if share <= 0 else share - math.floor(share)
        return [(first, 1 - share), (first + 1, share)]
    centre = (row + 0.5) * scale - 0.5
    if kernel == "bicubic_aa":
        wide = max(scale, 1.0)
        inside = range(
            max(math.floor(centre + 0.5 - 2 * wide + 0.5), 0), min(math.floor(centre + 1 + 2 * wide), before)
        )
        taps = [(column, _cubic(abs(column - centre) / wide, -0.5)) for column in inside]
        total = sum(weight for _, weight in taps)
        return [(column, weight / total) for column, weight in taps]
    first = math.floor(centre)
    rest = centre - first
    if kernel == "linear":
        return [(first, 1 - rest), (first + 1, rest)]
    if kernel == "cubic":
        return [(first + step, _cubic(abs(step - rest), -0.75)) for step in (-1, 0, 1, 2)]
    if rest < 1e-9:
        return [(first, 1.0)]
    windowed = [(first + step, _lanczos(step - rest)) for step in range(-3, 5)]
    total = sum(weight for _, weight in windowed)
    return [(column, weight / total) for column, weight in windowed]


def _cubic(x: float, a: float) -> float:
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _lanczos(x: float) -> float:
    return float(np.sinc(x) * np.sinc(x / 4)) if abs(x) < 4 else 0.0


def resized(pixels: Tensor, sizes: Sequence[tuple[int, int]], kernels: Sequence[str]) -> Tensor:
    """Resize every image to its own size by its own kernel.

    Args:
        pixels: ``[B, C, H, W]``, numbers of 0..255.
        sizes: Height and width of each.
        kernels: Kernel of each.

    Returns:
        ``float32 [B, C, h, w]`` rounded to whole numbers of 0..255, where ``h`` and ``w`` are the largest asked
        for; a smaller image lies in the upper left corner, zeros beside it.
    """
    return _resized(pixels.float(), [tuple(pixels.shape[2:])] * len(pixels), sizes, kernels)


def _resized(
    pixels: Tensor, before: Sequence[tuple[int, ...]], after: Sequence[tuple[int, ...]], kernels: Sequence[str]
) -> Tensor:
    down, across = (
        _stacked([(kernel, old[axis], new[axis]) for kernel, old, new in zip(kernels, before, after, strict=True)])
        for axis in (0, 1)
    )
    # Products of whole matrices: where an image is smaller than the largest, its weights beside it are zero.
    lines: Tensor = pixels @ across.to(pixels.device)[:, None].mT
    pillow = [index for index, kernel in enumerate(kernels) if kernel == "bicubic_aa"]
    if pillow:  # which rounds between the two directions
        lines[pillow] = _whole(lines[pillow])
    out: Tensor = down.to(pixels.device)[:, None] @ lines
    return _whole(out)


STEPS = 4096
"""Of a grey level: products are rounded to these first. A mean of pixels often ends in a half exactly, and a product of
matrices misses it by some 1e-5, above or below as the processor and the number of images have it sum."""


def _whole(values: Tensor) -> Tensor:
    """Return the nearest whole numbers of 0..255, of a half the even one, whatever rounding came before."""
    return values.mul_(STEPS).round_().div_(STEPS).round_().clamp_(0, 255)


def _stacked(asked: Sequence[tuple[str, int, int]]) -> Tensor:
    """Return one matrix for each image, zeros where it is smaller than the largest."""
    out = np.zeros((len(asked), max(new for _, _, new in asked), max(old for _, old, _ in asked)), np.float32)
    for index, (kernel, old, new) in enumerate(asked):
        out[index, :new, :old] = matrix(kernel, old, new)
    return torch.from_numpy(out)


def _there_and_back(pixels: Tensor, small: Sequence[tuple[int, int]], down: Sequence[str], up: Sequence[str]) -> Tensor:
    """Shrink every image to its own size, round, and enlarge it to the size that it had."""
    whole = [tuple(pixels.shape[2:])] * len(pixels)
    reduced = _resized(pixels.float(), whole, small, down)
    return _resized(reduced, small, whole, up).to(torch.uint8)


def through(pixels: Tensor, sides: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
    """Return images that passed through ``n`` x ``n`` pixels, each through its own ``n``, by Pillow's bicubics.

    What Pillow makes of ``resize((n, n), BICUBIC).resize(size, BICUBIC)``.

    Args:
        pixels: ``uint8 [B, C, H, W]``.
        sides: ``n`` of each.
        size: Height and width of what is returned; those of ``pixels`` by default.

    Raises:
        OptionError: A side is no number of pixels, or there is not one for each image.
    """
    if len(sides) != len(pixels):
        raise errors.OptionError(f"{len(sides)} sides for {len(pixels)} images", why="Each image has its own.")
    for side in set(sides):
        _side(side)
    count = len(pixels)
    if not count:
        return pixels.clone()
    whole, small, kernels = [tuple(pixels.shape[2:])] * count, [(side, side) for side in sides], ["bicubic_aa"] * count
    end = (pixels.shape[2], pixels.shape[3]) if size is None else size
    reduced = _resized(pixels.float(), whole, small, kernels)
    return _resized(reduced, small, [end] * count, kernels).to(torch.uint8)


# --- operators -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Degradation:
    """What all operators share: they take and give ``uint8 [B, 3, H, W]``, and tell what they are."""

    name: ClassVar[str]
    source: ClassVar[str]
    draws: ClassVar[int] = 0
    """Random numbers that decide how one image is degraded; none where two looks at it do not differ."""

    def __call__(self, pixels: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Return degraded copies, on the same device.

        Args:
            pixels: A raw batch, as ``Preprocess.raw`` gives it.
            random: A CPU generator (see ``xzoo.data.augment.generator``); operators that draw nothing need none.

        Raises:
            ImageError: If ``pixels`` is of another type or shape.
            OptionError: If the operator draws values, and there is no generator.
        """
        if self.draws and random is None:
            raise errors.OptionError(f"{self.name} without a generator", do="give random=generator(seed, step)")
        return self.apply(pixels, torch.rand(self.draws, len(pixels), generator=random))

    def apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Return copies degraded as ``drawn`` says: ``[draws, B]`` in 0..1, on the CPU.

        Raises:
            ImageError: If ``pixels`` is of another type or shape than ``uint8 [B, 3, H, W]``.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise errors.ImageError(
                f"cannot degrade a {str(pixels.dtype).removeprefix('torch.')} tensor {list(pixels.shape)}",
                why="degradations take raw uint8 [B, 3, H, W]",
            )
        return self._apply(pixels, drawn) if len(pixels) else pixels.clone()

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} is not an operator")

    def record(self) -> dict[str, Any]:
        """Return what a result has to say of it: operator, values, and whose kernels made it."""
        return {"operator": self.name, **asdict(self), "library": f"xzoo {__version__}", "source": self.source}


def _side(size: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise errors.OptionError(f"size={size!r}", why="It is a whole number of pixels, from 1.")


def _kernel(kernel: str) -> None:
    if kernel not in KERNELS:
        raise errors.OptionError(f"kernel {kernel!r}", exists=", ".join(KERNELS))


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise errors.OptionError(f"{name}={value!r}", why="A probability lies in 0..1.")


def _chosen(drawn: Tensor) -> list[str]:
    return [KERNELS[min(int(value * len(KERNELS)), len(KERNELS) - 1)] for value in drawn.tolist()]


@dataclass(frozen=True)
class BicubicNative(Degradation):
    """Shrink to ``size`` x ``size``, bicubic and antialiased, and leave it so: what native students see."""

    size: int = 16
    name: ClassVar[str] = "bicubic_r"
    source: ClassVar[str] = "default of this project; Pillow's bicubic"

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        _side(self.size)

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        count = len(pixels)
        return resized(pixels, [(self.size, self.size)] * count, ["bicubic_aa"] * count).to(torch.uint8)


@dataclass(frozen=True)
class BilinearUp(Degradation):
    """Shrink to ``size`` x ``size`` and enlarge again, both bilinear: F-SKD's way of testing (arXiv 2303.04681)."""

    size: int = 16
    name: ClassVar[str] = "bilinear_r_up"
    source: ClassVar[str] = "F-SKD, evaluation loader; kernels of OpenCV"

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        _side(self.size)

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        count = len(pixels)
        return _there_and_back(pixels, [(self.size, self.size)] * count, ["linear"] * count, ["linear"] * count)


@dataclass(frozen=True)
class RandomKernels(Degradation):
    """Shrink and enlarge by two kernels drawn apart: F-SKD's way of training.

    Attributes:
        sizes: Sides to shrink to; each image draws one.
    """

    sizes: tuple[int, ...] = (14, 28, 56, 112)
    name: ClassVar[str] = "rand5_r_up"
    draws: ClassVar[int] = 3
    source: ClassVar[str] = "F-SKD, training loader; kernels of OpenCV"

    def __post_init__(self) -> None:
        """Refuse what are no sizes."""
        if not self.sizes:
            raise errors.OptionError("sizes=()", why="There is nothing to draw from.")
        for size in self.sizes:
            _side(size)

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        picked = [self.sizes[min(int(value * len(self.sizes)), len(self.sizes) - 1)] for value in drawn[0].tolist()]
        small = [(side, side) for side in picked]
        return _there_and_back(pixels, small, _chosen(drawn[1]), _chosen(drawn[2]))


@dataclass(frozen=True)
class RandomRatio(Degradation):
    """Shrink some images to a random share of their sides, and enlarge them, by kernels drawn apart.

    ``adaface_lowres`` is AdaFace's augmentation (shares of 0.2 to 1, one image in five), ``fskd_range`` F-SKD's
    (shares of 0.125 to 1). The side is cut to whole pixels.
    """

    low: float = 0.2
    probability: float = 0.2
    name: ClassVar[str] = "adaface_lowres"
    draws: ClassVar[int] = 4
    source: ClassVar[str] = "AdaFace, dataset/augmenter.py; kernels of OpenCV"

    def __post_init__(self) -> None:
        """Refuse shares that no image can have."""
        if not 0 < self.low <= 1:
            raise errors.OptionError(f"low={self.low!r}", why="The least share of a side lies in 0..1, above 0.")
        _share("probability", self.probability)

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        hit = torch.nonzero(drawn[0] < self.probability)[:, 0]
        out = pixels.clone()
        if len(hit):
            ratio = (self.low + (1 - self.low) * drawn[1, hit].double()).tolist()
            height, width = pixels.shape[2:]
            small = [(max(1, int(share * height)), max(1, int(share * width))) for share in ratio]
            rows = hit.to(pixels.device)
            out[rows] = _there_and_back(pixels[rows], small, _chosen(drawn[2, hit]), _chosen(drawn[3, hit]))
        return out


@dataclass(frozen=True)
class FskdRange(RandomRatio):
    """F-SKD's wider range of :class:`RandomRatio`."""

    low: float = 0.125
    probability: float = 1.0
    name: ClassVar[str] = "fskd_range"
    source: ClassVar[str] = "F-SKD; kernels of OpenCV; the probability is a default of this project"


@dataclass(frozen=True)
class PowerOfTwo(Degradation):
    """Bring the short side of some images to a power of two, 8 to 128, and back, bilinear: CR-FR's curriculum.

    The probability grows by 0.1 for every 35,000 images seen, from 0.1, until every image is taken.

    Attributes:
        seen: Training images so far.
    """

    seen: int = 0
    name: ClassVar[str] = "crfr_pow2"
    draws: ClassVar[int] = 2
    source: ClassVar[str] = "Massoli et al., cross-resolution learning, IVC 2020; kernels of OpenCV"

    def __post_init__(self) -> None:
        """Refuse a count below zero."""
        if self.seen < 0:
            raise errors.OptionError(f"seen={self.seen!r}", why="It counts images.")

    @property
    def probability(self) -> float:
        """Share of the images that is degraded."""
        return min(1.0, 0.1 + 0.1 * (self.seen // 35_000))

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        hit = torch.nonzero(drawn[0] < self.probability)[:, 0]
        out = pixels.clone()
        if len(hit):
            height, width = pixels.shape[2:]
            sides = [2 ** math.floor(3 + 5 * value) for value in drawn[1, hit].tolist()]
            small = [
                (side, max(1, round(width * side / height)))
                if height <= width
                else (max(1, round(height * side / width)), side)
                for side in sides
            ]
            rows = hit.to(pixels.device)
            out[rows] = _there_and_back(pixels[rows], small, ["linear"] * len(hit), ["linear"] * len(hit))
        return out

    def record(self) -> dict[str, Any]:
        """Return what a result has to say of it, the probability of the moment included."""
        return {**super().record(), "probability": self.probability}


@dataclass(frozen=True)
class AreaCubic(Degradation):
    """Shrink to ``size`` by one kernel and enlarge by another, both named: Idiap's low-resolution release.

    Its authors found 56 pixels, cubic down and area up, best on really small faces, and 28, cubic and area, best
    on made ones.
    """

    size: int = 56
    down: str = "cubic"
    up: str = "area"
    name: ClassVar[str] = "area_cubic"
    source: ClassVar[str] = "Idiap's low-resolution release, 2026; kernels of OpenCV"

    def __post_init__(self) -> None:
        """Refuse what is no size or kernel."""
        _side(self.size)
        _kernel(self.down)
        _kernel(self.up)

    def _apply(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        count = len(pixels)
        return _there_and_back(pixels, [(self.size, self.size)] * count, [self.down] * count, [self.up] * count)


OPERATORS: dict[str, type[Degradation]] = {
    kind.name: kind
    for kind in (BicubicNative, BilinearUp, RandomKernels, RandomRatio, FskdRange, PowerOfTwo, AreaCubic)
}
"""Every operator by the name that results record."""


def create(name: str, **options: Any) -> Degradation:
    """Return an operator by name.

    Args:
        name: One of ``OPERATORS``.
        **options: Its fields; left out, the published values, or where there are none 16 pixels.

    Raises:
        NotFound: No such operator.
        OptionError: A field that it does not have, or an impossible value.

    Example:
        >>> create("bilinear_r_up", size=14).record()["operator"]
        'bilinear_r_up'
    """
    if name not in OPERATORS:
        close = errors.nearest(name, OPERATORS)
        raise errors.NotFound(f"no degradation {name!r}.", exists=", ".join(close or sorted(OPERATORS)[:3]))
    kind = OPERATORS[name]
    known = list(kind.__dataclass_fields__)
    for key in options:
        if key not in known:
            raise errors.OptionError(f"{name} has no option {key!r}.", exists=", ".join(known))
    return kind(**options)
