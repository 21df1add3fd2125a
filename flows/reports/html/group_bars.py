"""Horizontal bars in groups as inline SVG: a few values of each of several things, which have names of any length.

Reads  BarGroup
Writes strings of SVG
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from flows.reports.html.line_chart import even_ticks
from flows.reports.html.markup import MISSING, text

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 130, 40, 6, 38
_BAR, _GAP = 11, 9


class BarGroup(NamedTuple):
    """The bars of one thing.

    Attributes:
        name: beside them.
        values: not negative; NaN = there is no value.
    """

    name: str
    values: Sequence[float]


def group_bars(groups: Sequence[BarGroup], *, css: Sequence[str], x_label: str, alt: str, top: float, digits: int = 1) -> str:
    """Draw bars from left to right.

    Args:
        groups: from the upper edge down, each with as many values as there are colours.
        css: class that gives the colour of each value: on, off, third, fourth.
        x_label: below the horizontal axis.
        alt: what the chart shows, in words.
        top: value at the right end of the axis, larger than 0.
        digits: of the numbers beside the bars.
    """
    step = len(css) * _BAR + _GAP
    floor = _TOP + step * len(groups)
    scale = (_WIDTH - _LEFT - _RIGHT) / top
    parts = []
    for value in even_ticks(0.0, top):
        x = _LEFT + scale * value
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{value:g}</text>')
    for number, group in enumerate(groups):
        y = _TOP + step * number + _GAP / 2
        middle = y + len(css) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 7}" y="{middle:.1f}" text-anchor="end">{text(group.name)}</text>')
        for place, (value, color) in enumerate(zip(group.values, css, strict=True)):
            parts += _bar(value, y + place * _BAR, min(value, top) * scale, color, digits)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{floor + _BOTTOM - 4}" text-anchor="middle">{text(x_label)}</text>')
    height = floor + _BOTTOM
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{text(alt)}">{"".join(parts)}</svg>'


def _bar(value: float, y: float, width: float, css: str, digits: int) -> list[str]:
    if math.isnan(value):
        return [f'<text class="small" x="{_LEFT + 4}" y="{y + 9:.1f}">{MISSING}</text>']
    return [
        f'<path class="bars {css}" d="M{_LEFT} {y + _BAR / 2:.1f}h{max(width, 0.1):.1f}"/>',
        f'<text class="small" x="{_LEFT + width + 4:.1f}" y="{y + 9:.1f}">{value:.{digits}f}</text>',
    ]
