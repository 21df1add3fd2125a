"""A chart of a page as a picture file of its own: SVG with its title, the names of its colours, and its style inside.

Reads  inline SVG of ``line_chart`` or ``group_bars``
Writes bytes of an SVG file
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flows.reports.html.markup import text

_COLORS = {"on": "#1f6feb", "off": "#d97706", "third": "#0f8f6b", "fourth": "#8b5cf6"}
"""Those of report.css in the light."""

_STYLE = (
    "text{fill:#5a6474;font:12px system-ui,'Segoe UI',Roboto,sans-serif}text.title{fill:#1a1f2b;font-weight:600;font-size:14px}"
    "text.small{font-size:10px}.axis{stroke:#dfe3ea}path{fill:none;stroke:currentColor;stroke-linecap:round;stroke-linejoin:round}"
    ".line{stroke-width:1.8}.marks{stroke-width:5}.dots{stroke-width:2.2;opacity:.38}"
    "path.bars{stroke-width:9;stroke-linecap:butt}.best{stroke:#5a6474;stroke-dasharray:4 3}"
    + "".join(f".{name}{{color:{color}}}" for name, color in _COLORS.items())
)

_FIRST_KEY, _LETTER = 36, 6.7


def chart_file(chart: str, title: str, keys: Sequence[tuple[str, str]]) -> bytes:
    """Return a chart as an SVG file.

    Args:
        chart: inline SVG that begins with its view box.
        title: above it.
        keys: names of its colours: words, and the class of each.
    """
    size = re.match(r'<svg viewBox="0 0 (\d+) (\d+)"', chart)
    assert size is not None, chart[:60]
    width, height = int(size[1]), int(size[2])
    parts, x, y = [f'<text class="title" x="8" y="18">{text(title)}</text>'], 8.0, _FIRST_KEY
    for name, css in keys:
        needed = 34 + _LETTER * len(name)
        if x > 8.0 and x + needed > width:
            x, y = 8.0, y + 18
        parts.append(f'<path class="line {css}" d="M{x:.0f} {y}h14"/><text x="{x + 19:.0f}" y="{y + 4}">{text(name)}</text>')
        x += needed
    top = y + 12
    inner = chart.replace("<svg ", f'<svg x="0" y="{top}" width="{width}" height="{height}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + top}" width="{2 * width}" '
        f'height="{2 * (height + top)}"><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}{inner}</svg>\n"
    ).encode()
