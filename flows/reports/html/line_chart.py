"""Lines over a horizontal axis as inline SVG, in the measures and colours of the report's other charts.

Reads  Series
Writes strings of SVG and of HTML
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flows.reports.html.markup import text

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 400, 220, 56, 12, 38, 12

_FEW_POINTS = 40
"""Up to so many points of a line are marked one by one."""


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: words for the key, "" = not in the key.
        x: (n,).
        y: (n,) finite.
        css: class that gives the colour: on, off, third, fourth.
        drawn_as: line, or dots for raw values behind a line.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    css: str
    drawn_as: Literal["line", "dots"] = "line"


@dataclass(frozen=True)
class Scale:
    """Values to units of the picture."""

    low: float
    high: float
    first: float
    last: float
    is_log: bool = False

    def __call__(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return where values lie."""
        bounds = np.array([self.low, self.high])
        places = np.asarray(values, float)
        if self.is_log:
            bounds, places = np.log(bounds), np.log(np.maximum(places, self.low))
        share = (places - bounds[0]) / (bounds[1] - bounds[0])
        return np.asarray(self.first + np.clip(share, 0.0, 1.0) * (self.last - self.first))


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    alt: str,
    is_log: bool = False,
    from_zero: bool = False,
    x_bounds: tuple[float, float] | None = None,
    y_bounds: tuple[float, float] | None = None,
    mark_x: float | None = None,
    mark_words: str = "",
) -> str:
    """Draw lines.

    Args:
        series: those without a point are left out; one at least has one.
        x_label: below the horizontal axis.
        alt: what the chart shows, in words.
        is_log: logarithmic vertical axis, where all values are positive.
        from_zero: the vertical axis begins at 0.
        x_bounds: ends of the horizontal axis; default: of the data.
        y_bounds: ends of the vertical axis, for charts that are compared; default: of the data.
        mark_x: a vertical line here, left out where no line has a value.
        mark_words: beside that line.
    """
    drawn = [line for line in series if len(line.x)]
    xs = np.concatenate([line.x for line in drawn])
    ys = np.concatenate([line.y for line in drawn])
    is_log = is_log and float(ys.min()) > 0
    x_low, x_high = x_bounds or (float(xs.min()), float(xs.max()))
    is_marked = mark_x is not None and x_low <= mark_x <= x_high
    if x_low == x_high:
        x_low, x_high = x_low - 1, x_high + 1
    y_low, y_high = y_bounds or value_bounds(ys, is_log=is_log, from_zero=from_zero)
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    x_of, y_of = Scale(x_low, x_high, _LEFT, right), Scale(y_low, y_high, floor, _TOP, is_log)
    parts = []
    for value in log_ticks(y_low, y_high) if is_log else even_ticks(y_low, y_high):
        y = float(y_of(value))
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick_words(value)}</text>')
    for value in even_ticks(x_low, x_high):
        x = float(x_of(value))
        parts.append(f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{_tick_words(value)}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">{text(x_label)}</text>')
    if mark_x is not None and is_marked:
        parts.append(_mark(float(x_of(mark_x)), mark_words, floor))
    parts += [_drawn(line, x_of(line.x), y_of(line.y)) for line in drawn]
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(alt)}">{"".join(parts)}</svg>'


def chart_key(series: Sequence[Series]) -> str:
    """Return the names of a chart's lines, each with its colour, as HTML: a line of its own; "" if none has a name."""
    keys = " ".join(f'<span class="key"><i class="{line.css}"></i>{text(line.name)}</span>' for line in series if line.name)
    return f'<span class="keys">{keys}</span>' if keys else ""


def chart_figure(chart: str, title: str, key: str = "") -> str:
    """Return a chart with its title and the names of its lines."""
    return f"<figure>{chart}<figcaption><b>{text(title)}</b>{key}</figcaption></figure>"


def value_bounds(values: NDArray[np.float64], *, is_log: bool = False, from_zero: bool = False) -> tuple[float, float]:
    """Return the ends of a vertical axis that holds all values with a little room."""
    low, high = float(values.min()), float(values.max())
    if is_log:
        return low / 1.1, high * 1.1
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return (0.0 if from_zero and low >= 0 else low - room), high + room


def even_ticks(low: float, high: float) -> list[float]:
    """Return 3 to 6 round values between two bounds."""
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive bounds, evenly spread on a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]
        if len(ticks) >= 3:
            return ticks
    return even_ticks(low, high)


def _drawn(line: Series, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    if line.drawn_as == "dots":
        return f'<path class="dots {line.css}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in points)}"/>'
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    marks = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points) if len(points) <= _FEW_POINTS else ""
    return f'<path class="line {line.css}" d="M{path}"/>' + (f'<path class="marks {line.css}" d="{marks}"/>' if marks else "")


def _mark(x: float, label: str, floor: int) -> str:
    is_right = x > (_LEFT + _WIDTH) / 2
    anchor, place = ("end", x - 5) if is_right else ("start", x + 5)
    return (
        f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"/>'
        f'<text x="{place:.1f}" y="{floor - 6}" text-anchor="{anchor}">{text(label)}</text>'
    )


def _tick_words(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0e}" if 0 < abs(value) < 0.001 else f"{value:.4g}"
