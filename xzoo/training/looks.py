"""How raw crops become what networks are shown: changes that all views share, then views of the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from xzoo.data.augment import DRAWN, PLACE, Augment, generator
from xzoo.data.degrade import PowerOfTwo, resized
from xzoo.families.landmark.points import FLIPS

if TYPE_CHECKING:
    from xzoo.data.samplers import Batch
    from xzoo.recipes.schema import Mask, Views

__all__ = ["ALONE", "Looks", "Shown", "World", "masked", "shown", "shrunk"]

GREY = 127
"""What hides a patch: the value nearest to what most preprocessing maps to 0."""


class _Images(Protocol):
    def __getitem__(self, rows: Tensor) -> Tensor: ...


class World(NamedTuple):
    """Which of several processes this is. Each sees its share of a batch; losses see the whole."""

    rank: int = 0
    size: int = 1


ALONE = World()


class Looks:
    """The views of a stage.

    Args:
        plan: What the recipe says.
        seed: Draws the changes, unless they come from a bank, which is the same for all runs.
        registered: The second half of a batch's pictures are flipped and cut as the first, one by one.
    """

    def __init__(self, plan: Views, seed: int, *, registered: bool = False) -> None:
        self.plan, self.seed, self.registered = plan, seed, registered
        self.augment = Augment(**plan.changes)
        self.own = {name: Augment(**view.changes) for name, view in plan.named.items()}
        self.stream = {name: number for number, name in enumerate(sorted(plan.named), start=1)}
        self.loss = {name: view.degrade.operator() for name, view in plan.named.items() if view.degrade is not None}

    def side(self, view: str) -> str:
        """Return the side that a view is made of."""
        return self.plan.named[view].of if view in self.plan.named else view

    def draw(self, index: int, count: int, stream: int = 0) -> Tensor:
        """Return the numbers that decide how each of ``count`` pictures is changed, ``[DRAWN, count]``."""
        if not self.plan.bank:
            drawn = torch.rand(DRAWN, count, generator=generator(self.seed, index, stream))
            if self.registered and not stream:
                drawn[:PLACE, count // 2 :] = drawn[:PLACE, : count // 2]
            return drawn
        return torch.rand(DRAWN, self.plan.bank, generator=generator(0, 0, stream))[:, self.variants(index, count)]

    def variants(self, index: int, count: int) -> Tensor:
        """Return which of the bank's changes each of ``count`` pictures gets."""
        return torch.randint(self.plan.bank, (count,), generator=generator(self.seed, index))

    def facts(self, view: str) -> dict[str, Any]:
        """Return whatever decides how raw pixels become a view, as plain values."""
        own = self.plan.named.get(view)
        return {
            "shared": self.plan.changes,
            "bank": self.plan.bank,
            "own": None if own is None else own.changes,
            "pixels": None if own is None else own.pixels,
            **({} if own is None or own.degrade is None else {"degrade": own.degrade.operator().record()}),
            "stream": self.stream.get(view, 0) if own is not None and own.random else 0,
        }

    def random(self, view: str) -> bool:
        """Return whether the bank has anything to choose for a view."""
        own = self.plan.named.get(view)
        return self.plan.random or (own is not None and own.random)


class Shown:
    """The pictures of one batch, made when they are asked for.

    Args:
        looks: The views.
        rows: Rows of the manifest, those of the source before those of the target.
        places: Where this process's share lies in ``rows``, by side.
        index: Number of the batch.
    """

    def __init__(self, looks: Looks, rows: Tensor, places: dict[str, Tensor], index: int) -> None:
        self.looks, self._rows, self._places, self._index = looks, rows, places, index
        self._drawn: dict[int, Tensor] = {}
        self._kept: dict[int, tuple[_Images, Tensor]] = {}

    def _numbers(self, stream: int = 0) -> Tensor:
        if stream not in self._drawn:
            self._drawn[stream] = self.looks.draw(self._index, len(self._rows), stream)
        return self._drawn[stream]

    def rows(self, view: str) -> list[int]:
        """Return the rows of the manifest behind a view."""
        found: list[int] = self._rows[self._places[self.looks.side(view)]].tolist()
        return found

    def key(self, pixels: bytes, view: str, place: int) -> bytes:
        """Return what a picture is known by: the hash of its raw pixels, and the change that it gets."""
        if not self.looks.plan.bank or not self.looks.random(view):
            return pixels
        if -1 not in self._drawn:
            self._drawn[-1] = self.looks.variants(self._index, len(self._rows))
        variant = int(self._drawn[-1][self._places[self.looks.side(view)][place]])
        return hashlib.sha256(pixels + variant.to_bytes(8, "little")).digest()

    def picture(self, images: _Images, view: str, some: Sequence[int] | None = None) -> Tensor:
        """Return a view as ``uint8 [B, 3, H, W]``, in the size of ``images``.

        Args:
            images: Raw crops.
            view: Name of a side or of a named view.
            some: Places in the view; all by default.
        """
        places = self._places[self.looks.side(view)]
        if some is None:
            base = self._changed(images)[self._of(view)]
        else:
            places = places[list(some)]
            base = self.looks.augment.apply(images[self._rows[places]], self._numbers()[:, places])
        if view not in self.looks.plan.named:
            return base
        plan = self.looks.plan.named[view]
        if plan.random:
            base = self.looks.own[view].apply(base, self._numbers(self.looks.stream[view])[:, places])
        if view in self.looks.loss:
            base = self._degraded(base, view, places)
        elif plan.pixels is not None:
            base = shrunk(base, plan.pixels)
        if plan.mask is None:
            return base
        # A stream apart from those of the changes.
        random = generator(self.looks.seed, self._index, 500 + self.looks.stream[view])
        return masked(base, plan.mask, random, len(self._rows), places)

    def points(self, landmarks: Tensor, view: str) -> Tensor:
        """Return where landmarks lie in a view, ``float32 [B, L, 2]`` in shares of its sides.

        Args:
            landmarks: ``[N, L, 2]`` of all rows of the manifest, in shares of the raw crop's sides; NaN where unknown.
            view: Name of a side or of a named view.

        Raises:
            OptionError: The view may be a mirror image, and it is not known which point becomes which.
        """
        places = self._places[self.looks.side(view)]
        mirror = FLIPS.get(landmarks.shape[1])
        found = self.looks.augment.moved(landmarks[self._rows[places]], self._numbers()[:, places], mirror)
        plan = self.looks.plan.named.get(view)
        if plan is not None and plan.random:
            own = self._numbers(self.looks.stream[view])[:, places]
            found = self.looks.own[view].moved(found, own, mirror)
        return found

    def _degraded(self, pixels: Tensor, view: str, places: Tensor) -> Tensor:
        """Return pictures through the operator of a view, in the size that they had."""
        operator = self.looks.loss[view]
        if isinstance(operator, PowerOfTwo):  # its curriculum counts the images of the stage
            operator = replace(operator, seen=operator.seen + self._index * len(self._rows))
        # Drawn for the whole batch, from streams of their own: each process picks the numbers of its share.
        random = generator(self.looks.seed, self._index, 1000 * (1 + self.looks.stream[view]))
        drawn = torch.rand(operator.draws, len(self._rows), generator=random)[:, places]
        small: Tensor = operator.apply(pixels, drawn)
        size = (pixels.shape[2], pixels.shape[3])
        if tuple(small.shape[2:]) == size:
            return small
        large: Tensor = resized(small, [size] * len(small), ["linear"] * len(small)).to(torch.uint8)
        return large

    def _of(self, view: str) -> slice:
        """Return where a side lies in this process's share of the batch."""
        source = len(self._places["source"])
        return slice(0, source) if self.looks.side(view) == "source" else slice(source, None)

    def _changed(self, images: _Images) -> Tensor:
        """Return this process's share of the batch after the shared changes; once for all views of one size."""
        if id(images) not in self._kept:
            places = torch.cat([self._places["source"], self._places["target"]])
            changed = self.looks.augment.apply(images[self._rows[places]], self._numbers()[:, places])
            self._kept[id(images)] = images, changed
        return self._kept[id(images)][1]


def shown(looks: Looks, batch: Batch, index: int, world: World) -> Shown:
    """Return the pictures of a batch for one of several processes."""
    source, target = torch.from_numpy(batch.source), torch.from_numpy(batch.target)

    def share(start: int, count: int) -> Tensor:
        each = count // world.size
        return start + torch.arange(each) + each * world.rank

    places = {"source": share(0, len(source)), "target": share(len(source), len(target))}
    return Shown(looks, torch.cat([source, target]), places, index)


def masked(pixels: Tensor, plan: Mask, random: torch.Generator, count: int, places: Tensor) -> Tensor:
    """Return pictures with patches turned grey.

    Patches are drawn for the whole batch, so that each of several processes hides what one alone would.

    Args:
        pixels: ``uint8 [B, 3, H, W]``.
        plan: How much is hidden.
        random: Draws the patches.
        count: Pictures of the whole batch.
        places: Where these ``B`` lie among them.
    """
    height, width = pixels.shape[2:]
    rows, columns = -(-height // plan.patch), -(-width // plan.patch)
    order = torch.rand(count, rows * columns, generator=random)[places].argsort(1).argsort(1)
    chosen = torch.rand(count, 1, generator=random)[places] < plan.probability
    hidden = ((order < round(plan.share * rows * columns)) & chosen).view(-1, 1, rows, columns)
    large = hidden.repeat_interleave(plan.patch, 2).repeat_interleave(plan.patch, 3)[..., :height, :width]
    return torch.where(large, torch.tensor(GREY, dtype=torch.uint8), pixels)


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """Return pictures that passed through ``side`` pixels: shrunk with antialiasing, enlarged again by bicubics.

    Args:
        pixels: ``uint8 [B, 3, H, W]``.
        side: Pixels of the longer side; no less than what there is leaves them as they are.
    """
    height, width = pixels.shape[2:]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    down = F.interpolate(pixels.float(), small, mode="bilinear", align_corners=False, antialias=True).round()
    up = F.interpolate(down, (height, width), mode="bicubic", align_corners=False)
    return up.round().clamp(0, 255).to(torch.uint8)
