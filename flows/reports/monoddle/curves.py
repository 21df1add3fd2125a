"""The sections "Steps" and "Precision over the steps": how each term of the loss fell, and how the average precision grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.reports.html.curves import finite, smoothed
from flows.reports.html.line_chart import Series
from flows.reports.monoddle.files import DetectionFiles, MeasuredAt
from flows.reports.monoddle.results import METRIC_WORDS
from flows.reports.training import curves
from flows.reports.training.curves import COLORS, Mark, measured_section, measured_series, raw_series, steps_chart
from flows.reports.training.files import StepColumns

TERM_CHARTS = (
    ("Terms in the image", ("heatmap", "offset_2d", "size_2d", "offset_3d")),
    ("Terms in space", ("depth", "size_3d", "heading_class", "heading_residual")),
    ("Distillation from the teacher", ("distill",)),
    ("Mean distance from the teacher, m", ("teacher_mae_m",)),
    ("Mean log scale of the uncertainty", ("teacher_log_scale",)),
)
"""Words of each chart and the columns of steps.csv in it; one that is not part of a training is nowhere a number."""

_LOGARITHMS = ("teacher_log_scale",)

PRECISION_CHARTS = (
    ("in space and from above", (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"))),
    ("in the image", (("2d", "strict"), ("aos", "strict"))),
)
"""Words of each chart, and metric and overlap of its lines."""


def steps_section(training: DetectionFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    return curves.steps_section(training.steps, _step_charts)


def validation_section(training: DetectionFiles) -> str | None:
    """Return the section with the average precision at moderate difficulty over the steps, None without one."""
    rows = [row for row in training.evaluations or () if row.difficulty == "moderate"]
    if not rows:
        return None
    mark = training.mark("kept")
    charts = [
        _precision_chart([row for row in rows if row.category == category], f"{category}, {title}", lines, mark)
        for category in dict.fromkeys(row.category for row in rows)
        for title, lines in PRECISION_CHARTS
    ]
    intro = "R40 at moderate difficulty, per cent; strict and loose are the two tables of least overlaps."
    if mark:
        intro += " The vertical line is the checkpoint that was kept."
    return measured_section("Precision over the steps", intro, charts)


def _step_charts(steps: StepColumns) -> list[str]:
    loss, alt = raw_series(steps, "loss", "Loss")
    charts = [steps_chart(loss, "Loss", alt=alt, is_log=_is_positive(loss))]
    return [*charts, *(_terms_chart(steps, title, names) for title, names in TERM_CHARTS), curves.rate_chart(steps)]


def _terms_chart(steps: StepColumns, title: str, names: Sequence[str]) -> str:
    """Draw the terms that are part of this training; "" if none is."""
    series = []
    for name, css in zip(names, COLORS, strict=False):
        x, y = finite(steps["step"], steps[name])
        if len(x):
            series.append(Series(name.replace("_", " ") if len(names) > 1 else "", *smoothed(x, y), css))
    return steps_chart(series, title, is_log=names[0] not in _LOGARITHMS and _is_positive(series))


def _is_positive(series: Sequence[Series]) -> bool:
    """Say whether a logarithmic axis can show the lines: a Laplace term may fall below 0."""
    return all(float(line.y.min()) > 0 for line in series)


def _precision_chart(rows: Sequence[MeasuredAt], title: str, lines: Sequence[tuple[str, str]], mark: Mark | None) -> str:
    series = []
    for (metric, overlap), css in zip(lines, COLORS, strict=False):
        name = METRIC_WORDS[metric] if metric in ("2d", "aos") else f"{METRIC_WORDS[metric]} {overlap}"
        points = [(row.step, row.r40) for row in rows if (row.metric, row.overlap) == (metric, overlap)]
        series += measured_series(name, css, points)
    top = 1.06 * max((line.y.max() for line in series), default=0.0)
    alt = f"Average precision over the steps, {title}"
    return steps_chart(series, f"AP R40, moderate: {title}", alt=alt, y_bounds=(0.0, max(5.0, top)), mark=mark)
