"""Other people's checkpoints, converted once and kept as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xzoo.errors import WeightsMismatch
from xzoo.hub.files import atomic_write, cache_dir, sha256_of
from xzoo.hub.sources import Weights
from xzoo.hub.tensors import read_foreign, write

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["converted", "converted_dir", "recorded_hash"]


def converted(
    weights: Weights,
    family: str,
    version: int,
    convert_fn: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
) -> Weights:
    """Return the weights under our names, as a safetensors file in the cache.

    The file is kept under the hash of the checkpoint, the family and the
    version of its ``convert``: a change of any of them converts anew, and so
    does a kept file that was damaged.

    Args:
        weights: A checkpoint, or safetensors with other names.
        family: Name of the family that ``convert_fn`` belongs to.
        version: Its ``VERSION``.
        convert_fn: Renames a flat state dict.

    Raises:
        WeightsMismatch: The file is no checkpoint, asks for code, or is another network's.
        DiskFull: There was no room; nothing half-written is left.
    """
    source = weights.sha256 or sha256_of(weights.path)
    target = converted_dir() / f"{family}-v{version}" / f"{source}.safetensors"
    kept = recorded_hash(target)
    if kept is None or not target.is_file() or sha256_of(target) != kept:
        kept = _convert(weights.path, target, convert_fn)
    return weights._replace(path=target, sha256=kept, foreign=False)


def converted_dir() -> Path:
    """Return the folder of converted checkpoints."""
    return cache_dir() / "converted"


def recorded_hash(target: Path) -> str | None:
    """Return the hash that a converted file had when it was written, or None where that is unknown."""
    try:
        return str(json.loads(target.with_suffix(".json").read_bytes())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it can always be converted again


def _convert(path: Path, target: Path, convert_fn: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]) -> str:
    state = read_foreign(path)
    try:
        renamed = convert_fn(state)
    except KeyError as error:
        raise WeightsMismatch(
            f"{str(path)!r} does not belong to this family.", why=f"it has no {error.args[0]!r}."
        ) from error
    write(renamed, target)
    sha256 = sha256_of(target)
    with atomic_write(target.with_suffix(".json")) as part:
        part.write_text(json.dumps({"sha256": sha256, "from": str(path)}) + "\n", encoding="utf-8")
    return sha256
