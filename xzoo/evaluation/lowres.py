"""Listed pairs in which one image, or both, is of few pixels: LFW-LR and its like.

Three ways are in use, and their figures are not comparable: ``lr2lr`` shrinks both images of a pair, ``hr2lr`` the
second alone, ``list`` gives every image a size of its own (Knoche et al., ``btm-stm``). Shrinking is Pillow's bicubic,
antialiased, recorded as ``bicubic_r``; enlarging, where a network takes more pixels, is bicubic too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from xzoo import __version__, errors
from xzoo.data.degrade import through
from xzoo.data.images import load_raw
from xzoo.data.manifest import Manifest
from xzoo.evaluation.intervals import Interval, wilson
from xzoo.evaluation.protocols import figures

if TYPE_CHECKING:
    from xzoo.evaluation.engine import Embeds

__all__ = ["MODES", "LowResPairs", "lowres_pairs", "read_sizes"]

MODES = ("lr2lr", "hr2lr", "list")
SOURCE_SIDE = 112
"""Side at which images are read before they lose pixels."""


@dataclass(frozen=True)
class LowResPairs:
    """What pairs of few pixels gave.

    Attributes:
        mode: ``lr2lr``, ``hr2lr`` or ``list``.
        sides: Pixels of the smallest and the largest image that was shrunk.
        accuracy: Mean over folds, the threshold from the others.
        std: Population deviation over folds.
        interval: Wilson's 95 % interval of ``accuracy``, pairs taken for independent.
        auc: Area under the ROC.
        pairs: Their number.
        operator: How images lost pixels.
    """

    mode: str
    sides: tuple[int, int]
    accuracy: float
    std: float
    interval: Interval
    auc: float
    pairs: int
    operator: Mapping[str, Any]


def read_sizes(path: str | Path) -> list[int]:
    """Read one line of ``2 P`` comma-separated sides, for the images of ``P`` pairs in turn (``btm-stm``).

    Raises:
        MissingFile: There is no such file.
        DataError: It holds other things than whole numbers from 1.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise errors.MissingFile(
            f"no list of sizes {str(path)!r}.", do="btm-stm publishes them with its protocol"
        ) from fault
    words = [word for word in text.replace("\n", ",").split(",") if word.strip()]
    if not words or not all(word.strip().isdigit() and int(word) for word in words):
        raise errors.DataError(
            f"{str(path)!r} is no list of sizes.", why="It holds whole numbers from 1 with commas between them."
        )
    return [int(word) for word in words]


def lowres_pairs(
    model: Embeds,
    data: Manifest,
    *,
    mode: Literal["lr2lr", "hr2lr", "list"] = "lr2lr",
    side: int = 16,
    sizes: Sequence[int] | None = None,
    batch_size: int = 64,
) -> LowResPairs:
    """Verify the pairs of a manifest with images of few pixels; embeddings of an image and its mirror are added.

    Args:
        model: What embeds.
        data: A manifest that lists pairs, as the reader ``lfw`` gives it.
        mode: Which images lose pixels.
        side: Pixels a side, in ``lr2lr`` and ``hr2lr``.
        sizes: For ``list``: two for each pair, as :func:`read_sizes` gives them.
        batch_size: Images per forward pass.

    Raises:
        EvaluationError: The manifest lists no pairs, or only pairs of one kind.
        OptionError: A mode that there is not, or sizes that do not fit the pairs.
    """
    if mode not in MODES:
        raise errors.OptionError(f"mode={mode!r}", exists=", ".join(MODES))
    pairs = data.pairs
    if pairs is None or not len(pairs) or pairs.same.all() or not pairs.same.any():
        raise errors.EvaluationError(
            f"pairs of few pixels of {str(data.root)!r}", why="The manifest lists no pairs, or pairs of one kind alone."
        )
    count = len(pairs)
    if (mode == "list") != (sizes is not None) or (sizes is not None and len(sizes) != 2 * count):
        raise errors.OptionError(
            f"mode={mode!r} with {'no' if sizes is None else len(sizes)} sizes",
            why=f"mode 'list' takes two for each of {count} pairs, the other modes take side=.",
        )
    wanted = sizes if sizes is not None else [SOURCE_SIDE if mode == "hr2lr" else side, side] * count
    place: dict[Any, int] = {row.index: at for at, row in enumerate(data.rows)}
    shown = [(place[name], int(wanted[2 * n])) for n, name in enumerate(pairs.first.tolist())]
    shown += [(place[name], int(wanted[2 * n + 1])) for n, name in enumerate(pairs.second.tolist())]
    known = {look: number for number, look in enumerate(dict.fromkeys(shown))}
    vectors = _embedded(model, data, list(known), batch_size)
    ends = np.array([known[look] for look in shown])
    scores = figures.pair_scores(vectors, ends[:count], ends[count:])
    accuracy, std = figures.accuracy(scores, pairs.same, pairs.fold if pairs.fold is not None else figures.folds(count))
    from xzoo.evaluation.roc import verification_from_scores

    whole = verification_from_scores(scores[pairs.same], scores[~pairs.same], [])
    small = [taken for _, taken in shown if taken < SOURCE_SIDE] or [SOURCE_SIDE]
    operator = {"operator": "bicubic_r", "from": SOURCE_SIDE, "library": f"xzoo {__version__}"}
    interval = wilson(round(accuracy * count), count)
    return LowResPairs(mode, (min(small), max(small)), accuracy, std, interval, float(whole.auc), count, operator)


def _embedded(model: Embeds, data: Manifest, looks: Sequence[tuple[int, int]], batch_size: int) -> np.ndarray[Any, Any]:
    """Return raw embeddings ``[N, D]`` of images at their sides, mirror images added."""
    reading = replace(model.preprocess, size=(3, SOURCE_SIDE, SOURCE_SIDE), interpolation="bicubic")
    size = (model.preprocess.size[1], model.preprocess.size[2])
    rows = []
    for start in range(0, len(looks), batch_size):
        part = looks[start : start + batch_size]
        raw = load_raw(replace(data, rows=tuple(data.rows[row] for row, _ in part), pairs=None), reading)
        small = through(raw, [min(side, SOURCE_SIDE) for _, side in part], size)
        both = torch.cat([small, small.flip(3)])
        bands = [data.rows[row].spectrum for row, _ in part] * 2
        found = model.embed(both, spectrum=bands, batch_size=2 * batch_size, normalise=False)
        rows.append((found[: len(part)] + found[len(part) :]).numpy())
    return np.concatenate(rows)
