"""Embeddings of a manifest's images, made by one process or by several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xzoo import errors
from xzoo.data.images import load_raw
from xzoo.data.manifest import Manifest

if TYPE_CHECKING:
    from xzoo.evaluation.engine import Embeds

__all__ = ["embed_images"]

Table = npt.NDArray[np.float32]


def embed_images(
    model: Embeds, images: Manifest, batch_size: int = 64, *, flip: bool = False, folder: str | Path | None = None
) -> Table:
    """Return raw embeddings, each image through the adapter of its spectrum.

    Under ``accelerate launch`` every process makes every n-th batch, and all of
    them return all embeddings. A batch holds the same images whatever the number
    of processes, so the result does not depend on it.

    Args:
        model: What embeds.
        images: Whose images.
        batch_size: Images per forward pass.
        flip: Add the embedding of the mirrored image.
        folder: Where to write ``embeddings.npy``, each process its own rows, and to read
            it from as a memory map; on a disk that all processes share. Without it the
            embeddings stay in memory.

    Returns:
        ``float32 [N, D]`` in the manifest's order.

    Raises:
        EvaluationError: An embedding is zero or not finite (the images are named), or
            another process failed.
        ImageError, MissingFile: An image cannot be read.
    """
    number, processes, state = _place()
    if processes > 1 and state.device.type != "cpu" and hasattr(model, "to"):
        model.to(state.device)
    starts = list(range(0, len(images), batch_size))
    own = starts[number::processes]
    made: list[Table] = []
    shard: Path | None = None
    table: Any = None
    fault: Exception | None = None
    try:
        done = 0
        for start in own:
            rows = _embed(model, Manifest(images.rows[start : start + batch_size], images.root), batch_size, flip)
            if folder is None:
                made.append(rows)
                continue
            if table is None:
                Path(folder).mkdir(parents=True, exist_ok=True)
                shard = Path(folder) / f"embeddings-{number:05}-of-{processes:05}.npy"
                count = sum(min(batch_size, len(images) - first) for first in own)
                table = np.lib.format.open_memmap(shard, "w+", np.float32, (count, rows.shape[1]))
            table[done : done + len(rows)] = rows
            done += len(rows)
        if table is not None:
            table.flush()
    except Exception as error:
        fault = error
    if processes == 1:
        if fault:
            raise fault
        parts: list[Any] = [(made, shard)]
    else:
        # Nobody waits for a process that has failed: each tells the others how it went.
        words = None if fault is None else f"{type(fault).__name__}: {fault}"
        told = _told((number, words, (made, shard)))
        if fault:
            raise fault
        for other, words, _ in told:
            if words:
                raise errors.EvaluationError(
                    f"embeddings by {processes} processes", why=f"Process {other} failed: {words}"
                )
        parts = [part for _, _, part in sorted(told, key=lambda one: one[0])]
    if folder is None:
        # Batch k was made by process k modulo n, as its batch k // n.
        whole = np.concatenate([parts[k % processes][0][k // processes] for k in range(len(starts))])
    else:
        target = Path(folder) / "embeddings.npy"
        if number == 0:
            _join(target, [part[1] for part in parts], len(images), batch_size)
        if processes > 1:
            _told(None)  # the others wait until it is written
        whole = np.load(target, mmap_mode="r")
    _usable(whole, images)
    return np.asanyarray(whole)


def _told(mine: Any) -> list[Any]:
    """Return what every process has to say."""
    from accelerate.utils import gather_object

    return list(gather_object([mine]))


def _join(target: Path, shards: list[Path | None], count: int, batch_size: int) -> None:
    """Put the batches of all shards in order, and remove the shards."""
    tables = [np.load(shard, mmap_mode="r") for shard in shards if shard is not None]
    whole = np.lib.format.open_memmap(target, "w+", np.float32, (count, tables[0].shape[1]))
    for k, start in enumerate(range(0, count, batch_size)):
        stop = min(start + batch_size, count)
        first = k // len(shards) * batch_size
        whole[start:stop] = tables[k % len(shards)][first : first + stop - start]
    whole.flush()
    for shard in shards:
        if shard is not None:
            shard.unlink()


def _usable(table: Table, images: Manifest) -> None:
    """Refuse embeddings that have no direction, and name their images."""
    step = 1 << 14
    length = np.concatenate([np.linalg.norm(table[at : at + step], axis=1) for at in range(0, len(table), step)])
    bad = np.flatnonzero(~np.isfinite(length) | (length == 0))
    if len(bad):
        raise errors.EvaluationError(
            f"embeddings of {len(bad)} of {len(table)} images are zero or not finite",
            why="They point nowhere: they have no cosine. First: "
            + ", ".join(images.rows[place].path for place in bad[:3]),
            do="look at these images and at the weights",
        )


def _place() -> tuple[int, int, Any]:
    """Return this process's number, how many there are, and accelerate's state where there are several."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1, None
    import torch
    from accelerate import PartialState

    # Without an accelerator it would take each process for the only one.
    state = PartialState(cpu=not torch.accelerator.is_available())
    return state.process_index, state.num_processes, state


def _embed(model: Embeds, batch: Manifest, batch_size: int, flip: bool) -> Table:
    bands = [row.spectrum for row in batch.rows]
    pixels = load_raw(batch, model.preprocess)
    raw = model.embed(pixels, spectrum=bands, batch_size=batch_size, normalise=False)
    if flip:
        raw = raw + model.embed(pixels.flip(-1), spectrum=bands, batch_size=batch_size, normalise=False)
    return np.asarray(raw.detach().cpu().numpy().astype(np.float32, copy=False))
