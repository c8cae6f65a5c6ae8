"""The metrics of a run as curves for TensorBoard, beside the lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xzoo import errors

__all__ = ["Board"]

FOLDER = "tensorboard"


class Board:
    """Event files of one run.

    Args:
        folder: The run folder; the events go below it.
        done: Steps that were done before. What an earlier process noted after them is not shown.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        self.require()
        from torch.utils.tensorboard import SummaryWriter

        make: Any = SummaryWriter
        self._writer = make(str(folder / FOLDER), purge_step=done + 1)

    @staticmethod
    def require() -> None:
        """Find out whether curves can be written at all.

        Raises:
            MissingExtra: tensorboard is not installed.
        """
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as fault:
            raise errors.MissingExtra(
                "tensorboard=True", why="It needs tensorboard.", do="pip install 'xzoo[tensorboard]'"
            ) from fault

    def add(self, row: Mapping[str, Any]) -> None:
        """Note one step: its loss, each term before weighting, the rate, and how alike different subjects look."""
        values = {"loss": row["loss"], "lr": row["lr"], "impostor": row["impostor"]}
        values |= {f"terms/{name}": value for name, value in row["terms"].items()}
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Bring everything to the disk."""
        self._writer.close()
