"""The section "Error by range": how the relative error of rendered depth grows with distance.

Reads  evaluation/rendering.csv
Writes HTML with a chart and a table
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.mim4d.render_files import RenderFiles
from flows.reports.mim4d.volume_words import DRAWN, volume_name
from flows.reports.semodepth.curve_sections import chart_figure
from flows.reports.semodepth.line_chart import Series, chart_key, line_chart
from flows.reports.store.markup import Cell, number, section, table, text
from model.mim4d.ray_errors import ANY_RANGE, VOLUMES, RenderRow


def depth_range_section(found: RenderFiles) -> str | None:
    """Return the section, None without an evaluation."""
    rows = [row for row in found.rendering or () if row.range_m != ANY_RANGE]
    if not rows:
        return None
    words = "<p>Mean error over distance, of rays to held-out points, by the point's distance along the ray.</p>"
    return section("range", "Error by range", f'{words}<div class="charts">{_chart(rows)}</div>{_table(rows)}')


def _chart(rows: Sequence[RenderRow]) -> str:
    series = []
    for volume, css in DRAWN.items():
        own = sorted((row for row in rows if row.volume == volume), key=lambda row: _ends(row.range_m))
        if own:
            middle = np.array([sum(_ends(row.range_m)) / 2 for row in own])
            series.append(Series(volume_name(volume), middle, np.array([row.abs_rel for row in own]), css))
    if not series:
        return ""
    ends = [end for row in rows for end in _ends(row.range_m)]
    chart = line_chart(
        series, x_label="distance of the point, m", alt="AbsRel by range", from_zero=True, x_bounds=(min(ends), max(ends))
    )
    return chart_figure(chart, "AbsRel of depth", chart_key(series))


def _table(rows: Sequence[RenderRow]) -> str:
    ranges = sorted({row.range_m for row in rows}, key=_ends)
    found = {(row.volume, row.range_m): row for row in rows}
    lines: list[Sequence[Cell | str]] = []
    for volume in VOLUMES:
        if any(row.volume == volume for row in rows):
            own = (found.get((volume, one)) for one in ranges)
            lines.append([text(volume_name(volume)), *(number(row.abs_rel if row else None, digits=3) for row in own)])
    counts = [max(row.num_rays for row in rows if row.range_m == one) for one in ranges]
    lines.append(["Rays", *map(number, counts)])
    heads = ("Volume", *(f"{one.replace('-', '–')} m" for one in ranges))  # noqa: RUF001  a range
    return table(heads, lines, caption="AbsRel by range", has_total=True)


def _ends(range_m: str) -> tuple[float, float]:
    low, _, high = range_m.partition("-")
    return float(low), float(high)
