"""Where the hardest partners came from, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xzoo.losses.metric import Mined
from xzoo.training.engine import Progress

__all__ = ["MinedEpochs", "mean"]


def mean(found: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each share of ``Mined`` over steps; steps without it do not count, none at all gives None."""
    means: dict[str, float | None] = {}
    for name in Mined._fields:
        values = [value for one in found if (value := one[name]) is not None]
        means[name] = sum(values) / len(values) if values else None
    return means


class MinedEpochs:
    """Means of a stage's mining statistics over each of its epochs, and over a last one that is cut short.

    Args:
        progress: The stage, perhaps resumed in the middle of an epoch.
        metrics: Its ``metrics.jsonl``, from which the steps of that epoch are taken.
        done: Steps of all stages that are in there.
    """

    def __init__(self, progress: Progress, metrics: Path, done: int) -> None:
        self._last = progress.stage.steps
        self.length = -(-progress.sampler.steps_per_epoch // progress.stage.batch.accumulate)
        self._found: list[Mapping[str, float | None]] = []
        begun = progress.step % self.length
        if begun and metrics.is_file():
            for line in metrics.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                if "loss" in row and "mined" in row and done - begun < row["step"] <= done:
                    self._found.append(row["mined"])

    def add(self, row: Mapping[str, Any], step: int) -> dict[str, Any] | None:
        """Take in a row of metrics; where an epoch ends with it, return the row of that epoch.

        Args:
            row: With ``mined``, where a loss mines.
            step: Of the stage, from 1.
        """
        if "mined" in row:
            self._found.append(row["mined"])
        if not self._found or (step % self.length and step != self._last):
            return None
        found, self._found = self._found, []
        epoch = -(-step // self.length)
        return {"step": row["step"], "stage": row["stage"], "epoch": epoch, "steps": len(found), "mined": mean(found)}
