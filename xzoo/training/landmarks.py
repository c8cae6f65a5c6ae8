"""Landmarks in training: those that a manifest knows, and how far a network is from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xzoo import errors
from xzoo.data.images import load_raw, open_image, upright_size
from xzoo.evaluation.landmarks import EYES, OUTER_EYES, Landmarks, landmark_errors
from xzoo.families.base import still
from xzoo.families.landmark.points import convert, reachable

if TYPE_CHECKING:
    from xzoo.data.manifest import Manifest
    from xzoo.data.preprocess import Preprocess
    from xzoo.families.base import Embedder

__all__ = ["facts_of", "finds_landmarks", "known_points", "landmark_table", "measure"]


def known_points(told: Sequence[int]) -> torch.Size:
    """Return the shape of the landmarks that a manifest must know, of that of what a network tells ``[B, L, 2 or 3]``.

    Raises:
        OptionError: It tells no landmarks.
    """
    if len(told) != 3 or told[2] not in (2, 3):
        raise errors.OptionError(
            f"truth for a network that gives {list(told)[1:]}.",
            why="Landmarks are [L, 2], or [L, 3] with a deviation.",
            do="a landmark network as student, such as landmarker",
        )
    return torch.Size([told[0], told[1], 2])


def finds_landmarks(network: Embedder) -> bool:
    """Return whether a network tells points and no embedding."""
    return callable(getattr(network, "landmarks", None))


def landmark_table(manifest: Manifest, count: int, preprocess: Preprocess) -> Tensor:
    """Return the landmarks of every row in one convention.

    Args:
        manifest: Rows with ``count`` points or more of a convention that contains theirs (see
            ``xzoo.families.landmark.points``), or without any.
        count: Points wanted.
        preprocess: Of the network: its crop is the row's box, or the whole picture.

    Returns:
        ``float32 [N, count, 2]``, x and y in shares of the crop's width and height, 0 and 1 its edges; NaN where a
        row has none.

    Raises:
        DataError: No row has landmarks, or some have others than are wanted.
        OptionError: The network takes aligned faces, in which landmarks lie elsewhere.
    """
    if preprocess.alignment is not None:
        raise errors.OptionError(
            f"landmarks for a network that takes faces aligned to {preprocess.alignment}",
            why="Where they lie after alignment is not followed.",
            do="a network without alignment, such as landmarker",
        )
    found = torch.full((len(manifest), count, 2), float("nan"))
    wrong: list[str] = []
    for place, row in enumerate(manifest.rows):
        if row.landmarks is None:
            continue
        have = len(row.landmarks)
        if have != count and count not in reachable(have):
            wrong.append(f"{row.path}: {have}")
            continue
        if row.box is not None:
            left, top, width, height = row.box
        else:
            with open_image(manifest.root / row.path) as image:
                (width, height), left, top = upright_size(image), 0, 0
        points = convert(torch.tensor(row.landmarks), count)
        found[place] = (points + 0.5 - torch.tensor([left, top])) / torch.tensor([width, height])
    if wrong:
        raise errors.DataError(
            f"{len(wrong)} images of {str(manifest.root)!r} have other landmarks than the {count} that are learnt: "
            + ", ".join(wrong[:3]),
            do="options: {points: ...} of the network, or rows without landmarks",
        )
    if found.isnan().all():
        raise errors.DataError(
            f"no image of {str(manifest.root)!r} has landmarks.",
            why="Something is to be learnt from them.",
            do="a column landmarks: x y x y ... in pixels",
        )
    return found


def measure(network: Any, manifest: Manifest, *, batch_size: int = 64) -> Landmarks:
    """Measure a landmark network on the rows of a manifest that have landmarks.

    Distances are divided by that between the outer eye corners, of five points by that between the eye centres, in
    pixels of the network's input; intervals draw subjects again.

    Raises:
        DataError: No row has landmarks of the network's convention.
    """
    rows = tuple(row for row in manifest.rows if row.landmarks is not None)
    known = type(manifest)(rows, manifest.root)
    truth = landmark_table(known if rows else manifest, network.points, network.preprocess)
    raw, side = load_raw(known, network.preprocess), torch.tensor(network.preprocess.size[:0:-1])
    where, told = next(network.parameters()), []
    with still(network):
        for part in raw.split(batch_size):
            told.append(network(network.preprocess.normalise(part.to(where.device)).to(where.dtype)).float().cpu())
    count = truth.shape[1]
    how: Any = "outer_eyes" if count in OUTER_EYES else "eye_centres" if count in EYES else "truth_box"
    points = torch.cat(told)[..., :2]
    return landmark_errors(points * side, truth * side, how, subject=[row.subject for row in rows])


def facts_of(found: Landmarks) -> dict[str, Any]:
    """Return figures as plain values."""
    return {
        "nme": found.nme,
        "ci95": list(found.interval["nme"]),
        "failure_rate": found.failure_rate,
        "auc": found.auc,
        "limit": found.limit,
        "normalisation": found.normalisation,
        "images": found.n_images,
    }
