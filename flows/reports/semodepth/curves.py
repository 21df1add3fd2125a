"""The sections "Steps" and "Validation": how the loss fell, and the error on frames that were not trained on.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.html.curves import finite, smoothed
from flows.reports.html.line_chart import Series, value_bounds
from flows.reports.html.markup import text
from flows.reports.semodepth.files import EvaluationRow, SemoDepthFiles
from flows.reports.semodepth.results import RADAR_WORDS, charted_groups, group_words, metric_head
from flows.reports.training import curves
from flows.reports.training.curves import COLORS, Mark, measured_section, measured_series, steps_chart
from flows.reports.training.files import StepColumns

TERMS = ("log", "linear", "grad", "sparse")
"""Terms of the loss."""


def steps_section(training: SemoDepthFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    hint = " Light dots are single steps (of each stretch lowest, highest and two more), the line is their moving median."
    return curves.steps_section(training.steps, _step_charts, hint=hint)


def validation_section(training: SemoDepthFiles) -> str | None:
    """Return the section with the validation errors over steps, None without one."""
    if not training.evaluations:
        return None
    cap_m = max(row.cap_m for row in training.evaluations)
    rows_at_cap = [row for row in training.evaluations if row.cap_m == cap_m]
    mark = training.mark("best")
    bounds = _bounds(rows_at_cap, "mae_mm")
    charts = [
        _chart(rows_at_cap, "mae_mm", group, f"MAE, mm: {group_words(group)}", mark, bounds)
        for group in charted_groups(row.group for row in rows_at_cap)
    ]
    for name in ("delta1", "rmse_mm"):
        bounds = None if name == "delta1" else _bounds([row for row in rows_at_cap if row.group == "all"], name)
        charts.append(_chart(rows_at_cap, name, "all", f"{metric_head(name)}: all frames", mark, bounds))
    intro = f"Pixels to {cap_m:.0f} m, means over the frames of {text(training.split_words)}."
    return measured_section("Validation error over the steps", intro, charts, mark=mark, kept="kept as the best")


def _step_charts(steps: StepColumns) -> list[str]:
    return [
        curves.column_chart(steps, "loss", "Loss", is_log=True),
        _terms_chart(steps),
        curves.column_chart(steps, "mae_mm", "Training MAE, mm", is_log=True),
        curves.rate_chart(steps),
    ]


def _terms_chart(steps: StepColumns) -> str:
    series = []
    for name, css in zip(TERMS, COLORS, strict=True):
        x, y = finite(steps["step"], steps[name])
        is_positive = y > 0  # a term without weight or pixels is 0, which a logarithmic axis cannot show
        if is_positive.any():
            series.append(Series(name, *smoothed(x[is_positive], y[is_positive]), css))
    return steps_chart(series, "Terms of the loss", is_log=True)


def _chart(
    rows: Sequence[EvaluationRow], name: str, group: str, title: str, mark: Mark | None, bounds: tuple[float, float] | None
) -> str:
    series = measured_series(
        (label, radar, [(row.step, row.values[name]) for row in rows if (row.radar, row.group) == (radar, group)])
        for radar, label in RADAR_WORDS.items()
    )
    return steps_chart(series, title, y_bounds=bounds, mark=mark)


def _bounds(rows: Sequence[EvaluationRow], name: str) -> tuple[float, float] | None:
    values = np.array([row.values[name] for row in rows])
    values = values[np.isfinite(values)]
    return value_bounds(values, from_zero=True) if len(values) else None
