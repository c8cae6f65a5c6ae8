"""The picture of a run: how the loss fell, and what it was good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xzoo import errors

if TYPE_CHECKING:
    from xzoo.evaluation.report import Report

__all__ = ["picture"]

RANKS = {"rank-1": "rank1", "rank-5": "rank5", "rank-10": "rank10"}


def picture(
    path: Path, title: str, metrics: Sequence[Mapping[str, Any]], before: Report | None, after: Report | None
) -> None:
    """Draw the loss over the steps, and the ranks before and after.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise errors.MissingExtra(
            "no picture was drawn.", why="It needs matplotlib.", do="pip install 'xzoo[plots]'"
        ) from fault
    from xzoo.hub import atomic_write

    steps = [row for row in metrics if "loss" in row]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)

    numbers = [row["step"] for row in steps]
    left.plot(numbers, [row["loss"] for row in steps], color="black", label="loss")
    for name in steps[-1]["terms"] if steps else ():
        left.plot(numbers, [row["terms"].get(name) for row in steps], linewidth=0.8, alpha=0.7, label=name)
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    left.legend(frameon=False)

    for place, (label, report) in enumerate((("before", before), ("after", after))):
        if report is None:
            continue
        values = [getattr(report, key) for key in RANKS.values()]
        bars = right.bar([x + 0.4 * place for x in range(len(RANKS))], values, 0.38, label=label)
        right.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8)
        right.set_title(f"{report.probe} probe, {report.gallery} gallery, {report.n_probe} probes", fontsize=9)
    right.set(ylim=(0, 1.1), ylabel="rate", xticks=[x + 0.2 for x in range(len(RANKS))], xticklabels=list(RANKS))
    if before or after:
        right.legend(frameon=False, loc="upper left")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
