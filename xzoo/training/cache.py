"""What frozen teachers answered, kept on disk, so that each is asked once per view of an image.

A folder for each teacher and view holds safetensors shards, mapped into memory.
A row is known by the hash of the pixels that the teacher was shown before they
were changed, and by the number of the change; nothing is assumed of a mirrored
or shrunk picture. Shards are written whole or not at all; one that is damaged is
thrown away and its rows are computed again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xzoo import errors, hub
from xzoo.families.base import fingerprint

if TYPE_CHECKING:
    from xzoo.families.base import Embedder

__all__ = ["LIMIT", "Answers", "default_folder", "pixel_key", "teacher_key"]

LIMIT = 20 * 1024**3
"""Bytes that all answers in a folder may take, unless told otherwise."""

HALF_WRITTEN = 3600
"""Seconds after which a shard that is still being written has lost its writer."""

SHARD = 32 * 1024**2
"""Bytes of answers that wait in memory before a shard is written."""


def default_folder() -> Path:
    """Return the folder that all runs share: ``teachers`` in xzoo's cache."""
    return hub.cache_dir() / "teachers"


def teacher_key(teacher: Embedder, precision: str = "float32") -> str:
    """Return what decides a teacher's answers: its weights, its code, its preprocessing, how and where it runs."""
    facts = {
        "weights": fingerprint(teacher),
        "class": type(teacher).__qualname__,
        "network": hashlib.sha256(repr(teacher).encode()).hexdigest(),
        "preprocess": asdict(teacher.preprocess),
        "precision": precision,
        "torch": torch.__version__,
        "device": next(teacher.parameters()).device.type,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def pixel_key(pixels: Tensor) -> bytes:
    """Return the hash of one raw crop ``uint8 [3, H, W]``."""
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).digest()


class Answers:
    """The answers of one teacher to one view.

    Args:
        folder: Of all answers; other runs may use it at the same time.
        teacher: See ``teacher_key``.
        view: Whatever decides how raw pixels become what the teacher sees, as plain values.
        signals: Names of what is kept for each image.
        limit: Bytes that the folder may take. The shards that were used longest ago make room.
    """

    def __init__(
        self, folder: Path, teacher: str, view: Mapping[str, Any], signals: Sequence[str], *, limit: int = LIMIT
    ) -> None:
        text = json.dumps({"view": view, "signals": sorted(signals)}, sort_keys=True)
        self.root, self.limit, self.signals = folder, limit, tuple(sorted(signals))
        self.folder = folder / teacher[:32] / hashlib.sha256(text.encode()).hexdigest()[:32]
        self._rows: dict[bytes, tuple[dict[str, Tensor], int]] = {}
        self._new: dict[bytes, dict[str, Tensor]] = {}
        self._bytes, self.full = 0, False
        for shard in sorted(self.folder.glob("*.safetensors")):
            if not shard.name.startswith("."):
                self._open(shard)

    def _open(self, shard: Path) -> None:
        """Map a shard; remove one that was damaged."""
        try:
            tensors = hub.read(shard)
            keys = tensors.pop("keys").numpy()
            whole = set(tensors) == set(self.signals) and all(len(part) == len(keys) for part in tensors.values())
        except (errors.WeightsMismatch, KeyError):
            whole = False
        except errors.MissingFile:
            return  # another run has just made room
        if not whole:
            shard.unlink(missing_ok=True)
            return
        shard.touch()
        for place, key in enumerate(keys):
            self._rows[key.tobytes()] = tensors, place

    def __len__(self) -> int:
        """Return the number of answers known."""
        return len(self._rows) + len(self._new)

    def __contains__(self, key: bytes) -> bool:
        """Return whether the answer to an image is known."""
        return key in self._rows or key in self._new

    def get(self, keys: Sequence[bytes]) -> dict[str, Tensor]:
        """Return the answers to some images, one row each."""
        found: dict[str, list[Tensor]] = {name: [] for name in self.signals}
        for key in keys:
            if key in self._new:
                row = self._new[key]
                for name, rows in found.items():
                    rows.append(row[name])
            else:
                tensors, place = self._rows[key]
                for name, rows in found.items():
                    rows.append(tensors[name][place])
        return {name: torch.stack(rows) for name, rows in found.items()}

    def forget(self) -> None:
        """Begin another batch: what cannot be written is not hoarded, it served the last one and goes."""
        if self.full:
            self._new, self._bytes = {}, 0

    def put(self, keys: Sequence[bytes], answers: Mapping[str, Tensor]) -> None:
        """Keep answers, one row for each key; they reach the disk now and then, and with ``flush``."""
        kept = {name: answers[name].detach().cpu().clone() for name in self.signals}
        for place, key in enumerate(keys):
            self._new[key] = {name: tensor[place] for name, tensor in kept.items()}
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
        if self._bytes >= SHARD and not self.full:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory; where the limit or the disk leaves no room, nothing more is kept from now on."""
        if not self._new or self.full:
            return
        if not self._room(self._bytes):
            self.full = True
            return
        keys = torch.frombuffer(bytearray(b"".join(self._new)), dtype=torch.uint8).view(len(self._new), -1)
        rows = list(self._new.values())
        tensors = {name: torch.stack([row[name] for row in rows]) for name in self.signals}
        shard = self.folder / f"{secrets.token_hex(8)}.safetensors"
        try:
            hub.write({"keys": keys, **tensors}, shard)
        except errors.DiskFull:
            self.full = True
            return
        self._new, self._bytes = {}, 0
        self._open(shard)

    def _room(self, wanted: int) -> bool:
        """Remove the shards of other views that were used longest ago until there is room.

        What a killed run left half-written goes first; what another run is writing stays.
        """
        sizes = {}
        for shard in self.root.glob("*/*/*.safetensors"):
            try:
                stat = shard.stat()
            except FileNotFoundError:  # another run makes room too
                continue
            if shard.name.startswith(".") and stat.st_mtime < time.time() - HALF_WRITTEN:
                shard.unlink(missing_ok=True)
            else:
                sizes[shard] = stat
        total = sum(stat.st_size for stat in sizes.values())
        others = [shard for shard in sizes if shard.parent != self.folder and not shard.name.startswith(".")]
        for shard in sorted(others, key=lambda shard: sizes[shard].st_mtime):
            if total + wanted <= self.limit:
                break
            shard.unlink(missing_ok=True)
            total -= sizes[shard].st_size
        return total + wanted <= self.limit
