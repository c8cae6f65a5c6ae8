"""Two ways of one training step, timed in turns: for the benchmarks beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any


def ratio_of(sides: Mapping[str, Iterator[Any]], turns: int) -> float:
    """Step both sides in turns, so that they meet the same moments of a busy machine; print medians.

    Returns:
        CPU seconds of ``engine`` over those of ``by hand``.
    """
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in sorted(sides, reverse=bool(turn % 2)):
            began = time.process_time(), time.perf_counter()
            next(sides[name])
            spent[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    ratios = []
    for place, kind in enumerate(("CPU", "wall")):
        medians = {name: statistics.median(times[place] for times in values) for name, values in spent.items()}
        ratios.append(medians["engine"] / medians["by hand"])
        for name, value in medians.items():
            print(f"{kind:5} {name:8} {1e3 * value:8.1f} ms a step (median of {turns})")
        print(f"{kind:5} ratio    {ratios[-1]:8.4f}")
    return ratios[0]
