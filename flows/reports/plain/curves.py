"""The sections "Steps" and "Progress": every column of numbers over the steps.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.reports.plain.files import STEP_COLUMNS, PlainFiles
from flows.reports.training import curves
from flows.reports.training.curves import COLORS, measured_section, measured_series, steps_chart
from flows.reports.training.files import StepColumns

LOG_FROM = 10.0
"""The vertical axis is logarithmic where the largest value is so many times the smallest, or more."""


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
            drawn = zip(points[first : first + len(COLORS)], COLORS, strict=False)
            series = measured_series((name if len(points) > 1 else "", css, line) for (name, line), css in drawn)
            charts.append(steps_chart(series, measure, mark=mark))
    return measured_section("Measured over the steps", "What was measured on the way.", charts, mark=mark)


def _step_charts(steps: StepColumns) -> list[str]:
    names = [name for name in steps if name not in STEP_COLUMNS]
    return [*(curves.column_chart(steps, name, name, is_log=_is_wide(steps[name])) for name in names), curves.rate_chart(steps)]


def _is_wide(values: NDArray[np.float64]) -> bool:
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(values.max() >= LOG_FROM * values.min())


def _points(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points (step, value) of lines by the texts of their rows; rows of one step with the same texts are numbered."""
    points: dict[str, list[tuple[float, float]]] = {}
    seen: Counter[tuple[float, str]] = Counter()
    for row in rows:
        name = "/".join(value for value in row.values() if isinstance(value, str)) or "all"
        seen[row["step"], name] += 1
        number = seen[row["step"], name]
        points.setdefault(name if number == 1 else f"{name} {number}", []).append((row["step"], row[measure]))
    return points
