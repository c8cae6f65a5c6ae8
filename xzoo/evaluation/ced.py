"""Curves of landmark errors, several networks in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xzoo import errors
from xzoo.evaluation.report_svg import COLOURS, Line, chart, linear

if TYPE_CHECKING:
    from xzoo.evaluation.landmarks import Landmarks

__all__ = ["ced"]

POINTS = 200
"""Of each curve; those of ``Landmarks`` are sampled more finely."""


def ced(found: Mapping[str, Landmarks], title: str = "CED") -> str:
    """Draw cumulative error distributions as SVG: the share of images whose error is at most x.

    Args:
        found: Figures of up to five networks, by the name in the legend.
        title: Above the chart.

    Raises:
        EvaluationError: There is none, or more than can be told apart; or they were measured differently.
    """
    ways = {(figures.limit, figures.normalisation) for figures in found.values()}
    if not 0 < len(found) <= len(COLOURS) or len(ways) > 1:
        raise errors.EvaluationError(
            f"a CED of {len(found)} networks, measured in {len(ways)} ways",
            why=f"One picture holds up to {len(COLOURS)} curves with one limit and one normalisation.",
        )
    limit, how = ways.pop()
    lines = []
    for number, (name, figures) in enumerate(found.items()):
        step = max(1, figures.ced.shape[1] // POINTS)
        points = [(float(x), float(y)) for x, y in figures.ced[:, ::step].T]
        lines.append(Line(f"{name} ({100 * figures.nme:.2f} %)", points, style=number))
    shown = ", ".join(f"{name} {figures.ced[1, -1]:.3f}" for name, figures in found.items())
    return chart(
        title,
        linear(f"NME, by {how.replace('_', ' ')}", 0.0, limit),
        linear("share of images", 0.0, 1.0),
        lines,
        legend="bottom right" if all(line.points[-1][1] > 0.6 for line in lines) else "top left",
        description=f"Cumulative error distribution up to {limit:g}, where it reaches: {shown}.",
    )
