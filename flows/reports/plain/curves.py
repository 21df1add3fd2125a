"""The sections "Steps" and "Progress": every column of numbers over the steps.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flows.reports.html.line_chart import Series
from flows.reports.plain.files import STEP_COLUMNS, PlainFiles
from flows.reports.training import curves
from flows.reports.training.curves import COLORS, measured_section, measured_series, raw_series, steps_chart
from flows.reports.training.files import StepColumns

LOG_FROM = 10.0
"""The vertical axis is logarithmic where the largest value is so many times the smallest, or more."""

Points = dict[str, list[tuple[float, float]]]
"""By the name of a line its points (step, value)."""


def steps_section(training: PlainFiles) -> str | None:
    """Return the section with a chart of every column, None without a step."""
    return curves.steps_section(training.steps, _step_charts, hint=" Light dots are single steps, lines are moving medians.")


def validation_section(training: PlainFiles) -> str | None:
    """Return the section with a chart of every measure, None without one."""
    rows = training.evaluations
    if not rows:
        return None
    mark = training.mark("kept")
    charts = []
    for measure in (name for name, value in rows[0].items() if isinstance(value, float) and name != "step"):
        points = list(_points(rows, measure).items())
        for first in range(0, len(points), len(COLORS)):  # a chart has no more colours
            names = points[first : first + len(COLORS)]
            series = [
                line
                for (name, line_points), css in zip(names, COLORS, strict=False)
                for line in measured_series(name if len(points) > 1 else "", css, line_points)
            ]
            charts.append(steps_chart(series, measure, mark=mark))
    intro = "What was measured on the way."
    if mark:
        intro += " The vertical line is the checkpoint that was kept."
    return measured_section("Measured over the steps", intro, charts)


def _step_charts(steps: StepColumns) -> list[str]:
    charts = []
    for name in (name for name in steps if name not in STEP_COLUMNS):
        series, alt = raw_series(steps, name, name)
        charts.append(steps_chart(series, name, alt=alt, is_log=_is_wide(series)))
    return [*charts, curves.rate_chart(steps)]


def _is_wide(series: Sequence[Series]) -> bool:
    low, high = min((line.y.min() for line in series), default=0.0), max((line.y.max() for line in series), default=0.0)
    return bool(low > 0 and high >= LOG_FROM * low)


def _points(rows: Sequence[Mapping[str, Any]], measure: str) -> Points:
    """Return lines by the texts of their rows; rows of one step with the same texts are numbered."""
    points: Points = {}
    seen: Counter[tuple[float, str]] = Counter()
    for row in rows:
        name = "/".join(value for value in row.values() if isinstance(value, str)) or "all"
        seen[row["step"], name] += 1
        number = seen[row["step"], name]
        points.setdefault(name if number == 1 else f"{name} {number}", []).append((row["step"], row[measure]))
    return points
