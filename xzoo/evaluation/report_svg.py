"""Plain SVG charts for reports: lines, histograms and tables of colour.

No script, no font and no picture from outside. Colours are those of Okabe and
Ito, which people with any common colour blindness tell apart; every line also
has its own dashes, so that a grey print loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist

__all__ = ["Axis", "Line", "chart", "heatmap", "linear", "logarithmic", "probit"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7")  # blue, vermilion, green, black, purple
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 5")
INK, GRID, FAINT = "#1a1a1a", "#d9d9d9", "#555555"
WIDTH, HEIGHT = 460, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 50

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """How values lie along one side of a chart.

    Attributes:
        label: What the values are, with their unit.
        low: The value at the start.
        high: The value at the end.
        scale: From a value to where it lies, growing; only differences matter.
        ticks: Values marked, with their labels.
    """

    label: str
    low: float
    high: float
    scale: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the start and 1 at the end; outside values at the nearer end."""
        value = min(max(value, self.low), self.high)
        start, end = self.scale(self.low), self.scale(self.high)
        return (self.scale(value) - start) / (end - start)


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: Its name in the legend; empty for none.
        points: ``(x, y)`` in order.
        band: ``(x, low, high)`` of the interval around it.
        bars: ``(x, low, high)`` of intervals at single points.
        steps: Points are edges of a histogram, whose area is filled.
        markers: Draw a dot at each point.
        joined: Draw the line between the points.
        style: Which colour and dashes, from 0.
    """

    label: str
    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    bars: Sequence[tuple[float, float, float]] = ()
    steps: bool = False
    markers: bool = False
    joined: bool = True
    style: int = 0


def linear(label: str, low: float, high: float, count: int = 5) -> Axis:
    """Return an axis of even steps, at round numbers."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step))) if step < 1 else 0
    marks = [number * step for number in range(first, last + 1)]
    texts = [f"{mark:.{digits}f}" for mark in marks]
    if digits and all("." in text and text.endswith("0") for text in texts):
        texts = [text[:-1].rstrip(".") for text in texts]
    return Axis(label, low, high, lambda value: value, tuple(zip(marks, texts, strict=True)))


def logarithmic(label: str, low: float, high: float) -> Axis:
    """Return an axis of decades; ``low`` is rounded down to one."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    step = max(1, (last - first) // 6)
    ticks = tuple((10.0**power, _power(power)) for power in range(first, last + 1, step))
    return Axis(label, 10.0**first, high, math.log10, ticks)


def probit(label: str, low: float, high: float) -> Axis:
    """Return an axis of rates at the quantiles of a normal distribution, as a DET has it."""
    rates = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)
    ticks = tuple((rate, f"{100 * rate:g} %") for rate in rates if low <= rate <= high)
    return Axis(label, low, high, NormalDist().inv_cdf, ticks)


def chart(
    title: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    verticals: Sequence[tuple[float, str]] = (),
    legend: str = "top left",
    description: str = "",
) -> str:
    """Draw lines over two axes.

    Args:
        title: Above the chart, and its name for a screen reader.
        x: The axis below.
        y: The axis to the left.
        lines: What to draw, the last on top.
        verticals: Values of x to mark, with labels.
        legend: Corner of the legend: ``top left``, ``top right``, ``bottom left`` or ``bottom right``.
        description: What is to be seen, for a screen reader.
    """
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + wide * x.place(point[0]), TOP + high * (1 - y.place(point[1]))

    parts = [_head(title, description, WIDTH, HEIGHT), _text(WIDTH / 2, 18, title, size=14, anchor="middle", bold=True)]
    taken = -math.inf  # up to where labels stand below the axis
    for value, label in x.ticks:
        across = LEFT + wide * x.place(value)
        parts.append(_rule(across, TOP, across, TOP + high))
        if across - 3.5 * len(label) > taken + 6:
            parts.append(_text(across, TOP + high + 16, label, anchor="middle"))
            taken = across + 3.5 * len(label)
    for value, label in y.ticks:
        down = TOP + high * (1 - y.place(value))
        parts.append(_rule(LEFT, down, LEFT + wide, down))
        parts.append(_text(LEFT - 6, down + 4, label, anchor="end"))
    parts.append(_text(LEFT + wide / 2, HEIGHT - 12, x.label, anchor="middle"))
    parts.append(_text(15, TOP + high / 2, y.label, anchor="middle", turn=True))
    for line in lines:
        colour, dash = COLOURS[line.style % len(COLOURS)], DASHES[line.style % len(DASHES)]
        if line.band:
            outline = [*((a, top) for a, _, top in line.band), *((a, low) for a, low, _ in reversed(line.band))]
            parts.append(f'<polygon points="{_coordinates(map(at, outline))}" fill="{colour}" fill-opacity="0.16"/>')
        for across, low, top in line.bars:
            (a, b), (_, c) = at((across, low)), at((across, top))
            ends = "".join(f"M{a - 4:.1f} {end:.1f}h8" for end in (b, c))
            parts.append(f'<path d="M{a:.1f} {b:.1f}V{c:.1f}{ends}" stroke="{colour}" stroke-width="1.5"/>')
        placed = _thinned([at(point) for point in line.points])
        if line.steps and placed:
            floor = TOP + high
            closed = [(placed[0][0], floor), *placed, (placed[-1][0], floor)]
            parts.append(f'<polygon points="{_coordinates(closed)}" fill="{colour}" fill-opacity="0.13"/>')
        if line.joined:
            parts.append(
                f'<polyline points="{_coordinates(placed)}" fill="none" stroke="{colour}" stroke-width="2"'
                + (f' stroke-dasharray="{dash}"' if dash else "")
                + "/>"
            )
        if line.markers:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{2.6 if line.joined else 4}" fill="{colour}"/>'
                for a, b in map(at, line.points)
            ]
    for value, label in verticals:
        across = LEFT + wide * x.place(value)
        parts.append(
            f'<line x1="{across:.1f}" y1="{TOP}" x2="{across:.1f}" y2="{TOP + high}" stroke="{INK}" '
            'stroke-dasharray="4 3"/>'
        )
        parts.append(_text(across - 4, TOP + 6, label, size=11, anchor="end", turn=True))
    parts.append(
        f'<rect x="{LEFT}" y="{TOP}" width="{wide}" height="{high}" fill="none" stroke="{INK}" stroke-width="1"/>'
    )
    parts.append(_legend([line for line in lines if line.label], legend, wide, high))
    return "\n".join([*parts, "</svg>"])


def heatmap(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[tuple[float, str, str] | None]],
    *,
    row_label: str,
    column_label: str,
    description: str = "",
) -> str:
    """Draw a table of shaded cells.

    Args:
        title: Above the table.
        rows: Names of the rows.
        columns: Names of the columns.
        cells: ``[rows][columns]`` of ``(shade 0..1, text, small text)``; ``None`` leaves a cell empty.
        row_label: What the rows are.
        column_label: What the columns are.
        description: What is to be seen, for a screen reader.
    """
    wide, high, left, top = 122, 54, 78, 60
    width, height = left + wide * len(columns) + 10, top + high * len(rows) + 10
    parts = [_head(title, description, width, height), _text(width / 2, 18, title, size=14, anchor="middle", bold=True)]
    parts.append(_text(left + wide * len(columns) / 2, 36, column_label, anchor="middle", colour=FAINT))
    parts.append(_text(13, top + high * len(rows) / 2, row_label, anchor="middle", turn=True, colour=FAINT))
    for column, name in enumerate(columns):
        parts.append(_text(left + wide * (column + 0.5), top - 7, name, anchor="middle", bold=True))
    for row, name in enumerate(rows):
        down = top + high * row
        parts.append(_text(left - 8, down + high / 2 + 4, name, anchor="end", bold=True))
        for column in range(len(columns)):
            across, cell = left + wide * column, cells[row][column]
            fill = "#ffffff" if cell is None else _shade(cell[0])
            parts.append(
                f'<rect x="{across}" y="{down}" width="{wide}" height="{high}" fill="{fill}" stroke="#ffffff"'
                ' stroke-width="2"/>'
            )
            ink = "#ffffff" if cell is not None and cell[0] > 0.55 else INK
            if cell is None:
                parts.append(_text(across + wide / 2, down + high / 2 + 4, "–", anchor="middle", colour=FAINT))
            else:
                parts.append(_text(across + wide / 2, down + 24, cell[1], size=15, anchor="middle", colour=ink))
                parts.append(_text(across + wide / 2, down + 42, cell[2], size=10, anchor="middle", colour=ink))
    parts.append(
        f'<rect x="{left}" y="{top}" width="{wide * len(columns)}" height="{high * len(rows)}" fill="none" '
        f'stroke="{INK}"/>'
    )
    return "\n".join([*parts, "</svg>"])


def _shade(value: float) -> str:
    """Return one colour of a scale from pale to dark blue, whose lightness falls evenly."""
    pale, dark = (242, 246, 250), (8, 48, 107)
    value = min(max(value, 0.0), 1.0)
    return "#" + "".join(f"{round(a + (b - a) * value):02x}" for a, b in zip(pale, dark, strict=True))


def _head(title: str, description: str, width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    bold: bool = False,
    turn: bool = False,
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
        + (' font-weight="600"' if bold else "")
        + (f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else "")
        + f">{escape(text)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'


def _legend(lines: Sequence[Line], corner: str, wide: float, high: float) -> str:
    if not lines:
        return ""
    # Capitals are wider: measured in common sans-serif fonts at 12 px.
    wide_label = max(sum(8.6 if letter.isupper() else 6.6 for letter in line.label) for line in lines)
    width, height = 44 + wide_label, 8 + 18 * len(lines)
    x = LEFT + 8 if "left" in corner else LEFT + wide - width - 8
    y = TOP + 8 if "top" in corner else TOP + high - height - 8
    parts = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="#ffffff" fill-opacity="0.9"/>']
    for number, line in enumerate(lines):
        down = y + 17 + 18 * number
        colour, dash = COLOURS[line.style % len(COLOURS)], DASHES[line.style % len(DASHES)]
        if line.joined:
            parts.append(
                f'<line x1="{x + 6:.1f}" y1="{down - 4:.1f}" x2="{x + 34:.1f}" y2="{down - 4:.1f}" stroke-width="2" '
                f'stroke="{colour}"' + (f' stroke-dasharray="{dash}"' if dash else "") + "/>"
            )
        if line.markers and not line.joined:
            parts.append(f'<circle cx="{x + 20:.1f}" cy="{down - 4:.1f}" r="4" fill="{colour}"/>')
        parts.append(_text(x + 40, down, line.label))
    return "".join(parts)


def _coordinates(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _thinned(points: Points) -> list[tuple[float, float]]:
    """Drop points that no eye can tell from their neighbours: a tenth of a pixel, or the middle of a straight run."""
    kept: list[tuple[float, float]] = []
    for point in ((round(a, 1), round(b, 1)) for a, b in points):
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and (kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]):
            kept.pop()
        kept.append(point)
    return kept


def _power(power: int) -> str:
    return (
        f"{10.0**power:g}"
        if -3 <= power <= 3
        else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )
