"""How sure a counted rate is."""

from __future__ import annotations

import math
from statistics import NormalDist

from xzoo import errors

__all__ = ["wilson"]


def wilson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a rate ``hits / trials``.

    It takes the trials for independent. Several probes of one person are not
    quite that, so read it as the narrowest honest interval.

    Raises:
        EvaluationError: Without trials, or with more hits than trials.
    """
    if trials < 1 or not 0 <= hits <= trials:
        raise errors.EvaluationError(
            f"an interval for {hits} hits in {trials} trials",
            why="A rate needs at least one trial, and from none to all of them as hits.",
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrink = hits / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # The ends are 0 and 1 exactly at no hits and at all hits; rounding must not move them.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return low, high
