"""The plots of an analysis: what right quantities would be worth, recall and errors by group, and the price of a moved centre.

Reads  Analysis
Writes charts for the page, and SVG files for the folder of the analysis
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flows.reports.html.chart_file import chart_file
from flows.reports.html.group_bars import BarGroup, group_bars
from flows.reports.html.line_chart import Series, line_chart
from flows.reports.training.curves import COLORS
from model.monoddle.analysis.analysis import Analysis
from model.monoddle.analysis.analysis_text import REPLACED_WORDS, distance_cells, measured_categories, metric_name
from model.monoddle.analysis.centre_shift import ShiftRow
from model.monoddle.precision.precision_groups import DISTANCE_EDGES_M, GroupRow

DIFFICULTY = "moderate"
"""Of the bars of replacements, as in published tables."""

_DRAWN_BY_DISTANCE = ("nothing", "depth", "location", "everything")

_SHIFTS = {"depth_m": ("moved deeper", "m"), "side_px": ("moved to the right", "px")}


Keys = tuple[tuple[str, str], ...]
"""Words and class of each colour of a chart."""


class Chart(NamedTuple):
    """One plot.

    Attributes:
        name: of its file, without the ending.
        title: in words.
        svg: inline.
        keys: of its colours.
    """

    name: str
    title: str
    svg: str
    keys: Keys


def analysis_plots(analysis: Analysis) -> Mapping[str, bytes]:
    """Return the plots of every category that has objects, by the names of their files."""
    charts = [chart for category in measured_categories(analysis) for chart in category_charts(analysis, category)]
    return {f"{chart.name}.svg": chart_file(chart.svg, chart.title, chart.keys) for chart in charts}


def category_charts(analysis: Analysis, category: str) -> Iterator[Chart]:
    """Yield the plots of one category."""
    yield _replaced(analysis, category)
    yield _replaced_by_distance(analysis, category)
    for by in ("distance", "occlusion", "height"):
        yield _recall(_groups(analysis, category, by), by)
    yield _errors(_groups(analysis, category, "distance"))
    for by in _SHIFTS:
        yield _shift([row for row in analysis.shifts if (row.category, row.by) == (category, by)], by)


def _replaced(analysis: Analysis, category: str) -> Chart:
    rows = [row for row in analysis.oracle if (row.category, row.difficulty) == (category, DIFFICULTY)]
    tables = (("3d", "strict"), ("3d", "loose"))
    by_key = {(row.replaced, row.metric, row.overlap): row.r40 for row in rows}
    groups = [BarGroup(words, [by_key[what, *table] for table in tables]) for what, words in REPLACED_WORDS.items()]
    keys = _keys([metric_name(*table, category) for table in tables])
    title = f"{category}: AP R40 with one quantity right"
    return _bars(f"{category.lower()}_replaced", title, groups, keys, f"AP R40 at {DIFFICULTY}, per cent", 100.0)


def _replaced_by_distance(analysis: Analysis, category: str) -> Chart:
    rows = [row for row in analysis.oracle_by_distance if (row.category, row.overlap) == (category, "strict")]
    groups, cells = distance_cells(rows)
    x = np.array([(2 * number + 1) * DISTANCE_EDGES_M[0] / 2 for number in range(len(groups))])
    series = []
    for what, css in zip(_DRAWN_BY_DISTANCE, COLORS, strict=True):
        y = np.array(cells[what])
        series.append(Series(REPLACED_WORDS[what], x[~np.isnan(y)], y[~np.isnan(y)], css))
    title = f"{category}: AP R40 of {metric_name('3d', 'strict', category)} by distance"
    last = f"distance, m; from {DISTANCE_EDGES_M[-1]:g} m all at the last point; {DIFFICULTY}"
    chart = line_chart(series, x_label=last, alt=title, y_bounds=(0.0, 100.0), x_bounds=(0.0, float(x[-1])))
    return Chart(f"{category.lower()}_replaced_distance", title, chart, tuple((line.name, line.css) for line in series))


def _recall(rows: Sequence[GroupRow], by: str) -> Chart:
    category = rows[0].category
    groups = [
        BarGroup(f"{row.group} ({row.num_truth})", (row.recall_image, row.recall_3d_loose, row.recall_3d_strict)) for row in rows
    ]
    keys = _keys(["seen", *(metric_name("3d", overlap, category) for overlap in ("loose", "strict"))])
    title = f"{category}: share of the objects found, by {by}"
    return _bars(f"{category.lower()}_{by}", title, groups, keys, "per cent of the objects (their number)", 100.0)


def _errors(rows: Sequence[GroupRow]) -> Chart:
    category = rows[0].category
    groups = [BarGroup(row.group, (row.depth_mae_m, row.lateral_mae_m)) for row in rows]
    known = [value for group in groups for value in group.values if not math.isnan(value)]
    keys = _keys(["depth", "to the side"])
    title = f"{category}: mean error of matched objects"
    return _bars(f"{category.lower()}_errors", title, groups, keys, "metres", max(1.1 * max(known, default=1.0), 0.1), 2)


def _bars(
    name: str,
    title: str,
    groups: Sequence[BarGroup],
    keys: Keys,
    x_label: str,
    top: float,
    digits: int = 1,
) -> Chart:
    css = [color for _, color in keys]
    return Chart(name, title, group_bars(groups, css=css, x_label=x_label, alt=title, top=top, digits=digits), keys)


def _shift(rows: Sequence[ShiftRow], by: str) -> Chart:
    category, (words, unit) = rows[0].category, _SHIFTS[by]
    lines = [(detections, overlap) for detections in ("truth", "own") for overlap in ("strict", "loose")]
    series = []
    for (detections, overlap), css in zip(lines, COLORS, strict=True):
        of_line = [row for row in rows if (row.detections, row.metric, row.overlap) == (detections, "3d", overlap)]
        x, y = (np.array(values, float) for values in zip(*((row.shift, row.r40) for row in of_line), strict=True))
        who = "truth" if detections == "truth" else "detector"
        series.append(Series(f"{who} {metric_name('3d', overlap, category)}", x, y, css))
    title = f"{category}: AP R40 with all centres {words}"
    chart = line_chart(series, x_label=f"{words}, {unit}; {DIFFICULTY}", alt=title, y_bounds=(0.0, 100.0))
    return Chart(f"{category.lower()}_shift_{by.split('_')[0]}", title, chart, tuple((line.name, line.css) for line in series))


def _groups(analysis: Analysis, category: str, by: str) -> list[GroupRow]:
    return [row for row in analysis.groups if row.category == category and row.by == by]


def _keys(names: Sequence[str]) -> Keys:
    return tuple(zip(names, COLORS, strict=False))
