"""The section "Error by range": how the error grows with distance, with radar and without, by day and by night.

Reads  evaluation/ranges.parquet
Writes HTML with charts and a table
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.semodepth.line_chart import Series, chart_key, line_chart, value_bounds
from flows.reports.semodepth.results_section import RADAR_WORDS, change_words, charted_groups, group_words
from flows.reports.semodepth.training_files import TrainingFiles
from flows.reports.store.markup import Cell, bar, number, section, table, text
from model.semodepth.summary import RangeRow, summarise_ranges


def range_section(found: TrainingFiles) -> str | None:
    """Return the section, None without an evaluation or without a measured pixel."""
    rows = summarise_ranges(found.ranges) if found.ranges is not None else []
    if not rows:
        return None
    groups = charted_groups(row.group for row in rows)
    every = np.array([row.mae_mm / 1000 for row in rows])
    bounds = value_bounds(every, from_zero=True)
    charts = "".join(_chart([row for row in rows if row.group == group], group, bounds) for group in groups)
    body = (
        "<p>Mean |error| of all pixels whose target lies in a range, pooled over frames; the charts share one vertical axis.</p>"
        f'<div class="charts">{charts}</div>{_table(rows, groups)}'
    )
    return section("range", "Error by range", body)


def _chart(rows: Sequence[RangeRow], group: str, bounds: tuple[float, float]) -> str:
    series = []
    for radar, words in RADAR_WORDS.items():
        own = sorted((row for row in rows if row.radar == radar), key=lambda row: row.low_m)
        middle = np.array([(row.low_m + row.high_m) / 2 for row in own])
        if own:
            series.append(Series(words, middle, np.array([row.mae_mm / 1000 for row in own]), radar))
    words = f"Mean |error|, m: {group_words(group)}"
    chart = line_chart(
        series,
        x_label="range of the target, m",
        alt=f"{words} by range",
        x_bounds=(min(row.low_m for row in rows), max(row.high_m for row in rows)),
        y_bounds=bounds,
    )
    return f"<figure>{chart}<figcaption><b>{text(words)}</b> {chart_key(series)}</figcaption></figure>"


def _table(rows: Sequence[RangeRow], groups: Sequence[str]) -> str:
    known = {(row.group, row.low_m, row.high_m, row.radar): row for row in rows}
    top = max(row.mae_mm for row in rows) or 1.0
    heads = ["Range", "share of<br>pixels"]
    for group in groups:
        name = group_words(group)
        heads += [f"{name}<br>with radar, m", "<br>without", "change<br>by radar"]
    measured = next(radar for radar in RADAR_WORDS if any(row.radar == radar for row in rows))
    total = sum(row.num_pixels for row in rows if row.group == "all" and row.radar == measured) or 1
    lines: list[list[Cell | str]] = []
    for low, high in sorted({(row.low_m, row.high_m) for row in rows}):
        counted = known.get(("all", low, high, measured))
        cells: list[Cell | str] = [
            f"{low:g}–{high:g} m",  # noqa: RUF001  a range
            number(100 * counted.num_pixels / total if counted else None, digits=1, unit="%"),
        ]
        for group in groups:
            on, off = (known.get((group, low, high, radar)) for radar in RADAR_WORDS)
            for one, css in ((on, "on"), (off, "off")):
                mm = one.mae_mm if one else None
                cells.append(Cell(number(None if mm is None else mm / 1000, digits=2) + bar((mm or 0) / top, css)))
            cells.append(change_words(on.mae_mm if on else None, off.mae_mm if off else None))
        lines.append(cells)
    return table(heads, lines, caption="Mean |error| by range, metres")
