"""Cosine similarities, a block of rows at a time, from wherever the embeddings lie."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from xzoo import errors

if TYPE_CHECKING:
    import torch

__all__ = [
    "Embeddings",
    "Labels",
    "Rows",
    "ahead",
    "codes",
    "each_block",
    "images_of",
    "labels",
    "rows_of",
    "sort_flat",
    "tensor_of",
    "twice",
]

Embeddings: TypeAlias = "npt.NDArray[Any] | torch.Tensor"
Labels: TypeAlias = "npt.NDArray[Any] | torch.Tensor | Sequence[int] | Sequence[str]"

Result = TypeVar("Result")

# 96 MiB of float32 scores for all cores, large enough for the product to run at full speed.
BLOCK_SCORES = 3 << 23
# Memory of blocks stays for the next call up to so much: to get it fresh costs up to a tenth of the product.
SPARE_BYTES = 4 * BLOCK_SCORES
# A side up to this size is scaled once and kept; a larger one is scaled again for each block.
KEPT_BYTES = 1 << 28
# Against a side that is scaled again each time, a block has at least so many rows, or the scaling would cost more
# than the product; half a gibibyte at a million columns.
LEAST_ROWS = 128
TILE_BYTES = 1 << 25
# Rows that a core scales at a time.
PART = 2048


class Rows:
    """Embeddings ``[N, D]`` where they lie, given out as unit rows a slice at a time.

    Args:
        values: An array, a memory map or a tensor.
        side: What the rows are called in an error ("query", "gallery" ...).
        device: Where the unit rows are wanted; ``None`` for where the values are.

    Raises:
        EvaluationError: No table ``[N, D]`` of real numbers, or a row without direction
            (all zero, or a value that is not finite).
    """

    def __init__(self, values: Embeddings, side: str, device: str | torch.device | None = None) -> None:
        import torch

        source = tensor_of(values, f"{side} embeddings")
        if source.ndim != 2 or 0 in source.shape:
            raise errors.EvaluationError(
                f"{side} embeddings of shape {list(source.shape)}",
                why="Embeddings are a table [N, D] with at least one row.",
            )
        self.source = source
        self.device = torch.device(device) if device is not None else source.device
        self.dtype = torch.float64 if source.dtype == torch.float64 else torch.float32
        self._order: torch.Tensor | None = None
        self._kept: torch.Tensor | None = None
        step = max(1, TILE_BYTES // (8 * self.width))

        def lengths(start: int) -> torch.Tensor:
            part: torch.Tensor = torch.linalg.vector_norm(source[start : start + step].to(self.dtype), dim=1)
            return part

        length = torch.cat(list(ahead(lengths, range(0, len(source), step), _cores(source.device))))
        bad = torch.nonzero(~torch.isfinite(length) | (length == 0)).flatten().tolist()
        if bad:
            shown = ", ".join(map(str, bad[:3])) + (" ..." if len(bad) > 3 else "")
            raise errors.EvaluationError(
                f"{side} embeddings, {len(bad)} of {len(source)} unusable (rows {shown})",
                why="A row of zeros, or with a value that is not finite, points nowhere: it has no cosine.",
                do="look at the images of these rows and at the weights",
            )
        self._length = length[:, None]

    def __len__(self) -> int:
        return len(self.source)

    @property
    def width(self) -> int:
        """Numbers in one embedding."""
        return int(self.source.shape[1])

    @property
    def kept(self) -> bool:
        """Whether all unit rows fit into memory at once by our rule."""
        return self.source.numel() * self.dtype.itemsize <= KEPT_BYTES

    def reorder(self, order: npt.NDArray[np.intp]) -> None:
        """Give the rows out in another order from now on."""
        import torch

        self._kept = None
        self._order = None if np.array_equal(order, np.arange(len(self))) else torch.from_numpy(order)

    def unit(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the unit rows ``start`` to ``stop`` in ``dtype`` on the device; not to be written to."""
        if not self.kept or self._kept is None:
            return self._scaled(start, stop, dtype)
        return self._kept[start:stop]

    def keep(self, dtype: torch.dtype) -> None:
        """Scale all rows now, if they fit, rather than for each block."""
        if self.kept and (self._kept is None or self._kept.dtype != dtype):
            kept = empty((len(self) if self._order is None else len(self._order), self.width), dtype, self.device)

            def fill(start: int) -> None:
                self._scaled(start, start + PART, dtype, kept[start : start + PART])

            for _ in ahead(fill, range(0, len(kept), PART), _cores(self.device)):
                pass
            self._kept = kept

    def _scaled(self, start: int, stop: int, dtype: torch.dtype, out: torch.Tensor | None = None) -> torch.Tensor:
        import torch

        part, length = self.source[start:stop], self._length[start:stop]
        if self._order is not None:
            chosen = self._order[start:stop].to(self.source.device)
            length = self._length[chosen]
            if out is not None and out.device == self.source.device and self.source.dtype == dtype:
                return torch.index_select(self.source, 0, chosen, out=out).div_(length.to(dtype))
            part = self.source[chosen]
        if out is None:
            out = empty(tuple(part.shape), dtype, self.device)
        return out.copy_(part).div_(length.to(dtype).to(self.device))


def _cores(device: torch.device) -> int:
    """Return how many threads to divide work among; torch's own wait for one another, long on a busy machine."""
    import torch

    return torch.get_num_threads() if device.type == "cpu" else 1


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    """Return memory for a tensor; on a processor NumPy's, which comes in large pages and is ready sooner."""
    import torch

    if str(device) != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, np.float64 if dtype == torch.float64 else np.float32))


def rows_of(first: Embeddings, second: Embeddings, sides: tuple[str, str], device: str | None) -> tuple[Rows, Rows]:
    """Return both sides on one device and with one width.

    Without ``device`` the work is done where an accelerator already holds a side.

    Raises:
        EvaluationError: As :class:`Rows`; or the widths differ.
    """
    if device is None:
        held = [str(side.device) for side in (second, first) if hasattr(side, "detach") and str(side.device) != "cpu"]
        device = held[0] if held else None
    a, b = Rows(first, sides[0], device), Rows(second, sides[1], device)
    if a.width != b.width:
        raise errors.EvaluationError(
            f"{sides[0]} embeddings of {a.width} numbers, {sides[1]} of {b.width}", why="One network makes both."
        )
    return a, b


def labels(values: Labels, count: int, what: str) -> npt.NDArray[Any]:
    """Return ``values`` as a vector of ``count`` labels, or say that they are not."""
    vector = _array(values)
    if vector.shape != (count,):
        raise errors.EvaluationError(
            f"{what} of shape {list(vector.shape)} for {count} embeddings", why="Each embedding has exactly one."
        )
    if vector.dtype.kind == "f" and np.isnan(vector).any():
        raise errors.EvaluationError(f"{what} with {int(np.isnan(vector).sum())} NaN", why="NaN equals nobody.")
    return vector


def codes(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return two vectors of labels as numbers from 0 that are equal where the labels are.

    Raises:
        EvaluationError: One side has names and the other numbers, which equal nothing.
    """
    if (first.dtype.kind in "US") != (second.dtype.kind in "US"):
        raise errors.EvaluationError(
            f"labels of {first.dtype} on one side and of {second.dtype} on the other",
            why="A name never equals a number.",
        )
    numbers = np.unique(np.concatenate([first, second]), return_inverse=True)[1]
    return numbers[: len(first)], numbers[len(first) :]


def images_of(
    image_a: Labels | None, image_b: Labels | None, n_a: int, n_b: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None:
    """Return both vectors of image numbers: both, or neither."""
    if image_a is None and image_b is None:
        return None
    if image_a is None or image_b is None:
        missing = "image_a" if image_a is None else "image_b"
        raise errors.EvaluationError(f"comparisons without {missing}", why="Images are told apart on both sides.")
    return codes(labels(image_a, n_a, "image_a"), labels(image_b, n_b, "image_b"))


def twice(
    image_a: npt.NDArray[Any], image_b: npt.NDArray[Any], *, upper: bool = False
) -> Callable[[slice, int], npt.NDArray[np.bool_]]:
    """Return which comparisons of two sets that overlap are of an image with itself, or come a second time.

    Args:
        image_a: ``[A]`` what image a row shows.
        image_b: ``[B]``.
        upper: Of two comparisons of one pair keep that whose image of the first set has the higher number,
            as where the sets come in the other order.

    Returns:
        For rows of the first set and a first column of the second ``bool [rows, B - first]``.
    """
    a, b = codes(image_a, image_b)
    # A pair comes twice only when both its images are on both sides.
    a_in_b, b_in_a = np.isin(a, b), np.isin(b, a)
    if upper:
        a, b = -a, -b
    return lambda rows, first: (a_in_b[rows, None] & b_in_a[None, first:]) & (a[rows, None] >= b[None, first:])


def each_block(
    query: Rows,
    gallery: Rows,
    work: Callable[[slice, int, torch.Tensor], Result],
    block_scores: int | None = None,
    *,
    above: bool = False,
) -> Iterator[Result]:
    """Yield ``work(rows, first_column, scores [rows, G - first_column])`` of every block, in order.

    On a processor every core makes its own blocks, product and work, without
    waiting for the others; on an accelerator they follow one another.
    ``work`` may overwrite a block, and must not keep it: the next one reuses it.

    Args:
        query: One side.
        gallery: The other.
        work: What is done with a block; it must not depend on what other blocks gave.
        block_scores: Scores that exist at a time (at least one row for each core);
            the default suits the device.
        above: Both sides are one set, and pairs below the diagonal are not wanted:
            leave out the columns before the block's first row.
    """
    import torch

    dtype = torch.promote_types(query.dtype, gallery.dtype)
    on_cpu = gallery.device.type == "cpu"
    workers = _cores(gallery.device)
    if block_scores is None:
        block_scores = BLOCK_SCORES if on_cpu else 4 * BLOCK_SCORES
        if not gallery.kept:
            block_scores = max(block_scores, LEAST_ROWS * len(gallery))
    step = max(1, min(block_scores // (workers * len(gallery)), -(-len(query) // workers)))
    workers = min(workers, -(-len(query) // step))
    # The cores end together: each gets as many blocks of one size.
    turns = -(-len(query) // (step * workers))
    step = -(-len(query) // (turns * workers))
    tile = len(gallery) if gallery.kept else max(1, TILE_BYTES // (dtype.itemsize * gallery.width))
    gallery.keep(dtype)
    own = threading.local()

    taken: list[npt.NDArray[np.uint8]] = []

    def buffer() -> torch.Tensor:
        if not on_cpu:
            return torch.empty(step * len(gallery), dtype=dtype, device=gallery.device)
        taken.append(_SPARE.take(step * len(gallery) * dtype.itemsize))
        return torch.from_numpy(taken[-1]).view(dtype)

    def block(start: int) -> Result:
        if not hasattr(own, "buffer"):
            own.buffer = buffer()
        rows = slice(start, min(start + step, len(query)))
        first = start if above else 0
        scores = own.buffer[: (rows.stop - start) * (len(gallery) - first)].view(rows.stop - start, -1)
        part = query.unit(rows.start, rows.stop, dtype)
        for column in range(first, len(gallery), tile):
            end = min(column + tile, len(gallery))
            torch.mm(part, gallery.unit(column, end, dtype).T, out=scores[:, column - first : end - first])
        return work(rows, first, scores)

    try:
        yield from ahead(block, range(0, len(query), step), workers)
    finally:
        _SPARE.give(taken)


class _Spare:
    """Memory that blocks of scores have used, for the next ones."""

    def __init__(self) -> None:
        self._free: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """Return ``uint8 [size]`` of any content, for the caller alone until it is given back."""
        with self._lock:
            fitting = [place for place, spare in enumerate(self._free) if len(spare) >= size]
            if fitting:
                return self._free.pop(min(fitting, key=lambda place: len(self._free[place])))[:size]
        return np.empty(size, np.uint8)

    def give(self, blocks: Iterable[npt.NDArray[np.uint8]]) -> None:
        """Take blocks back, and keep the largest ones up to :data:`SPARE_BYTES` in all."""
        with self._lock:
            whole = [block if block.base is None else block.base for block in blocks]
            self._free = sorted([*self._free, *whole], key=len, reverse=True)
            while sum(map(len, self._free)) > SPARE_BYTES:
                self._free.pop(0)


_SPARE = _Spare()


def ahead(work: Callable[[int], Result], starts: Iterable[int], workers: int) -> Iterator[Result]:
    """Yield ``work(start)`` in order, made by some threads a little ahead of what is taken."""
    import torch

    if workers == 1:
        yield from map(work, starts)
        return
    threads = torch.get_num_threads()
    # Torch counts its threads for each of ours, and for those that come; so give back what was.
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        coming = iter(starts)
        waiting = deque(pool.submit(work, start) for start in islice(coming, 2 * workers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, start) for start in islice(coming, 1))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def sort_flat(scores: torch.Tensor) -> torch.Tensor:
    """Sort along the last axis; on a processor in place and by NumPy, which is the faster one there."""
    if scores.device.type != "cpu":
        return scores.sort(dim=-1).values
    scores.numpy().sort(axis=-1)
    return scores


def tensor_of(values: Embeddings, what: str) -> torch.Tensor:
    """Return a tensor over the very same memory: a memory map stays on disk."""
    import torch

    if isinstance(values, torch.Tensor):
        tensor = values.detach()
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise errors.EvaluationError(f"{what} of {array.dtype}", why="These are real numbers.")
        if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of arrays that may not be written to: nothing writes here
            tensor = torch.from_numpy(array)
    if tensor.is_complex():
        raise errors.EvaluationError(f"{what} of {tensor.dtype}", why="These are real numbers.")
    return tensor


def _array(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
