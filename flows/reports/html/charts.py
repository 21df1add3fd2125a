"""Charts as inline SVG: histograms and the colour legends; bar colours come from the style sheet and follow light and dark.

Why    matplotlib takes longer to import than the report takes to write
Reads  arrays of counts
Writes strings of SVG
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flows.reports.html import colormap
from flows.reports.html.markup import text
from storage_schemas.encoding import STEPS_PER_M

LOG_EDGES_M = np.geomspace(1.0, 256.0, 41)
"""Borders of the depth histogram's bins, five to a doubling; nearer than 1 m counts in the first."""

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 400, 210, 52, 38, 12


def log_histogram(depth_counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn counts by step of 1/256 m, (65536,), into shares of all measured pixels by logarithmic bin, (40,)."""
    depth_m = np.arange(len(depth_counts)) / STEPS_PER_M
    place = np.clip(np.digitize(depth_m, LOG_EDGES_M) - 1, 0, len(LOG_EDGES_M) - 2)
    shares = np.bincount(place[1:], weights=depth_counts[1:], minlength=len(LOG_EDGES_M) - 1)
    return np.asarray(shares / max(1.0, shares.sum()))


def depth_chart(shares: NDArray[np.float64], top: float, *, css: str, alt: str) -> str:
    """Draw a depth histogram over a logarithmic axis in metres; ``top`` is the share at the upper end of the vertical axis."""
    ticks = [(float(np.log2(m) / 8), str(m)) for m in (1, 2, 5, 10, 20, 50, 100, 200)]
    return _bars(shares, top, ticks, label="depth, m (logarithmic)", css=css, alt=alt)


def count_chart(values: NDArray[np.int64], *, label: str, alt: str) -> str:
    """Draw how often whole numbers occur, as shares of all values, in at most 30 bins."""
    high = int(values.max(initial=0)) + 1
    step = max(1, -(-high // 30))
    num_bins = -(-high // step)
    shares = np.bincount(values // step, minlength=num_bins) / max(1, len(values))
    every = max(1, -(-num_bins // 6))
    ticks = [((k + 0.5) / num_bins if step == 1 else k / num_bins, str(k * step)) for k in range(0, num_bins, every)]
    return _bars(shares, float(shares.max(initial=0.0)), ticks, label=label, css="plain", alt=alt)


def depth_legend() -> str:
    """Draw the bar of depth colours with its ticks in metres."""
    depth_m = colormap.NEAR_M * (colormap.FAR_M / colormap.NEAR_M) ** np.linspace(0.0, 1.0, 25)
    signs = {colormap.TICKS_M[0]: "≤ ", colormap.TICKS_M[-1]: "≥ "}
    places = 30 + 300 * colormap.depth_position(np.array(colormap.TICKS_M))
    ticks = [(f"{x:.1f}", f"{signs.get(m, '')}{m}") for x, m in zip(places.tolist(), colormap.TICKS_M, strict=True)]
    alt = "Depth colours: warm is near, cool is far, from 2 to 80 metres"
    return _legend("depth", colormap.depth_colors(depth_m), ticks, alt)


def error_legend() -> str:
    """Draw the bar of error colours from nearer to farther than the truth."""
    ticks = [(f"{30 + 300 * (m + 10) / 20:.0f}", name) for m, name in ((-8.6, "≥ 10 nearer"), (0, "0"), (8.6, "≥ 10 farther"))]
    alt = "Error colours: warm is nearer than the truth, cool is farther"
    return _legend("error", colormap.error_colors(np.linspace(-10.0, 10.0, 25)), ticks, alt)


def _legend(name: str, colors: NDArray[np.uint8], ticks: Sequence[tuple[str, str]], alt: str) -> str:
    """Draw a bar of colours (n, 3), evenly spaced, with ticks: their place from the left, and their text."""
    last = len(colors) - 1
    stops = "".join(f'<stop offset="{k / last:.3f}" stop-color="rgb({r},{g},{b})"/>' for k, (r, g, b) in enumerate(colors))
    labels = "".join(f'<text x="{x}" y="36" text-anchor="middle">{label}</text>' for x, label in ticks)
    return (
        f'<svg viewBox="0 0 360 42" role="img" aria-label="{alt}">'
        f'<defs><linearGradient id="{name}">{stops}</linearGradient></defs>'
        f'<rect x="30" y="4" width="300" height="16" rx="3" fill="url(#{name})"/>{labels}</svg>'
    )


def _bars(shares: NDArray[np.float64], top: float, ticks: Sequence[tuple[float, str]], *, label: str, css: str, alt: str) -> str:
    inner_width, inner_height = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - _TOP
    floor, top = _HEIGHT - _BOTTOM, max(top, 1e-9)
    width = inner_width / max(1, len(shares))
    parts = []
    for share in (0.5, 1.0):
        y = floor - inner_height * share
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * top * share:.{0 if top > 0.2 else 1}f} %</text>'
        )
    for k, share in enumerate(shares):
        height = inner_height * min(1.0, share / top)
        if height > 0:
            parts.append(
                f'<rect class="{css}" x="{_LEFT + k * width:.1f}" y="{floor - height:.1f}" '
                f'width="{max(1.0, width - 1):.1f}" height="{height:.1f}"/>'
            )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{floor}" y2="{floor}"/>')
    for place, name in ticks:
        parts.append(f'<text x="{_LEFT + place * inner_width:.1f}" y="{floor + 15}" text-anchor="middle">{text(name)}</text>')
    parts.append(f'<text x="{_LEFT + inner_width / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">{text(label)}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(alt)}">{"".join(parts)}</svg>'
